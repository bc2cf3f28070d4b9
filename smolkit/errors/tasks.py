"""Errors of the tasks of a map over a fleet (`smolkit.ray`)."""

from __future__ import annotations

from smolkit.values.base_error import LateError, SmolvmError


class TaskLostError(SmolvmError):
    """The fleet lost a task as often as it may be retried: its host, its process or the engine failed, not its function.

    It says nothing about the task, so it is no result: no reward of 0, no failed test. The last failure is its `__cause__`.
    """

    hint = "run this task again once the fleet is well: client.hosts() lists its hosts; map(retries=...) tries more often"


class TaskTimeoutError(LateError):
    """A task did not end within its timeout. It was ended, and its machine removed."""

    hint = "give tasks a longer timeout: map(timeout=...). The start of the task's machine counts, too"

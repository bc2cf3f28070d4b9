"""The fleet, as a map's schedule needs it: places for machines, tasks that run there, and what becomes of them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Any, Protocol

from attrs import frozen

from smolkit.errors import SmolvmError


@frozen
class Opened:
    """The place is there: a task may be submitted to it."""

    host: str


@frozen
class Ended:
    """The task has ended: with a value, or with an exception of its function.

    Attributes:
        error: The exception.
        is_clean: False if something may be left in the place.
    """

    value: Any = None
    error: BaseException | None = None
    is_clean: bool = True


@frozen
class Lost:
    """The place was lost, and the task with it if there was one: the failure is not the function's."""

    error: BaseException


class Executor(Protocol):
    """Gives places for machines, and runs tasks there."""

    def open(self, shunned: Collection[str]) -> Hashable:
        """Ask for a place, on none of these hosts if there are others. An Opened or a Lost follows."""

    def submit(self, place: Any, task: Any) -> None:
        """Run a task in a place that is free. An Ended or a Lost follows."""

    def cancel(self, place: Any) -> None:
        """Ask the place's task to end early."""

    def close(self, place: Any) -> None:
        """Give the place up, and kill what runs there."""

    def wait(self, timeout: float) -> Iterable[tuple[Hashable, Opened | Ended | Lost]]:
        """Wait until something has happened, for at most `timeout` seconds."""

    def end(self) -> None:
        """Cancel what runs, wait until it has ended, and give all places up."""

    def no_room(self, seconds: float) -> SmolvmError | None:
        """The error that there was no place within `seconds`; None if there is one soon."""

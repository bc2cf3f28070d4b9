"""Errors of a command in the guest."""

from __future__ import annotations

from typing import ClassVar

from smolkit import values
from smolkit.errors.engine import OutcomeUnknownError
from smolkit.values.base_error import ExecError, LateError


class ProgramNotFoundError(ExecError):
    """The guest has no such program.

    Attributes:
        shell_status: The exit status with which a shell reports that: 127.
    """

    summary = "the guest has no such program"
    shell_status: ClassVar[int] = 127

    hint = "is the program installed in the guest, and in a directory of its PATH?"


class WorkdirNotFoundError(ExecError):
    """The guest has no such working directory, or it is not a directory. The command was not started.

    Attributes:
        shell_status: The exit status with which `docker exec -w` reports that: 127.
    """

    summary = "the guest has no such workdir"
    shell_status: ClassVar[int] = 127

    hint = "machine.mkdir(workdir, parents=True) makes it"


class ProgramNotExecutableError(ExecError):
    """The guest has the file but may not execute it.

    Attributes:
        shell_status: The exit status with which a shell reports that: 126.
    """

    summary = "the guest may not execute that file"
    shell_status: ClassVar[int] = 126

    hint = "chmod +x it in the guest, or run it with its interpreter"


class ExecTimeoutError(ExecError, LateError):
    """The command did not end in time. `stdout` and `stderr` have its output so far.

    Attributes:
        timeout: The time limit that was given, in seconds.
        guest_ended: True if the engine's own timer killed the command in the guest. False if smolkit had to kill the
            engine: then the command may still run in the guest.
    """

    def __init__(self, message: str, completed: values.Completed, timeout: float, guest_ended: bool) -> None:
        super().__init__(message, completed)
        self.args: tuple[object, ...] = (self.message, self.completed, timeout, guest_ended)
        self.timeout: float = timeout
        self.guest_ended: bool = guest_ended


class ExecOutcomeUnknownError(ExecTimeoutError, OutcomeUnknownError):
    """Neither the guest's timer nor the engine ended the command in time, so smolkit killed the engine."""

    hint = "the command may still run in the guest: machine.stop() is sure to end it"


class OutputLimitError(ExecError):
    """The command wrote more than smolkit keeps in memory. `stdout` and `stderr` have what was kept.

    Attributes:
        limit: The limit in bytes that the call was given; None if it was the runner's or the engine's own.
    """

    def __init__(self, message: str, completed: values.Completed | None = None, limit: int | None = None) -> None:
        super().__init__(message, completed)
        self.args: tuple[object, ...] = (self.message, self.completed, limit)
        self.limit: int | None = limit

    hint = "popen() has no limit, and for files download(); or raise SubprocessRunner(output_limit=...)"


class EngineOutputLimitError(OutputLimitError, OutcomeUnknownError):
    """The engine itself wrote more than smolkit keeps in memory, and was killed. What it had done by then is unknown."""

    hint = "raise SubprocessRunner(output_limit=...), and check the machine with client.ls() before you go on"


class ConnectionLostError(ExecError):
    """The machine was stopped, deleted or killed while the command ran in it."""

    summary = "the machine went away while the command ran"
    hint = "machine.console() may say why it ended; machine.start() starts it again"

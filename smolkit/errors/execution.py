"""What goes wrong with a command in the guest."""

from __future__ import annotations

from smolkit.errors.engine import OutcomeUnknownError
from smolkit.values.exec_result import ExecError
from smolkit.values.results import Completed


class ProgramNotFoundError(ExecError):
    """The guest has no such program, or no such working directory: a bare machine's agent does not say which."""

    summary = "the guest has no such program, or no such workdir"

    hint = "is the program installed in the guest, and does workdir (if given) exist there?"


class ProgramNotExecutableError(ExecError):
    """The guest has that file and may not execute it."""

    summary = "the guest may not execute that file"

    hint = "chmod +x it in the guest, or run it with its interpreter"


class ExecTimeoutError(ExecError):
    """The command did not end in time. `stdout` and `stderr` hold what it had written by then.

    Attributes:
        timeout: The bound that was given, in seconds.
        guest_ended: Whether the engine's own timer ended the command. False: smolkit's host-side bound had to end the
            engine, and whether the command still runs in the guest is not known.
    """

    def __init__(self, message: str, completed: Completed, timeout: float, guest_ended: bool) -> None:
        super().__init__(message, completed)
        self.args: tuple[object, ...] = (self.message, self.completed, timeout, guest_ended)
        self.timeout: float = timeout
        self.guest_ended: bool = guest_ended


class ExecOutcomeUnknownError(ExecTimeoutError, OutcomeUnknownError):
    """Neither the guest's timer nor the engine ended the command in time: smolkit ended the engine. It may still run."""

    hint = "the command may still run in the guest: machine.stop() ends it for sure"


class OutputLimitError(ExecError):
    """The command wrote more than may be kept in memory. `stdout` and `stderr` hold what there is of it."""

    hint = "let the command write to a file in the guest and cp it, or raise SubprocessRunner(output_limit=...)"


class EngineOutputLimitError(OutputLimitError, OutcomeUnknownError):
    """The engine itself wrote more than may be kept in memory, and was ended; what it had done by then is not known."""

    hint = "raise SubprocessRunner(output_limit=...), and look at the machine with client.ls() before going on"


class ConnectionLostError(ExecError):
    """The machine was stopped, deleted or killed while the command ran in it."""

    summary = "the machine went away under the command"
    hint = "start it again if it is still wanted; its console log may say why it ended"

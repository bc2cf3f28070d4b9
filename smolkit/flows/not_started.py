"""The workflow that finds out why a command was not started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smolkit.commands.exec import Exec
from smolkit.errors import ProgramNotFoundError, SmolvmError, WorkdirNotFoundError, add_note

if TYPE_CHECKING:
    from smolkit.commands.exec import ExecCommand
    from smolkit.flows.steps import Steps

_LOOK = 30.0  # seconds


def explained(error: SmolvmError, command: ExecCommand[Any], workdir: str | None) -> Steps[SmolvmError]:
    """The error of a command: a WorkdirNotFoundError if the guest has no such workdir.

    The agent of a bare machine reports a missing program and a missing workdir in the same words (0.7.2 to 1.32.2), and
    where both are missing in an image machine, crun names the program (1.32.2): only a look in the guest can tell. It is
    taken only after such a failure, of a command with a workdir.

    Args:
        error: The command's failure.
        command: The command.
        workdir: Its working directory, or the machine's; None if it has none of its own.
    """
    is_shells = error.returncode == ProgramNotFoundError.shell_status  # it ran in the workdir
    if workdir is None or not isinstance(error, ProgramNotFoundError) or is_shells:
        return error
    look = Exec(command.name, ("test", "-d", workdir), workdir="/", timeout=_LOOK, machine_secrets=command.machine_secrets)
    try:
        found = yield look
    except SmolvmError as failure:
        add_note(error, f"or it has no workdir {workdir!r}: the look for that failed, too: {failure.message}")
        return error
    if found.ok:
        return error
    return WorkdirNotFoundError(f"{WorkdirNotFoundError.summary}: {workdir!r} is no directory there", error.completed)

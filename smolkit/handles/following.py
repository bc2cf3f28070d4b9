"""Starting a process that is followed, so that no interrupt loses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smolkit import commands, runners
from smolkit.errors import SmolvmError
from smolkit.handles.process import Process
from smolkit.runners.acting import acting
from smolkit.runners.blocking import holding_interrupts


def follow(
    runner: runners.AnyRunner,
    command: commands.Command[Any],
    machine: str,
    args: tuple[str, ...],
    *,
    stdin: bool = False,
    text: bool,
    grace: float | None = 5.0,
    explain: Callable[[SmolvmError], SmolvmError] | None = None,
) -> Process[Any]:
    """Start a command and follow it. If an interrupt keeps the process from the caller, it is ended.

    Args:
        runner: Runs the command.
        command: Any command. Its `invocation` has the bound in seconds, and its `failure` judges how the call ended.
        machine: The machine's name, for people to read.
        args: The command as people wrote it.
        stdin: As for `Machine.popen`.
        text: Likewise.
        grace: Likewise.
        explain: Called with its failure before that is raised, once, and returns the error to raise.
    """
    return holding_interrupts(
        # The acting runner, for good: also after a dry run.
        lambda _: Process(acting(runner), command, machine, args, stdin=stdin, text=text, grace=grace, explain=explain),
        lambda process: process._kill_and_drain(),  # noqa: SLF001  (made here)
    )

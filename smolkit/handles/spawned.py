"""Commands in the guest that were left to run."""

from __future__ import annotations

from typing import final

from attrs import field, frozen

from smolkit import handles
from smolkit.commands import spawn


@final
@frozen
class Spawned:
    """A command that was started in the guest and left to run. Made by `machine.spawn`.

    A variable in its environment identifies it, and every process that it starts inherits that. Process ids would not do:
    those inside an image machine differ from those outside, and both are reused.

    Attributes:
        machine: The machine that it runs in.
        pid: Its process id in the VM. Commands inside an image machine see another one.
        mark: The variable's value.
    """

    machine: handles.Machine = field(eq=False)
    pid: int
    mark: str

    def is_running(self) -> bool:
        """True if it, or any process that it started, is running.

        Raises:
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: the guest has no `grep` (exit status 127).
            MachineNotRunningError: the machine is not running.
        """
        words, env = spawn.find_spawned(self.mark)
        return bool(self.machine.exec(words, env=env, check=True).stdout.strip())

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal to it and to every process that it started.

        Raises:
            ValueError: signal is not a signal's name.
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: the guest has no `grep` (exit status 127), or some processes survived a KILL.
        """
        if not signal.removeprefix("SIG").replace("+", "").isalnum():
            raise ValueError(f"signal must be the name of a signal, not {signal!r}")
        words, env = spawn.kill_spawned(self.mark, signal.removeprefix("SIG"))
        self.machine.exec(words, env=env, check=True)

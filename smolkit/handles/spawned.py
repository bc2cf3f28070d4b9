"""Commands in the guest that were left to run."""

from __future__ import annotations

from typing import final

from attrs import field, frozen

from smolkit import handles
from smolkit.values.shown import SCRIPT_TITLE


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
        return bool(self.machine.sh(FIND, env={"SMOLKIT_MARK": self.mark}, check=True).stdout.strip())

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal to it and to every process that it started.

        Raises:
            ValueError: signal is not a signal's name.
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: the guest has no `grep` (exit status 127), or some processes survived a KILL.
        """
        if not signal.removeprefix("SIG").replace("+", "").isalnum():
            raise ValueError(f"signal must be the name of a signal, not {signal!r}")
        env = {"SMOLKIT_MARK": self.mark, "SMOLKIT_SIGNAL": signal.removeprefix("SIG")}
        self.machine.sh(KILL, env=env, check=True)


MARK = "SMOLKIT_SPAWN"
# The searching shell has the value under another name, so that it does not find itself. grep's exit status is ignored:
# it also fails for processes that ended meanwhile.
FIND = f"""{SCRIPT_TITLE}find a spawned command
command -v grep >/dev/null || exit 127
grep -ls "{MARK}=$SMOLKIT_MARK" /proc/[0-9]*/environ; exit 0"""
# KILL is repeated for processes that are being forked meanwhile; any other signal is sent once.
KILL = f"""{SCRIPT_TITLE}kill a spawned command
command -v grep >/dev/null || exit 127
for round in 1 2 3 4 5 6 7 8 9 10; do
    found=$(grep -ls "{MARK}=$SMOLKIT_MARK" /proc/[0-9]*/environ)
    [ -n "$found" ] || exit 0
    for file in $found; do pid=${{file#/proc/}}; kill -"$SMOLKIT_SIGNAL" "${{pid%/environ}}" 2>/dev/null; done
    [ "$SMOLKIT_SIGNAL" = KILL ] || exit 0
    [ "$round" -lt 5 ] || sleep 1  # what was killed takes its time to go, where there is much to do
done
exit 1"""

"""Commands in the guest that are left to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from attrs import field, frozen

if TYPE_CHECKING:
    from smolkit.handles.commands import MachineCommands


@final
@frozen
class Spawned:
    """A command that was started in the guest and left to run. Made by `machine.spawn`.

    It is known by a variable in its environment, which what it starts inherits: the numbers of processes differ between an
    image machine's inside and outside, and are used again.

    Attributes:
        machine: Where it runs.
        pid: Its number in the VM. In an image machine, commands inside see another one.
        mark: The variable's value.
    """

    machine: MachineCommands = field(eq=False)
    pid: int
    mark: str

    def is_running(self) -> bool:
        """Whether it, or anything that it started, runs.

        Raises:
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: it has no `grep` (exit status 127).
            MachineNotRunningError: the machine does not run.
        """
        return bool(self.machine.sh(FIND, env={"SMOLKIT_MARK": self.mark}, check=True).stdout.strip())

    def kill(self, signal: str = "KILL") -> None:
        """Sends a signal to it and to all that it started.

        Raises:
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: it has no `grep` (exit status 127), or some would not go.
        """
        if not signal.removeprefix("SIG").replace("+", "").isalnum():
            raise ValueError(f"not the name of a signal: {signal!r}")
        env = {"SMOLKIT_MARK": self.mark, "SMOLKIT_SIGNAL": signal.removeprefix("SIG")}
        self.machine.sh(KILL, env=env, check=True)


MARK = "SMOLKIT_SPAWN"
# The searching shell has the value under another name. grep's own status tells of processes that ended meanwhile, too.
FIND = f"""command -v grep >/dev/null || exit 127
grep -ls "{MARK}=$SMOLKIT_MARK" /proc/[0-9]*/environ; exit 0"""
# As often as it takes for those that are being born; a polite signal is sent once.
KILL = f"""command -v grep >/dev/null || exit 127
for round in 1 2 3 4 5 6 7 8 9 10; do
    found=$(grep -ls "{MARK}=$SMOLKIT_MARK" /proc/[0-9]*/environ)
    [ -n "$found" ] || exit 0
    for file in $found; do pid=${{file#/proc/}}; kill -"$SMOLKIT_SIGNAL" "${{pid%/environ}}" 2>/dev/null; done
    [ "$SMOLKIT_SIGNAL" = KILL ] || exit 0
done
exit 1"""

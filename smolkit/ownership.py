"""Whose machine is it, and is that process still there? Pure: what is known of this host comes from the runner.

Machines that smolkit makes are labelled (engine >= 1.8.0) before they exist to anyone else: with their owner, the client's
session and, where asked, the time until which they are wanted. Engines without labels have only the name that
`client.machine()` makes, `smolkit-PID-...`: it does not tell hosts apart, nor a process from a later one of its number.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, final

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.values import MachineInfo

OWNER, SESSION, EXPIRES = "smolkit.owner", "smolkit.session", "smolkit.expires"
CREATION = "smolkit.creation"  # of this one create: what else this process makes under the same name has another
CLOCKS_DIFFER = 60.0  # seconds, at the most, between the clocks of the engine's host and of this one


def fresh_name() -> str:
    """A name for a machine that nobody named: its form tells by whom it was made, where engines have no labels."""
    return f"smolkit-{os.getpid()}-{os.urandom(6).hex()}"


@final
@frozen
class Owner:
    """The process that made a machine.

    Attributes:
        host: The host's id, which survives a reboot; "" where it has none.
        boot: The id of the host's current boot.
        space: Its process id namespace: containers of one host count their processes apart.
        pid: Its number there.
        started: When it started, in the kernel's ticks since the boot: with it, a number that is used again fools nobody.
    """

    host: str
    boot: str
    space: int
    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.host}.{self.boot}.{self.space}.{self.pid}.{self.started}"

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The owner that a label names, or None: it is none of smolkit's."""
        found = re.fullmatch(r"([0-9a-f]*)\.([0-9a-f]*)\.(\d{1,20})\.(\d{1,10})\.(\d{1,20})", text)
        return found and cls(found[1], found[2], int(found[3]), int(found[4]), int(found[5]))


@final
@frozen
class Marks:
    """What tells the machine that a handle made from any other, also from a later one of its name.

    Attributes:
        labels: Its labels, CREATION among them; none where the engine gave it none.
        at: When it was made, in seconds since the epoch.
        since: The same by the runner's monotonic clock.
    """

    labels: tuple[tuple[str, str], ...]
    at: float
    since: float

    def are_on(self, machine: MachineInfo, *, labels: bool) -> bool:
        """Whether this is the machine. Without labels: whether it was made at about that time."""
        if labels and self.labels:
            return machine.labels.get(CREATION) == dict(self.labels)[CREATION]
        return machine.created_at is None or abs(machine.created_at - self.at) <= CLOCKS_DIFFER


@final
@frozen
class Reapable:
    """A machine that nobody wants any more.

    Attributes:
        machine: Its record.
        reason: Why, for people to read.
    """

    machine: MachineInfo
    reason: str


@frozen
class Here:
    """What a runner's host knows: who asks, what time it is, and which of its processes are alive (pid, started)."""

    me: Owner
    now: float
    is_alive: Callable[[int, int], bool] = field(eq=False)

    def reason_to_reap(self, machine: MachineInfo, *, labels: bool) -> str:
        """Why the machine may go, or "": its owner lives, or cannot be judged from here, or it is not smolkit's."""
        if not labels:
            return self._by_name(machine.name)
        expires = machine.labels.get(EXPIRES, "")
        if re.fullmatch(r"\d{1,12}", expires) and int(expires) <= self.now:
            return f"its time was up {self.now - int(expires):.0f} s ago"
        owner = Owner.parse(machine.labels.get(OWNER, ""))
        return "" if owner is None else self._by_owner(owner)

    def _by_name(self, name: str) -> str:
        found = re.fullmatch(r"smolkit-(\d{1,10})-[0-9a-f]+", name)
        if found is None or self.is_alive(int(found[1]), 0):
            return ""
        return f"by its name, process {found[1]} made it, and is gone"

    def _by_owner(self, owner: Owner) -> str:
        if not owner.host or owner.host != self.me.host:
            return ""
        if owner.boot != self.me.boot:
            return f"process {owner.pid} made it before the host was booted"
        if owner.space != self.me.space or self.is_alive(owner.pid, owner.started):
            return ""
        return f"process {owner.pid} made it, and is gone"

"""Whose machine is it, and is that process still there? Pure: what is known of this host comes from the runner.

Machines that smolkit makes are labelled (engine >= 1.8.0) before they exist to anyone else: with their owner, the client's
session and, where asked, the time until which they are wanted. A branch inherits the labels of its source, and engines
before 1.29.0 cannot give it others: so the labels also say of which machine they speak, and of no other are they believed.

Where labels say nothing, a name that `client.machine()` made up does: it has the owner in it, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import final

from attrs import field, frozen

from smolkit.values.results import MachineInfo

MACHINE = "smolkit.machine"  # of which all the others speak: its name, or PREFIX-*COUNT for a batch of branches
OWNER, SESSION, EXPIRES = "smolkit.owner", "smolkit.session", "smolkit.expires"
CREATION = "smolkit.creation"  # of this one create: what else this process makes under the same name has another
CLOCKS_DIFFER = 60.0  # seconds, at the most, between the clocks of the engine's host and of this one


NONE = "none"  # the value of a label that has nothing to say: if it were left out, a branch would inherit its source's


def fresh_name(owner: Owner | None) -> str:
    """A name for a machine that nobody named. The owner in it, if any, is who may be held to have made it."""
    return "-".join(("smolkit", *([] if owner is None else [str(owner)]), os.urandom(6).hex()))


@final
@frozen
class Owner:
    """The process that made a machine.

    Attributes:
        place: Where its number and its clock count: a digest of the host's id and name, and of the process's namespaces of
            process ids and of time. In another place nothing can be told of it.
        boot: A digest of the id of the host's current boot.
        pid: Its number.
        started: When it started, in the kernel's ticks since the boot: guards against PID reuse. 0 where it is not known.
    """

    place: str
    boot: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.place}-{self.boot}-{self.pid}-{self.started}"

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The owner that a label names, or None: it is none of smolkit's."""
        found = re.fullmatch(r"([0-9a-f]{8})-([0-9a-f]{8})-(\d{1,10})-(\d{1,20})", text)
        return found and cls(found[1], found[2], int(found[3]), int(found[4]))

    @classmethod
    def of(cls, machine: MachineInfo, *, labels: bool) -> Owner | None:
        """The owner of a machine, or None: it has none, or it cannot be proved.

        Args:
            machine: Its record.
            labels: Whether the engine has labels.
        """
        if labels and are_own(machine):
            return cls.parse(machine.labels.get(OWNER, ""))
        found = re.fullmatch(r"smolkit-(.+)-[0-9a-f]{12}(-\d{1,5})?", machine.name)
        return found and cls.parse(found[1])


def are_own(machine: MachineInfo) -> bool:
    """Whether the machine's labels speak of it, and not of what it was branched from."""
    named = machine.labels.get(MACHINE, "")
    batch = re.fullmatch(r"(.+)-\*(\d{1,5})", named)
    if batch is None:
        return named == machine.name
    prefix, _, number = machine.name.rpartition("-")
    return prefix == batch[1] and bool(re.fullmatch(r"\d{1,5}", number)) and int(number) < int(batch[2])


@final
@frozen
class Marks:
    """What tells the machine that a handle made from any other, also from a later one of its name.

    Attributes:
        labels: Its labels, CREATION among them; none where the engine gave it none.
        at: When it was made, in seconds since the epoch.
        since: The same by the runner's monotonic clock.
        pid: The process that made it. A fork of that has its handles, as it would have pickled ones: it owns nothing.
    """

    labels: tuple[tuple[str, str], ...]
    at: float
    since: float
    pid: int = field(factory=os.getpid, eq=False)

    @property
    def are_own(self) -> bool:
        """Whether this process made the machine, not one that this was forked from."""
        return self.pid == os.getpid()

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
    """What a runner's host knows.

    Attributes:
        me: Who asks; None where this host cannot tell (no /proc): then nobody's owner can be judged.
        now: The time, in seconds since the epoch.
        is_alive: Which processes of this place are there, by number and start (0: whenever that was).
        booted: When this host was booted, in seconds since the epoch; None where it has no id that outlives a boot.
    """

    me: Owner | None
    now: float
    is_alive: Callable[[int, int], bool] = field(eq=False)
    booted: float | None = None

    def reason_to_reap(self, machine: MachineInfo, *, labels: bool) -> str:
        """Why the machine may go, or "": nobody wants it is what cannot be proved."""
        expires = machine.labels.get(EXPIRES, "") if labels and are_own(machine) else ""
        if re.fullmatch(r"\d{1,12}", expires) and int(expires) <= self.now:
            return f"its time was up {self.now - int(expires):.0f} s ago"
        owner = Owner.of(machine, labels=labels)
        if owner is None or self.me is None or owner.place != self.me.place:
            return ""
        if owner.boot != self.me.boot:
            return self._before_boot(owner, machine.created_at)
        return "" if self.is_alive(owner.pid, owner.started) else f"process {owner.pid} made it, and is gone"

    def _before_boot(self, owner: Owner, created_at: int | None) -> str:
        """Another boot's id is no proof: containers may be given one of their own."""
        if self.booted is None or created_at is None or created_at >= self.booted or self.is_alive(owner.pid, 0):
            return ""
        return f"process {owner.pid} made it before the host was booted"

"""The owner of a machine, and whether that process still exists. Pure: the runner supplies what is known of the host.

Machines that smolkit makes are created with labels (engine >= 1.8.0): their owner, the client's session and, if asked for,
their time of expiry. A branch inherits the labels of its source, and engines before 1.29.0 cannot give it others. So one
label names the machine that the labels are about; on any other machine they are ignored.

Without labels, the owner is taken from the name, if `client.machine()` generated it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import final

from attrs import field, frozen

from smolkit.values.results import MachineInfo

OWN_LABELS = "smolkit."  # how they begin
MACHINE = "smolkit.machine"  # the machine that the labels are about: its name, or PREFIX-*COUNT for a batch of branches
OWNER, SESSION, EXPIRES = "smolkit.owner", "smolkit.session", "smolkit.expires"
CREATION = "smolkit.creation"  # unique to one create: tells apart machines that one process makes under one name
CLOCKS_DIFFER = 60.0  # seconds that the clock of the engine's host may differ from this one's
NONE = "none"  # value of an empty label: if it were left out, a branch would inherit the label of its source


def fresh_name(owner: Owner | None) -> str:
    """Generate a machine name. With an owner the name contains it, for engines without labels."""
    return "-".join(("smolkit", *([] if owner is None else [str(owner)]), os.urandom(6).hex()))


@final
@frozen
class Owner:
    """The process that created a machine.

    Attributes:
        place: Digest of the host's id and name, and of the process's pid and time namespaces. The pid and the start time
            are meaningful only there.
        boot: Digest of the id of the host's current boot.
        pid: Its process id.
        started: Its start time in kernel ticks since the boot, or 0 if unknown. Guards against PID reuse.
    """

    place: str
    boot: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.place}-{self.boot}-{self.pid}-{self.started}"

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """Parse the value of an owner label. None if smolkit did not write it."""
        # Anybody can write labels: the bounds keep int() away from megabytes of digits.
        found = re.fullmatch(r"([0-9a-f]{8})-([0-9a-f]{8})-(\d{1,10})-(\d{1,20})", text)
        return found and cls(found[1], found[2], int(found[3]), int(found[4]))

    @classmethod
    def of(cls, machine: MachineInfo, *, labels: bool) -> Owner | None:
        """Return the owner of a machine. None if it has none, or if the owner cannot be proved.

        Args:
            machine: The machine's record.
            labels: True if the engine supports labels.
        """
        if labels and are_own(machine):
            return cls.parse(machine.labels.get(OWNER, ""))
        found = re.fullmatch(r"smolkit-(.+)-[0-9a-f]{12}(-\d{1,5})?", machine.name)
        return found and cls.parse(found[1])


def are_own(machine: MachineInfo) -> bool:
    """True if the machine's labels are about itself, not about the source that it was branched from."""
    named = machine.labels.get(MACHINE, "")
    batch = re.fullmatch(r"(.+)-\*(\d{1,5})", named)
    if batch is None:
        return named == machine.name
    # All branches of a batch have one label: PREFIX-*3 is about PREFIX-0, PREFIX-1 and PREFIX-2.
    prefix, _, number = machine.name.rpartition("-")
    return prefix == batch[1] and bool(re.fullmatch(r"\d{1,5}", number)) and int(number) < int(batch[2])


@final
@frozen
class Marks:
    """Marks of the machine that a handle created: they tell it apart from any other, also from a later one of its name.

    Attributes:
        labels: The machine's labels, CREATION included; empty if the engine does not support them.
        at: Time of the creation, in seconds since the epoch.
        since: The same on the runner's monotonic clock.
        pid: The process that created it. A fork has copies of the handles and, as with pickled copies, they own nothing.
    """

    labels: tuple[tuple[str, str], ...]
    at: float
    since: float
    pid: int = field(factory=os.getpid, eq=False)

    @property
    def are_own(self) -> bool:
        """True if this process created the machine, False in a fork of that process."""
        return self.pid == os.getpid()

    def are_on(self, machine: MachineInfo, *, labels: bool) -> bool:
        """True if the record is of this machine. Without labels: if it was created at about the same time."""
        if labels and self.labels:
            return machine.labels.get(CREATION) == dict(self.labels)[CREATION]
        return machine.created_at is None or abs(machine.created_at - self.at) <= CLOCKS_DIFFER


@final
@frozen
class Reapable:
    """A machine that is no longer wanted.

    Attributes:
        machine: The machine's record.
        reason: The reason, for people to read.
    """

    machine: MachineInfo
    reason: str


@frozen
class Here:
    """Facts of the runner's host: this process, the time, and which processes exist.

    Attributes:
        me: This process; None if the host cannot tell (no /proc). Then no owner can be judged.
        now: The current time, in seconds since the epoch.
        is_alive: Called with a pid and a start time (0 for any): True if this process of this place exists.
        booted: Boot time of this host, in seconds since the epoch; None if it has no id that persists over boots.
        labels: Further labels of machines that are made from here.
    """

    me: Owner | None
    now: float
    is_alive: Callable[[int, int], bool] = field(eq=False)
    booted: float | None = None
    labels: tuple[tuple[str, str], ...] = ()

    def reason_to_reap(self, machine: MachineInfo, *, labels: bool) -> str:
        """Return why the machine may be removed, or "" if it cannot be proved that nobody wants it."""
        expires = machine.labels.get(EXPIRES, "") if labels and are_own(machine) else ""
        if re.fullmatch(r"\d{1,12}", expires) and int(expires) <= self.now:
            return f"its lifetime ended {self.now - int(expires):.0f} s ago"
        owner = Owner.of(machine, labels=labels)
        if owner is None or self.has_ended(owner, machine.created_at) is not True:
            return ""
        if self.me is not None and owner.boot == self.me.boot:
            return f"process {owner.pid}, which created it, is gone"
        return f"process {owner.pid} created it before the last boot of this host"

    def has_ended(self, owner: Owner, created_at: int | None) -> bool | None:
        """Return whether the owner of a machine is provably gone; None if it cannot be told from here.

        Args:
            owner: The process that created the machine.
            created_at: The time of that, in seconds since the epoch, if known.
        """
        if self.me is None or owner.place != self.me.place:
            return None  # of another host or container, no pid can be looked up here
        if owner.boot == self.me.boot:
            return not self.is_alive(owner.pid, owner.started)
        # Another boot id is no proof by itself, as containers may have their own.
        if self.booted is None or created_at is None or created_at >= self.booted or self.is_alive(owner.pid, 0):
            return None
        return True

"""Look at a machine: what it is, whose, and what hangs on it. Generators, as in `smolkit.flows.teardown`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from smolkit.commands.lifecycle import Ls, Status
from smolkit.errors import (
    CleanupError,
    DeadlockError,
    MachineHasBranchesError,
    MachineNotFoundError,
    MachineReplacedError,
    SmolvmError,
)
from smolkit.flows.steps import Clock, Now, Pause, Planning
from smolkit.values.ownership import CLOCKS_DIFFER
from smolkit.values.results import MachineInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.commands.dialect import Dialect
    from smolkit.flows.steps import Steps
    from smolkit.values.ownership import Marks

T = TypeVar("T")

_PAUSES = (0.2, 0.5)  # seconds before each further look
_FINAL = (MachineNotFoundError, DeadlockError)  # another look would say the same


def status(name: str, dialect: Dialect) -> Steps[MachineInfo]:
    """What the engine has on record of the machine, asked in the way that changes nothing."""
    if dialect.supports("status without side effects"):
        info: MachineInfo = yield Status(name)
        return info
    try:
        return (yield from lookup(name))
    except MachineNotFoundError:
        if not (yield Planning()):
            raise
        return MachineInfo(name)  # as Status has it in a dry run


def lookup(name: str) -> Steps[MachineInfo]:
    """What `ls` has of the machine.

    Raises:
        MachineNotFoundError: it has no such machine.
    """
    machines: tuple[MachineInfo, ...] = yield Ls()
    for info in machines:
        if info.name == name:
            return info
    raise MachineNotFoundError(f"machine {name!r} is not in the engine's list")


def insist(look: Callable[[], Steps[T]]) -> Steps[T]:
    """Look again where a look fails. "Not found" is no failure; what waits for itself fails again."""
    for pause in _PAUSES:
        try:
            return (yield from look())
        except _FINAL:
            raise
        except SmolvmError:
            yield Pause(pause)
    return (yield from look())


def _look(name: str, dialect: Dialect) -> Steps[MachineInfo]:
    """The machine's record; `ls` has the last word, where the engine cannot tell its status."""
    try:
        return (yield from insist(lambda: status(name, dialect)))
    except _FINAL:
        raise
    except SmolvmError:
        return (yield from lookup(name))


def age(marks: Marks) -> Steps[float]:
    """Seconds since the marks were made. Of two clocks, as either may stand: for a set date, or for a host that sleeps."""
    since_epoch: float = (yield Now()) - marks.at
    monotonic: float = (yield Clock()) - marks.since
    return max(since_epoch, monotonic)


def check_same(name: str, dialect: Dialect, marks: Marks | None) -> Steps[None]:
    """Look whether the machine is still the one that was made with these marks.

    Raises:
        MachineNotFoundError: there is none.
        MachineReplacedError: it is another one.
        CleanupError: no look succeeded.
    """
    labels = dialect.supports("machine create --label")
    if marks is None or (yield Planning()) or not (labels or (yield from age(marks)) > CLOCKS_DIFFER):
        return
    try:
        info = yield from _look(name, dialect)
    except _FINAL:
        raise
    except SmolvmError as error:
        message = f"machine {name!r} is left: it is not known whether it is still this handle's: {error.message}"
        raise CleanupError(message, error.completed) from error
    if not marks.are_on(info, labels=labels):
        raise MachineReplacedError(
            f"machine {name!r} is not the one that this handle made: that is gone, and the name was used again"
        )


def check_branches(name: str, dialect: Dialect) -> Steps[None]:
    """Looks for machines that were branched from this one, where the engine would delete it from under them.

    Raises:
        MachineHasBranchesError: there are some.
    """
    if dialect.supports("delete -f refuses a branch source") or not dialect.supports("parents in ls"):
        return
    if branches := [info.name for info in (yield Ls()) if info.parent == name]:
        raise MachineHasBranchesError(f"machine {name!r} is what {', '.join(branches)} were branched from")

"""Workflows that look a machine up: its record, whether it is this handle's, and its branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from smolkit.commands.lifecycle import Ls, Status
from smolkit.errors import (
    CleanupError,
    DeadlockError,
    HostLostError,
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

_PAUSES = (0.2, 0.5)  # seconds before each further try
_FINAL = (MachineNotFoundError, DeadlockError)  # another try would give the same answer


def status(name: str, dialect: Dialect) -> Steps[MachineInfo]:
    """The engine's record of the machine, by a command that has no side effects in this version."""
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
    """The machine's record in `ls`.

    Raises:
        MachineNotFoundError: `ls` does not list it.
    """
    machines: tuple[MachineInfo, ...] = yield Ls()
    for info in machines:
        if info.name == name:
            return info
    raise MachineNotFoundError(f"machine {name!r} is not in the engine's list")


def insist(look: Callable[[], Steps[T]]) -> Steps[T]:
    """Look something up, and try again if that fails. MachineNotFoundError and DeadlockError are raised at once."""
    for pause in _PAUSES:
        try:
            return (yield from look())
        except _FINAL:
            raise
        except SmolvmError:
            yield Pause(pause)
    return (yield from look())


def _look(name: str, dialect: Dialect) -> Steps[MachineInfo]:
    """The machine's record, from `ls` if the engine cannot tell its status."""
    try:
        return (yield from insist(lambda: status(name, dialect)))
    except _FINAL:
        raise
    except SmolvmError:
        return (yield from lookup(name))


def age(marks: Marks) -> Steps[float]:
    """Seconds since the marks were made, by the clock that says more.

    The date may be set back, and the monotonic clock stops while the host sleeps.
    """
    since_epoch: float = (yield Now()) - marks.at
    monotonic: float = (yield Clock()) - marks.since
    return max(since_epoch, monotonic)


def check_same(name: str, dialect: Dialect, marks: Marks | None) -> Steps[None]:
    """Check that the machine is still the one that was made with these marks.

    Raises:
        MachineNotFoundError: there is no machine of this name.
        MachineReplacedError: it is another machine.
        HostLostError: its host is gone, or cannot be reached any more.
        CleanupError: its record could not be read.
    """
    labels = dialect.supports("machine create --label")
    if marks is None or (yield Planning()) or not (labels or (yield from age(marks)) > CLOCKS_DIFFER):
        return
    try:
        info = yield from _look(name, dialect)
    except (*_FINAL, HostLostError):
        raise
    except SmolvmError as error:
        message = f"machine {name!r} is left: it could not be checked whether it is still this handle's: {error.message}"
        raise CleanupError(message, error.completed) from error
    if not marks.are_on(info, labels=labels):
        raise MachineReplacedError(
            f"machine {name!r} is not the one that this handle made: that one is gone, and the name was used again"
        )


def check_branches(name: str, dialect: Dialect) -> Steps[None]:
    """Check that no machine was branched from this one, in versions whose `delete` would not.

    Raises:
        MachineHasBranchesError: there are branches.
    """
    if dialect.supports("delete -f refuses a branch source") or not dialect.supports("parents in ls"):
        return
    if branches := [info.name for info in (yield Ls()) if info.parent == name]:
        raise MachineHasBranchesError(f"machine {name!r} has branches: {', '.join(branches)}")

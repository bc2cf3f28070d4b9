"""What takes more than one engine call to end and to look at: pure generators of steps (see `smolkit.steps`).

Teardown's rules, in the order in which they win:
1. Only what this handle made is undone: "already exists" at create deletes nothing, nor is a machine that was made anew
   under the name by somebody else.
2. A `with` that fails after create rolls back itself.
3. Every step is tried; "not found" while deleting is success; what is busy is tried again; then `ls` decides.
4. The body's exception always wins: what fails in teardown becomes notes on it.
5. Without one, the first failure of the teardown is raised and the rest are notes on it.
6. keep=True and keep="on_error" leave the machine, with a note on how to get into it.
7. An interrupt during create, start, stop or delete lets that step end. What was made is then removed, and the interrupt
   raised. A second one ends the step at once; if that leaves something in doubt, a note says what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from smolkit.commands.machine import Delete, Ls, Status, Stop
from smolkit.errors import (
    CleanupError,
    EngineBusyError,
    MachineHasBranchesError,
    MachineNotFoundError,
    MachineReplacedError,
    OutcomeUnknownError,
    SmolvmError,
    UnsupportedByEngineError,
)
from smolkit.ownership import CLOCKS_DIFFER
from smolkit.steps import Now, Pause, Steps

if TYPE_CHECKING:
    from typing import Literal

    from smolkit.commands.base import Command
    from smolkit.dialect import Dialect
    from smolkit.ownership import Marks
    from smolkit.values import MachineInfo

    Keep = bool | Literal["on_error"]

T = TypeVar("T")

PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds before each further try of what was busy
_TRUST = 10.0  # seconds for which a `with` takes it that its machine is still its own


def once(command: Command[T]) -> Steps[T]:
    """One command, as a procedure."""
    answer: T = yield command
    return answer


def leave(
    name: str, dialect: Dialect, marks: Marks, keep: Keep, body: BaseException | None, *, branchable: bool
) -> Steps[None]:
    """Ends and deletes the machine after a body that ended so, unless it is to be kept, or branches of it live."""
    if keep is True or (keep == "on_error" and body is not None):
        if body is not None:
            body.add_note(how_to_enter(name))
        return
    failures = yield from _end(name, dialect, marks, trusted=body is None, branchable=branchable)
    if body is None and failures:
        body, *failures = failures
        note(body, failures)
        raise body
    if body is not None:
        note(body, failures)


def _end(name: str, dialect: Dialect, marks: Marks, *, trusted: bool, branchable: bool) -> Steps[list[SmolvmError]]:
    """Discards the machine, if it is the one with these marks and nothing hangs on it. The failures."""
    try:
        # A short block without a failure is taken at its word: to look is one call more.
        if not trusted or (yield Now()) > marks.at + _TRUST:
            yield from check_same(name, dialect, marks)
        if branchable:
            yield from check_branches(name, dialect)
        return (yield from discard(name, dialect))
    except MachineNotFoundError:
        return []
    except (MachineReplacedError, MachineHasBranchesError) as error:
        return [error]
    except SmolvmError as error:
        message = f"machine {name!r} is left: it is not known whether branches of it live: {error.message}"
        return [CleanupError(message, error.completed)]
    except BaseException as error:
        error.add_note(_may_be_left(name))
        raise


def check_same(name: str, dialect: Dialect, marks: Marks | None) -> Steps[None]:
    """Looks whether the machine is still the one that was made with these marks.

    Raises:
        MachineNotFoundError: there is none.
        MachineReplacedError: it is another one. A look that fails otherwise is no sign of that.
    """
    labels = dialect.supports("machine create --label")
    if marks is None or not (labels or (yield Now()) > marks.at + CLOCKS_DIFFER):
        return
    try:
        info = yield from status(name, dialect)
    except MachineNotFoundError:
        raise
    except SmolvmError:
        return
    if not marks.are_on(info, labels=labels):
        raise MachineReplacedError(
            f"machine {name!r} is not the one that this handle made: that is gone, and the name was used again"
        )


def how_to_enter(name: str) -> str:
    """The note about a machine that was kept. Engines of both grammars take these words."""
    return (
        f"machine {name!r} was kept. Into it: smolvm machine shell --name {name} (after smolvm machine start --name {name} "
        f"if it does not run). When it has served: smolkit's client.machine({name!r}).delete()"
    )


def discard(name: str, dialect: Dialect, *, half_booted: bool = False) -> Steps[list[SmolvmError]]:
    """Ends and deletes the machine, trying every step. The failures, in order.

    `delete -f` alone ends a running machine from 0.8.1 on. After a start that failed or was killed it leaves the
    half-booted VMM behind, and only `stop` ends that (1.32.2).
    """
    steps: list[Steps[None]] = [_remove(name)]
    if half_booted or not dialect.supports("delete of a running machine"):
        steps.insert(0, stop_patiently(name))
    return (yield from try_each(steps))


def try_each(steps: list[Steps[None]]) -> Steps[list[SmolvmError]]:
    """Does these one after the other; the failures, in order."""
    failures = []
    for step in steps:
        try:
            yield from step
        except SmolvmError as error:
            failures.append(error)
    return failures


def _remove(name: str) -> Steps[None]:
    try:
        yield from _delete(name, missing_ok=True)
    except SmolvmError as error:
        raise CleanupError(f"machine {name!r} is left: {error.message}", error.completed) from error


def stop_patiently(name: str) -> Steps[None]:
    """A stop that fails is tried again, whatever it said: a VM that it leaves behind may be in no record any more."""
    try:
        for pause in PAUSES[:2]:
            try:
                yield Stop(name)
            except MachineNotFoundError:
                return
            except SmolvmError:
                yield Pause(pause)
            else:
                return
        yield Stop(name)
    except SmolvmError:
        raise
    except BaseException as error:
        error.add_note(_may_be_left(name))
        raise


def on_own(command: Command[T], dialect: Dialect, marks: Marks | None, name: str) -> Steps[T]:
    """Does what would harm another machine, unless the name is one's that was made after the one with these marks."""
    yield from check_same(name, dialect, marks)
    return (yield from once(command))


def delete(name: str, dialect: Dialect, marks: Marks | None, *, missing_ok: bool, cascade: bool) -> Steps[None]:
    """Deletes the machine, running or not: up to 0.8.0 `delete -f` of a running one left its process behind."""
    try:
        yield from check_same(name, dialect, marks)
    except MachineNotFoundError:
        if missing_ok:
            return
        raise
    if not cascade:
        yield from check_branches(name, dialect)
    if not dialect.supports("delete of a running machine"):
        yield from stop_patiently(name)
    yield from _delete(name, missing_ok=missing_ok, cascade=cascade)


def check_branches(name: str, dialect: Dialect) -> Steps[None]:
    """Looks for machines that were branched from this one, where the engine would delete it from under them.

    Raises:
        MachineHasBranchesError: there are some.
    """
    if dialect.supports("delete -f refuses a branch source") or not dialect.supports("parents in ls"):
        return
    if branches := [info.name for info in (yield Ls()) if info.parent == name]:
        raise MachineHasBranchesError(f"machine {name!r} is what {', '.join(branches)} were branched from")


def _delete(name: str, *, missing_ok: bool, cascade: bool = False) -> Steps[None]:
    """What is busy is tried again, and where the answer leaves a doubt `ls` decides."""
    try:
        try:
            yield from patiently(Delete(name, cascade))
        except OutcomeUnknownError:
            yield from patiently(Delete(name, cascade))  # it does no harm twice
    except MachineNotFoundError:
        if not missing_ok:
            raise
    except (MachineHasBranchesError, UnsupportedByEngineError):
        raise  # no doubt about these
    except SmolvmError:
        if not (yield from _is_gone(name)):
            raise
    except BaseException as error:
        error.add_note(_may_be_left(name))
        raise


def _may_be_left(name: str) -> str:
    return f"machine {name!r} may still be there: client.ls() tells"


def patiently(command: Command[None]) -> Steps[None]:
    """Tries a command again that had no effect because something of the engine's was in use; never more than so often."""
    for pause in PAUSES:
        try:
            yield command
        except EngineBusyError:
            yield Pause(pause)
        else:
            return
    yield command


def _is_gone(name: str) -> Steps[bool]:
    try:
        return name not in {info.name for info in (yield Ls())}
    except SmolvmError:
        return False


def status(name: str, dialect: Dialect) -> Steps[MachineInfo]:
    """What the engine has on record of the machine, asked in the way that changes nothing."""
    if dialect.supports("status without side effects"):
        info: MachineInfo = yield Status(name)
        return info
    return (yield from lookup(name))


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


def note(error: BaseException, failures: list[SmolvmError]) -> None:
    """Makes notes on the error of what failed after it."""
    for failure in failures:
        error.add_note(f"and then, while the machine was being removed: {failure}")

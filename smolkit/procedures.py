"""What takes more than one engine call: create, enter, tear down. Pure generators of steps (see `smolkit.steps`).

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

from contextlib import suppress
from typing import TYPE_CHECKING

from smolkit.commands.base import LONG, Command
from smolkit.commands.create import Create, MachineSpec
from smolkit.commands.machine import DataDir, Delete, Ls, Start, Status, Stop
from smolkit.errors import (
    BootFailedError,
    CleanupError,
    EngineBusyError,
    MachineHasBranchesError,
    MachineNotFoundError,
    MachineReplacedError,
    OutcomeUnknownError,
    SmolvmError,
    UnknownEngineError,
    UnsupportedByEngineError,
    tail,
)
from smolkit.ownership import CLOCKS_DIFFER
from smolkit.steps import Now, Pause, ReadLog, Settle, Steps

if TYPE_CHECKING:
    from typing import Literal

    from smolkit.dialect import Dialect
    from smolkit.ownership import Marks
    from smolkit.values import MachineInfo

    Keep = bool | Literal["on_error"]

_PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds before each further try of what was busy
_TRUST = 10.0  # seconds for which a `with` takes it that its machine is still its own
_LOG_TAIL = 16_384  # bytes


def create(name: str, spec: MachineSpec, dialect: Dialect, marks: Marks) -> Steps[None]:
    """Creates the machine, and makes sure that its network policy is recorded as asked; if not, it is gone again."""
    try:
        yield from _patiently(Create(name, spec, marks=marks.labels))
    except (OutcomeUnknownError, UnknownEngineError) as error:
        yield from _undo_if_ours(name, dialect, marks, error)
        raise
    except SmolvmError:
        raise
    except BaseException as error:
        error.add_note(f"machine {name!r} may have been created all the same: client.ls() tells")
        raise
    try:
        if spec.has_policy:
            spec.check_recorded((yield from _lookup(name)))
        yield Settle()
    except BaseException as error:
        note(error, (yield from discard(name, dialect)))
        raise


def _undo_if_ours(name: str, dialect: Dialect, marks: Marks, error: SmolvmError) -> Steps[None]:
    """After a create of which it is not known what it did: what stands under the name is removed if its marks are ours."""
    try:
        found = yield from _lookup(name)
    except MachineNotFoundError:
        return
    except SmolvmError as failure:
        error.add_note(f"whether machine {name!r} was created is not known either: {failure.message}")
        return
    if dialect.supports("machine create --label") and marks.are_on(found, labels=True):
        note(error, (yield from discard(name, dialect)))
    else:
        error.add_note(f"there is a machine {name!r}; it could not be told to be this handle's, and was not touched")


def start(name: str, timeout: float | None) -> Steps[None]:
    """Starts the machine. Where it did not boot, the end of its console log goes on the error as a note."""
    try:
        yield Start(name, timeout)
    except BootFailedError as error:
        yield from add_logs(error, name, ("vmm-exit.json", "agent-startup-error.log", "agent-console.log"))
        raise


def add_logs(error: SmolvmError, name: str, files: tuple[str, ...]) -> Steps[None]:
    """Makes notes on the error of how these files of the machine's data directory end."""
    with suppress(SmolvmError):
        folder: str = yield DataDir(name)
        for file in files:
            if said := tail((yield ReadLog(f"{folder}/{file}", -_LOG_TAIL))):
                error.add_note(f"the end of {file} of machine {name!r}:\n{said}")


def enter(name: str, spec: MachineSpec, dialect: Dialect, marks: Marks, keep: Keep) -> Steps[None]:
    """Creates and starts the machine; a start that fails leaves nothing behind (but what is to be kept)."""
    yield from create(name, spec, dialect, marks)
    try:
        yield from start(name, LONG)
        yield Settle()
    except BaseException as error:
        if keep:
            note(error, (yield from _try_each([_stop(name)])))  # its half-booted VM would be invisible
            error.add_note(how_to_enter(name))
        else:
            note(error, (yield from discard(name, dialect, half_booted=True)))
        raise


def leave(name: str, dialect: Dialect, marks: Marks, keep: Keep, body: BaseException | None) -> Steps[None]:
    """Ends and deletes the machine after a body that ended so, unless it is to be kept."""
    if keep is True or (keep == "on_error" and body is not None):
        if body is not None:
            body.add_note(how_to_enter(name))
        return
    failures: list[SmolvmError] = []
    try:
        # A short block without a failure is taken at its word: to look is one call more.
        if body is not None or (yield Now()) > marks.at + _TRUST:
            yield from _check_same(name, dialect, marks)
        failures = yield from discard(name, dialect)
    except MachineNotFoundError:
        pass
    except MachineReplacedError as error:
        failures = [error]
    except BaseException as error:
        error.add_note(_may_be_left(name))
        raise
    if body is None and failures:
        body, *failures = failures
        note(body, failures)
        raise body
    if body is not None:
        note(body, failures)


def _check_same(name: str, dialect: Dialect, marks: Marks | None) -> Steps[None]:
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
        steps.insert(0, _stop(name))
    return (yield from _try_each(steps))


def _try_each(steps: list[Steps[None]]) -> Steps[list[SmolvmError]]:
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


def _stop(name: str) -> Steps[None]:
    """A stop that fails is tried again, whatever it said: a VM that it leaves behind may be in no record any more."""
    try:
        for pause in _PAUSES[:2]:
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


def stop(name: str, dialect: Dialect, marks: Marks | None) -> Steps[None]:
    """Stops the machine, unless it was made by somebody else after the one with these marks."""
    yield from _check_same(name, dialect, marks)
    yield Stop(name)


def delete(name: str, dialect: Dialect, marks: Marks | None, *, missing_ok: bool, cascade: bool) -> Steps[None]:
    """Deletes the machine, running or not: up to 0.8.0 `delete -f` of a running one left its process behind.

    One that others were branched from is refused: older engines would delete it from under them. (A `with` need not ask:
    what it starts cannot be branched.)
    """
    try:
        yield from _check_same(name, dialect, marks)
    except MachineNotFoundError:
        if missing_ok:
            return
        raise
    guarded = cascade or dialect.supports("delete -f refuses a branch source")
    if not guarded and dialect.supports("parents in ls"):
        branches = [info.name for info in (yield Ls()) if info.parent == name]
        if branches:
            raise MachineHasBranchesError(f"machine {name!r} is what {', '.join(branches)} were branched from")
    if not dialect.supports("delete of a running machine"):
        yield from _stop(name)
    yield from _delete(name, missing_ok=missing_ok, cascade=cascade)


def _delete(name: str, *, missing_ok: bool, cascade: bool = False) -> Steps[None]:
    """What is busy is tried again, and where the answer leaves a doubt `ls` decides."""
    try:
        try:
            yield from _patiently(Delete(name, cascade))
        except OutcomeUnknownError:
            yield from _patiently(Delete(name, cascade))  # it does no harm twice
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


def _patiently(command: Command[None]) -> Steps[None]:
    """Tries a command again that had no effect because something of the engine's was in use; never more than so often."""
    for pause in _PAUSES:
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
    return (yield from _lookup(name))


def _lookup(name: str) -> Steps[MachineInfo]:
    machines: tuple[MachineInfo, ...] = yield Ls()
    for info in machines:
        if info.name == name:
            return info
    raise MachineNotFoundError(f"machine {name!r} is not in the engine's list")


def note(error: BaseException, failures: list[SmolvmError]) -> None:
    """Makes notes on the error of what failed after it."""
    for failure in failures:
        error.add_note(f"and then, while the machine was being removed: {failure}")

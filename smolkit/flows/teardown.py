"""What takes more than one engine call to end and to look at: pure generators of steps (see `smolkit.flows.steps`).

What is left, and what comes out, when something fails: the rules, in the order in which they win.

1. Only what this handle made is undone: a name that is taken is left alone, and so is a machine that somebody else made
   under the name since. Before anything that would harm it there is a look at the machine, which is tried again where it
   fails; a machine of which it cannot be told whose it is stays, and the error says so. (A `with` that takes less than ten
   seconds and does not fail is taken at its word.)
2. `keep` leaves a machine that was made: True always, "on_error" after a failure, with a note on how to get into it. A
   create that failed or was interrupted made none: it is undone.
3. Else a `with` that fails or is interrupted, wherever it is, leaves nothing. (`create` and `branch` alone undo
   themselves, too; `start`, `stop` and `delete` alone come to their end.)
4. Every step of an undoing is tried, whatever became of those before it: "not found" while deleting is success, what is
   busy is tried again, what was cut short is repeated, then `ls` decides.
5. An interrupt (Ctrl-C, whatever a signal handler raises, a cancellation) waits for the step that it meets, and for what
   is then to be undone; a pause between two tries it ends. A second one during the same step ends that at once; of a stop
   or a delete, the rest is dropped, and a note says what may be left.
6. What comes out is the interrupt; without one, the body's exception; without that, the first failure. None is lost: an
   interrupt has the body's exception as its context, and every further failure is a note on what comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from smolkit.commands.lifecycle import Delete, Ls, Stop
from smolkit.errors import (
    CleanupError,
    EngineBusyError,
    MachineHasBranchesError,
    MachineNotFoundError,
    MachineReplacedError,
    OutcomeUnknownError,
    SmolvmError,
    UnsupportedByEngineError,
    add_note,
)
from smolkit.flows.lookup import age, check_branches, check_same
from smolkit.flows.steps import InterruptPoint, Pause, Steps

if TYPE_CHECKING:
    from smolkit.commands.base import Command
    from smolkit.commands.dialect import Dialect
    from smolkit.values.ownership import Marks

Keep = bool | Literal["on_error"]
T = TypeVar("T")

PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds before each further try of what was busy
_TRUST = 10.0  # seconds for which a `with` takes it that its machine is still its own


def once(command: Command[T]) -> Steps[T]:
    """One command, as a procedure."""
    answer: T = yield command
    return answer


def exit_block(
    name: str,
    dialect: Dialect,
    marks: Marks,
    keep: Keep,
    body: BaseException | None,
    *,
    branchable: bool,
    told: list[bool],
) -> Steps[None]:
    """End and delete the machine after a body that ended so, unless it is to be kept, or branches of it live.

    What became of it goes into `told` as soon as it is known: whether the name is another machine's.
    """
    if keep is True or (keep == "on_error" and body is not None):
        told.append(False)
        if body is not None:
            add_note(body, how_to_enter(name))
        return
    try:
        failures = yield from end(name, dialect, marks, trusted=body is None, branchable=branchable)
    except BaseException:
        told.append(False)  # who insists is let go
        raise
    told.append(any(isinstance(failure, MachineReplacedError) for failure in failures))
    if body is None and failures:
        body, *failures = failures
        note(body, failures)
        raise body
    if body is not None:
        note(body, failures)
        try:
            yield InterruptPoint()
        except BaseException as interrupt:  # it comes out in the body's place
            note(interrupt, failures)
            raise


def end(
    name: str, dialect: Dialect, marks: Marks, *, trusted: bool, branchable: bool = False, half_booted: bool = False
) -> Steps[list[Exception]]:
    """Discard the machine, if it is the one with these marks and nothing hangs on it. The failures.

    A machine that is trusted is taken at its word where it was made just now: to look is one call more.
    """
    try:
        yield from _check_unless(name, dialect, marks, trusted=trusted)
        if branchable:
            yield from check_branches(name, dialect)
        return (yield from discard(name, dialect, half_booted=half_booted))
    except MachineNotFoundError:
        return []
    except (MachineReplacedError, MachineHasBranchesError, CleanupError) as error:
        return [error]
    except SmolvmError as error:
        message = f"machine {name!r} is left: it is not known whether branches of it live: {error.message}"
        return [CleanupError(message, error.completed)]
    except Exception as error:  # noqa: BLE001  (likewise in try_each)
        add_note(error, may_be_left(name))
        return [error]
    except BaseException as error:
        add_note(error, may_be_left(name))
        raise


def _check_unless(name: str, dialect: Dialect, marks: Marks, *, trusted: bool) -> Steps[None]:
    if not trusted or (yield from age(marks)) > _TRUST:
        yield from check_same(name, dialect, marks)


def halt(name: str, dialect: Dialect, marks: Marks, *, trusted: bool) -> Steps[None]:
    """Stop the machine, as `end` ends it."""
    try:
        yield from _check_unless(name, dialect, marks, trusted=trusted)
    except SmolvmError:
        raise
    except BaseException as error:
        add_note(error, may_be_left(name))
        raise
    yield from stop_patiently(name)


def how_to_enter(name: str) -> str:
    """The note about a machine that was kept. Engines of both grammars take these words."""
    return (
        f"machine {name!r} was kept. Into it: smolvm machine shell --name {name} (after smolvm machine start --name {name} "
        f"if it does not run). When it has served: smolkit's client.machine({name!r}).delete()"
    )


def discard(name: str, dialect: Dialect, *, half_booted: bool = False) -> Steps[list[Exception]]:
    """Ends and deletes the machine, trying every step. The failures, in order.

    `delete -f` alone ends a running machine from 0.8.1 on. After a start that failed or was killed it leaves the
    half-booted VMM behind, and only `stop` ends that (1.32.2).
    """
    steps: list[Steps[None]] = [_remove(name)]
    if half_booted or not dialect.supports("delete of a running machine"):
        steps.insert(0, stop_patiently(name))
    return (yield from try_each(steps))


def try_each(steps: list[Steps[None]]) -> Steps[list[Exception]]:
    """Does these one after the other; the failures, in order."""
    failures: list[Exception] = []
    for step in steps:
        try:
            yield from step
        except Exception as error:  # noqa: BLE001  (what a runner raises that is no SmolvmError hides nothing either)
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
        add_note(error, may_be_left(name))
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
        add_note(error, may_be_left(name))
        raise


def may_be_left(name: str) -> str:
    """The note about a machine of which it is not known whether it is gone."""
    return f"machine {name!r} may still be there: client.ls() tells"


def patiently(command: Command[None], *, interruptible: bool = False) -> Steps[None]:
    """Tries a command again that had no effect because something of the engine's was in use; never more than so often.

    If interruptible, an interrupt ends the tries: there is nothing to undo.
    """
    for pause in PAUSES:
        try:
            yield command
        except EngineBusyError:
            yield Pause(pause)
            if interruptible:
                yield InterruptPoint()
        else:
            return
    yield command


def _is_gone(name: str) -> Steps[bool]:
    try:
        return name not in {info.name for info in (yield Ls())}
    except SmolvmError:
        return False


def note(error: BaseException, failures: list[Exception]) -> None:
    """Makes notes on the error of what failed after it."""
    for failure in failures:
        add_note(error, f"and then, while the machine was being removed: {failure}")

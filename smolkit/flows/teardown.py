"""Workflows that end a `with` block, stop, remove and delete machines.

The rules for what is left, and for what is raised, when something fails, in the order of their precedence:

1. Only what this handle made is undone. A name that is taken is left alone, and so is a machine that somebody else has made
   under the name since: before anything that would harm it, the machine is looked up (several times, if that fails). If it
   cannot be told whose machine it is, it stays, and the error says so. (After a `with` of less than ten seconds that did
   not fail, the machine is taken for its own without a look.)
2. `keep` leaves a machine that was made: True always, "on_error" after a failure, with a note on how to get into it. A
   create that failed or was interrupted has made none: it is undone.
3. Otherwise a `with` that fails or is interrupted anywhere leaves nothing. (`create` and `branch` alone undo themselves,
   too; `start`, `stop` and `delete` alone come to their end.)
4. Every step of an undo is tried, whatever became of the steps before: "not found" while deleting is success, what is busy
   is tried again, what was cut short is repeated, and then `ls` decides.
5. An interrupt waits for the end of the step that it strikes in, and of the undo that follows; it ends only a pause between
   two tries. A second one during the same step ends the step; the rest of a stop or a delete is dropped, and a note says
   what may be left. (How: `smolkit.flows.steps`.)
6. The interrupt is raised; without one, the body's exception; without that, the first failure. None is lost: an interrupt
   has the body's exception as its context, and further failures are notes on what is raised.
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

PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds before each further try after a busy error
_TRUST = 10.0  # seconds for which a `with` takes its machine for its own without a look


def once(command: Command[T]) -> Steps[T]:
    """Run one command, as a workflow."""
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
    """Remove the machine at the end of a `with`, unless it is to be kept, or has branches.

    Args:
        name: Its name.
        dialect: What the engine's version can be told.
        marks: Those that it was made with.
        keep: As for `client.machine`.
        body: The exception of the block; None if it did not fail.
        branchable: Whether it may have branches.
        told: A list that takes the outcome as soon as it is known: whether the name is another machine's.
    """
    if keep is True or (keep == "on_error" and body is not None):
        told.append(False)
        if body is not None:
            add_note(body, how_to_enter(name))
        return
    try:
        failures = yield from end(name, dialect, marks, trusted=body is None, branchable=branchable)
    except BaseException:
        told.append(False)  # a second interrupt: whoever insists is let go
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
        except BaseException as interrupt:  # it is raised in place of the body's exception
            note(interrupt, failures)
            raise


def end(
    name: str, dialect: Dialect, marks: Marks, *, trusted: bool, branchable: bool = False, half_booted: bool = False
) -> Steps[list[Exception]]:
    """Discard the machine if it has these marks and no branches. The answer is the failures.

    If trusted, a machine that was made within the last _TRUST seconds is not looked up, which saves a call.
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
        message = f"machine {name!r} is left: it could not be checked whether it has branches: {error.message}"
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
    """Stop the machine if it has these marks. Trusted as in `end`."""
    try:
        yield from _check_unless(name, dialect, marks, trusted=trusted)
    except SmolvmError:
        raise
    except BaseException as error:
        add_note(error, may_be_left(name))
        raise
    yield from stop_patiently(name)


def how_to_enter(name: str) -> str:
    """The note about a machine that was kept. Its commands work with engines of both grammars."""
    return (
        f"machine {name!r} was kept. To get into it: smolvm machine shell --name {name} (after smolvm machine start "
        f"--name {name}, if it does not run). To remove it: smolkit's client.machine({name!r}).delete()"
    )


def discard(name: str, dialect: Dialect, *, half_booted: bool = False) -> Steps[list[Exception]]:
    """End and delete the machine, trying every step. The answer is the failures, in order.

    `delete -f` alone ends a running machine from 0.8.1 on. After a start that failed or was killed it leaves the
    half-booted VMM behind, and only `stop` ends that (1.32.2).
    """
    steps: list[Steps[None]] = [_remove(name)]
    if half_booted or not dialect.supports("delete of a running machine"):
        steps.insert(0, stop_patiently(name))
    return (yield from try_each(steps))


def try_each(steps: list[Steps[None]]) -> Steps[list[Exception]]:
    """Run these workflows one after the other, whatever fails. The answer is the failures, in order."""
    failures: list[Exception] = []
    for step in steps:
        try:
            yield from step
        except Exception as error:  # noqa: BLE001  (a runner's own error must not end the rest either)
            failures.append(error)
    return failures


def _remove(name: str) -> Steps[None]:
    try:
        yield from _delete(name, missing_ok=True)
    except SmolvmError as error:
        raise CleanupError(f"machine {name!r} is left: {error.message}", error.completed) from error


def stop_patiently(name: str) -> Steps[None]:
    """Stop the machine; try again after any failure, since a VM that is left behind may be in no record any more."""
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
    """Run a command that would harm another machine, after a check that the machine still has these marks."""
    yield from check_same(name, dialect, marks)
    return (yield from once(command))


def delete(name: str, dialect: Dialect, marks: Marks | None, *, missing_ok: bool, cascade: bool) -> Steps[None]:
    """Delete the machine, running or not. (Up to 0.8.0, `delete -f` of a running one left its process behind.)"""
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
    """Delete the machine; try again if it is busy, and let `ls` decide where the answer leaves a doubt."""
    try:
        try:
            yield from patiently(Delete(name, cascade))
        except OutcomeUnknownError:
            yield from patiently(Delete(name, cascade))  # twice does no harm
    except MachineNotFoundError:
        if not missing_ok:
            raise
    except (MachineHasBranchesError, UnsupportedByEngineError):
        raise  # these leave no doubt
    except SmolvmError:
        if not (yield from _is_gone(name)):
            raise
    except BaseException as error:
        add_note(error, may_be_left(name))
        raise


def may_be_left(name: str) -> str:
    """The note about a machine that may not be gone."""
    return f"machine {name!r} may still be there: see client.ls()"


def patiently(command: Command[None], *, interruptible: bool = False) -> Steps[None]:
    """Run a command; try again, a bounded number of times, while the engine is busy and the command had no effect.

    If interruptible, an interrupt ends the tries: there is nothing to undo between them.
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
    """Add to the error what failed after it, as notes."""
    for failure in failures:
        add_note(error, f"and then, while the machine was being removed: {failure}")

"""Workflows that create, branch, start and update machines, and the one that enters a `with` block."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from smolkit.commands import option_values
from smolkit.commands.create import Create, check_lists
from smolkit.commands.lifecycle import DataDir
from smolkit.errors import (
    BootFailedError,
    CleanupError,
    MachineNotFoundError,
    OutcomeUnknownError,
    SmolvmError,
    UnknownEngineError,
    add_note,
    tail,
)
from smolkit.flows.lookup import check_same, insist, lookup, status
from smolkit.flows.steps import InterruptPoint, Pause, Planning, ReadLog
from smolkit.flows.teardown import PAUSES, discard, end, halt, how_to_enter, may_be_left, note, once, patiently, try_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.commands.admin import Branch, Update
    from smolkit.commands.create import MachineSpec
    from smolkit.commands.dialect import Dialect
    from smolkit.commands.lifecycle import Start
    from smolkit.commands.option_types import BranchOptions
    from smolkit.commands.run import Run, RunDetached
    from smolkit.flows.steps import Steps
    from smolkit.flows.teardown import Keep
    from smolkit.values.exec_result import ExecResult
    from smolkit.values.ownership import Marks
    from smolkit.values.results import MachineInfo

_LOG_TAIL = 16_384  # bytes
_REMOVAL = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before each further look; the engine's helper process takes up to 5 s


def create(name: str, spec: MachineSpec, dialect: Dialect, marks: Marks) -> Steps[None]:
    """Create the machine; delete it again unless its network policy is recorded as asked."""
    check = spec.check_recorded if spec.has_policy else None
    making = patiently(Create(name, spec, marks=marks.labels), interruptible=True)
    yield from _make(name, making, check, dialect, marks)


def branch(name: str, command: Branch, dialect: Dialect, marks: Marks) -> Steps[None]:
    """Make a running machine as a branch of another one. A failure or an interrupt leaves nothing."""
    yield from _make(name, once(command), None, dialect, marks)


def _make(
    name: str, making: Steps[None], check: Callable[[MachineInfo], None] | None, dialect: Dialect, marks: Marks
) -> Steps[None]:
    is_made = False
    try:
        yield from making
        is_made = True
        if check is not None and not (yield Planning()):
            check((yield from lookup(name)))
        yield InterruptPoint()
    except BaseException as error:
        if is_made:
            note(error, (yield from discard(name, dialect)))
        elif not isinstance(error, SmolvmError) or isinstance(error, (OutcomeUnknownError, UnknownEngineError)):
            yield from _undo_if_ours(name, dialect, marks, error)
        raise


def _undo_if_ours(name: str, dialect: Dialect, marks: Marks, error: BaseException) -> Steps[None]:
    """Remove the machine of this name if it has these marks, after a create whose outcome is unknown."""
    try:
        found = yield from insist(lambda: lookup(name))
    except MachineNotFoundError:
        return
    except SmolvmError as failure:
        add_note(error, f"and it could not be looked up whether machine {name!r} was created: {failure.message}")
        return
    except BaseException as late:
        add_note(late, f"machine {name!r} may have been created: see client.ls()")
        raise
    if marks.labels and dialect.supports("machine create --label") and marks.are_on(found, labels=True):
        note(error, (yield from discard(name, dialect)))
    else:
        add_note(error, f"there is a machine {name!r}; nothing proves that it is this handle's, and it was not touched")


def abandon(name: str, dialect: Dialect, marks: Marks) -> Steps[None]:
    """Remove the machine with these marks, of a `with` whose beginning was abandoned by its task.

    The create may still be under way: the machine is looked up several times.
    """
    if not (marks.labels and dialect.supports("machine create --label")):
        return  # without labels, it could be anybody's
    for pause in PAUSES:
        with suppress(MachineNotFoundError):
            if marks.are_on((yield from lookup(name)), labels=True):
                yield from discard(name, dialect, half_booted=True)
            return
        yield Pause(pause)


def branch_many(command: Branch, names: list[str]) -> Steps[None]:
    """Make several running branches. (The engine undoes a batch that fails.)"""
    try:
        yield from once(command)
    except OutcomeUnknownError as error:
        add_note(error, f"machines {names[0]!r} to {names[-1]!r} may have been made: see client.ls()")
        raise


def undo(names: list[str], dialect: Dialect) -> Callable[[BaseException], Steps[None]]:
    """Make the workflow that removes machines which were made just now, because of an exception."""

    def remove(error: BaseException) -> Steps[None]:
        for name in names:
            note(error, (yield from discard(name, dialect)))

    return remove


def run(command: Run, dialect: Dialect) -> Steps[ExecResult]:
    """Run a command in an ephemeral machine, which the engine then removes."""
    try:
        name, result = yield from once(command)
    except SmolvmError as error:
        if error.completed is not None:
            note(error, (yield from removal(command.machine(error.completed)[0], dialect)))
        raise
    if left := (yield from removal(name, dialect)):
        raise left[0]
    return result


def removal(name: str, dialect: Dialect) -> Steps[list[Exception]]:
    """Wait until the engine has removed an ephemeral machine; no-op for "". The answer is a CleanupError, if it does not.

    A helper process of the engine's removes it, or a later call of the engine if the helper missed it (0.7.2 to 1.32.2).
    smolkit must not: it cannot label such a machine (`machine run` has no --label, and --name only with --detach), and
    where the engine does not print its name, the guest wrote what is taken for it (see `Run.machine`).
    """
    for pause in (0.0, *_REMOVAL) if name else ():
        if pause:
            yield Pause(pause)
        try:
            info = yield from status(name, dialect)
        except MachineNotFoundError:
            return []
        except SmolvmError:
            continue
        if info.raw.get("ephemeral") is not True:
            return []  # not the machine of a run
    return [CleanupError(f"machine {name!r} is left: the engine has not removed it")] if name else []


def run_detached(name: str, command: RunDetached, spec: MachineSpec, dialect: Dialect, marks: Marks) -> Steps[None]:
    """Make a machine with a command as its workload; delete it again unless its network policy is recorded as asked."""
    if spec.has_policy:
        dialect.require("allow lists in ls")
    yield from _make(name, once(command), spec.check_recorded if spec.has_policy else None, dialect, marks)


def start(command: Start) -> Steps[None]:
    """Start the machine. If it did not boot, the ends of its logs become notes on the error."""
    try:
        yield command
    except BootFailedError as error:
        yield from add_logs(error, command.name, ("vmm-exit.json", "agent-startup-error.log", "agent-console.log"))
        raise


def add_logs(error: SmolvmError, name: str, files: tuple[str, ...]) -> Steps[None]:
    """Add the ends of these files of the machine's data directory to the error, as notes."""
    with suppress(SmolvmError):
        directory: str = yield DataDir(name)
        for file in files:
            if said := tail((yield ReadLog(f"{directory}/{file}", -_LOG_TAIL))):
                add_note(error, f"the end of {file} of machine {name!r}:\n{said}")


def console(name: str) -> Steps[bytes]:
    """The last MiB of the machine's console log."""
    directory: str = yield DataDir(name)
    end: bytes = yield ReadLog(f"{directory}/agent-console.log", -(2**20))
    return end


def enter(start_it: Start, spec: MachineSpec | None, dialect: Dialect, marks: Marks, keep: Keep) -> Steps[None]:
    """Create and start the machine. If that fails, remove it again, unless it is to be kept.

    With spec=None it was created before, with these marks.
    """
    is_there = False
    try:
        if spec is not None:
            yield from create(start_it.name, spec, dialect, marks)
        else:
            yield from check_same(start_it.name, dialect, marks)
        is_there = True
        yield InterruptPoint()
        yield from start(start_it)
        yield InterruptPoint()
    except BaseException as error:
        if is_there:
            yield from not_entered(start_it.name, dialect, marks, keep, trusted=spec is not None)(error)
        elif spec is None and not isinstance(error, SmolvmError):
            add_note(error, may_be_left(start_it.name))
        raise


def not_entered(
    name: str, dialect: Dialect, marks: Marks, keep: Keep, *, trusted: bool
) -> Callable[[BaseException], Steps[None]]:
    """Make the workflow that removes a machine, or stops it if it is to be kept, because its `with` failed to begin."""

    def remove(error: BaseException) -> Steps[None]:
        if keep:
            # Not left as it is: no command of the engine's would list a half-booted VM.
            note(error, (yield from try_each([halt(name, dialect, marks, trusted=trusted)])))
            add_note(error, how_to_enter(name))
        else:
            note(error, (yield from end(name, dialect, marks, trusted=trusted, half_booted=True)))

    return remove


def update(name: str, command: Update, dialect: Dialect, marks: Marks | None) -> Steps[None]:
    """Change the machine's record, and check that allow lists are recorded as asked."""
    asked = dict(command.chosen)
    yield from check_same(name, dialect, marks)
    yield from patiently(command)
    if asked.keys() & {"allow_cidrs", "allow_hosts"}:
        dialect.require("allow lists in ls")
        if (yield Planning()):
            return
        check_lists(asked, (yield from lookup(name)))


def labelled(options: BranchOptions, marks: Marks) -> dict[str, Any]:
    """The options of a branch, with its marks among the labels."""
    own = options.get("labels") or {}
    option_values.labels("labels", own)
    labels = {**own, **dict(marks.labels)}
    return {**options, "labels": labels or None}

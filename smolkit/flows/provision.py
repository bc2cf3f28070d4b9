"""What makes and changes machines: create, branch, start, enter, update. Generators, as in `smolkit.flows.teardown`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from smolkit.commands.create import Create, missing_from
from smolkit.commands.lifecycle import DataDir
from smolkit.errors import (
    BootFailedError,
    CleanupError,
    MachineNotFoundError,
    OutcomeUnknownError,
    PolicyNotRecordedError,
    SmolvmError,
    UnknownEngineError,
    add_note,
    tail,
)
from smolkit.flows.lookup import check_same, insist, lookup, status
from smolkit.flows.steps import Pause, Planning, ReadLog, Settle
from smolkit.flows.teardown import PAUSES, discard, end, halt, how_to_enter, may_be_left, note, once, patiently, try_each
from smolkit.values import validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.commands.create import MachineSpec
    from smolkit.commands.dialect import Dialect
    from smolkit.commands.lifecycle import Start
    from smolkit.commands.option_types import BranchOptions
    from smolkit.commands.run import Run, RunDetached
    from smolkit.commands.verbs import Branch, Update
    from smolkit.flows.steps import Steps
    from smolkit.flows.teardown import Keep
    from smolkit.values.ownership import Marks
    from smolkit.values.results import ExecResult, MachineInfo

_LOG_TAIL = 16_384  # bytes
_REMOVAL = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before each further look; the engine's helper takes up to 5 s


def create(name: str, spec: MachineSpec, dialect: Dialect, marks: Marks) -> Steps[None]:
    """Creates the machine, and makes sure that its network policy is recorded as asked; if not, it is gone again."""
    check = spec.check_recorded if spec.has_policy else None
    making = patiently(Create(name, spec, marks=marks.labels), settle=True)
    yield from _make(name, making, check, dialect, marks)


def branch(name: str, command: Branch, dialect: Dialect, marks: Marks) -> Steps[None]:
    """Makes the machine as a branch of another one; it runs. One that failed, or was interrupted, leaves nothing."""
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
        yield Settle()
    except BaseException as error:
        if is_made:
            note(error, (yield from discard(name, dialect)))
        elif not isinstance(error, SmolvmError) or isinstance(error, (OutcomeUnknownError, UnknownEngineError)):
            yield from _undo_if_ours(name, dialect, marks, error)
        raise


def _undo_if_ours(name: str, dialect: Dialect, marks: Marks, error: BaseException) -> Steps[None]:
    """After a create of which it is not known what it did: what stands under the name is removed if its marks are ours."""
    try:
        found = yield from insist(lambda: lookup(name))
    except MachineNotFoundError:
        return
    except SmolvmError as failure:
        add_note(error, f"whether machine {name!r} was created is not known either: {failure.message}")
        return
    except BaseException as late:
        add_note(late, f"machine {name!r} may have been created all the same: client.ls() tells")
        raise
    if marks.labels and dialect.supports("machine create --label") and marks.are_on(found, labels=True):
        note(error, (yield from discard(name, dialect)))
    else:
        add_note(error, f"there is a machine {name!r}; it could not be told to be this handle's, and was not touched")


def abandon(name: str, dialect: Dialect, marks: Marks) -> Steps[None]:
    """Removes what stands under the name with these marks, of a create or start that nobody follows any more.

    It may be on its way still: it is looked for again for a while.
    """
    if not (marks.labels and dialect.supports("machine create --label")):
        return  # nothing tells it from another's
    for pause in PAUSES:
        with suppress(MachineNotFoundError):
            if marks.are_on((yield from lookup(name)), labels=True):
                yield from discard(name, dialect, half_booted=True)
            return
        yield Pause(pause)


def branch_many(command: Branch, names: list[str]) -> Steps[None]:
    """Makes several branches; they run. (A batch that fails undoes itself.)"""
    try:
        yield from once(command)
    except OutcomeUnknownError as error:
        add_note(error, f"machines {names[0]!r} to {names[-1]!r} may have been made all the same: client.ls() tells")
        raise


def undo(names: list[str], dialect: Dialect) -> Callable[[BaseException], Steps[None]]:
    """What removes machines that were made just now, because of this exception."""

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
    """Wait until the engine has removed an ephemeral machine, "" for none. A CleanupError, if it does not.

    A helper process that the engine leaves behind does so, and each later call of it for what the helper missed (0.7.2 to
    1.32.2). smolkit itself only looks: it can put no mark on such a machine (`machine run` takes no label, and a name only
    with --detach), and where the engine does not name it, the name is what the guest wrote (see `Run.machine`).
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
            return []  # no machine of any run
    return [CleanupError(f"machine {name!r} is left: the engine has not removed it")] if name else []


def run_detached(name: str, command: RunDetached, spec: MachineSpec, dialect: Dialect, marks: Marks) -> Steps[None]:
    """Makes a machine that runs a command as its workload, with its network policy recorded as asked, or gone again."""
    if spec.has_policy:
        dialect.require("allow lists in ls")
    yield from _make(name, once(command), spec.check_recorded if spec.has_policy else None, dialect, marks)


def start(command: Start) -> Steps[None]:
    """Starts the machine. Where it did not boot, the end of its console log goes on the error as a note."""
    try:
        yield command
    except BootFailedError as error:
        yield from add_logs(error, command.name, ("vmm-exit.json", "agent-startup-error.log", "agent-console.log"))
        raise


def add_logs(error: SmolvmError, name: str, files: tuple[str, ...]) -> Steps[None]:
    """Makes notes on the error of how these files of the machine's data directory end."""
    with suppress(SmolvmError):
        folder: str = yield DataDir(name)
        for file in files:
            if said := tail((yield ReadLog(f"{folder}/{file}", -_LOG_TAIL))):
                add_note(error, f"the end of {file} of machine {name!r}:\n{said}")


def console(name: str) -> Steps[bytes]:
    """The end of the machine's console."""
    folder: str = yield DataDir(name)
    end: bytes = yield ReadLog(f"{folder}/agent-console.log", -(2**20))
    return end


def enter(start_it: Start, spec: MachineSpec | None, dialect: Dialect, marks: Marks, keep: Keep) -> Steps[None]:
    """Creates and starts the machine; a start that fails leaves nothing behind (but what is to be kept).

    With spec=None it was created before, with these marks.
    """
    is_there = False
    try:
        if spec is not None:
            yield from create(start_it.name, spec, dialect, marks)
        else:
            yield from check_same(start_it.name, dialect, marks)
        is_there = True
        yield Settle()
        yield from start(start_it)
        yield Settle()
    except BaseException as error:
        if is_there:
            yield from not_entered(start_it.name, dialect, marks, keep, trusted=spec is not None)(error)
        elif spec is None and not isinstance(error, SmolvmError):
            add_note(error, may_be_left(start_it.name))
        raise


def not_entered(
    name: str, dialect: Dialect, marks: Marks, keep: Keep, *, trusted: bool
) -> Callable[[BaseException], Steps[None]]:
    """What removes a machine whose `with` does not begin, because of this exception; or ends it, if it is to be kept."""

    def remove(error: BaseException) -> Steps[None]:
        if keep:
            # A half-booted VM would be invisible.
            note(error, (yield from try_each([halt(name, dialect, marks, trusted=trusted)])))
            add_note(error, how_to_enter(name))
        else:
            note(error, (yield from end(name, dialect, marks, trusted=trusted, half_booted=True)))

    return remove


def update(name: str, command: Update, dialect: Dialect, marks: Marks | None) -> Steps[None]:
    """Changes the machine's record, and makes sure that allow lists are recorded as asked."""
    asked = dict(command.chosen)
    yield from check_same(name, dialect, marks)
    yield from patiently(command)
    if asked.keys() & {"allow_cidrs", "allow_hosts"}:
        dialect.require("allow lists in ls")
        if (yield Planning()):
            return
        if wrong := missing_from(asked, (yield from lookup(name))):
            raise PolicyNotRecordedError(f"machine {name!r}: the engine's record of its network policy is wrong: {wrong}")


def labelled(options: BranchOptions, marks: Marks) -> dict[str, Any]:
    """The options of a branch, its marks among the labels."""
    labels = {**dict(validate.pairs("labels", options.get("labels") or {})), **dict(marks.labels)}
    return {**options, "labels": labels or None}

"""Handles whose machine is gone, and whose name belongs to another machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from smolkit import Machine, Smolvm, SmolvmError, errors
from smolkit.commands import Create, Delete, Exec, Ls, Start, Status, Stop
from smolkit.commands.base import Command
from smolkit.testing import FakeRunner, FakeSmolvm
from smolkit.values.ownership import CREATION
from tests.recorded import as_json


class Aging(FakeRunner):
    """A fake whose time can be advanced."""

    age = 0.0

    def now(self) -> float:
        """The real time plus this many seconds."""
        return super().now() + self.age


@pytest.fixture
def fake() -> Aging:
    """The fake of these tests."""
    return Aging()


def last_record(fake: FakeRunner) -> dict[str, Any]:
    """The record of the machine that was created last."""
    created = [command for command in fake.commands if isinstance(command, Create)]
    return {"name": "m", "created_at": int(fake.now()), "labels": dict(created[-1].marks)}


def put_on_record(fake: FakeRunner, record: dict[str, Any] | None) -> None:
    """Let the engine have this record under the name, and let all other calls succeed."""
    if record is None:
        fake.answer(
            Status,
            returncode=1,
            stderr=as_json("CONFIG_ERROR", "config operation failed: machine status: machine 'm' not found"),
        )
    fake.answer(Status, stdout=json.dumps(record))
    fake.answer(Ls(), stdout=json.dumps([record]))


@pytest.fixture
def machine(client: Smolvm, fake: Aging) -> Machine:
    """A handle that made its machine."""
    fake.answer(lambda command: not isinstance(command, (Status, Ls)))
    machine = client.machine("m")
    machine.create()
    return machine


OTHER = {"name": "m", "labels": {CREATION: "another"}}


def verbs(fake: FakeRunner) -> list[type[Command[Any]]]:
    """The verbs that were called after create."""
    return [type(command) for command in fake.commands[1:]]


def test_a_machine_made_anew_by_another_is_not_touched(machine: Machine, fake: Aging) -> None:
    """stop and delete of a machine that another made anew raise, leave it alone, and say how to reach it."""
    put_on_record(fake, OTHER)

    harms: list[Callable[[], object]] = [
        machine.stop,
        machine.delete,
        machine.pause,
        lambda: machine.delete(missing_ok=True, cascade=True),
        lambda: machine.update(cpus=1),
        lambda: machine.resize(cpus=1),
    ]

    for harm in harms:
        with pytest.raises(errors.MachineReplacedError, match="'m' is not the one that this handle made"):
            harm()
    assert [Status] * len(harms) == verbs(fake)


def test_a_handle_that_made_nothing_acts_on_the_name(client: Smolvm, machine: Machine, fake: Aging) -> None:
    """A handle that made nothing, or deleted its machine, acts on whatever has the name."""
    put_on_record(fake, OTHER)
    client.machine("m").delete()

    assert [Delete] == verbs(fake)


def test_the_machine_that_was_made_is_stopped_and_deleted(machine: Machine, fake: Aging) -> None:
    """stop and delete look first, and act on the machine that the handle made."""
    put_on_record(fake, last_record(fake))
    machine.stop()
    machine.delete()
    machine.delete()

    assert [Status, Stop, Status, Delete, Delete] == verbs(fake)


def test_a_machine_that_is_gone_raises_the_usual_error(machine: Machine, fake: Aging) -> None:
    """A machine that is gone raises the same error as without the look."""
    put_on_record(fake, None)

    machine.delete(missing_ok=True)
    assert [Status] == verbs(fake)


def test_missing_ok(machine: Machine, fake: Aging) -> None:
    """delete and stop of a missing machine raise, unless missing_ok is given."""
    put_on_record(fake, None)

    with pytest.raises(errors.MachineNotFoundError):
        machine.delete()
    with pytest.raises(errors.MachineNotFoundError):
        machine.stop()


def test_a_look_that_fails_once_is_tried_again(machine: Machine, fake: Aging) -> None:
    """A look that fails once is tried again."""
    fake.answer(Status, returncode=1, stderr=as_json("X", "it broke"), times=1)
    put_on_record(fake, last_record(fake))
    machine.delete()

    assert [Status, Status, Delete] == verbs(fake)


@pytest.mark.parametrize("broken", [Status, (Status, Ls)])
@pytest.mark.parametrize("record", ["own", "other"])
def test_a_look_that_keeps_failing_leaves_the_machine(machine: Machine, fake: Aging, broken: Any, record: str) -> None:
    """If status and ls keep failing, nothing is touched, and the error says so."""
    fake.answer(lambda command: isinstance(command, broken), returncode=1, stderr=as_json("X", "it broke"))
    put_on_record(fake, last_record(fake) if record == "own" else OTHER)
    looks = [Status, Status, Status, Ls]

    if broken is Status and record == "own":
        machine.stop()
        assert [*looks, Stop] == verbs(fake)
        return
    kind = errors.MachineReplacedError if broken is Status else errors.CleanupError
    harms: list[Callable[[], object]] = [machine.stop, lambda: machine.delete(missing_ok=True)]
    for harm in harms:
        with pytest.raises(kind):
            harm()
    assert looks * 2 == verbs(fake)


def run(client: Smolvm, fake: Aging, record: dict[str, Any] | None, age: float, fails: bool) -> list[type[Command[Any]]]:
    """Run a block of one exec, whose machine becomes this one."""
    fake.answer(lambda command: not isinstance(command, (Status, Ls)))
    with client.machine("m") as machine:
        machine.exec(["true"])
        put_on_record(fake, last_record(fake) if record == {} else record)
        fake.age = age
        if fails:
            raise KeyError("mine")
    return verbs(fake)


def test_an_undisturbed_block_takes_four_calls(client: Smolvm, fake: Aging) -> None:
    """An undisturbed block makes four engine calls."""
    assert [Start, Exec, Delete] == run(client, fake, OTHER, age=0, fails=False)


def test_a_long_block_looks_before_it_deletes(client: Smolvm, fake: Aging) -> None:
    """A block longer than ten seconds looks before it deletes, and raises if another machine has the name."""
    assert [Start, Exec, Status, Delete] == run(client, fake, {}, age=11, fails=False)
    other = Aging()
    with pytest.raises(errors.MachineReplacedError):
        run(Smolvm(runner=other), other, OTHER, age=11, fails=False)


def test_a_block_whose_machine_is_gone_raises_nothing(client: Smolvm, fake: Aging) -> None:
    """A block whose machine is gone ends without an error."""
    assert [Start, Exec, Status] == run(client, fake, None, age=11, fails=False)


def test_a_block_that_fails_looks_before_it_deletes(client: Smolvm, fake: Aging) -> None:
    """A block that fails looks before it deletes, and a foreign machine is a note on its exception."""
    with pytest.raises(KeyError) as caught:
        run(client, fake, OTHER, age=0, fails=True)

    assert [Start, Exec, Status] == verbs(fake)
    assert "is not the one that this handle made" in caught.value.__notes__[0]


@pytest.mark.parametrize(("age", "replaced"), [(0, False), (59, False), (120, True)])
def test_without_labels_the_time_of_creation_decides(age: float, *, replaced: bool) -> None:
    """Without labels, a machine that is younger by more than clock skew is another one."""
    fake = Aging("1.7.9")
    fake.answer(lambda command: not isinstance(command, Ls))
    machine = Smolvm(runner=fake).machine("m")
    machine.create()
    fake.age = age
    put_on_record(fake, {"name": "m", "created_at": int(fake.now())})

    if replaced:
        with pytest.raises(errors.MachineReplacedError):
            machine.delete()
        return
    machine.delete()
    assert [Delete] == verbs(fake)


class SetBack(Aging):
    """A fake whose wall clock stands still or goes back while time passes."""

    def now(self) -> float:
        """The real time less this many seconds."""
        return FakeRunner.now(self) - self.age

    def clock(self) -> float:
        """A monotonic clock."""
        return super().clock() + self.age


def test_a_block_is_timed_by_a_monotonic_clock() -> None:
    """A block's duration is measured by a monotonic clock, so that setting the wall clock back does not skip the look."""
    fake = SetBack()
    with pytest.raises(errors.MachineReplacedError):
        run(Smolvm(runner=fake), fake, OTHER, age=3600, fails=False)


def test_an_older_machine_under_the_name_is_another_one() -> None:
    """Without labels, an older machine under the name is another one, made after the wall clock was set back."""
    fake = SetBack("1.7.9")
    fake.answer(lambda command: not isinstance(command, Ls))
    machine = Smolvm(runner=fake).machine("m")
    machine.create()
    fake.age = 3600
    put_on_record(fake, {"name": "m", "created_at": int(fake.now())})

    with pytest.raises(errors.MachineReplacedError):
        machine.stop()


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("fault", ["boot timeout", ""])
@pytest.mark.parametrize("when", ["before", "during"])
def test_a_failed_start_touches_no_other_machine(when: str, fault: str, *, keep: bool) -> None:
    """A failed start stops and deletes no machine that replaced the handle's before or during it."""
    fake = FakeSmolvm()
    machine = Smolvm(runner=fake).machine("m", keep=keep)
    machine.create()
    other = Smolvm(runner=fake).machine("m")

    def replace(_: Command[Any] | None = None) -> int:
        Smolvm(runner=fake).machine("m").delete()
        other.create()
        return 1

    if when == "before":
        replace()
        other.start()
    else:
        fake.answer(Start, replace, times=1)
    if fault and when == "before":
        fake.fail("start", fault)  # type: ignore[arg-type]

    with pytest.raises(SmolvmError), machine:
        raise AssertionError("the body ran")
    made = other._known.made
    assert made is not None and dict(made.labels).items() <= fake.machines["m"].record["labels"].items()
    assert {"before": "running", "during": "created"}[when] == fake.machines["m"].state
    if when == "before":
        with pytest.raises(errors.MachineReplacedError):
            machine.delete()

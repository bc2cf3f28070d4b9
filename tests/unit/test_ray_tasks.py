"""The tasks of a map, as they run beside the engine: on a fake, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from smolkit import Machine, Smolvm, errors
from smolkit.ray.cluster import Bundle
from smolkit.ray.executor import Ended, Lost
from smolkit.ray.machines import Maker
from smolkit.ray.runner import Placement
from smolkit.ray.tasks import Job
from smolkit.testing import FakeSmolvm

PLACE = Placement("group", "node", "address", is_kept=True)


class Fakes:
    """Makes machines on a fake, whatever their place."""

    def __init__(self) -> None:
        self.fake = FakeSmolvm()

    def runner(self, given: Mapping[str, Any], placement: Placement | None) -> FakeSmolvm:  # noqa: ARG002
        """The fake."""
        assert PLACE is placement
        return self.fake

    def handle(self, runner: FakeSmolvm, name: str | None, given: Mapping[str, Any]) -> Machine:
        """A handle on one of its machines."""
        return Smolvm(runner=runner).machine(name, **cast("Any", given))

    def share(self, machine: Machine) -> None:
        """It outlives every process."""


def job(fakes: Fakes, function: Callable[[Machine, Any], object], warm: Callable[[Machine], object] | None = None) -> Job:
    """A job whose machines are the fake's."""
    return Job(cast("Maker", fakes), Bundle(1, 512), function, {"cpus": 1}, warm)


def name(machine: Machine, _: object) -> str:
    """The machine's name, if it runs."""
    assert machine.status().state == "running"
    return machine.name


def test_a_task_has_a_machine_while_it_runs() -> None:
    """Its value is the function's; the machine is gone afterwards."""
    fakes = Fakes()
    found = job(fakes, name).run(PLACE, None, 1)

    assert isinstance(found, Ended)
    assert (True, None, True) == (found.value.startswith("smolkit-"), found.error, found.is_clean)
    assert not fakes.fake.machines


def test_a_machine_that_cannot_be_made_is_no_failure_of_the_function() -> None:
    """The task is lost, unless no host can make such a machine."""
    fakes = Fakes()
    fakes.fake.fail("start", "boot timeout")
    lost = job(fakes, name).run(PLACE, None, 1)
    fakes.fake.fail("create", "killed")
    died = job(fakes, name).run(PLACE, None, 1)

    assert isinstance(lost, Lost)
    assert isinstance(lost.error, errors.BootFailedError)
    assert isinstance(died, Lost)
    assert not fakes.fake.machines


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ZeroDivisionError(), Ended),
        (SystemExit(3), Ended),
        (errors.MachineNotRunningError("the guest's own doing"), Ended),
        (errors.ConnectionLostError("the machine died"), Ended),
        (errors.HostLostError("gone"), Lost),
        (errors.HostUnreachableError("gone"), Lost),
    ],
)
def test_only_the_hosts_failures_are_none_of_the_functions(error: BaseException, kind: type) -> None:
    """What a function raises is its result, except that its host is gone."""

    def fail(machine: Machine, _: object) -> None:
        raise error

    fakes = Fakes()
    found = job(fakes, fail).run(PLACE, None, 1)

    assert (kind, type(error)) == (type(found), type(found.error))
    assert not fakes.fake.machines


def test_an_interrupt_is_raised_once_the_machine_is_gone() -> None:
    """Ray cancels a task by a KeyboardInterrupt."""

    def fail(machine: Machine, _: object) -> None:
        raise KeyboardInterrupt

    fakes = Fakes()
    with pytest.raises(KeyboardInterrupt):
        job(fakes, fail).run(PLACE, None, 1)
    assert not fakes.fake.machines


def test_a_machine_that_may_be_left_does_not_change_the_result() -> None:
    """The value stands, and the place is not to be used again."""
    fakes = Fakes()
    fakes.fake.fail("delete", "locked", times=99)
    found = job(fakes, name).run(PLACE, None, 1)

    assert isinstance(found, Ended)
    assert (True, None, False) == (found.value.startswith("smolkit-"), found.error, found.is_clean)


def test_a_branch_of_a_golden_machine_is_all_that_a_task_has() -> None:
    """A golden machine stays until its place is given up; without it tasks are lost, whatever the engine calls that."""
    fakes = Fakes()

    def same(machine: Machine, _: object) -> bool:
        return machine.name != golden and machine.read_text("/prepared") == "yes"

    made = job(fakes, same, lambda machine: machine.write_text("/prepared", "yes")).prepare(PLACE)
    assert isinstance(made, Ended)
    golden = made.value
    found = job(fakes, same).run(PLACE, golden, 1)
    assert isinstance(found, Ended)
    assert (True, [golden]) == (found.value, [*fakes.fake.machines])
    Smolvm(runner=fakes.fake).machine(golden).stop()
    assert isinstance(job(fakes, same).run(PLACE, golden, 1), Lost)


def test_a_golden_machine_that_cannot_be_made_or_prepared() -> None:
    """The first is a failure of the fleet, the second one of the function that prepares it."""
    fakes = Fakes()

    def fail(machine: Machine) -> None:
        raise LookupError

    assert isinstance(job(fakes, name, fail).prepare(PLACE).error, LookupError)
    fakes.fake.fail("start", "boot timeout")
    assert isinstance(job(fakes, name, fail).prepare(PLACE), Lost)

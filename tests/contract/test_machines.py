"""Machines and their records behave the same on the fake and on real engines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smolkit import Machine, SmolvmError, errors
from tests.contract.conftest import World
from tests.engines import again

pytestmark = pytest.mark.differs


@pytest.fixture
def created(world: World) -> Machine:
    """A machine that was created and never started."""
    machine = world.client.machine("made", cpus=1, memory=512, labels={"team": "ci"}, storage=2)
    machine.delete(missing_ok=True)
    machine.create()
    return machine


def test_the_record_of_a_machine(world: World, created: Machine) -> None:
    """ls and status show the same record."""
    info = created.status()
    assert ("made", "created", 1, 512, None, False) == (
        *(info.name, info.state, info.cpus, info.memory, info.image, info.network),
    )
    assert "ci" == info.labels["team"]
    assert isinstance(info.created_at, int)
    assert info == next(item for item in world.client.ls() if item.name == "made")
    assert ["made"] == [item.name for item in world.client.ls(labels={"team": "ci"})]


# The keys of the fake's records. The engine's have more.
KEYS = {
    *("name", "state", "cpus", "memory_mib", "pid", "mounts", "ports", "created_at", "storage_gb", "overlay_gb", "image"),
    *("entrypoint", "cmd", "ephemeral", "gpu", "network", "labels"),
}


def test_the_keys_of_a_record(world: World, created: Machine) -> None:
    """The fake's records have the same keys as the engine's."""
    raw = created.status().raw
    assert KEYS <= raw.keys()
    assert world.supports("parents in ls") == ("parent_machine" in raw)
    assert (2, None, 0, 0, [], []) == tuple(
        raw[key] for key in ("storage_gb", "pid", "mounts", "ports", "entrypoint", "cmd")
    )


def test_a_name_that_is_taken(world: World, created: Machine) -> None:
    """create of a name that is taken raises, and does not touch the existing machine."""
    with pytest.raises(errors.MachineExistsError) as caught:
        world.client.machine("made", cpus=2).create()

    assert (
        "config operation failed: create machine: machine 'made' already exists or is being created" in caught.value.message
    )
    assert 1 == created.status().cpus


MISSING: list[tuple[str, Callable[[Machine], object], str]] = [
    ("start", lambda machine: machine.start(), "vm not found: none"),
    ("stop", lambda machine: machine.stop(), "vm not found: none"),
    ("delete", lambda machine: machine.delete(), "vm not found: none"),
    ("exec", lambda machine: machine.exec(["true"]), "vm not found: none"),
    ("data-dir", lambda machine: machine.wait_until(log="x"), "vm not found: none"),
    ("cp", lambda machine: machine.cp("/etc/passwd", machine.path("/root/x")), "vm not found: none"),
    ("branch", lambda machine: machine.branch("twig"), "vm not found: none"),
    ("status", lambda machine: machine.status(), "config operation failed: machine status: machine 'none' not found"),
    ("update", lambda machine: machine.update(cpus=2), "config operation failed: update: machine 'none' not found"),
]


@pytest.mark.parametrize(("verb", "call", "words"), MISSING, ids=[verb for verb, _, _ in MISSING])
def test_no_such_machine(world: World, verb: str, call: Callable[[Machine], object], words: str) -> None:
    """Every verb raises the engine's error for a machine that does not exist."""
    with pytest.raises(errors.MachineNotFoundError) as caught:
        call(world.client.machine("none"))
    expected = "machine 'none' is not in the engine's list" if verb == "status" and not quiet_status(world) else words
    assert expected in str(caught.value)


def quiet_status(world: World) -> bool:
    """True if smolkit asks this version by status rather than by ls."""
    return world.supports("status without side effects")


def test_calls_that_need_a_running_machine(created: Machine, tmp_path: Path) -> None:
    """exec and cp of a stopped machine raise an error that says how to start it."""
    for call in (
        lambda: created.exec(["true"]),
        lambda: created.cp("/etc/passwd", created.path("/root/x")),
        lambda: created.cp(created.path("/root/x"), tmp_path / "x"),
    ):
        with pytest.raises(errors.MachineNotRunningError, match=r"machine 'made' is not running\. .*machine start"):
            call()


def test_stopping_a_stopped_machine(created: Machine) -> None:
    """stop of a stopped machine does nothing."""
    created.stop()
    assert "created" == created.status().state


def test_updating_a_machine(world: World, created: Machine) -> None:
    """update changes the machine's record."""
    created.update(cpus=2, memory=1024, net=True)
    info = created.status()
    assert (2, 1024, True) == (info.cpus, info.memory, info.network)
    assert ["made"] == [item.name for item in world.client.ls() if item.cpus == 2]


def test_disks_before_the_first_start(world: World, created: Machine) -> None:
    """Disks can never shrink, and cannot grow before the first start (except before 1.15.0, which makes them earlier)."""
    if not world.supports("status without side effects"):
        created.update(storage=30, overlay=30)
        with pytest.raises(errors.ConfigError, match="cannot be shrunk from 30 GiB to 1 GiB"):
            created.update(storage=1)
        return
    for change in ({"storage": 30}, {"overlay": 30}):
        with pytest.raises(errors.MachineNeverStartedError):
            created.update(**change)  # type: ignore[arg-type]
    with pytest.raises(errors.ConfigError, match="cannot be shrunk from 2 GiB to 1 GiB"):
        created.update(storage=1)
    created.update(storage=2)


def test_published_ports(world: World) -> None:
    """A published port has an address on the host, and over a link that forwards no ports an error says so."""
    port = world.client.free_port()
    machine = world.client.machine("served", cpus=1, memory=512, ports=[(port, 80)])
    machine.create()
    if world.is_far:
        with pytest.raises(errors.HostUnreachableError, match="forwards no ports"):
            machine.url(80)
    else:
        assert f"http://127.0.0.1:{port}" == machine.url(80)
    assert 1 == machine.status().raw["ports"]
    machine.delete()


def test_allow_lists(world: World) -> None:
    """Allow lists are read back from the record, on engines that show them."""
    machine = world.client.machine("walled", cpus=1, memory=512, allow_cidrs=["10.0.0.0/8"])
    if not world.supports("allow lists in ls"):
        with pytest.raises(errors.UnsupportedByEngineError, match="allow lists in ls"):
            machine.create()
        return
    machine.create()
    assert ("10.0.0.0/8",) == machine.status().allowed_cidrs
    machine.update(allow_cidrs=["192.168.0.0/16"])
    assert {"10.0.0.0/8", "192.168.0.0/16"} == set(machine.status().allowed_cidrs or ())
    machine.delete()


def test_deleting(world: World, created: Machine) -> None:
    """A deleted machine is gone, and one delete is enough."""
    created.delete()
    assert not created.exists()
    created.delete(missing_ok=True)
    assert "made" not in [item.name for item in world.client.ls()]


def test_a_branch_of_a_stopped_machine(world: World, created: Machine) -> None:
    """A branch of a stopped machine is refused, in the engine's words."""
    with pytest.raises(errors.ConfigError, match="golden 'made' is not running forkable"):
        created.branch("twig")
    assert "twig" not in {item.name for item in world.client.ls()}


def test_the_states_of_a_running_machine(machine: Machine, world: World) -> None:
    """A started machine is running and has a process, and a second start does nothing."""
    info = machine.status()
    assert ("running", True) == (info.state, info.running)
    assert isinstance(info.pid, int)
    machine.start()
    assert "running" == next(item for item in world.client.ls() if item.name == machine.name).state


def test_a_running_machine_cannot_be_updated(machine: Machine) -> None:
    """update of a running machine is refused, and changes nothing."""
    with pytest.raises(errors.MachineRunningError, match="expected stopped, got Running"):
        machine.update(cpus=2)
    assert 1 == machine.status().cpus


def test_a_stop_and_a_start(machine: Machine) -> None:
    """Files survive a stop and a start."""
    machine.write_text("/root/kept", "kept")
    machine.stop()
    assert "stopped" == machine.status().state
    with pytest.raises(errors.MachineNotRunningError):
        machine.exec(["true"])
    again(machine.start)
    assert "kept" == machine.read_text("/root/kept")
    machine.remove("/root/kept")


def test_a_machine_that_is_not_branchable(machine: Machine) -> None:
    """A branch of a machine that was not started as branchable is refused, with advice."""
    with pytest.raises(SmolvmError, match=r"(?i)forkable|branchable") as caught:
        machine.branch("twig")
    assert isinstance(caught.value, errors.ConfigError)


def test_stats(machine: Machine, world: World) -> None:
    """stats shows a machine's memory and CPU use, on engines that support it."""
    if not world.supports("machine stats"):
        with pytest.raises(errors.UnsupportedByEngineError, match="machine stats"):
            machine.stats()
        return
    stats = machine.stats()
    assert stats.cpus == 1
    assert 256 * 2**20 < (stats.memory_total or 0) <= 520 * 2**20
    assert (stats.memory_used or 0) > 0


def test_a_machine_for_one_command(world: World) -> None:
    """run makes a machine for one command, removes it, and keeps the engine's own output out of the result."""
    before = {info.name for info in world.client.ls()}
    found: list[tuple[int, str, str]] = []

    def run() -> None:
        result = world.client.run(["sh", "-c", "cat; echo err >&2; exit 3"], **world.small, input="in")
        found.append((result.returncode, result.stdout, result.stderr))

    again(run)
    assert (3, "in", "err\n") == found[0]
    assert before == {info.name for info in world.client.ls()}


def test_the_whole_life_of_a_machine(world: World) -> None:
    """A `with` block creates, starts and deletes its machine."""
    machine = world.client.machine("brief", **world.small)
    again(machine.__enter__)
    try:
        assert "up\n" == machine.exec(["echo", "up"]).stdout
    finally:
        machine.__exit__(*sys.exc_info())
    assert "brief" not in {info.name for info in world.client.ls()}


@pytest.mark.newest
def test_branches(world: World) -> None:
    """A branch has its source's files and labels, changes neither, and its source can only be deleted with it."""
    golden = world.client.machine("golden", **world.small, labels={"team": "ci"})
    golden.create()
    try:
        again(lambda: golden.start(branchable=True))
        golden.write_text("/root/seed", "seed")
        twig = golden.branch("twig")
        info = twig.status()
        assert ("golden", "running", "ci") == (info.parent, info.state, info.labels["team"])
        assert "seed" == twig.read_text("/root/seed")
        twig.write_text("/root/own", "own")
        assert not golden.exists("/root/own")
        with pytest.raises(errors.MachineHasBranchesError, match=r"is the fork base for 1 clone\(s\) \(twig\)"):
            golden.delete()
        with pytest.raises(errors.MachineExistsError):
            golden.branch("twig")
    finally:
        golden.delete(cascade=True)
    assert not {"golden", "twig"} & {info.name for info in world.client.ls()}

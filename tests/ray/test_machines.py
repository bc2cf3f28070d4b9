"""Machines on a Ray cluster: where they are, who reaches them, and what becomes of their place."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray

from smolkit import Machine, errors
from smolkit.options import ClientOptions
from smolkit.ray import RaySmolvm
from smolkit.ray.groups import PLACEMENT
from tests.processes import until
from tests.ray.fleet import PLACES, Fleet

SMALL: ClientOptions = {"cpus": 1, "memory": 512}


@ray.remote(num_cpus=0)
def run(m: Machine, command: list[str]) -> str:
    """Run a command in a task."""
    return m.exec(command).stdout


@ray.remote(num_cpus=0)
def delete(m: Machine) -> None:
    """Delete the machine in a task."""
    m.delete()


class Holder:
    """An actor that keeps a handle."""

    def __init__(self, m: Machine) -> None:
        self._machine = m

    def run(self, *command: str) -> str:
        """Run a command."""
        return self._machine.exec(command).stdout


def test_a_machine_takes_its_room_and_gives_it_back(client: RaySmolvm, fleet: Fleet) -> None:
    """A machine is on a host, which has less room meanwhile; its label is its group, which Ray has with its resources."""
    with client.machine(cpus=2, memory="1GiB") as m:
        assert "hi\n" == m.exec(["echo", "hi"]).stdout
        (host,) = [host for host in client.hosts() if host.machines]
        (info,) = host.machines

        assert (m.name, 2, 1024) == (info.name, info.cpus, info.memory)
        assert [info.labels[PLACEMENT]] == fleet.groups
        assert (PLACES - 1, 6.0, 3072) == (host.places_free, host.cpus_free, host.memory_free)
    until(lambda: not fleet.groups)
    until(lambda: [PLACES, PLACES] == [host.places_free for host in client.hosts()])


def test_machines_spread_over_the_hosts(client: RaySmolvm) -> None:
    """As many machines as there are places run at once, on all hosts."""
    with ThreadPoolExecutor(2 * PLACES) as pool:
        machines = [client.machine(**SMALL) for _ in range(2 * PLACES)]
        list(pool.map(Machine.__enter__, machines))
        assert [PLACES, PLACES] == [len(host.machines) for host in client.hosts()]
        list(pool.map(lambda m: m.__exit__(None, None, None), machines))


def engines(fleet: Fleet) -> list[Any]:
    """The engines."""
    return list(fleet.engines.values())


def test_a_full_fleet_waits_and_then_says_what_was_free(fleet: Fleet, client: RaySmolvm) -> None:
    """Without room a machine waits, and then raises a TimeoutError with what was free on each host; nothing is left."""
    with client.machine(cpus=6, memory=512), client.machine(cpus=6, memory=512):
        with pytest.raises(
            errors.QueueTimeoutError, match=r"no host had room for 3 CPUs, 512 MiB.* within 0.5 s"
        ) as caught:
            fleet.client(wait=0.5).machine(cpus=3, memory=512).create()
        assert isinstance(caught.value, TimeoutError)
        assert 2 == str(caught.value).count(": 2 of 8 CPUs free, 3584 of 4096 MiB free, 2 of 3 places free")
        with pytest.raises(errors.QueueTimeoutError, match=r"within 1 s"):
            client.machine(cpus=3, memory=512).start(timeout=0.2)  # smolkit's least bound is a second
        assert 2 == len(fleet.groups)


def test_a_machine_that_waits_gets_the_place_of_another(client: RaySmolvm) -> None:
    """A machine that waits for room boots once another one has gone."""
    with ThreadPoolExecutor(1) as pool:
        with client.machine(cpus=6, memory=512), client.machine(cpus=6, memory=512):
            waiting = client.machine(cpus=3, memory=512)
            entering = pool.submit(waiting.__enter__)
            assert not entering.done()
        entering.result(60)
        waiting.__exit__(None, None, None)


def test_a_handle_works_in_tasks_and_actors(client: RaySmolvm) -> None:
    """A handle reaches its machine from any task and actor, and a copy deletes nothing by itself."""
    with client.machine(**SMALL) as m:
        m.write_text("/a", "text")
        assert "text" == ray.get(run.remote(m, ["cat", "/a"]))
        holder: Any = ray.remote(Holder).options(num_cpus=0).remote(m)
        assert "text" == ray.get(holder.run.remote("cat", "/a"))
        ray.kill(holder)
        copy = pickle.loads(pickle.dumps(m))
        assert (m, hash(m)) == (copy, hash(copy))
        del copy
        assert "text" == m.read_text("/a")


def test_any_copy_gives_the_place_back(client: RaySmolvm, fleet: Fleet) -> None:
    """A machine that a copy deletes gives its place back; the handle then makes another one in a new place."""
    m = client.machine(**SMALL)
    m.create()
    (first,) = fleet.groups
    ray.get(delete.remote(m))
    until(lambda: not fleet.groups)
    assert not m.exists()
    m.create()
    with m:
        assert [first] != fleet.groups == [m.status().labels[PLACEMENT]]


def test_a_handle_that_was_not_used_yet_is_placed_where_it_is_used(client: RaySmolvm, fleet: Fleet) -> None:
    """A copy of a handle without a machine makes one of its own; it ends with the task's job or by its own `with`."""

    @ray.remote(num_cpus=0)
    def use(m: Machine) -> str:
        with m:
            return m.exec(["echo", "hi"]).stdout

    assert "hi\n" == ray.get(use.remote(client.machine(**SMALL)))
    assert not fleet.left


def test_a_branch_has_the_place_of_its_source(client: RaySmolvm, fleet: Fleet) -> None:
    """A branch is in its source's group, which is given back with the last of them."""
    m = client.machine(**SMALL)
    m.create()
    m.start(branchable=True)
    child = m.branch()
    assert m.status().labels[PLACEMENT] == child.status().labels[PLACEMENT]
    child.delete()
    assert 1 == len(fleet.groups)
    m.delete()
    until(lambda: not fleet.groups)


def test_a_create_that_fails_gives_the_place_back(client: RaySmolvm, fleet: Fleet) -> None:
    """A create that fails is an error of the engine, and its place is free again soon."""
    for engine in engines(fleet):
        engine.fault("create", "fail")
    with pytest.raises(errors.SmolvmError, match="it broke"):
        client.machine(**SMALL).create()
    for engine in engines(fleet):
        (engine.folder / "fault-create").unlink(missing_ok=True)
    until(lambda: not fleet.groups)


def test_a_host_without_an_engine(fleet: Fleet) -> None:
    """A host whose engine fails is an error that says so, in `hosts` too; its places are not lost."""
    client = fleet.client(program="/no/such/smolvm")
    with pytest.raises(errors.EngineNotFoundError, match=r"Ray node .*/no/such/smolvm"):
        client.machine(**SMALL).create()
    found = client.hosts()
    assert [errors.EngineNotFoundError] * 2 == [type(host.error) for host in found]
    assert ["", ""] == [host.engine for host in found]
    until(lambda: [PLACES, PLACES] == [host.places_free for host in client.hosts()])


def test_files_go_to_the_callers_side(client: RaySmolvm, tmp_path: Path) -> None:
    """Uploads, downloads and cp are from and to the host of whoever calls."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(range(256)) * 4096)
    with client.machine(**SMALL) as m:
        m.upload(tmp_path / "a", "/x")
        m.download("/x", tmp_path / "c")
        m.cp(m.path("/x/b"), tmp_path / "d")
        assert "12\n" == m.exec(["sh", "-c", "wc -l < /dev/stdin"], input=b"\n" * 12).stdout

    assert (tmp_path / "a" / "b").read_bytes() == (tmp_path / "c" / "b").read_bytes() == (tmp_path / "d").read_bytes()


def test_a_large_input_goes_to_the_engines_host_by_ray(client: RaySmolvm) -> None:
    """An ObjectRef that is an argument of a task beside the engine is fetched there, and not by the driver."""

    @ray.remote(num_cpus=0)
    def put(m: Machine, data: bytes) -> None:
        m.write_bytes("/data", data)

    with client.machine(**SMALL) as m:
        ray.get(put.remote(m, ray.put(bytes(3 * 2**20))))
        assert str(3 * 2**20) == m.exec(["sh", "-c", "wc -c < /data"]).stdout.strip()


def test_options_are_checked_before_anything_runs(fleet: Fleet) -> None:
    """Wrong options raise where they are given."""
    for options in ({"wait": -1}, {"max_starts": 0}, {"state_dir": "relative"}, {"output_limit": 0}, {"heartbeat": 0}):
        with pytest.raises(ValueError, match="must be"):
            fleet.client(**options)
    for wrong in ({"pass_env": "HOME"}, {"env": ["A"]}, {"on_call": 1}):
        with pytest.raises(TypeError, match="must be"):
            fleet.client(**wrong)
    for given in ({"cpus": 0}, {"memory": 1}, {"memory": "many"}):
        with pytest.raises(ValueError, match="must be"):
            fleet.client().machine(**given)
    with pytest.raises(TypeError, match="cpu"):
        fleet.client().machine(cpu=1)  # type: ignore[call-arg]


def test_variables_and_calls_are_those_of_other_runners(fleet: Fleet) -> None:
    """`env` reaches the engine, also from a copy in a task; `on_call` is called for each call."""
    calls: list[str] = []
    client = fleet.client(env={"SHOWN": "yes"}, on_call=lambda call: calls.append(call.verb))
    with client.machine(cpus=1, memory=512, secret_env={"SHOWN": "SHOWN"}) as m:
        assert "yes" == ray.get(run.remote(m, ["sh", "-c", "printf $SHOWN"]))
    client.close()

    assert ["machine create", "machine start"] == [verb for verb in calls if verb.split()[-1] in {"create", "start"}]

"""Maps over a Ray cluster: where tasks run, in which order results come, and what becomes of what fails."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from attrs import frozen

from smolkit import Machine, Smolvm, errors
from smolkit.options import ClientOptions
from smolkit.ray import AsyncRaySmolvm, RaySmolvm, cluster
from smolkit.ray.cluster import Bundle
from tests.processes import until
from tests.ray.fleet import ENGINE, Fleet

SMALL: ClientOptions = {"cpus": 1, "memory": 512}


def node() -> str:
    """The host that this code runs on."""
    return str(ray.get_runtime_context().get_node_id())


def own_engine() -> Smolvm:
    """A client of the engine on the host that this code runs on."""
    return Smolvm(os.environ[ENGINE] + "/smolvm")


def double(machine: Machine, task: int) -> int:
    """A task that uses its machine."""
    return 2 * int(machine.exec(["echo", str(task)], check=True).stdout)


def where(machine: Machine, seconds: float) -> tuple[str, str]:
    """The machine's name and the host, after so many seconds."""
    time.sleep(seconds)
    return machine.name, node()


@frozen
class Once:
    """What happens only the first time: a file says that it has."""

    path: Path

    def __call__(self) -> bool:
        """True the first time, on whichever host."""
        try:
            self.path.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@pytest.fixture
def once(tmp_path: Path) -> Once:
    """True once."""
    return Once(tmp_path / "once")


def test_each_task_has_a_machine_beside_the_engine(client: RaySmolvm, fleet: Fleet, tmp_path: Path) -> None:
    """All hosts work; each task has a machine of its own, on the host where it runs."""
    hosts = len(fleet.engines)

    def place(machine: Machine, _: int) -> tuple[str, str, bool]:
        (tmp_path / node()).touch()
        until(lambda: len(os.listdir(tmp_path)) == hosts)  # however long a host takes
        return machine.name, node(), machine.name in {info.name for info in own_engine().ls()}

    found = dict(client.map(place, range(12), **SMALL))
    assert [*range(12)] == sorted(found)
    assert 12 == len({name for name, _, _ in found.values()})
    assert {(host, True) for host in fleet.engines} == {(host, is_here) for _, host, is_here in found.values()}


def test_results_come_with_their_index(client: RaySmolvm, tmp_path: Path) -> None:
    """A result that is there first comes first."""
    go_on = tmp_path / "go on"

    def play(machine: Machine, task: int) -> int:
        if task == 0:
            until(go_on.exists)
        return task

    run = client.map(play, range(8), **SMALL)
    assert [(task, task) for task in range(1, 8)] == sorted(itertools.islice(run, 7))
    go_on.touch()
    assert [(0, 0)] == [*run]


def test_results_come_in_order_if_asked_for(client: RaySmolvm) -> None:
    """Those that are there earlier wait."""
    assert [(task, 2 * task) for task in range(8)] == [*client.map(double, range(8), ordered=True, **SMALL)]


def test_a_functions_exception_is_raised_and_ends_the_rest(client: RaySmolvm) -> None:
    """It has a note that tells the task and where in the function it was raised. It is not tried again."""

    def divide(machine: Machine, task: int) -> float:
        return 1 / task

    with pytest.raises(ZeroDivisionError) as caught:
        list(client.map(divide, [1, 0, *range(2, 1000)], **SMALL))
    notes = "\n".join(caught.value.__notes__)
    assert "raised for task 1 of a map" in notes
    assert "in divide\n    return 1 / task" in notes


def test_exceptions_may_be_results(client: RaySmolvm) -> None:
    """Also those that cannot be pickled, and `sys.exit`, which is the function's own failure."""

    class Odd(Exception):  # noqa: N818
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"odd: {one}, {two}")

    def fail(machine: Machine, task: int) -> int:
        if task == 1:
            raise Odd(1, 2)
        if task == 2:
            sys.exit(3)
        if task == 3:
            machine.exec(["false"], check=True)
        return task

    found = dict(client.map(fail, range(4), return_exceptions=True, **SMALL))
    assert (0, "Odd: odd: 1, 2") == (found[0], str(found[1]))
    assert [RuntimeError, SystemExit, errors.CommandFailedError] == [type(found[index]) for index in (1, 2, 3)]


@pytest.mark.parametrize("way", ["break", "exception", "signal"])
@pytest.mark.usefixtures("ctrl_c")
def test_the_end_of_the_loop_ends_what_runs(client: RaySmolvm, fleet: Fleet, way: str) -> None:
    """A break, an exception of the loop and a Ctrl-C while it waits cancel what runs, and leave no machine and no group."""

    def loop() -> None:
        for index, _ in client.map(where, [0.0] + [600.0] * 20, **SMALL):
            if way == "exception":
                raise KeyError(index)
            if way == "break":
                return
            threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()

    try:
        loop()
    except (KeyError, KeyboardInterrupt) as error:
        assert {"exception": KeyError, "signal": KeyboardInterrupt}[way] is type(error)
    assert [] == fleet.groups


def test_a_task_that_takes_too_long_is_ended(client: RaySmolvm) -> None:
    """Its machine is removed, and it is not tried again."""
    found = dict(client.map(where, [600.0], timeout=5, return_exceptions=True, **SMALL))

    assert isinstance(found[0], errors.TaskTimeoutError)
    assert isinstance(found[0], TimeoutError)
    assert "task 0 took longer than 5 s on " in found[0].message


def test_a_task_whose_process_dies_is_run_again(client: RaySmolvm, once: Once) -> None:
    """The fleet lost it: it is run again, and its first machine is removed."""

    def die(machine: Machine, task: int) -> int:
        if task == 3 and once():
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    assert [(task, task) for task in range(6)] == sorted(client.map(die, range(6), **SMALL))


def test_a_task_that_is_lost_too_often_has_an_error_of_its_own(client: RaySmolvm) -> None:
    """A TaskLostError is no exception of the function's; its cause is what Ray says."""

    def die(machine: Machine, task: int) -> int:
        if task == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    found = dict(client.map(die, range(3), retries=1, return_exceptions=True, **SMALL))
    assert (0, 2) == (found[0], found[2])
    assert isinstance(found[1], errors.TaskLostError)
    assert "task 1 was lost 2 times, the last time to WorkerCrashedError: " in found[1].message
    assert isinstance(found[1].__cause__, ray.exceptions.WorkerCrashedError)


def test_a_host_that_dies_loses_no_task(client: RaySmolvm, fleet: Fleet) -> None:
    """What ran there is run on other hosts."""
    doomed = fleet.add_host()

    def play(machine: Machine, task: int) -> int:
        time.sleep(0.5)
        return double(machine, task)

    run = client.map(play, range(30), **SMALL)
    found = [next(run) for _ in range(9)]
    fleet.remove_host(doomed)
    assert [(task, 2 * task) for task in range(30)] == sorted([*found, *run])


def test_a_keeper_that_dies_loses_no_task(client: RaySmolvm, fleet: Fleet) -> None:
    """Its machines are gone; the tasks are run again."""

    def play(machine: Machine, task: int) -> int:
        time.sleep(1)
        return double(machine, task)

    run = client.map(play, range(12), **SMALL)
    found = [next(run)]
    keeper = ray.get_actor(f"smolkit-keeper-{next(iter(fleet.engines))}", namespace="smolkit")
    ray.kill(keeper, no_restart=False)
    assert [(task, 2 * task) for task in range(12)] == sorted([*found, *run])


@pytest.mark.parametrize("verb", ["create", "start"])
def test_a_machine_that_cannot_be_made_is_made_elsewhere(client: RaySmolvm, fleet: Fleet, verb: str) -> None:
    """An engine that fails on one host loses no task, and no task takes its failure for its own."""
    for engine in fleet.engines.values():
        engine.fault(verb, "fail")

    assert [(task, 2 * task) for task in range(8)] == sorted(client.map(double, range(8), **SMALL))


def test_a_setting_that_no_engine_takes_is_not_tried_again(client: RaySmolvm) -> None:
    """A ConfigError is the caller's, on every host."""
    with pytest.raises(errors.ConfigError):
        list(client.map(double, range(3), cpus=1, memory=512, image="/no/such/image.tar"))


def test_a_generator_is_read_as_there_is_room(client: RaySmolvm) -> None:
    """Of endless tasks only those are read that may run soon."""
    read = itertools.count()
    run = client.map(double, read, in_flight=2, **SMALL)
    found = list(itertools.islice(run, 10))
    run.close()

    assert all(2 * index == value for index, value in found)
    assert next(read) < 10 + 2 * 2 + 1


def test_a_fleet_without_room_says_what_was_free(fleet: Fleet) -> None:
    """Nothing is run."""
    with pytest.raises(errors.QueueTimeoutError, match=r"no host had room for 64 CPUs.*(?s:.*)8 of 8 CPUs free"):
        list(fleet.client(wait=1).map(double, [1], cpus=64, memory=512))


def test_progress_is_told(client: RaySmolvm) -> None:
    """With the number of tasks where there is one."""
    told: list[tuple[int, int | None]] = []
    list(client.map(double, range(3), progress=lambda *done: told.append(done), **SMALL))
    list(client.map(double, iter([1]), progress=lambda *done: told.append(done), **SMALL))

    assert [(1, 3), (2, 3), (3, 3), (1, None)] == told


@frozen
class Prepare:
    """Prepares a golden machine, and notes that in a file."""

    path: Path

    def __call__(self, machine: Machine) -> None:
        """All branches find its name and its host."""
        machine.write_text("/root/prepared", f"{machine.name} {node()}")
        with self.path.open("a") as file:
            file.write(f"{node()}\n")

    @property
    def hosts(self) -> list[str]:
        """The hosts where one was prepared."""
        return sorted(self.path.read_text().split())


@pytest.fixture
def golden(tmp_path: Path) -> Prepare:
    """Prepares golden machines."""
    return Prepare(tmp_path / "prepared")


def test_tasks_are_branches_of_a_golden_machine(client: RaySmolvm, golden: Prepare) -> None:
    """Each host prepares one, once; a branch has what was prepared, and changes nothing of others."""

    def play(machine: Machine, _: int) -> tuple[str, str, bool]:
        fresh = not machine.exists("/root/mine")
        machine.write_text("/root/mine", "")
        return machine.read_text("/root/prepared").split()[1], node(), fresh

    found = {value for _, value in client.map(play, range(20), warm=golden, **SMALL)}
    assert {(host, host, True) for _, host, _ in found} == found
    assert sorted({*golden.hosts}) == golden.hosts


def test_a_golden_machine_that_cannot_be_prepared_is_an_error(client: RaySmolvm) -> None:
    """What the function raises comes out, and no task is run."""

    def fail(machine: Machine) -> None:
        raise LookupError(machine.name)

    with pytest.raises(LookupError, match="smolkit-"):
        list(client.map(double, range(3), warm=fail, **SMALL))


def test_a_golden_machine_that_dies_is_made_again(client: RaySmolvm, golden: Prepare, once: Once) -> None:
    """Tasks that get no branch of it are run again, with a branch of another one."""

    def play(machine: Machine, task: int) -> int:
        name, _ = machine.read_text("/root/prepared").split()
        if task == 5 and once():
            own_engine().machine(name).stop()
        return task

    found = dict(client.map(play, range(20), warm=golden, retries=9, **SMALL))
    assert {task: task for task in range(20)} == found
    assert len(golden.hosts) > len({*golden.hosts})


LOCK = threading.Lock()


def locked(machine: Machine, task: int, lock: object = None) -> object:
    """A function that can be pickled, unless a lock is bound to it."""
    return task, lock


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"tasks": "abc"}, TypeError, "tasks must be a list or another iterable of tasks, not str"),
        ({"tasks": 3}, TypeError, "tasks must be a list or another iterable of tasks, not int"),
        ({"function": None}, TypeError, "function must be a function of a machine and a task, not None"),
        ({"function": "rollout"}, TypeError, "function must be a function, not str"),
        (
            {"function": partial(locked, lock=LOCK)},
            TypeError,
            "function must be a function that can be pickled",
        ),
        ({"warm": partial(locked, task=1, lock=LOCK)}, TypeError, "warm must be a function that can be pickled"),
        ({"warm": "golden"}, TypeError, "warm must be a function, not str"),
        ({"cpus": 0}, ValueError, "cpus must be from 1"),
        ({"memory": "lots"}, ValueError, "memory must be"),
        ({"retries": -1}, ValueError, "retries must be from 0 to 1000, not -1"),
        ({"retries": 1.5}, TypeError, "retries must be an int, not float"),
        ({"timeout": 0}, ValueError, "timeout must be a positive number of seconds"),
        ({"timeout": "60"}, TypeError, "timeout must be a number of seconds, not str"),
        ({"in_flight": 0}, ValueError, "in_flight must be from 1"),
        ({"ordered": 1}, TypeError, "ordered must be True or False, not 1"),
        ({"return_exceptions": None}, TypeError, "return_exceptions must be True or False, not None"),
        ({"progress": 5}, TypeError, "progress must be a function, not int"),
        ({"env": {"A": "b"}}, TypeError, "map takes no env, whose values are not pickled: pass them in the function"),
        ({"secrets": {"A": "b"}}, TypeError, "map takes no secrets"),
        ({"nonsense": 1}, TypeError, "no option 'nonsense'"),
        ({"timout": 1}, TypeError, "did you mean 'timeout'"),
    ],
)
def test_a_wrong_call_fails_before_anything_runs(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    """The call itself raises, not the first result; Ray is not asked for anything."""
    call: dict[str, Any] = {"function": locked, "tasks": [1], **change}
    with pytest.raises(kind, match=message):
        RaySmolvm().map(call.pop("function"), call.pop("tasks"), **call)


def test_a_coroutine_function_is_refused() -> None:
    """Its result would be a coroutine, which no other process can run."""

    async def play(machine: Machine, task: int) -> int:
        return task

    with pytest.raises(TypeError, match="function must not be a coroutine function"):
        RaySmolvm().map(play, [1])


DRIVER = """
import sys, time, ray
from smolkit.ray import AsyncRaySmolvm, RaySmolvm, cluster
from smolkit.ray.cluster import Bundle
ray.init(address=sys.argv[1], log_to_driver=False)
client = RaySmolvm(program=sys.argv[2], pass_env=[sys.argv[3]], wait=60)
for _ in client.map(lambda machine, seconds: time.sleep(seconds), [0] + [600] * 9, cpus=1, memory=512):
    print("one", flush=True)
"""


def test_a_driver_that_is_killed_leaves_nothing(fleet: Fleet) -> None:
    """Ray frees its places, and the keepers remove the machines."""
    argv = [sys.executable, "-c", DRIVER, fleet.address, str(fleet.program), ENGINE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        assert driver.stdout is not None
        assert "one\n" == driver.stdout.readline()
        driver.kill()
    until(lambda: not fleet.left)
    until(lambda: not fleet.groups)


def test_the_async_side_yields_the_same(fleet: Fleet) -> None:
    """Results come while the event loop goes on; closing the generator and cancelling its task leave nothing."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def main() -> None:
        client = AsyncRaySmolvm(**fleet.options)
        ticking = asyncio.create_task(tick())
        assert [(task, 2 * task) for task in range(6)] == sorted(
            [pair async for pair in client.map(double, range(6), **SMALL)]
        )
        ticking.cancel()
        async with aclosing(client.map(where, [0.0] + [600.0] * 9, **SMALL)) as results:
            async for index, _ in results:
                assert 0 == index
                break
        assert [] == fleet.groups
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                assert [] == [pair async for pair in client.map(where, [600.0] * 9, **SMALL)]
        assert [] == fleet.groups
        with pytest.raises(TypeError, match="tasks must be a list"):
            client.map(where, 5.0)  # type: ignore[arg-type]
        await client.close()

    asyncio.run(main())
    assert ticks > 20


README = (Path(__file__).parent.parent.parent / "README.md").read_text()


def test_the_readmes_fleet_works(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """The README's block about a fleet runs as it is, on this cluster."""
    (block,) = [found for found in re.findall(r"(?ms)^```py\n(.*?)^```", README) if "smolkit.ray" in found]
    code = block.replace('ray.init(address="auto")\n', "").replace("RaySmolvm(wait=60)", "_fleet.client()")
    code = code.replace("range(100)", "range(9)")
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__", "_fleet": fleet})  # noqa: S102  (our own README)
    lines = capsys.readouterr().out.splitlines()

    assert 2 * [f"{index} {index}.0" for index in range(9)] == [*sorted(lines[:9]), *sorted(lines[9:18])]
    assert os.uname().release in lines


def test_a_place_is_asked_for_elsewhere(fleet: Fleet) -> None:
    """A host that failed is left out, unless there is no other."""
    hosts = [*fleet.engines]
    for shunned, expected in ((hosts[:1], hosts[1:]), (hosts[1:], hosts[:1]), (hosts, hosts), (["gone"], hosts)):
        group = cluster.request(Bundle(1, 64), shunned=shunned)
        assert cluster.wait(group, 60)
        assert cluster.node_of(group) in expected
        cluster.remove(group)

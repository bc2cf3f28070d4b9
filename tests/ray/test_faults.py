"""Drivers, tasks, keepers and hosts that are killed: no machine and no placement group is left, and calls say so."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import ray

from smolkit import Machine, errors
from smolkit.ray import RaySmolvm
from smolkit.ray.cluster import keeper
from smolkit.values.ownership import OWNER, Owner
from tests.processes import running, until
from tests.ray.fleet import Fleet

DRIVER = """
import os, sys, time, ray
from smolkit.ray import RaySmolvm
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
client = RaySmolvm(program=sys.argv[2], pass_env=["SMOLKIT_TEST_ENGINE"], wait=30)
"""


@contextmanager
def driver(fleet: Fleet, code: str) -> Iterator[subprocess.Popen[str]]:
    """Another driver, which has a client, and runs this code."""
    argv = [sys.executable, "-c", DRIVER + code, fleet.address, str(fleet.program)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as made:
        yield made
        made.kill()


def keeper_pid(m: Machine) -> int:
    """The process of the keeper that has the machine."""
    owner = Owner.parse(m.status().labels[OWNER])
    assert owner is not None
    return owner.pid


def small(client: RaySmolvm) -> Machine:
    """A machine that runs."""
    m = client.machine(cpus=1, memory=512)
    m.create()
    m.start()
    return m


@pytest.mark.parametrize("shares", [False, True])
def test_a_killed_driver_leaves_nothing(fleet: Fleet, shares: bool) -> None:
    """The machines of a driver that is killed are gone in seconds, whether others have handles or not."""
    code = f"""
m = client.machine(cpus=1, memory=512)
m.create()
m.start()
{"kept = ray.put(m)" if shares else ""}
print("up", flush=True)
m.exec(["sleep", "81.5"])
"""
    with driver(fleet, code) as process:
        assert process.stdout is not None
        assert "up\n" == process.stdout.readline()
        until(lambda: running("81.5"))
        process.kill()
        began = time.monotonic()
        until(lambda: not fleet.left)
        until(lambda: not fleet.groups)
        until(lambda: not running("81.5"))

    assert time.monotonic() - began < 30


def test_a_driver_that_ends_leaves_nothing(fleet: Fleet) -> None:
    """A driver may end Ray with sessions open, go on, and exit: its machines are gone."""
    code = """
m = client.machine(cpus=1, memory=512)
m.create()
ray.shutdown()
time.sleep(0.5)
print("alive", ray.is_initialized(), flush=True)
"""
    with driver(fleet, code) as process:
        assert process.stdout is not None
        assert "alive False\n" == process.stdout.read()
        assert 0 == process.wait()


def test_a_killed_keeper_loses_its_machines(client: RaySmolvm, fleet: Fleet) -> None:
    """A call raises HostLostError if the keeper is killed; its machines go; another keeper serves the next ones."""
    m = small(client)
    pid = keeper_pid(m)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(m.exec, ["sleep", "82.5"])
        until(lambda: running("82.5"))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(errors.HostLostError, match=r"the link to Ray node .* was lost"):
            call.result(60)
    until(lambda: not fleet.left)
    until(lambda: not running("82.5"))
    for call_again in (m.status, pickle.loads(pickle.dumps(m)).exists, lambda: m.exec(["true"]), m.__enter__):
        with pytest.raises(errors.HostLostError, match="the machine is gone"):
            call_again()
    until(lambda: not fleet.groups)
    with m:  # another one
        assert pid != keeper_pid(m)


def test_a_killed_host_is_told_from_a_failure_of_the_task(fleet: Fleet) -> None:
    """Calls raise HostLostError if the host is killed, also later ones; its machines go, and so do their groups."""
    client = fleet.client()
    lost = fleet.add_host(cpus=20)
    m = client.machine(cpus=15, memory=512)
    m.create()
    m.start()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(m.exec, ["sleep", "83.5"])
        until(lambda: running("83.5"))
        fleet.remove_host(lost)
        began = time.monotonic()
        with pytest.raises(errors.HostLostError, match=r"the link to Ray node .* was lost"):
            call.result(60)
    until(lambda: not fleet.left)
    with pytest.raises(errors.HostLostError, match="the machine is gone"):
        m.status()
    with pytest.raises(errors.HostLostError):
        m.exec(["true"])
    assert 2 == len(client.hosts())
    assert time.monotonic() - began < 60


@ray.remote(num_cpus=0)
def sleep_in(m: Machine, seconds: str) -> None:
    """Run a command in a task."""
    m.exec(["sleep", seconds])


@ray.remote(num_cpus=0)
def make_and_sleep(client_of: Callable[[], RaySmolvm], seconds: str) -> None:
    """Make a machine in a task, and run a command there."""
    with client_of().machine(cpus=1, memory=512) as m:
        m.exec(["sleep", seconds])


def test_a_killed_task_ends_its_commands_only(client: RaySmolvm) -> None:
    """A task that is killed while it uses a machine of the driver ends its own command; the machine goes on."""
    with client.machine(cpus=1, memory=512) as m:
        task = sleep_in.remote(m, "84.5")
        until(lambda: running("84.5"))
        ray.cancel(task, force=True)
        until(lambda: not running("84.5"))
        assert "hi\n" == m.exec(["echo", "hi"]).stdout


@pytest.mark.parametrize("force", [False, True])
def test_a_cancelled_task_leaves_no_machine_of_its_own(fleet: Fleet, force: bool) -> None:
    """A task that is cancelled, or killed, while it has made a machine of its own leaves none."""
    program = str(fleet.program)
    task: Any = make_and_sleep.remote(lambda: RaySmolvm(program=program, pass_env=["SMOLKIT_TEST_ENGINE"]), "85.5")
    until(lambda: running("85.5"))
    ray.cancel(task, force=force)
    with pytest.raises((ray.exceptions.RayError, KeyboardInterrupt)):
        ray.get(task)
    until(lambda: not fleet.left)
    until(lambda: not fleet.groups)


def test_machines_of_an_actor_end_with_it(fleet: Fleet) -> None:
    """A machine whose only handle is in an actor ends with the actor."""
    program = str(fleet.program)

    class Maker:
        def make(self) -> str:
            self.machine = small(RaySmolvm(program=program, pass_env=["SMOLKIT_TEST_ENGINE"]))
            return self.machine.exec(["echo", "hi"]).stdout

    maker: Any = ray.remote(Maker).options(num_cpus=0).remote()
    assert "hi\n" == ray.get(maker.make.remote())
    ray.kill(maker)
    until(lambda: not fleet.left)


def test_a_machine_outlives_the_task_that_made_it(fleet: Fleet) -> None:
    """A machine whose handle a task returns is there for others, and ends when one of them deletes it."""
    program = str(fleet.program)

    @ray.remote(num_cpus=0, max_calls=1)  # its process ends after it
    def make() -> tuple[int, Machine]:
        return os.getpid(), small(RaySmolvm(program=program, pass_env=["SMOLKIT_TEST_ENGINE"]))

    pid, m = ray.get(make.remote())
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    time.sleep(2)  # two looks of the keeper
    assert "hi\n" == m.exec(["echo", "hi"]).stdout
    m.delete()


def test_a_client_that_is_closed_leaves_nothing(fleet: Fleet) -> None:
    """The end of a client removes the machines that nobody else has a handle on; it can be used again."""
    client = fleet.client()
    first, second = small(client), small(client)
    kept = ray.put(second)
    client.close()
    until(lambda: not first.exists())
    assert second.exists()
    ray.get(kept).delete()


def test_a_keeper_of_another_version_is_refused(fleet: Fleet, client: RaySmolvm) -> None:
    """A keeper refuses a session of another version of smolkit, and says which it has."""
    node = client.hosts()[0].node
    with pytest.raises(errors.HostUnreachableError, match=r"the host has smolkit .*, and this process 0\.0\.1"):
        ray.get(keeper(node).open.remote("0.0.1", ""))

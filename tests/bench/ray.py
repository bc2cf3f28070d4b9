"""The cost of Ray per life of a machine, and where a fleet's limits are: `python -m tests.bench.ray`.

The hosts are nodes of Ray on this machine, which share its cores. The engine is a program that takes 50 ms for a call and
does nothing, so that lives cost no more than smolkit and Ray do. What is simulated is said in the tables.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from smolkit import Machine, Smolvm, SubprocessRunner
from smolkit.errors import SmolvmError
from smolkit.ray import RaySmolvm, cluster
from smolkit.ray.executor import Ended, Lost, Opened
from smolkit.ray.schedule import Rules, Schedule

PLACES = 4  # of each node
LIVES = 20  # for each place
_ENGINE = '#!/bin/sh\ncase "$*" in *--version*) echo "smolvm 1.32.2" ;; *ls*) echo "[]" ;; *) {work} ;; esac\n'


def live(machine: Machine, _: int) -> None:
    """One life: its machine is made before, and removed after."""
    machine.exec(["true"])


def nothing(_: Machine, task: int) -> int:
    """A task that does not use its machine."""
    return task


@contextmanager
def nodes(count: int, **resources: float) -> Iterator[None]:
    """A cluster of a head and so many nodes, to which this process is connected."""
    store = 80 * 2**20
    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": store}
    )
    try:
        for _ in range(count):
            made.add_node(num_cpus=int(resources["kvm"]), resources=resources, object_store_memory=store, memory=2**46)
        ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
        yield
    finally:
        ray.shutdown()
        made.shutdown()  # type: ignore[no-untyped-call]


def plain(program: Path, count: int) -> float:
    """Lives per second of a loop in each of the places' threads, in this process: what Ray is compared with."""
    client = Smolvm(runner=SubprocessRunner(program, version="1.32.2", max_starts=64))

    def loop() -> None:
        for _ in range(LIVES):
            with client.machine() as machine:
                live(machine, 0)

    threads = [threading.Thread(target=loop) for _ in range(PLACES * count)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return LIVES * len(threads) / (time.perf_counter() - began)


def mapped(client: RaySmolvm, count: int) -> tuple[float, float]:
    """Lives per second of a map, and seconds of this process's CPU for each."""
    done = client.map(live, itertools.count(), cpus=1, memory=64)
    for _ in range(3 * PLACES * count):  # until all worker processes and sessions are there
        next(done)
    began, cpu, lives = time.perf_counter(), time.process_time(), LIVES * PLACES * count
    for _ in range(lives):
        next(done)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    done.close()
    return lives / took, used / lives


def show_lives(program: Path) -> None:
    """Print the table of lives."""
    print(f"Lives per second; an engine that takes 50 ms per call; {PLACES} places per node, all on {os.cpu_count()} cores")
    print(f"{'nodes':>6}{'plain loops':>14}{'client.map':>14}{'cost per life':>16}{'CPU of the driver':>20}")
    for count in (1, 2, 3):
        with nodes(count, kvm=PLACES):
            client = RaySmolvm(program=program, version="1.32.2", max_starts=64)
            (speed, cpu), alone = mapped(client, count), plain(program, count)
            cost = PLACES * count * (1 / speed - 1 / alone)
            print(f"{count:6}{alone:14.1f}{speed:14.1f}{1000 * cost:13.0f} ms{1000 * cpu:17.1f} ms", flush=True)


def resident() -> float:
    """MiB of this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def show_memory(program: Path, tasks: int) -> None:
    """Print the driver's memory on the way through very many tasks."""
    program.write_text(_ENGINE.format(work="true"))
    print(f"\nMemory of the driver: {tasks:,} tasks of a generator; an engine that does nothing, at once")
    with nodes(1, kvm=8):
        client = RaySmolvm(program=program, version="1.32.2", max_starts=64)
        began = time.perf_counter()
        for done, _ in enumerate(client.map(nothing, iter(range(tasks)), cpus=1, memory=64), 1):
            if done in {100, 1000, tasks // 2, tasks}:
                print(
                    f"{done:8,} tasks{resident():10.1f} MiB{done / (time.perf_counter() - began):10.0f} tasks/s", flush=True
                )


class Nowhere:
    """An executor without Ray and engines, whose tasks end at once, in their order: the schedule alone."""

    def __init__(self, room: int) -> None:
        self._room, self._numbers = room, itertools.count()
        self._events: deque[tuple[int, Opened | Ended | Lost]] = deque()

    def open(self, shunned: Collection[str]) -> int:  # noqa: ARG002
        """A place, while there is room."""
        number = next(self._numbers)
        if number < self._room:
            self._events.append((number, Opened(f"host {number % 100}")))
        return number

    def submit(self, place: Any, task: Any) -> None:
        """The task ends."""
        self._events.append((place, Ended(task)))

    def cancel(self, place: Any) -> None:
        """No-op: tasks have ended."""

    close = cancel

    def wait(self, timeout: float) -> Iterator[tuple[int, Opened | Ended | Lost]]:  # noqa: ARG002
        """Some of what has happened."""
        for _ in range(min(16, len(self._events))):
            yield self._events.popleft()

    def end(self) -> None:
        """No-op."""

    def no_room(self, seconds: float) -> SmolvmError | None:  # noqa: ARG002
        """There is room."""
        return None


def show_schedule(places: int, tasks: int) -> None:
    """Print what the schedule alone costs."""
    schedule = Schedule(Nowhere(places), iter(range(tasks)), Rules(timeout=600), time.monotonic)
    began, before = time.process_time(), resident()
    for _ in schedule.run():
        pass
    each = (time.process_time() - began) / tasks
    print(f"\nSimulated, without Ray: the schedule over {places:,} places of 100 hosts and {tasks:,} tasks:")
    print(f"{1e6 * each:.0f} us of CPU for each task, {resident() - before:.1f} MiB")


def show_groups(groups: int) -> None:
    """Print how fast Ray's head makes places, by the number of those that are there."""
    print(f"\nPlacement groups without machines on 3 nodes: what Ray's head does of {groups:,} at once")
    with nodes(3, kvm=groups // 3 + 1):
        made: list[str] = []
        for _ in range(4):
            began = time.perf_counter()
            new = [cluster.request(cluster.Bundle(1, 64)) for _ in range(groups // 4)]
            for group in new:
                cluster.wait(group, 300)
            made += new
            each = (time.perf_counter() - began) / len(new)
            began = time.perf_counter()
            for group in made[-50:]:
                cluster.node_of(group)
            looked = (time.perf_counter() - began) / 50
            print(
                f"{len(made):8,} groups: {1000 * each:6.2f} ms to make one, {1000 * looked:6.2f} ms to look one up",
                flush=True,
            )
        began = time.perf_counter()
        for group in made:
            cluster.remove(group)
        print(f"{'':17}{1000 * (time.perf_counter() - began) / len(made):6.2f} ms to remove one")


def main(scale: float) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(prefix="sk-bench-", dir="/tmp") as folder:
        program = Path(folder, "smolvm")
        program.write_text(_ENGINE.format(work="exec sleep 0.05"))
        program.chmod(0o755)
        show_lives(program)
        show_memory(program, int(10_000 * scale))
    show_schedule(10_000, int(500_000 * scale))
    show_groups(int(2_000 * scale))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)

"""Tasks in a graph of Dask, a microVM for each: here on this host's threads, or on a cluster's workers.

    python examples/dask_graph.py 32

On a cluster (`from distributed import Client; Client(address)`) workers that were started with `--resources kvm=64` run at
most so many at once, and a task whose worker dies is run again. An exception ends the computation, so failures are values.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from dask.base import annotate
from dask.delayed import delayed

from smolkit import Smolvm, SmolvmError


def play(client: Smolvm, seed: int) -> float | None:
    """One task, on a worker's host: a machine of its own, gone at the end. None: the engine or the machine failed."""
    try:
        with client.machine(cpus=1, memory=512) as machine:
            return float(machine.exec(["echo", str(seed)], timeout=60, check=True).stdout)
    except SmolvmError as error:
        print(f"seed {seed}: {type(error).__name__}", file=sys.stderr)
        return None


def mean(rewards: list[float | None]) -> float | None:
    """The mean of the rewards that there are: a failure is no reward of 0."""
    found = [reward for reward in rewards if reward is not None]
    return sum(found) / len(found) if found else None


def mean_reward(client: Smolvm, seeds: Iterable[int], **compute: object) -> float | None:
    """Play all seeds, and return the mean reward. Keywords go to `compute`, such as scheduler="threads"."""
    with annotate(resources={"kvm": 1}, retries=3):  # for a cluster; others ignore it
        rewards = [delayed(play, pure=False)(client, seed) for seed in seeds]
    return delayed(mean)(rewards).compute(**compute)  # type: ignore[no-any-return]


if __name__ == "__main__":
    print(mean_reward(Smolvm(watchdog=True), range(int(sys.argv[1])), scheduler="threads", num_workers=8))

"""Tasks on one host's processes, by joblib: a microVM for each task, results as they come.

    python examples/joblib_pool.py 32

joblib reads the tasks as there is room (`pre_dispatch`), so that a generator of very many runs in flat memory. The first
exception ends all tasks, so failures are values here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from joblib import Parallel, delayed  # type: ignore[import-untyped]

from smolkit import Smolvm, SmolvmError


def play(client: Smolvm, seed: int) -> tuple[int, float | SmolvmError]:
    """One task, in a worker: a machine of its own, gone at the end."""
    try:
        with client.machine(cpus=1, memory=512) as machine:
            return seed, float(machine.exec(["echo", str(seed)], timeout=60, check=True).stdout)
    except SmolvmError as error:
        return seed, error


def rewards(pool: Parallel, client: Smolvm, seeds: Iterable[int]) -> Iterator[tuple[int, float | SmolvmError]]:
    """Yield each seed with its reward, or with what failed, in the order that the pool was made for."""
    yield from pool(delayed(play)(client, seed) for seed in seeds)


if __name__ == "__main__":
    with Parallel(n_jobs=8, return_as="generator_unordered") as workers:
        for seed, reward in rewards(workers, Smolvm(watchdog=True), range(int(sys.argv[1]))):
            print(seed, reward)

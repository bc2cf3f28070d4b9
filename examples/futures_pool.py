"""Tasks on one host's processes, by the standard library: `concurrent.futures`, a microVM for each task.

    python examples/futures_pool.py 32

The pool bounds how many machines there are at once. A worker that is killed breaks the pool (BrokenProcessPool) and is not
replaced; its machine is removed by the watchdog.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed

from smolkit import Smolvm, SmolvmError


def play(client: Smolvm, seed: int) -> float:
    """One task, in a worker: a machine of its own, gone at the end."""
    with client.machine(cpus=1, memory=512) as machine:
        return float(machine.exec(["echo", str(seed)], timeout=60, check=True).stdout)


def rewards(pool: Executor, client: Smolvm, seeds: Iterable[int]) -> Iterator[tuple[int, float | None]]:
    """Yield each seed with its reward, as they come. None: the engine or the machine failed, which is no reward of 0.

    All tasks are submitted at once: for very many, submit them as results come.
    """
    futures: dict[Future[float], int] = {pool.submit(play, client, seed): seed for seed in seeds}
    for future in as_completed(futures):
        try:
            yield futures[future], future.result()
        except SmolvmError as error:
            print(f"seed {futures[future]}: {type(error).__name__}", file=sys.stderr)
            yield futures[future], None


if __name__ == "__main__":
    with ProcessPoolExecutor(8) as workers:
        for seed, reward in rewards(workers, Smolvm(watchdog=True), range(int(sys.argv[1]))):
            print(seed, reward)

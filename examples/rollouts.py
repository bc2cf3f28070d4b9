"""RL rollouts: one golden machine, prepared once and branched while it runs; each branch goes on from that very moment.

    python examples/rollouts.py 16

A branch has the golden machine's memory, disks and processes, is there in a fraction of a boot's time, and changes nothing
of the others. Needs a smolvm of version 1.7.7 or later.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from smolkit import AsyncMachine, AsyncSmolvm, errors

ENVIRONMENT = """
import random, sys
random.seed(sys.argv[1])
position = 0
for _ in range(100):
    position += random.choice((-1, 1))
print(position)
"""


@frozen
class Rollout:
    """One rollout: its seed, and the reward (None: it took too long, or its machine died)."""

    seed: int
    reward: float | None


async def prepare(golden: AsyncMachine) -> None:
    """Do once what all rollouts need: files, packages, warm processes."""
    await golden.write_text("/root/environment.py", ENVIRONMENT)


async def play(branch: AsyncMachine, seed: int) -> float:
    """Play one episode in a branch, and return its reward."""
    result = await branch.exec(["python3", "/root/environment.py", str(seed)], timeout=60, check=True)
    return float(result.stdout)


async def rollouts(
    client: AsyncSmolvm, seeds: Sequence[int], image: str | Path | None = "python:3.12-alpine"
) -> list[Rollout]:
    """Run a rollout for each seed, all at once, from one golden machine. No machine is left, whatever happens."""

    async def one(branch: AsyncMachine, seed: int) -> Rollout:
        async with branch:
            try:
                return Rollout(seed, await play(branch, seed))
            except errors.SmolvmError as error:
                print(f"seed {seed}: {type(error).__name__}", file=sys.stderr)
                return Rollout(seed, None)

    async with client.machine(image=image, cpus=1, memory=512, branchable=True) as golden:
        await prepare(golden)
        branches = await golden.branch_many(len(seeds), no_wait_ready=True)
        return await asyncio.gather(*(one(branch, seed) for branch, seed in zip(branches, seeds, strict=True)))


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    for rollout in asyncio.run(rollouts(AsyncSmolvm(watchdog=True), range(count))):
        print(rollout.seed, rollout.reward)

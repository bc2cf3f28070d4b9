"""Many attempts at once, each in a microVM of its own. When one succeeds the others are cancelled and leave nothing."""

from __future__ import annotations

import asyncio

from smolkit import AsyncSmolvm, SmolvmError


async def attempt(client: AsyncSmolvm, number: int, patience: float) -> int | None:
    """Make one attempt and return its number if it succeeds within `patience` seconds, else None."""
    try:
        async with asyncio.timeout(patience), client.machine(cpus=1, memory=512) as machine:
            result = await machine.exec(["solve", str(number)])
    except (TimeoutError, SmolvmError) as error:
        print(f"attempt {number}: {type(error).__name__}")
        return None
    return number if result.ok else None


async def first_to_solve(client: AsyncSmolvm, attempts: int, patience: float = 60.0) -> int | None:
    """Return the number of the first attempt that succeeds, or None."""
    tasks = [asyncio.create_task(attempt(client, number, patience)) for number in range(attempts)]
    try:
        for task in asyncio.as_completed(tasks):
            if (number := await task) is not None:
                return number
        return None
    finally:
        for left in tasks:
            left.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

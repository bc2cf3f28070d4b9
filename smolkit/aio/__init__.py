"""The async twin, for asyncio and trio: the same names and signatures, awaited. Needs `pip install 'smolkit[async]'`.

What may reach the engine is awaited; what asks nothing (`client.machine`, `machine.path`, `process.poll`) is not.
"""

from smolkit.aio.greenlets import in_loop, wait_for
from smolkit.aio.handles import AsyncMachine, AsyncMonitoring, AsyncProcess, AsyncSmolvm, AsyncSpawned
from smolkit.aio.runner import AsyncRunner

__all__ = [
    "AsyncMachine",
    "AsyncMonitoring",
    "AsyncProcess",
    "AsyncRunner",
    "AsyncSmolvm",
    "AsyncSpawned",
    "in_loop",
    "wait_for",
]

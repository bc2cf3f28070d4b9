"""The async twin, for asyncio and trio: the same names and signatures, awaited. Needs `pip install 'smolkit[async]'`.

What may reach the engine is awaited; what asks nothing (`client.machine`, `machine.path`, `process.poll`) is not.
"""

from smolkit.aio.bridge import in_loop, wait_for
from smolkit.aio.runner import AsyncRunner
from smolkit.aio.twins import AsyncMachine, AsyncMonitoring, AsyncProcess, AsyncSmolvm, AsyncSpawned

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

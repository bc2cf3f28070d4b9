"""The async side, for asyncio and trio: the same names, arguments and errors. Needs `pip install 'smolkit[async]'`.

What may reach the engine is awaited. What never does is not: `client.machine`, `machine.path`, `process.poll`.
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

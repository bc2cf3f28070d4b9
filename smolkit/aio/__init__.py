"""The async side, for asyncio and trio: the same names, arguments and errors. Needs `pip install 'smolkit[async]'`.

What may reach the engine is awaited. What never does is not: `client.machine`, `machine.path`, `process.poll`.
"""

from typing import TYPE_CHECKING

from smolkit.lazy import exports

if TYPE_CHECKING:
    from smolkit.aio.greenlets import in_loop, wait_for
    from smolkit.aio.handles import AsyncMachine, AsyncMachineView, AsyncSmolvm
    from smolkit.aio.processes import AsyncMonitoring, AsyncProcess, AsyncSpawned, AsyncWalk
    from smolkit.aio.runner import AsyncRunner

__all__ = [
    "AsyncMachine",
    "AsyncMachineView",
    "AsyncMonitoring",
    "AsyncProcess",
    "AsyncRunner",
    "AsyncSmolvm",
    "AsyncSpawned",
    "AsyncWalk",
    "in_loop",
    "wait_for",
]
_MODULES = {
    "AsyncMachine": "handles",
    "AsyncMachineView": "handles",
    "AsyncMonitoring": "processes",
    "AsyncProcess": "processes",
    "AsyncRunner": "runner",
    "AsyncSmolvm": "handles",
    "AsyncSpawned": "processes",
    "AsyncWalk": "processes",
    "in_loop": "greenlets",
    "wait_for": "greenlets",
}

if not TYPE_CHECKING:  # a type checker would take it for a module that has every name
    __getattr__, __dir__ = exports(__name__, _MODULES, extra="async")

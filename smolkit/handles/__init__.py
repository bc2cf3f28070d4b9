"""The objects that a user holds: the client, machines, processes. Each name is imported when it is first asked for."""

from typing import TYPE_CHECKING

from smolkit.lazy import exports

if TYPE_CHECKING:
    from smolkit.handles.client import Smolvm
    from smolkit.handles.machine import Machine
    from smolkit.handles.monitoring import Monitoring
    from smolkit.handles.process import Input, Process
    from smolkit.handles.spawned import Spawned
    from smolkit.handles.view import MachineView

__all__ = ["Input", "Machine", "MachineView", "Monitoring", "Process", "Smolvm", "Spawned"]

# The module of each name.
_MODULES = {
    "Input": "process",
    "Machine": "machine",
    "MachineView": "view",
    "Monitoring": "monitoring",
    "Process": "process",
    "Smolvm": "client",
    "Spawned": "spawned",
}

if not TYPE_CHECKING:  # a type checker would take it for a module that has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)

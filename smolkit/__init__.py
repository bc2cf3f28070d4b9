"""The Python way to hold microVMs: machine handles over the smolvm command line.

    with Smolvm().machine("agent") as m:
        print(m.exec(["uname", "-r"]).stdout)

`smolkit.errors` has the errors, `smolkit.options` the keywords of each method, `smolkit.commands` the engine's subcommands,
`smolkit.testing` the test doubles, and `smolkit.aio` the async side.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smolkit import aio as aio  # `as`: type checkers take it for public
    from smolkit import commands as commands
    from smolkit import errors as errors
    from smolkit import options as options
    from smolkit import otel as otel
    from smolkit import progress as progress
    from smolkit import testing as testing
    from smolkit import values as values
    from smolkit.aio import AsyncMachine, AsyncMachineView, AsyncRunner, AsyncSmolvm
    from smolkit.commands.call import Call
    from smolkit.commands.dialect import Dialect, Engine
    from smolkit.errors import SmolvmError
    from smolkit.flows.teardown import Keep
    from smolkit.handles.client import Smolvm
    from smolkit.handles.machine import Machine
    from smolkit.handles.monitoring import Monitoring
    from smolkit.handles.process import Process
    from smolkit.handles.spawned import Spawned
    from smolkit.handles.view import MachineView
    from smolkit.runners.base import Runner
    from smolkit.runners.local.subprocess import SubprocessRunner
    from smolkit.runners.remote.links import StdioLink
    from smolkit.runners.remote.runner import RemoteRunner
    from smolkit.runners.remote.ssh import SshRunner
    from smolkit.values.exec_result import ExecResult
    from smolkit.values.observed import Check, EgressEvent, FileStat, MonitorEvent, Stats
    from smolkit.values.ownership import Reapable
    from smolkit.values.results import Completed, GuestPath, Invocation, MachineInfo
    from smolkit.values.secret import Secret

__all__ = [
    "AsyncMachine",
    "AsyncMachineView",
    "AsyncRunner",
    "AsyncSmolvm",
    "Call",
    "Check",
    "Completed",
    "Dialect",
    "EgressEvent",
    "Engine",
    "ExecResult",
    "FileStat",
    "GuestPath",
    "Invocation",
    "Keep",
    "Machine",
    "MachineInfo",
    "MachineView",
    "MonitorEvent",
    "Monitoring",
    "Process",
    "Reapable",
    "RemoteRunner",
    "Runner",
    "Secret",
    "Smolvm",
    "SmolvmError",
    "Spawned",
    "SshRunner",
    "Stats",
    "StdioLink",
    "SubprocessRunner",
    "errors",
]
__version__ = "0.1.0"

# Submodules, and the module of each name. They are imported on first use: every pytest loads the plugin and with it this
# package, and few of those boot machines.
_SUBMODULES = ("aio", "commands", "errors", "options", "otel", "progress", "testing", "values")
_MODULES = {
    "AsyncMachine": "aio",
    "AsyncMachineView": "aio",
    "AsyncRunner": "aio",
    "AsyncSmolvm": "aio",
    "Call": "commands.call",
    "Check": "values.observed",
    "Completed": "values.results",
    "Dialect": "commands.dialect",
    "EgressEvent": "values.observed",
    "Engine": "commands.dialect",
    "ExecResult": "values.exec_result",
    "FileStat": "values.observed",
    "GuestPath": "values.results",
    "Invocation": "values.results",
    "Keep": "flows.teardown",
    "Machine": "handles.machine",
    "MachineInfo": "values.results",
    "MachineView": "handles.view",
    "MonitorEvent": "values.observed",
    "Monitoring": "handles.monitoring",
    "Process": "handles.process",
    "Reapable": "values.ownership",
    "RemoteRunner": "runners.remote.runner",
    "Runner": "runners.base",
    "Secret": "values.secret",
    "Smolvm": "handles.client",
    "SmolvmError": "errors",
    "Spawned": "handles.spawned",
    "SshRunner": "runners.remote.ssh",
    "Stats": "values.observed",
    "StdioLink": "runners.remote.links",
    "SubprocessRunner": "runners.local.subprocess",
}


if not TYPE_CHECKING:  # a type checker would take it for a module that has every name

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _SUBMODULES:
            return import_module(f"smolkit.{name}")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"smolkit.{_MODULES[name]}"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})

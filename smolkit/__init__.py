"""The Python way to hold microVMs: machine handles over the smolvm command line.

    with Smolvm().machine("agent") as m:
        print(m.exec(["uname", "-r"]).stdout)

The errors are in `smolkit.errors`, the engine's subcommands in `smolkit.commands`, test doubles in `smolkit.testing`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smolkit import errors
    from smolkit.aio import AsyncMachine, AsyncRunner, AsyncSmolvm
    from smolkit.commands.dialect import Dialect, Engine
    from smolkit.errors import SmolvmError
    from smolkit.handles.client import Smolvm
    from smolkit.handles.machine import Machine
    from smolkit.runners.base import Runner
    from smolkit.runners.local.subprocess import SubprocessRunner
    from smolkit.values.observed import Check, FileStat
    from smolkit.values.ownership import Reapable
    from smolkit.values.results import Completed, ExecResult, GuestPath, Invocation, MachineInfo
    from smolkit.values.secret import Secret

__all__ = [
    "AsyncMachine",
    "AsyncRunner",
    "AsyncSmolvm",
    "Check",
    "Completed",
    "Dialect",
    "Engine",
    "ExecResult",
    "FileStat",
    "GuestPath",
    "Invocation",
    "Machine",
    "MachineInfo",
    "Reapable",
    "Runner",
    "Secret",
    "Smolvm",
    "SmolvmError",
    "SubprocessRunner",
    "errors",
]
__version__ = "0.1.0"

# Where each is. Imported when it is asked for: the pytest plugin is in every pytest, and few of those boot machines.
_MODULES = {
    "AsyncMachine": "aio",
    "AsyncRunner": "aio",
    "AsyncSmolvm": "aio",
    "Check": "values.observed",
    "Completed": "values.results",
    "Dialect": "commands.dialect",
    "Engine": "commands.dialect",
    "ExecResult": "values.results",
    "FileStat": "values.observed",
    "GuestPath": "values.results",
    "Invocation": "values.results",
    "Machine": "handles.machine",
    "MachineInfo": "values.results",
    "Reapable": "values.ownership",
    "Runner": "runners.base",
    "Secret": "values.secret",
    "Smolvm": "handles.client",
    "SmolvmError": "errors",
    "SubprocessRunner": "runners.local.subprocess",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "errors":
        return import_module("smolkit.errors")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"smolkit.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The Python way to hold microVMs: machine handles over the smolvm command line.

    with Smolvm().machine("agent") as m:
        print(m.exec(["uname", "-r"]).stdout)

The errors are in `smolkit.errors`, the engine's subcommands in `smolkit.commands`, test doubles in `smolkit.testing`.
"""

from smolkit import errors
from smolkit.client import Smolvm
from smolkit.dialect import Dialect, Engine
from smolkit.errors import SmolvmError
from smolkit.machine import Machine
from smolkit.runners.base import Runner
from smolkit.runners.local import SubprocessRunner
from smolkit.values import Check, Completed, ExecResult, GuestPath, Invocation, MachineInfo

__all__ = [
    "Check",
    "Completed",
    "Dialect",
    "Engine",
    "ExecResult",
    "GuestPath",
    "Invocation",
    "Machine",
    "MachineInfo",
    "Runner",
    "Smolvm",
    "SmolvmError",
    "SubprocessRunner",
    "errors",
]
__version__ = "0.1.0"

"""The Python way to hold microVMs: machine handles over the smolvm command line.

    with Smolvm().machine("agent") as m:
        print(m.exec(["uname", "-r"]).stdout)

The errors are in `smolkit.errors`, the engine's subcommands in `smolkit.commands`, test doubles in `smolkit.testing`.
"""

from typing import TYPE_CHECKING

from smolkit import errors
from smolkit.client import Smolvm
from smolkit.dialect import Dialect, Engine
from smolkit.errors import SmolvmError
from smolkit.machine import Machine
from smolkit.ownership import Reapable
from smolkit.runners.base import Runner
from smolkit.values import Completed, ExecResult, GuestPath, Invocation, MachineInfo

if TYPE_CHECKING:
    from smolkit.observed import Check, FileStat
    from smolkit.runners.local import SubprocessRunner
    from smolkit.secret import Secret

__all__ = [
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


_LATE = {
    "Check": "smolkit.observed",
    "FileStat": "smolkit.observed",
    "Secret": "smolkit.secret",
    "SubprocessRunner": "smolkit.runners.local",
}


def __getattr__(name: str) -> object:
    """What not every program uses, when it is first asked for: a fake's users need no processes."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATE[name]), name)

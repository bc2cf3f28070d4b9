"""One class per subcommand of the engine: how it is said, and what the answer means. All pure."""

from smolkit.commands.base import Command
from smolkit.commands.create import Create, MachineSpec
from smolkit.commands.engine import PackCreate, Version
from smolkit.commands.execute import Exec
from smolkit.commands.machine import Cp, DataDir, Delete, Ls, Start, Status, Stop

__all__ = [
    "Command",
    "Cp",
    "Create",
    "DataDir",
    "Delete",
    "Exec",
    "Ls",
    "MachineSpec",
    "PackCreate",
    "Start",
    "Status",
    "Stop",
    "Version",
]

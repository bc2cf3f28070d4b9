"""The keywords of the methods, as TypedDicts: for `help`, and to annotate what is handed on to them."""

from smolkit.commands.option_types import (
    BranchOptions,
    CheckpointOptions,
    ClientOptions,
    ExecOptions,
    MachineOptions,
    MonitorOptions,
    PackOptions,
    PackRunOptions,
    PopenOptions,
    RunOptions,
    SpawnOptions,
    StartOptions,
    UpdateOptions,
)

__all__ = [
    "BranchOptions",
    "CheckpointOptions",
    "ClientOptions",
    "ExecOptions",
    "MachineOptions",
    "MonitorOptions",
    "PackOptions",
    "PackRunOptions",
    "PopenOptions",
    "RunOptions",
    "SpawnOptions",
    "StartOptions",
    "UpdateOptions",
]

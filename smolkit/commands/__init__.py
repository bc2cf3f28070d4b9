"""One class per subcommand of the engine: how it is said, and what the answer means. All pure.

Those that most programs never use are imported when they are asked for.
"""

from typing import TYPE_CHECKING

from smolkit.commands.base import Command
from smolkit.commands.create import Create, MachineSpec
from smolkit.commands.engine import PackCreate, Version
from smolkit.commands.exec import Exec
from smolkit.commands.lifecycle import Cp, DataDir, Delete, Ls, Start, Status, Stop

if TYPE_CHECKING:
    from smolkit.commands.run import PackRun, Run, RunDetached, RunTerminal
    from smolkit.commands.spawn import Shell, Spawn, Terminal
    from smolkit.commands.verbs import (
        Branch,
        BranchRelease,
        Checkpoint,
        CheckpointLog,
        CheckpointPrune,
        CheckpointWarm,
        Cli,
        ConfigShow,
        EgressEvents,
        Images,
        Logs,
        Monitor,
        MountAdd,
        MountLs,
        MountRemove,
        NetworkTest,
        PackInfo,
        PackInspect,
        PackList,
        PackPrune,
        PackPull,
        PackPush,
        Pause,
        Prune,
        RegistriesInit,
        RegistriesPath,
        RegistriesShow,
        Resize,
        Resume,
        StatsOf,
        Sync,
        Update,
    )

__all__ = [
    "Branch",
    "BranchRelease",
    "Checkpoint",
    "CheckpointLog",
    "CheckpointPrune",
    "CheckpointWarm",
    "Cli",
    "Command",
    "ConfigShow",
    "Cp",
    "Create",
    "DataDir",
    "Delete",
    "EgressEvents",
    "Exec",
    "Images",
    "Logs",
    "Ls",
    "MachineSpec",
    "Monitor",
    "MountAdd",
    "MountLs",
    "MountRemove",
    "NetworkTest",
    "PackCreate",
    "PackInfo",
    "PackInspect",
    "PackList",
    "PackPrune",
    "PackPull",
    "PackPush",
    "PackRun",
    "Pause",
    "Prune",
    "RegistriesInit",
    "RegistriesPath",
    "RegistriesShow",
    "Resize",
    "Resume",
    "Run",
    "RunDetached",
    "RunTerminal",
    "Shell",
    "Spawn",
    "Start",
    "StatsOf",
    "Status",
    "Stop",
    "Sync",
    "Terminal",
    "Update",
    "Version",
]


if not TYPE_CHECKING:  # a type checker would take it for a module that has every name

    def __getattr__(name: str) -> type:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from smolkit.commands import run, spawn, verbs  # late: two dozen classes cost as much as the rest of smolkit

        found: type = next(vars(module)[name] for module in (verbs, run, spawn) if name in vars(module))
        return found

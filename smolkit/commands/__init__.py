"""One class per subcommand of the engine: its argv and the meaning of its answer. All pure.

Each is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smolkit.commands.base import Command
    from smolkit.commands.call import Call
    from smolkit.commands.create import Create, MachineSpec
    from smolkit.commands.dialect import Dialect, Engine
    from smolkit.commands.engine import PackCreate, Version
    from smolkit.commands.exec import Exec
    from smolkit.commands.lifecycle import Cp, DataDir, Delete, Ls, Start, Status, Stop
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
    "Call",
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
    "Dialect",
    "EgressEvents",
    "Engine",
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

# The module of each name.
_MODULES = {
    "Branch": "verbs",
    "BranchRelease": "verbs",
    "Call": "call",
    "Checkpoint": "verbs",
    "CheckpointLog": "verbs",
    "CheckpointPrune": "verbs",
    "CheckpointWarm": "verbs",
    "Cli": "verbs",
    "Command": "base",
    "ConfigShow": "verbs",
    "Cp": "lifecycle",
    "Create": "create",
    "DataDir": "lifecycle",
    "Delete": "lifecycle",
    "Dialect": "dialect",
    "EgressEvents": "verbs",
    "Engine": "dialect",
    "Exec": "exec",
    "Images": "verbs",
    "Logs": "verbs",
    "Ls": "lifecycle",
    "MachineSpec": "create",
    "Monitor": "verbs",
    "MountAdd": "verbs",
    "MountLs": "verbs",
    "MountRemove": "verbs",
    "NetworkTest": "verbs",
    "PackCreate": "engine",
    "PackInfo": "verbs",
    "PackInspect": "verbs",
    "PackList": "verbs",
    "PackPrune": "verbs",
    "PackPull": "verbs",
    "PackPush": "verbs",
    "PackRun": "run",
    "Pause": "verbs",
    "Prune": "verbs",
    "RegistriesInit": "verbs",
    "RegistriesPath": "verbs",
    "RegistriesShow": "verbs",
    "Resize": "verbs",
    "Resume": "verbs",
    "Run": "run",
    "RunDetached": "run",
    "RunTerminal": "run",
    "Shell": "spawn",
    "Spawn": "spawn",
    "Start": "lifecycle",
    "StatsOf": "verbs",
    "Status": "lifecycle",
    "Stop": "lifecycle",
    "Sync": "verbs",
    "Terminal": "spawn",
    "Update": "verbs",
    "Version": "engine",
}


def __getattr__(name: str) -> type:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: type = getattr(import_module(f"smolkit.commands.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""One class per subcommand of the engine: its argv and the meaning of its answer. All pure.

Each is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from smolkit.lazy import exports

if TYPE_CHECKING:
    from smolkit.commands.admin import (
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
    from smolkit.commands.base import Command, GuestCommand
    from smolkit.commands.call import Call
    from smolkit.commands.cp import Cp
    from smolkit.commands.create import Create, MachineSpec
    from smolkit.commands.dialect import Dialect, Engine
    from smolkit.commands.engine import Version
    from smolkit.commands.exec import Exec
    from smolkit.commands.lifecycle import DataDir, Delete, Ls, Start, Status, Stop
    from smolkit.commands.pack import PackCreate, PackInfo, PackInspect, PackList, PackPrune, PackPull, PackPush
    from smolkit.commands.run import PackRun, Run, RunDetached, RunTerminal
    from smolkit.commands.scan import ScanDirs
    from smolkit.commands.script import Script
    from smolkit.commands.spawn import Shell, Spawn, Terminal

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
    "GuestCommand",
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
    "ScanDirs",
    "Script",
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
    "Branch": "admin",
    "BranchRelease": "admin",
    "Call": "call",
    "Checkpoint": "admin",
    "CheckpointLog": "admin",
    "CheckpointPrune": "admin",
    "CheckpointWarm": "admin",
    "Cli": "admin",
    "Command": "base",
    "ConfigShow": "admin",
    "Cp": "cp",
    "Create": "create",
    "DataDir": "lifecycle",
    "Delete": "lifecycle",
    "Dialect": "dialect",
    "EgressEvents": "admin",
    "Engine": "dialect",
    "Exec": "exec",
    "GuestCommand": "base",
    "Images": "admin",
    "Logs": "admin",
    "Ls": "lifecycle",
    "MachineSpec": "create",
    "Monitor": "admin",
    "MountAdd": "admin",
    "MountLs": "admin",
    "MountRemove": "admin",
    "NetworkTest": "admin",
    "PackCreate": "pack",
    "PackInfo": "pack",
    "PackInspect": "pack",
    "PackList": "pack",
    "PackPrune": "pack",
    "PackPull": "pack",
    "PackPush": "pack",
    "PackRun": "run",
    "Pause": "admin",
    "Prune": "admin",
    "RegistriesInit": "admin",
    "RegistriesPath": "admin",
    "RegistriesShow": "admin",
    "Resize": "admin",
    "Resume": "admin",
    "Run": "run",
    "RunDetached": "run",
    "RunTerminal": "run",
    "ScanDirs": "scan",
    "Script": "script",
    "Shell": "spawn",
    "Spawn": "spawn",
    "Start": "lifecycle",
    "StatsOf": "admin",
    "Status": "lifecycle",
    "Stop": "lifecycle",
    "Sync": "admin",
    "Terminal": "spawn",
    "Update": "admin",
    "Version": "engine",
}

if not TYPE_CHECKING:  # a type checker would take it for a module that has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)

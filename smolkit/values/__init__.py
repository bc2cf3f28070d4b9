"""Pure, frozen data: what crosses the layers. Each name is imported when it is first used."""

from typing import TYPE_CHECKING

from smolkit.lazy import exports

if TYPE_CHECKING:
    from smolkit.values.cut import Cut
    from smolkit.values.dir_entry import DirEntry
    from smolkit.values.exec_result import ExecResult
    from smolkit.values.hidden import Hidden
    from smolkit.values.observed import Check, EgressEvent, ExitInfo, FileStat, MonitorEvent, Stats
    from smolkit.values.ownership import Here, Marks, Owner, Reapable
    from smolkit.values.results import Completed, GuestPath, Invocation, MachineInfo
    from smolkit.values.secret import Secret
    from smolkit.values.shown import redact

__all__ = [
    "Check",
    "Completed",
    "Cut",
    "DirEntry",
    "EgressEvent",
    "ExecResult",
    "ExitInfo",
    "FileStat",
    "GuestPath",
    "Here",
    "Hidden",
    "Invocation",
    "MachineInfo",
    "Marks",
    "MonitorEvent",
    "Owner",
    "Reapable",
    "Secret",
    "Stats",
    "redact",
]
_MODULES = {
    "Check": "observed",
    "Completed": "results",
    "Cut": "cut",
    "DirEntry": "dir_entry",
    "EgressEvent": "observed",
    "ExecResult": "exec_result",
    "ExitInfo": "observed",
    "FileStat": "observed",
    "GuestPath": "results",
    "Here": "ownership",
    "Hidden": "hidden",
    "Invocation": "results",
    "MachineInfo": "results",
    "Marks": "ownership",
    "MonitorEvent": "observed",
    "Owner": "ownership",
    "Reapable": "ownership",
    "Secret": "secret",
    "Stats": "observed",
    "redact": "shown",
}

if not TYPE_CHECKING:  # a type checker would take it for a module that has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)

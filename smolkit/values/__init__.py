"""Pure, frozen data: what crosses the layers. Each module is imported when a name of it is asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smolkit.values.hidden import Hidden
    from smolkit.values.observed import Check, EgressEvent, ExitInfo, FileStat, MonitorEvent, Stats
    from smolkit.values.ownership import Here, Marks, Owner, Reapable
    from smolkit.values.results import Completed, ExecResult, GuestPath, Invocation, MachineInfo
    from smolkit.values.secret import Secret
    from smolkit.values.shown import redact

__all__ = [
    "Check",
    "Completed",
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
_MODULES = ("results", "observed", "ownership", "secret", "hidden", "shown")


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in __all__:
        for module in _MODULES:
            found = import_module(f"smolkit.values.{module}")
            if name in vars(found):
                return vars(found)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

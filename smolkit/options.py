"""The keyword arguments of the handles' methods, as TypedDicts: for `help`, and to annotate functions that pass them on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


if not TYPE_CHECKING:  # a type checker would take it for a module that has every name

    def __getattr__(name: str) -> type:
        from smolkit.commands import option_types  # late: 1.4 ms, and nothing but annotations needs them

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: type = getattr(option_types, name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Runners: the only modules that know a process, a socket or a clock. Each name is imported when it is first asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smolkit.commands.call import Plan
    from smolkit.runners.base import Runner
    from smolkit.runners.local.subprocess import SubprocessRunner

__all__ = ["Plan", "Runner", "SubprocessRunner"]

# The module of each name.
_MODULES = {
    "Plan": "smolkit.commands.call",
    "Runner": "smolkit.runners.base",
    "SubprocessRunner": "smolkit.runners.local.subprocess",
}


if not TYPE_CHECKING:  # a type checker would take it for a module that has every name

    def __getattr__(name: str) -> type:
        from importlib import import_module

        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: type = getattr(import_module(_MODULES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

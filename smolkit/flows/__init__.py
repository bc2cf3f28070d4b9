"""Workflows of several engine calls: pure generators of steps, and `perform`, which runs them. Loads lazily."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from smolkit.flows import lookup, orphans, provision, reap, steps, teardown, wait_until

__all__ = ["lookup", "orphans", "provision", "reap", "steps", "teardown", "wait_until"]


if not TYPE_CHECKING:  # a type checker would take it for a module that has every name

    def __getattr__(name: str) -> "ModuleType":
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module(f"smolkit.flows.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

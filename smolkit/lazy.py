"""Packages that load lazily: each of their names is imported when it is first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping


def exports(
    package: str, modules: Mapping[str, str], root: str | None = None, *, extra: str = ""
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make a package's `__getattr__` and `__dir__`.

    Args:
        package: The package's `__name__`. Its `__all__` has the names.
        modules: The module of each name, below `root`.
        root: Default: the package.
        extra: The extra that the modules need. Without its packages, names are placeholders that say so when called.
    """
    namespace = vars(sys.modules[package])

    def get(name: str) -> object:
        from importlib import import_module  # late: imported by the first use, if by nothing before

        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            found = namespace[name] = getattr(import_module(f"{root or package}.{modules[name]}"), name)
        except ModuleNotFoundError as error:
            if not extra or str(error.name).startswith("smolkit"):
                raise
            from smolkit.extras import placeholder  # late: likewise

            return placeholder(f"{package}.{name}", extra, error)
        return found

    return get, lambda: sorted({*namespace, *namespace["__all__"]})

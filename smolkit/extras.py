"""What smolkit offers with further packages: it says which to install where they are missing, and not before it is used."""

from __future__ import annotations

from typing import Any, NoReturn


def missing(what: str, extra: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise where a package of an extra is not installed."""
    words = f"{what} needs more packages ({error.name} is missing): pip install 'smolkit[{extra}]'"
    return ModuleNotFoundError(words, name=error.name)


def placeholder(name: str, extra: str, error: ModuleNotFoundError) -> type:
    """Stands for a class that cannot be imported: `help`, `inspect` and `import *` pass over it, and making one raises."""

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise missing(f"smolkit.{name}", extra, error) from error

    return type(name, (), {"__doc__": f"Needs `pip install 'smolkit[{extra}]'`.", "__module__": "smolkit", "__new__": fail})

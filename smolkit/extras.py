"""The optional parts of smolkit: the error that names the extra to install, raised where such a part is used."""

from __future__ import annotations

from typing import Any, NoReturn


def missing(user: str, extra: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return the error that names the extra which `user` needs."""
    message = f"{user} needs more packages ({error.name} is missing): pip install 'smolkit[{extra}]'"
    return ModuleNotFoundError(message, name=error.name)


def placeholder(name: str, extra: str, error: ModuleNotFoundError) -> type:
    """Return a class that stands for a name which cannot be imported. `help` and `import *` accept it; a call raises."""

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise missing(name, extra, error) from error

    module, _, short = name.rpartition(".")
    return type(short, (), {"__doc__": f"Needs `pip install 'smolkit[{extra}]'`.", "__module__": module, "__new__": fail})

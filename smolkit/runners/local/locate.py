"""Where the smolvm program is."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from smolkit.errors import EngineNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "SMOLKIT_SMOLVM"


@frozen
class Program:
    """The program, and the variables that it needs to run.

    Attributes:
        path: Absolute, so that it stays the same program whatever the working directory becomes.
        env: The variables.
    """

    path: str
    env: Mapping[str, str] = field(factory=dict)


def find(program: str | None = None) -> Program:
    """The program named, else what SMOLKIT_SMOLVM names, else `smolvm` on PATH, else the smolmachines package's own.

    Raises:
        EngineNotFoundError: there is none; or the one that was named is not there (the others are then not tried).
    """
    for origin, named in (("", program), (f"{VARIABLE}=", os.environ.get(VARIABLE))):
        if named:
            if found := which(named):
                return _bundled_environment(found)
            raise EngineNotFoundError(f"no program {origin}{named}, or it is not executable")
    if found := which("smolvm"):
        return Program(found)
    if bundled := _bundled():
        return _bundled_environment(bundled)
    raise EngineNotFoundError(f"no smolvm: none is named by {VARIABLE}, none is on PATH, and smolmachines is not installed")


def which(program: str, path: str | None = None) -> str | None:
    """The absolute path of the program. PATH (or the path given instead) may have relative entries."""
    found = shutil.which(program, path=path)
    return found and os.path.abspath(found)


def _bundled() -> str | None:
    """The program in the smolmachines package (every version of it has one), made executable if the install was not."""
    spec = importlib.util.find_spec("smol")
    if spec is None or not spec.origin:
        return None
    program = Path(os.path.abspath(spec.origin)).with_name("smol-vmm")
    if not program.is_file():
        return None
    if not os.access(program, os.X_OK):
        try:
            program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        except OSError as error:
            raise EngineNotFoundError(f"{program} is not executable, and cannot be made so: {error}") from error
    return str(program)


def _bundled_environment(path: str) -> Program:
    """The smolmachines package's program has its libraries beside it, and looks for them where SMOLVM_LIB_DIR says."""
    folder = Path(path).resolve().parent
    return Program(path, {"SMOLVM_LIB_DIR": str(folder)} if (folder / "libkrun.so").exists() else {})

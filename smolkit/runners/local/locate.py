"""Search for the smolvm program."""

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
    """A program, and the variables that it needs to run.

    Attributes:
        path: Its absolute path, which stays valid when the working directory changes.
        env: The variables.
    """

    path: str
    env: Mapping[str, str] = field(factory=dict)


def find(program: str | None = None) -> Program:
    """Find the named program, else that of SMOLKIT_SMOLVM, else `smolvm` on PATH, else that of the smolmachines package.

    Raises:
        EngineNotFoundError: there is none, or the named one is missing (the others are then not tried).
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
    """The absolute path of a program on PATH, or on `path`; None if there is none. Relative entries are resolved."""
    found = shutil.which(program, path=path)
    return found and os.path.abspath(found)


def _bundled() -> str | None:
    """The program in the smolmachines package (every version has one), made executable if its installation was not."""
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
            raise EngineNotFoundError(f"{program} is not executable, and chmod failed: {error}") from error
    return str(program)


def _bundled_environment(path: str) -> Program:
    """The program with SMOLVM_LIB_DIR, if its libraries are beside it, as in the smolmachines package."""
    directory = Path(path).resolve().parent
    return Program(path, {"SMOLVM_LIB_DIR": str(directory)} if (directory / "libkrun.so").exists() else {})

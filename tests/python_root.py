"""A root file system with this host's Python in it, for examples whose guests run Python, where no image can be pulled."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from smolkit.testing.namespace import namespace_engine, unpack

LEFT_OUT = shutil.ignore_patterns("test", "site-packages", "dist-packages", "config-*", "idlelib", "__pycache__", "*.a")


def make(root: Path) -> Path:
    """Make this directory such a root file system: the one of machines without an image, with Python and its libraries."""
    unpack.unpack(namespace_engine.bare_root(), str(root))
    stdlib = Path(sysconfig.get_path("stdlib"))
    program = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    shutil.copytree(stdlib, at(root, stdlib), ignore=LEFT_OUT)
    for file in (program, *libraries(program, *stdlib.glob("lib-dynload/*.so"))):
        at(root, file).parent.mkdir(parents=True, exist_ok=True)
        if not at(root, file).exists():
            shutil.copy(file, at(root, file))
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    if not (root / "usr/bin/python3").exists():
        (root / "usr/bin/python3").symlink_to(program)
    return root


def at(root: Path, path: Path) -> Path:
    """Return the place of an absolute path below this root."""
    return root / os.path.relpath(path, "/")


def libraries(*files: Path) -> set[Path]:
    """Return the shared libraries that these files need, with the loader."""
    said = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", said)}

"""Directories of this user's own, for files that others must not be able to lay for us."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def home(env: Mapping[str, str]) -> Path:
    """The home directory, which need not be there: neither HOME nor the user database has to name one."""
    with suppress(RuntimeError):
        return Path(env.get("HOME") or Path("~").expanduser())
    return Path("/")


def private_directory(*candidates: Path) -> int:
    """Opens the first of these directories that can be had, made if it is missing: no symlink, ours, closed to others.

    Returns:
        Its file descriptor, for `os.open(name, dir_fd=...)`: what the path means may change.

    Raises:
        OSError: none of them can be had.
    """
    failure = OSError("no directory was named")
    for path in candidates:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
            return _opened(path)
        except OSError as error:
            failure = error
    raise failure


def _opened(path: Path) -> int:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.fstat(directory).st_uid == os.geteuid():
        os.fchmod(directory, 0o700)
        return directory
    os.close(directory)
    raise PermissionError(f"{path} is another user's")


def open_lock(directory: int, name: str) -> int:
    """Opens a file in such a directory to be locked, made if it is missing; never what a symlink leads to.

    Raises:
        OSError: it is a symlink, or another user's.
    """
    lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    info = os.fstat(lock)
    if info.st_uid == os.geteuid() and stat.S_ISREG(info.st_mode):
        return lock
    os.close(lock)
    raise PermissionError(f"{name} is another user's, or no file")

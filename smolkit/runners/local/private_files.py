"""Private directories, in which other users cannot place files for us to open."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def home(env: Mapping[str, str]) -> Path:
    """The home directory, which may not exist; "/" if neither HOME nor the user database has one."""
    with suppress(RuntimeError):
        return Path(env.get("HOME") or Path("~").expanduser())
    return Path("/")


def private_directory(*candidates: Path) -> int:
    """Open the first of these directories that can be opened or made: not a symlink, owned by this user, with mode 700.

    Returns:
        Its file descriptor, for `os.open(name, dir_fd=...)`: somebody may put another directory at the path.

    Raises:
        OSError: none of them can be used.
    """
    failure = OSError("no directory was given")
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
    raise PermissionError(f"{path} belongs to another user")


def open_lock(directory: int, name: str) -> int:
    """Open a lock file in such a directory, made if it is missing. A symlink is not followed.

    Raises:
        OSError: it is a symlink, no regular file, or another user's.
    """
    lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    info = os.fstat(lock)
    if info.st_uid == os.geteuid() and stat.S_ISREG(info.st_mode):
        return lock
    os.close(lock)
    raise PermissionError(f"{name} belongs to another user, or is not a regular file")

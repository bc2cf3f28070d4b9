"""Free ports of this host."""

from __future__ import annotations

import fcntl
import os
import random
import socket
from contextlib import suppress
from pathlib import Path

from smolkit.runners.local.private_files import open_lock, private_directory

_RANGE = (20_000, 32_768)  # below the ephemeral ports of Linux (ip_local_port_range)
_kept: dict[int, int] = {}  # ports and their locks (-1: no lock), which this process holds until it ends


def free_port() -> int:
    """Find a free port, and lock it against other programs that use smolkit until this process ends.

    The kernel does not reserve it. If there is no directory for locks, other programs may find the same port.

    Raises:
        OSError: all are taken.
    """
    directory = _directory()
    try:
        for port in random.sample(range(*_RANGE), 200):
            if _take(port, directory):
                return port
    finally:
        if directory is not None:
            os.close(directory)
    raise OSError("no free port was found")


def _directory() -> int | None:
    name = f"smolkit-ports-{os.geteuid()}"
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    # A missing runtime directory (cron, su, containers) is not ours to make.
    places = [Path(given, name)] if os.path.isdir(given) else []
    with suppress(OSError):
        return private_directory(*places, Path("/tmp", name))  # noqa: S108  (checked to be ours)
    return None


def _take(port: int, directory: int | None) -> bool:
    """Take the port. True if it was free."""
    if port in _kept:
        return False
    lock = -1
    try:
        if directory is not None:
            lock = open_lock(directory, str(port))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        if lock >= 0:
            os.close(lock)
        return False
    _kept[port] = lock
    return True

"""Ports of this host that nobody else takes."""

from __future__ import annotations

import fcntl
import os
import random
import socket
from pathlib import Path

_RANGE = (20_000, 32_768)  # below what Linux hands out to clients (ip_local_port_range)
_kept: list[int] = []  # locks, held until this process ends


def free_port() -> int:
    """A port, and a lock on it that other programs with smolkit respect: not a promise of the kernel, but no race of ours.

    Raises:
        OSError: all are taken.
    """
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp", f"smolkit-ports-{os.getuid()}")  # noqa: S108  (by user)
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in random.sample(range(*_RANGE), 200):
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        _kept.append(lock)
        return port
    raise OSError("no free port was found")

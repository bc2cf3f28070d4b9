"""Who this process is, on which host, and which others are alive."""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path

from smolkit.ownership import Here, Owner


def here() -> Here:
    """This process, now."""
    boot = _id("/proc/sys/kernel/random/boot_id")
    me = Owner(_id("/etc/machine-id"), boot, _space(), os.getpid(), _started(os.getpid()))
    return Here(me, time.time(), is_alive)


def is_alive(pid: int, started: int) -> bool:
    """Whether the process is there. Where its start is known too (not 0, and this host tells), it has to be the same."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    now = _started(pid)
    return not (started and now) or now == started


def _id(path: str) -> str:
    try:
        text = Path(path).read_text().strip()
    except OSError:
        return ""
    return f"{zlib.crc32(text.encode()):08x}" if text else ""


def _space() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _started(pid: int) -> int:
    """When a process started, in ticks since the boot; 0 where the host does not tell (no /proc), or it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The second field is the program's name in parentheses, which may hold anything.
    return int(stat.rpartition(")")[2].split()[19])

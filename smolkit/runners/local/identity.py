"""Who this process is, on which host, and which others are alive."""

from __future__ import annotations

import os
import time
import zlib
from functools import lru_cache
from pathlib import Path

from smolkit.values.ownership import Here, Owner


def here() -> Here:
    """This process, now."""
    return Here(_owner(os.getpid(), _inode("/proc/self/ns/pid")), time.time(), is_alive, _booted())


def is_alive(pid: int, started: int) -> bool:
    """Whether the process is there, and no zombie. Where its start is known too (not 0), it has to be the same."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    stat = _stat(pid)
    if not stat:
        return True
    # A zombie with more threads than one is a program that goes on without its first.
    is_zombie = stat[_STATE] in {"Z", "X"} and int(stat[_THREADS]) <= 1
    return not is_zombie and started in {0, int(stat[_STARTED])}


@lru_cache(1)
def _owner(pid: int, space: int) -> Owner | None:
    """This process, of that number in that namespace; None where the host does not tell it from other containers'."""
    boot = _text("/proc/sys/kernel/random/boot_id")
    if not (boot and space):
        return None
    place = f"{_machine_id()}\n{os.uname().nodename}\n{space}\n{_inode('/proc/self/ns/time')}"
    stat = _stat(pid)
    return Owner(_digest(place), _digest(boot), pid, int(stat[_STARTED]) if stat else 0)


def _booted() -> float | None:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return None if clock is None or not _machine_id() else time.time() - time.clock_gettime(clock)


@lru_cache(1)
def _machine_id() -> str:
    return _text("/etc/machine-id")


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _digest(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _inode(path: str) -> int:
    """A namespace's number; 0 where the host has none of this kind."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


_STATE, _THREADS, _STARTED = 0, 17, 19  # of /proc/PID/stat, counted from behind the program's name


def _stat(pid: int) -> list[str]:
    """What the kernel tells of a process; nothing where it does not, or where /proc counts them otherwise than we do."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):  # another container's /proc, mounted in this one
            return []
        # The second field is the program's name in parentheses, which may hold anything.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
    except OSError:
        return []

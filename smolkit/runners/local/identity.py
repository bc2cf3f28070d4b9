"""The identity of this process and its host, and whether other processes are alive."""

from __future__ import annotations

import os
import time
import zlib
from functools import lru_cache
from pathlib import Path

from smolkit.values.ownership import Here, Owner


def here() -> Here:
    """This process and its host, at this moment."""
    return Here(_owner(os.getpid(), _inode("/proc/self/ns/pid")), time.time(), is_alive, _booted())


def is_alive(pid: int, started: int) -> bool:
    """True if the process runs, and is no zombie. `started` guards against PID reuse; 0 if it is not known."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    stat = _stat(pid)
    if not stat:
        return True
    # A zombie with several threads is a program that goes on without its main thread.
    is_zombie = stat[_STATE] in {"Z", "X"} and int(stat[_THREADS]) <= 1
    return not is_zombie and started in {0, int(stat[_STARTED])}


@lru_cache(1)
def _owner(pid: int, space: int) -> Owner | None:
    """This process, by its pid in this PID namespace; None if the host has no means to tell it from other containers'."""
    boot = _text("/proc/sys/kernel/random/boot_id")
    if not (boot and space):
        return None
    place = f"{_machine_id()}\n{os.uname().nodename}\n{space}\n{_inode('/proc/self/ns/time')}"
    stat = _stat(pid)
    return Owner(_digest(place), _digest(boot), pid, int(stat[_STARTED]) if stat else 0)


def host_name() -> str:
    """This host: its name, and a digest that tells it from others of that name."""
    name = os.uname().nodename
    return f"{name} ({_digest(_machine_id() + name)})"


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
    """The number of a namespace; 0 if the host has no such namespaces."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


_STATE, _THREADS, _STARTED = 0, 17, 19  # fields of /proc/PID/stat, counted from the one after the program's name


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat; empty if there are none, or if /proc is that of another PID namespace."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):  # another container's /proc, mounted in this one
            return []
        # The second field is the program's name in parentheses, which may hold anything.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
    except OSError:
        return []

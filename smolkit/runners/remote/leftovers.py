"""Ends and removes what a far process may leave, however it ends: processes that it started, and files."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress

_TERM_WAIT = 2.0  # seconds between SIGTERM and SIGKILL
_LOOK = 0.05  # seconds between two looks
_SESSION = 3  # field of /proc/PID/stat, counted from the one after the program's name


def end_session(session: int) -> None:
    """End the processes of a session whose leader has ended: SIGTERM, and two seconds later SIGKILL."""
    until = time.monotonic() + _TERM_WAIT
    _signal(session, signal.SIGTERM)
    while _members(session) and time.monotonic() < until:
        time.sleep(_LOOK)
    _signal(session, signal.SIGKILL)


def _signal(session: int, number: int) -> None:
    for pid in _members(session):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _members(session: int) -> list[int]:
    """The processes of the session; none on hosts without /proc."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    return [int(name) for name in names if name.isdecimal() and _session_of(name) == session]


def _session_of(pid: str) -> int | None:
    """The session of a process; None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {b"Z", b"X"} else int(fields[_SESSION])


def remove_directory(path: str) -> None:
    """Remove a directory with all that is in it, if there is one."""
    shutil.rmtree(path, ignore_errors=True)

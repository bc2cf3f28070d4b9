"""The first start on a host, alone.

The first start has the engine unpack its disk templates beside itself, and its root file system into the state directory.
Starts that race for that destroy the templates (six at once did, 1.32.2); once it is done they do not touch them again.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from smolkit.errors import QueueTimeoutError
from smolkit.runners import blocking
from smolkit.runners.local.private_files import home, open_lock, private_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOOK = 0.05  # seconds between two looks at a lock
_alone = blocking.Gate(1)  # within this process, where it is known who waits for whom
_held: set[int] = set()  # the locks of this process


def state_folders(env: Mapping[str, str]) -> list[Path]:
    """Where the engine keeps its records and its machines' disks (all versions; SMOLVM_DATA_DIR from 1.2.5 on)."""
    base = home(env)
    if env.get("SMOLVM_DATA_DIR"):
        base, env = Path(env["SMOLVM_DATA_DIR"]), {}
    data = Path(env.get("XDG_DATA_HOME") or base / ".local/share")
    cache = Path(env.get("XDG_CACHE_HOME") or base / ".cache")
    return [data / "smolvm", cache / "smolvm"]


@contextmanager
def first_start_alone(program: str, env: Mapping[str, str], timeout: float | None = None) -> Iterator[None]:
    """Lets one start through at a time, over all processes of this user, until one has succeeded; then all at once.

    That one did is remembered beside the engine's state, for this very file of the engine's: a state directory that is
    thrown away, or an engine that is installed anew, begins again.

    Raises:
        QueueTimeoutError: another start was on its way for so many seconds.
    """
    try:
        info = os.stat(program)
    except OSError:  # it is not there any more: its start says so
        yield
        return
    done = state_folders(env)[1] / f".smolkit-started-{info.st_ino:x}-{info.st_mtime_ns:x}"
    with ExitStack() as turn:
        # Not done.exists(), which raises where it may not look: under another user's HOME, say.
        if not os.path.exists(done):
            turn.enter_context(_locked(timeout))
        if os.path.exists(done):
            turn.close()
        yield
        with suppress(OSError):
            done.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(done, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


@contextmanager
def _locked(timeout: float | None) -> Iterator[None]:
    deadline = None if timeout is None else time.monotonic() + timeout
    with _alone.turn(timeout):
        _let_go()  # what a thread left here that is gone, with the loop and the coroutine that it ran
        lock = _lock_file()
        if lock is None:  # nowhere to lock: as without smolkit
            yield
            return
        try:
            _held.add(lock)
            _take(lock, deadline)
            yield
        finally:
            _let_go()


def _lock_file() -> int | None:
    given = os.environ.get("XDG_CACHE_HOME")
    cache = Path(given) if given else home(os.environ) / ".cache"
    shared = Path("/tmp", f"smolkit-{os.geteuid()}")  # noqa: S108  (checked to be ours)
    with suppress(OSError):
        directory = private_directory(cache / "smolkit", shared)
        try:
            return open_lock(directory, "first-start.lock")
        finally:
            os.close(directory)
    return None


def _take(lock: int, deadline: float | None) -> None:
    # Never a flock that blocks: it knows no deadline, and would stop an event loop.
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline is not None and time.monotonic() >= deadline:
                words = "another program's first start on this host was on its way all the time; nothing was run"
                raise QueueTimeoutError(words) from None
            blocking.interruptible(lambda: blocking.sleep(_LOOK))
        else:
            return


def _let_go() -> None:
    while _held:
        lock = _held.pop()
        # Not by closing it alone: a forked child may have it still.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _after_fork() -> None:
    """A child has its parent's lock, and would keep it after the parent's end. (To unlock it would unlock the parent's.)"""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_after_fork)

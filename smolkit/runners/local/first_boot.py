"""Lock for the first start on a host, which must be alone.

In the first start the engine unpacks its disk templates beside itself, and its root file system into the state directory.
Concurrent starts destroy the templates (six at once did, 1.32.2); later ones do not touch them again.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from smolkit.errors import QueueTimeoutError
from smolkit.runners import blocking
from smolkit.runners.local.private_files import home, open_lock, private_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOOK = 0.05  # seconds between two tries to take the lock
_alone = blocking.Gate(1)  # for threads and tasks of this process, so that a deadlock among them is found
_held: set[FileIO] = set()  # the locked files of this process


def state_directories(env: Mapping[str, str]) -> list[Path]:
    """The directories of the engine's records and its machines' disks (all versions; SMOLVM_DATA_DIR from 1.2.5 on)."""
    base = home(env)
    if env.get("SMOLVM_DATA_DIR"):
        base, env = Path(env["SMOLVM_DATA_DIR"]), {}
    data = Path(env.get("XDG_DATA_HOME") or base / ".local/share")
    cache = Path(env.get("XDG_CACHE_HOME") or base / ".cache")
    return [data / "smolvm", cache / "smolvm"]


@contextmanager
def first_start_alone(program: str, env: Mapping[str, str], timeout: float | None = None) -> Iterator[None]:
    """Context manager around a start: one at a time, over all processes of this user, until one has succeeded; then no-op.

    A marker file beside the engine's state says that one has succeeded with this very program file: it is gone with the
    state directory, and another installation of the engine has another marker.

    Raises:
        QueueTimeoutError: another start was under way for `timeout` seconds.
    """
    try:
        info = os.stat(program)
    except OSError:  # it is gone: its start raises the error
        yield
        return
    marker = state_directories(env)[1] / f".smolkit-started-{info.st_ino:x}-{info.st_mtime_ns:x}"
    deadline = None if timeout is None else time.monotonic() + timeout
    own: list[FileIO] = []
    with ExitStack() as turn:
        try:
            try:
                # Not marker.exists(), which raises where it has no permission: under another user's HOME, say.
                if not os.path.exists(marker):
                    turn.enter_context(_alone.turn(timeout))
                    _take(own, deadline)
                if os.path.exists(marker):
                    _release(own)
                    turn.close()
                yield
                with suppress(OSError):
                    marker.parent.mkdir(parents=True, exist_ok=True)
                    os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            finally:
                _release(own)
        finally:
            _release(
                own
            )  # again: a signal handler that raised in the first one would leave it held until this process ends


def _lock_file() -> FileIO | None:
    given = os.environ.get("XDG_CACHE_HOME")
    cache = Path(given) if given else home(os.environ) / ".cache"
    shared = Path("/tmp", f"smolkit-{os.geteuid()}")  # noqa: S108  (checked to be ours)
    with suppress(OSError):
        directory = private_directory(cache / "smolkit", shared)
        try:
            return FileIO(open_lock(directory, "first-start.lock"), "r+")
        finally:
            os.close(directory)
    return None


def _take(own: list[FileIO], deadline: float | None) -> None:
    _release([*_held])  # the lock of a thread that is gone, with the event loop and the coroutine that it ran
    lock = _lock_file()
    if lock is None:  # no directory for it: as without smolkit
        return
    own.append(lock)
    _held.add(lock)
    # Never a flock that blocks: it takes no timeout, and would stop an event loop.
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline is not None and time.monotonic() >= deadline:
                message = "another program's first start on this host was under way all the time; nothing was run"
                raise QueueTimeoutError(message) from None
            blocking.interruptible(lambda: blocking.sleep(_LOOK))
        else:
            return


def _release(locks: list[FileIO]) -> None:
    for lock in locks:
        if not lock.closed:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing it does not unlock it while a forked child has it, too
            lock.close()
        _held.discard(lock)


def _after_fork() -> None:
    # A child has its parent's lock, and would hold it after the parent's end. Not unlocked: that would unlock the parent's.
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_after_fork)

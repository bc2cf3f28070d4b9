"""The first start on a host, alone.

The first start has the engine unpack its disk templates beside itself, and its root file system into the state directory.
Starts that race for that destroy the templates (six at once did, 1.32.2); once it is done they do not touch them again.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from smolkit.runners import waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOOK = 0.05  # seconds between two looks at a lock


def state_folders(env: Mapping[str, str]) -> list[Path]:
    """Where the engine keeps its records and its machines' disks (all versions; SMOLVM_DATA_DIR from 1.2.5 on)."""
    home = Path(env.get("HOME") or Path("~").expanduser())
    if env.get("SMOLVM_DATA_DIR"):
        home, env = Path(env["SMOLVM_DATA_DIR"]), {}
    data = Path(env.get("XDG_DATA_HOME") or home / ".local/share")
    cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
    return [data / "smolvm", cache / "smolvm"]


@contextmanager
def first_start_alone(program: str, env: Mapping[str, str]) -> Iterator[None]:
    """Lets one start through at a time, over all processes of this user, until one has succeeded; then all at once.

    That one did is remembered beside the engine's state, for this very file of the engine's: a state directory that is
    thrown away, or an engine that is installed anew, begins again.
    """
    info = os.stat(program)
    done = state_folders(env)[1] / f".smolkit-started-{info.st_ino:x}-{info.st_mtime_ns:x}"
    with ExitStack() as turn:
        if not done.exists():
            turn.enter_context(_locked())
        if done.exists():
            turn.close()
        yield
        with suppress(OSError):
            done.parent.mkdir(parents=True, exist_ok=True)
            done.touch()


@contextmanager
def _locked() -> Iterator[None]:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~").expanduser() / ".cache") / "smolkit"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "first-start.lock").open("w")
    except OSError:  # nowhere to lock: as without smolkit
        yield
        return
    with file:
        # An event loop must not be stopped by it.
        flags = fcntl.LOCK_EX if waiting.loop() is None else fcntl.LOCK_EX | fcntl.LOCK_NB
        while True:
            try:
                waiting.interruptible(lambda: fcntl.flock(file, flags))
                break
            except BlockingIOError:
                waiting.sleep(_LOOK)
        yield

"""Waiting for processes of this host: until a condition holds, not for a guessed time."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from smolkit.testing import NamespaceEngine

LONGEST = 60.0  # seconds; generous, for a host that is busy with other things


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: It did not hold within LONGEST seconds.
    """
    deadline = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not hold within {LONGEST:g} s")
        time.sleep(0.005)


def of_each_process(file: str) -> Iterator[Path]:
    """A file in /proc of each process, which may have ended: `Path.glob` raises ProcessLookupError if one ends then."""
    return (Path("/proc", name, file) for name in os.listdir("/proc") if name.isdecimal())


def running(argument: str) -> list[bytes]:
    """Return argv[0] of each process that has this argument."""
    found = []
    for file in of_each_process("cmdline"):
        with suppress(OSError):
            argv = file.read_bytes().split(b"\0")
            found += [argv[0]] if argument.encode() in argv else []
    return found


def until_gone(argument: str) -> None:
    """Wait until no process has this argument. (A process that was signalled ends a little later.)"""
    until(lambda: not running(argument))


def until_idle(engine: NamespaceEngine) -> None:
    """Wait until no call of this engine runs. (A call outlives a caller that is killed.)"""
    until(lambda: not _calls(engine))


def _calls(engine: NamespaceEngine) -> list[str]:
    """Return the processes of this engine that are calls, and not its VMs."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            is_own = os.readlink(f"/proc/{pid}/ns/pid_for_children") == os.readlink("/proc/self/ns/pid_for_children")
            if is_own and str(engine.program).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def add_foreign_machine(engine: NamespaceEngine) -> None:
    """Create the machine `foreign`, which nobody owns, and leave no trace of the call."""
    subprocess.run([engine.program, "machine", "create", "--name", "foreign", "--label", "team=ci"], check=True)
    (engine.folder / "calls").unlink()


def shared(folder: Path) -> list[tuple[Path, Path]]:
    """Return the option `volumes` of a machine that sees this directory by the same path."""
    return [(folder, folder)]


@contextmanager
def struck_after(seconds: float, error: BaseException) -> Iterator[None]:
    """Raise the error in this thread, from a signal handler, after `seconds`; not if the block has ended by then.

    It is not raised in a line of coverage, which would never release its lock. The signal is not SIGALRM, which bounds the
    tests themselves.
    """
    over, main = threading.Event(), threading.get_ident()

    def handle(number: int, frame: FrameType | None) -> None:
        if not over.is_set() and not (frame and "coverage" in frame.f_code.co_filename):
            over.set()
            raise error

    def strike() -> None:
        over.wait(seconds)
        while not over.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)
            over.wait(0.001)

    before, thread = signal.signal(signal.SIGUSR1, handle), threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)

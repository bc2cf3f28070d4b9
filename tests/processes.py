"""Processes of this host, and waiting for what they do: by its coming true, not by a guess at how long it takes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from smolkit.testing import PretendEngine

LONGEST = 60.0  # seconds that anything may take here, on a host that is busy with other things


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: it did not within LONGEST seconds.
    """
    deadline = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not hold within {LONGEST:g} s")
        time.sleep(0.005)


def running(argument: str) -> list[bytes]:
    """argv[0] of the processes that have this argument."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            argv = file.read_bytes().split(b"\0")
            found += [argv[0]] if argument.encode() in argv else []
    return found


def until_gone(argument: str) -> None:
    """Wait until no process has this argument: what a signal ends is gone in the kernel's own time."""
    until(lambda: not running(argument))


def until_idle(engine: PretendEngine) -> None:
    """Wait until no call of this engine runs: one outlives a caller that is killed."""
    until_gone(str(engine.program))


@contextmanager
def struck_after(seconds: float, error: BaseException) -> Iterator[None]:
    """Raise the error in this thread by a signal's handler after so many seconds, if the block lasts so long.

    Not in the lines of coverage, which would keep its lock for ever; and not by SIGALRM, which bounds the tests themselves.
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

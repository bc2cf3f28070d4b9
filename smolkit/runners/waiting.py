"""The one place where smolkit waits, so that an event loop can go on meanwhile.

A thread that waits is blocked. In a call of the async twin (`smolkit.aio`) what is written here hands the wait over to the
event loop instead: everything else of smolkit is the same code on both sides.
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from smolkit.runners.interrupts import Held, holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


# Seconds after which a thread's wait is begun anew. Python runs the handler of a signal that came between its last look and
# the system call only when that returns.
SLICE = 1.0


class Event(Protocol):
    """What one waits for, and another lets happen, from whatever thread."""

    def set(self) -> None:
        """Lets it happen."""

    def wait(self) -> object:
        """Waits until it has happened."""


class Loop(Protocol):
    """An event loop, seen from a call that it may leave."""

    def readable(self, fd: int | None, timeout: float | None) -> None:
        """Waits until there is something to read, or for so many seconds (None: for ever)."""

    @property
    def event(self) -> Callable[[], Event]:
        """Makes one to wait for in this call."""


_find: Callable[[], Loop | None] | None = None


def cooperate(find: Callable[[], Loop | None]) -> None:
    """From now on this tells the event loop, if any, that the running code may be left for."""
    global _find  # noqa: PLW0603  (set once, when smolkit.aio is imported)
    _find = find


def loop() -> Loop | None:
    """The event loop that goes on while this code waits; None: the thread is blocked."""
    return None if _find is None else _find()


def _hears_signals() -> bool:
    return threading.current_thread() is threading.main_thread() and loop() is None


def hold() -> Held:
    """From now on keep what signal handlers raise in this code (see `smolkit.runners.interrupts`)."""
    return Held(active=_hears_signals())


def holding_interrupts(function: Callable[[Held], T]) -> T:
    """Call this while interrupts are held; those that came are raised after it."""
    held = hold()
    try:
        given = function(held)
        held.settle()
        return given  # noqa: TRY300  (as long as this may be interrupted, somebody has to release)
    except BaseException as error:
        held.release()
        if held.kept:
            raise held.kept[0] from error
        raise


def interruptible(function: Callable[[], T]) -> T:
    """Call what waits: an interrupt that comes meanwhile is raised in it, also where interrupts are held."""
    if holding and _hears_signals():
        return holding[-1].let_out(function)
    return function()


def struck() -> int:
    """How many exceptions signal handlers have raised in this code since interrupts are held."""
    return holding[-1].count if holding and _hears_signals() else 0


def sleep(seconds: float) -> None:
    """Waits so long."""
    if (other := loop()) is None:
        time.sleep(seconds)
    else:
        other.readable(None, seconds)


def readable(fd: int, timeout: float | None) -> None:
    """Waits until there is something to read, or for so many seconds (None: for ever), or for less."""
    if (other := loop()) is not None:
        other.readable(fd, timeout)
        return
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    ready.poll(1000 * (SLICE if timeout is None else min(timeout, SLICE)))


def breathe() -> None:
    """Lets an event loop go on, for what takes no time but stands for something that would."""
    if (other := loop()) is not None:
        other.readable(None, 0)


class Gate:
    """Lets so many through at once, threads and tasks alike, in the order in which they came.

    Args:
        places: How many. None is without a bound.
    """

    def __init__(self, places: int | None) -> None:
        self._free = places
        self._lock = threading.Lock()
        self._queue: deque[Event] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for a place, and has it for the block. Where a signal handler may raise, interrupts must be held."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def during(self, function: Callable[[], T]) -> T:
        """Waits for a place, and has it while the function runs; no interrupt loses it."""
        if self._free is None:
            return function()

        def work(held: Held) -> T:
            with self.turn():
                return held.let_out(function)

        return holding_interrupts(work)

    def enter(self) -> None:
        """Waits for a place."""
        with self._lock:
            if self._free is None:
                return
            if self._free > 0:
                self._free -= 1
                return
            other = loop()
            turn = threading.Event() if other is None else other.event()
            self._queue.append(turn)
        try:
            interruptible(turn.wait)
        except BaseException:
            with self._lock:
                still_waits = turn in self._queue
                if still_waits:
                    self._queue.remove(turn)
            if not still_waits:
                self.leave()
            raise

    def leave(self) -> None:
        """Gives the place to who comes next."""
        with self._lock:
            while self._queue:
                with suppress(RuntimeError):  # an event loop that is gone
                    self._queue.popleft().set()
                    return
            if self._free is not None:
                self._free += 1

"""The one place where smolkit waits, so that an event loop can go on meanwhile.

A thread that waits is blocked. In a call of the async twin (`smolkit.aio`) what is written here hands the wait over to the
event loop instead: everything else of smolkit is the same code on both sides.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakSet

from smolkit.errors import DeadlockError, QueueTimeoutError
from smolkit.runners.interrupts import Held, holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


# Seconds after which a thread's wait is begun anew. Python runs the handler of a signal that came between its last look and
# the system call only when that returns.
SLICE = 1.0
_LOOK = 0.05  # seconds between two looks at what tells nobody that it is over


class Event(Protocol):
    """What one waits for, and another lets happen, from whatever thread."""

    def set(self) -> None:
        """Lets it happen."""

    def wait(self, timeout: float | None = None) -> object:
        """Waits until it has happened, or for so many seconds."""


class Loop(Protocol):
    """An event loop, seen from a call that it may leave."""

    def readable(self, fd: int | None, timeout: float | None) -> None:
        """Waits until there is something to read, or for so many seconds (None: for ever)."""

    @property
    def event(self) -> Callable[[], Event]:
        """Makes one to wait for in this call."""

    @property
    def task(self) -> object:
        """Identifies the task that made this call."""

    @property
    def is_gone(self) -> Callable[[], bool]:
        """Tells whether that task has ended."""


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


def holding_interrupts(function: Callable[[Held], T], undo: Callable[[T], object] | None = None) -> T:
    """Call this while interrupts are held; those that came are raised after it.

    Given `undo`, what the function gave is undone where that keeps it from the caller.
    """
    held = hold()
    made: list[T] = []
    try:
        made.append(function(held))
        held.settle()
        return made[0]
    except BaseException as error:
        if made and undo is not None:
            undo(made[0])
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


def caller() -> tuple[int, object]:
    """Identifies who runs this: the thread, and in an event loop the task."""
    other = loop()
    return threading.get_ident(), None if other is None else other.task


def caller_is_gone() -> Callable[[], bool]:
    """Tells, later on, whether the thread or task that calls this now has ended."""
    other, thread = loop(), threading.current_thread()
    return (lambda: not thread.is_alive()) if other is None else other.is_gone


def _event() -> Event:
    other = loop()
    return threading.Event() if other is None else other.event()


class Ticket:
    """A place in a Gate, or in its queue.

    Args:
        is_over: Tells of a holder that it is gone without having left; asked while others wait. Default: its thread or
            task has ended.

    Attributes:
        holder: Who holds up the place while it waits, as `caller` has it; None for nobody: it ends by itself.
    """

    def __init__(self, is_over: Callable[[], bool] | None = None) -> None:
        self.is_over = is_over
        self.holder: tuple[int, object] | None = None
        self.turn: Event | None = None


class Gate:
    """FIFO semaphore for threads and tasks.

    It has no lock and no count: those who came first have the places. A signal handler that strikes in any of these lines,
    with an exception or with calls of its own, finds nothing half done.

    Args:
        places: How many may be inside at once. None is without a bound.
        what: What they are, for people to read.
    """

    def __init__(self, places: int | None, what: str = "max_processes, max_starts") -> None:
        self._places, self._what = places, what
        self._line: list[Ticket] = []
        _gates.add(self)

    @contextmanager
    def turn(self, timeout: float | None = None) -> Iterator[None]:
        """Waits for a place, and has it for the block. Raises as `enter` does.

        Where a signal handler may raise between the block's lines and this, use `during`.
        """
        ticket = Ticket()
        try:
            try:
                self.enter(ticket, timeout)
                yield
            finally:
                self.leave(ticket)
        finally:
            self.leave(ticket)  # again: a signal handler's exception may have struck in the line above

    def during(self, function: Callable[[], T], timeout: float | None = None) -> T:
        """Waits for a place, and has it while the function runs; no interrupt loses it. Raises as `enter` does."""
        if self._places is None:
            return function()

        def work(held: Held) -> T:
            with self.turn(timeout):
                return held.let_out(function)

        return holding_interrupts(work)

    def enter(self, ticket: Ticket, timeout: float | None = None) -> None:
        """Waits for a place. The ticket has to leave again, also if this raises.

        Raises:
            QueueTimeoutError: none came free in so many seconds.
            DeadlockError: all are taken by calls that cannot go on before this one does.
        """
        if self._places is None:
            return
        ticket.holder, ticket.is_over = caller(), ticket.is_over or caller_is_gone()
        self._line.append(ticket)
        if self._line.index(ticket) >= self._places:
            self._wait(ticket, self._places, timeout)

    def leave(self, ticket: Ticket) -> None:
        """Gives the place to who comes next. No-op if the ticket has none."""
        with suppress(ValueError):
            self._line.remove(ticket)
        # The first of those who wait is told too: it looks after the holders (see _patience).
        for other in self._line[: (self._places or 0) + 1]:
            try:
                if other.turn is not None:
                    other.turn.set()
            except RuntimeError:  # of an event loop that is gone
                self.leave(other)

    def forget(self) -> None:
        """Frees all places: in a forked child, whose parent's threads are not there."""
        self._line.clear()

    def _wait(self, ticket: Ticket, places: int, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            ticket.turn = _event()  # before the look, so that no change after it is missed
            ahead = self._line.index(ticket)
            if ahead < places:
                return
            if self._sweep(places):
                continue
            self._check(places)
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise QueueTimeoutError(f"the call did not get its turn within {timeout:.3g} s; nothing was run")
            interruptible(partial(ticket.turn.wait, self._patience(ahead, places, left)))

    def _patience(self, ahead: int, places: int, left: float | None) -> float:
        """Holders that tell nobody that they are over are looked at by the first of those who wait."""
        looks = ahead == places and any(ticket.is_over for ticket in self._line[:places])
        return min(_LOOK if looks else SLICE, SLICE if left is None else left)

    def _sweep(self, places: int) -> bool:
        """Frees the places of those who are over; whether there were any."""
        over = [ticket for ticket in self._line[:places] if ticket.is_over is not None and ticket.is_over()]
        for ticket in over:
            self.leave(ticket)
        return bool(over)

    def _check(self, places: int) -> None:
        """A thread that waits stops what is below it on its stack, and all tasks of its event loop; a task stops itself."""
        thread, task = caller()
        holders = [other.holder for other in self._line[:places]]
        mine = [holder and (holder[0] == thread if task is None else holder == (thread, task)) for holder in holders]
        if holders and all(mine):
            raise DeadlockError(
                f"this call would wait for ever: it waits for one of {places} places ({self._what}), and "
                "calls that wait for it have them all; nothing was run"
            )


_gates: WeakSet[Gate] = WeakSet()


def _after_fork() -> None:
    for gate in _gates:
        gate.forget()


os.register_at_fork(after_in_child=_after_fork)


class Sole:
    """Lets one in at a time, and refuses the others.

    Args:
        refusal: What they are told.
    """

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        self._line: list[object] = []

    @property
    def busy(self) -> bool:
        """Whether one is in."""
        return bool(self._line)

    def during(self, function: Callable[[], T]) -> T:
        """Has it alone, while the function runs. No interrupt loses that.

        Raises:
            RuntimeError: another one has.
        """
        ticket = object()
        try:
            self._line.append(ticket)
            if self._line[0] is not ticket:
                raise RuntimeError(self._refusal)
            return function()
        finally:
            self._line.remove(ticket)  # one call of C code: Python looks for signals after it

"""The one place where smolkit waits, so that an event loop can go on meanwhile.

A wait in a thread blocks it. In a call of the async twin (`smolkit.aio`) these functions hand the wait to the event loop
instead: all other code of smolkit is the same on both sides.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakSet

from smolkit.errors import DeadlockError, QueueTimeoutError
from smolkit.runners.interrupts import Held, holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


# Seconds after which a thread's wait is begun anew. A signal may arrive after Python has last looked for one and before the
# system call: Python runs its handler only when the call returns.
SLICE = 1.0
_LOOK = 0.05  # seconds between two looks at a holder whose end wakes nobody


class Event(Protocol):
    """A flag that others wait for, and any thread may set."""

    def set(self) -> None:
        """Wake who waits."""

    def wait(self, timeout: float | None = None) -> object:
        """Wait until it is set, for at most `timeout` seconds."""


class Loop(Protocol):
    """The event loop, seen from a sync call that one of its tasks made."""

    def readable(self, fd: int | None, timeout: float | None) -> None:
        """Wait until the descriptor is readable, for at most `timeout` seconds (None: without a bound)."""

    @property
    def event(self) -> Callable[[], Event]:
        """A factory of events that this call can wait for."""

    @property
    def task(self) -> object:
        """The identity of the task that made this call."""

    @property
    def is_gone(self) -> Callable[[], bool]:
        """A function that tells later on whether that task has ended."""


_find: Callable[[], Loop | None] | None = None


def cooperate(find: Callable[[], Loop | None]) -> None:
    """Set the function that finds the event loop, if any, to which the running code hands its waits."""
    global _find  # noqa: PLW0603  (set once, when smolkit.aio is imported)
    _find = find


def loop() -> Loop | None:
    """The event loop that goes on while this code waits, or None: a wait blocks the thread."""
    return None if _find is None else _find()


def _hears_signals() -> bool:
    return threading.current_thread() is threading.main_thread() and loop() is None


def hold() -> Held:
    """Start to keep what signal handlers raise in this code (see "How interrupts work" in `smolkit.flows.steps`)."""
    return Held(active=_hears_signals())


def holding_interrupts(function: Callable[[Held], T], undo: Callable[[T], object] | None = None) -> T:
    """Call the function while interrupts are held, and raise those that came after it.

    Args:
        function: What to call.
        undo: Called with its result if an interrupt keeps that from the caller.
    """
    held = hold()
    made: list[T] = []
    try:
        made.append(function(held))
        held.settle()
        return made[0]  # an interrupt that strikes in this line, or in the one before, undoes it, too
    except BaseException as error:
        if made and undo is not None:
            undo(made[0])
        held.release()
        if held.kept:
            raise held.kept[0] from error
        raise


def interruptible(function: Callable[[], T]) -> T:
    """Call a function that waits: an interrupt that comes meanwhile is raised in it, also while interrupts are held."""
    # The innermost holder decides: it is the one whose procedure waits here.
    if holding and _hears_signals():
        return holding[-1].let_out(function)
    return function()


def struck() -> int:
    """The number of exceptions that signal handlers have raised in this code since interrupts are held."""
    return holding[-1].count if holding and _hears_signals() else 0


def sleep(seconds: float) -> None:
    """Wait for `seconds`."""
    if (other := loop()) is None:
        time.sleep(seconds)
    else:
        other.readable(None, seconds)


def readable(fd: int, timeout: float | None) -> None:
    """Wait until the descriptor is readable, for at most `timeout` seconds (None: without a bound). May return early."""
    if (other := loop()) is not None:
        other.readable(fd, timeout)
        return
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    ready.poll(1000 * (SLICE if timeout is None else min(timeout, SLICE)))


def breathe() -> None:
    """Let the event loop run other tasks: for a fake's call, which takes no time but stands for one that does."""
    if (other := loop()) is not None:
        other.readable(None, 0)


def caller() -> tuple[int, object]:
    """The identity of who runs this code: the thread, and in an event loop the task."""
    other = loop()
    return threading.get_ident(), None if other is None else other.task


def caller_is_gone() -> Callable[[], bool]:
    """A function that tells later on whether the thread or task that makes this call has ended."""
    other, thread = loop(), threading.current_thread()
    return (lambda: not thread.is_alive()) if other is None else other.is_gone


def event() -> Event:
    """An event for which this code can wait: a thread, or a task of an event loop."""
    other = loop()
    return threading.Event() if other is None else other.event()


class Ticket:
    """A place in a Gate, or in its queue.

    Args:
        is_over: Whether the holder is gone without having released it; called while others wait. Default: whether its
            thread or task has ended.

    Attributes:
        holder: The thread and task that have to go on for the place to come free (see `caller`); None if it does so by
            itself.
    """

    def __init__(self, is_over: Callable[[], bool] | None = None) -> None:
        self.is_over = is_over
        self.holder: tuple[int, object] | None = None
        self.turn: Event | None = None


class Gate:
    """FIFO semaphore for threads and tasks.

    It has no lock and no count, only a line: those who came first have the places. So a signal handler that strikes in any
    of these lines, with an exception or with calls of its own, finds nothing half done.

    Args:
        places: The number of holders at once; None is without a bound.
        what: What the places are, for the message of a DeadlockError.
    """

    def __init__(self, places: int | None, what: str = "max_processes, max_starts") -> None:
        self._places, self._what = places, what
        self._line: list[Ticket] = []
        _gates.add(self)

    @contextmanager
    def turn(self, timeout: float | None = None) -> Iterator[None]:
        """Hold a place for the block. Raises as `acquire` does.

        Use `during` where a signal handler may raise between the lines of the block and these.
        """
        ticket = Ticket()
        try:
            try:
                self.acquire(ticket, timeout)
                yield
            finally:
                self.release(ticket)
        finally:
            self.release(ticket)  # again: a signal handler's exception may have struck in the line above

    def during(self, function: Callable[[], T], timeout: float | None = None) -> T:
        """Hold a place while the function runs; no interrupt loses it. Raises as `acquire` does."""
        if self._places is None:
            return function()

        def work(held: Held) -> T:
            with self.turn(timeout):
                return held.let_out(function)

        return holding_interrupts(work)

    def acquire(self, ticket: Ticket, timeout: float | None = None) -> None:
        """Wait for a place. The ticket must be released, also if this raises.

        Raises:
            QueueTimeoutError: none came free within `timeout` seconds.
            DeadlockError: all are held by calls that cannot go on before this one does.
        """
        if self._places is None:
            return
        ticket.holder, ticket.is_over = caller(), ticket.is_over or caller_is_gone()
        self._line.append(ticket)
        if self._line.index(ticket) >= self._places:
            self._wait(ticket, self._places, timeout)

    def release(self, ticket: Ticket) -> None:
        """Give the place to the next in line. No-op if the ticket has none."""
        try:
            self._line.remove(ticket)
        except ValueError:
            return
        # The first of those who wait is woken too: it is the one that looks after the holders (see _patience).
        for other in self._line[: (self._places or 0) + 1]:
            try:
                if other.turn is not None:
                    other.turn.set()
            except RuntimeError:  # of an event loop that is gone
                self.release(other)  # nobody waits with it any more

    def forget(self) -> None:
        """Free all places: in a forked child, which has none of its parent's other threads."""
        self._line.clear()

    def _wait(self, ticket: Ticket, places: int, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            ticket.turn = event()  # made before looking at the line, so that no change after that is missed
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
        """Seconds until the next look. The first of those who wait looks often, after holders whose end wakes nobody."""
        looks = ahead == places and any(ticket.is_over for ticket in self._line[:places])
        return min(_LOOK if looks else SLICE, SLICE if left is None else left)

    def _sweep(self, places: int) -> bool:
        """Free the places of holders that are over, and tell whether there were any."""
        over = [ticket for ticket in self._line[:places] if ticket.is_over is not None and ticket.is_over()]
        for ticket in over:
            self.release(ticket)
        return bool(over)

    def _check(self, places: int) -> None:
        """Raise if all places are held by calls that this wait stops.

        A thread that waits stops what is below it on its stack, and all tasks of its event loop; a task only itself.

        Raises:
            DeadlockError: they are.
        """
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
    """A lock that refuses others instead of making them wait.

    Args:
        refusal: The message for them.
    """

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        self._line: list[object] = []

    @property
    def busy(self) -> bool:
        """True while it is held."""
        return bool(self._line)

    def during(self, function: Callable[[], T]) -> T:
        """Hold it while the function runs; no interrupt loses it.

        Raises:
            RuntimeError: another one holds it.
        """
        ticket = object()
        try:
            self._line.append(ticket)
            if self._line[0] is not ticket:
                raise RuntimeError(self._refusal)
            return function()
        finally:
            self._line.remove(ticket)  # one call of C code: Python looks for signals only after it

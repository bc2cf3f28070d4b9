"""The schedule of a map over a fleet: which task runs where and when, and what becomes of it if its host fails.

It knows neither Ray nor a real clock. An Executor gives it places for machines, and runs tasks there, one at a time in
each. A place is asked for only once there is a task for it, and a task is read only once there may be a place for it: the
fleet's own room bounds what runs at once, and `AHEAD` requests beyond it let the fleet grow.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from typing import Any, final

from attrs import define, field, frozen

from smolkit.errors import TaskLostError, TaskTimeoutError
from smolkit.ray.executor import Ended, Executor, Lost, Opened

AHEAD = 16  # tasks that are read, and places that are asked for, before there is room
BUFFER = 4  # results, for each place, that wait for an earlier one where they are to come in order
_GRACE = 10.0  # seconds that a cancelled task has to remove its machine, before it is killed
_LOOK = 5.0  # seconds between two looks at the clock, at most
_SHUN = 30.0  # seconds for which no place is asked for on a host that failed, unless a task succeeds there


@define(eq=False)
class _Work:
    index: int
    task: Any
    failures: list[BaseException] = field(factory=list)


@define(eq=False)
class _Spot:
    """A place, and what it is used for. `alarm` is when it is looked at again."""

    place: Hashable
    host: str | None = None
    work: _Work | None = None
    alarm: float = math.inf
    is_late: bool = False


@frozen
class Rules:
    """The ways of a map.

    Attributes:
        most: The most tasks that were read and whose results were not taken yet. None: as the fleet has room.
        retries: How often a task is run again that was lost.
        timeout: Seconds for a task.
        wait: Seconds without a single place after which the map fails.
        ordered: Whether results come in the order of the tasks.
    """

    most: int | None = None
    retries: int = 3
    timeout: float | None = None
    wait: float | None = None
    ordered: bool = False


@final
class Schedule:
    """One run of a map.

    Args:
        executor: Runs the tasks.
        tasks: The tasks; read as there is room.
        rules: How they are run.
        clock: A monotonic clock, in seconds.
        progress: Called with the number of results so far.
    """

    def __init__(
        self,
        executor: Executor,
        tasks: Iterable[Any],
        rules: Rules,
        clock: Callable[[], float],
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self._executor, self._rules, self._clock = executor, rules, clock
        self._progress = progress or (lambda _: None)
        self._tasks: Iterator[tuple[int, Any]] | None = enumerate(tasks)
        self._waiting = deque[_Work]()
        self._spots: dict[Hashable, _Spot] = {}
        self._opening: dict[Hashable, _Spot] = {}
        self._idle: dict[Hashable, _Spot] = {}
        self._shunned: dict[str, float] = {}  # hosts, and until when
        self._results: dict[int, Ended] = {}  # that were not handed out
        self._read = self._handed = self._done = 0
        self._next_look = math.inf
        self._roomless = clock()  # since when there is not a single place

    def run(self) -> Generator[tuple[int, Ended]]:
        """Yield the outcome of each task with its index: a value, or an error that no retry is left for."""
        try:
            while self._refill():
                for place, event in self._executor.wait(self._patience()):
                    self._receive(place, event)
                self._look()
                due = self._take_due()
                self._refill()  # first: the fleet works on while the caller works on these
                yield from due
        finally:
            self._executor.end()

    def _refill(self) -> bool:
        """Give all free places work, and ask for as many as there is work for. False if everything was handed out."""
        self._read_tasks()
        for spot in tuple(self._idle.values()):
            self._assign(spot)
        most = self._rules.most or math.inf
        wanted = min(len(self._waiting) - len(self._idle), AHEAD)
        while len(self._opening) < wanted and len(self._spots) < most:
            self._open()
        if self._tasks is None:
            self._close_needless()
        return self._tasks is not None or self._read > self._handed

    def _read_tasks(self) -> None:
        while (
            self._tasks is not None
            and len(self._waiting) < AHEAD + len(self._idle)
            and self._read - self._handed < self._window()
        ):
            try:
                self._waiting.append(_Work(*next(self._tasks)))
                self._read += 1
            except StopIteration:
                self._tasks = None

    def _window(self) -> int:
        """The most tasks that were read and not handed out."""
        return self._rules.most or AHEAD + (BUFFER if self._rules.ordered else 1) * len(self._spots)

    def _assign(self, spot: _Spot) -> None:
        """Give a free place the first task that should run there."""
        elsewhere = None
        for number, work in enumerate(self._waiting):
            if work.failures and elsewhere is None:
                elsewhere = self._is_better_elsewhere(spot)
            if not (work.failures and elsewhere):
                del self._waiting[number]
                self._submit(spot, work)
                return

    def _is_better_elsewhere(self, spot: _Spot) -> bool:
        shunned = self._shunned_hosts()
        return spot.host in shunned and any(other.host and other.host not in shunned for other in self._spots.values())

    def _submit(self, spot: _Spot, work: _Work) -> None:
        del self._idle[spot.place]
        spot.work = work
        if self._rules.timeout is not None:
            self._set_alarm(spot, self._clock() + self._rules.timeout)
        self._executor.submit(spot.place, work.task)

    def _open(self) -> None:
        shunned = self._shunned_hosts()
        spot = _Spot(self._executor.open(shunned))
        self._spots[spot.place] = self._opening[spot.place] = spot
        if shunned:  # once they are shunned no more, any host will do
            self._set_alarm(spot, self._clock() + _SHUN)

    def _shunned_hosts(self) -> set[str]:
        now = self._clock()
        self._shunned = {host: until for host, until in self._shunned.items() if now < until}
        return set(self._shunned)

    def _close_needless(self) -> None:
        """Leave the room that no task needs any more to others."""
        left = len(self._waiting)
        for spot in (*tuple(self._opening.values())[left:], *(() if left else tuple(self._idle.values()))):
            self._close(spot)

    def _close(self, spot: _Spot) -> None:
        for spots in (self._spots, self._opening, self._idle):
            spots.pop(spot.place, None)
        self._executor.close(spot.place)

    def _receive(self, place: Hashable, event: Opened | Ended | Lost) -> None:
        spot = self._spots.get(place)
        if spot is None:  # it was closed meanwhile
            return
        work, spot.work, spot.alarm = spot.work, None, math.inf
        self._opening.pop(place, None)
        if isinstance(event, Opened):
            spot.host = event.host
        if isinstance(event, Lost) or spot.is_late or not (isinstance(event, Opened) or event.is_clean):
            self._close(spot)
        else:
            self._idle[place] = spot
        if isinstance(event, Lost) and not spot.is_late:
            self._lose(spot, work, event.error)
        elif work is not None:
            self._end(spot, work, event)

    def _lose(self, spot: _Spot, work: _Work | None, error: BaseException) -> None:
        """Run a lost task again, or give it up."""
        if spot.host is not None:
            self._shunned[spot.host] = self._clock() + _SHUN
        if work is None:  # a place that was lost before it was used counts against the next task: there is an end to it
            if not self._waiting:
                return
            work = self._waiting.popleft()
        work.failures.append(error)
        if len(work.failures) <= self._rules.retries:
            self._waiting.appendleft(work)
        else:
            self._hand_out(work, Ended(error=_lost(work)))

    def _end(self, spot: _Spot, work: _Work, event: Opened | Ended | Lost) -> None:
        if isinstance(event, Ended) and not (spot.is_late and event.error is not None):
            self._shunned.pop(spot.host or "", None)
            self._hand_out(work, event)
        else:
            self._give_up(spot, work)

    def _give_up(self, spot: _Spot, work: _Work) -> None:
        message = f"task {work.index} took longer than {self._rules.timeout:.6g} s on {spot.host}, and was ended"
        self._hand_out(work, Ended(error=TaskTimeoutError(message)))

    def _hand_out(self, work: _Work, result: Ended) -> None:
        self._results[work.index] = result
        self._done += 1
        self._progress(self._done)

    def _take_due(self) -> list[tuple[int, Ended]]:
        """The results that may be handed out now."""
        if self._rules.ordered:
            count = next(number for number in itertools.count() if self._handed + number not in self._results)
            indices = list(range(self._handed, self._handed + count))
        else:
            indices = list(self._results)
        self._handed += len(indices)
        return [(index, self._results.pop(index)) for index in indices]

    def _set_alarm(self, spot: _Spot, time: float) -> None:
        spot.alarm = time
        self._next_look = min(self._next_look, time)

    def _patience(self) -> float:
        """Seconds until the next look."""
        most = _LOOK if self._rules.wait is None else min(_LOOK, self._rules.wait)
        return max(0.0, min(most, self._next_look - self._clock()))

    def _look(self) -> None:
        """See to the places whose time is over.

        Raises:
            SmolvmError: there was not a single place for too long.
        """
        now = self._clock()
        if len(self._spots) > len(self._opening) or not self._opening:
            self._roomless = now
        elif self._rules.wait is not None and now >= self._roomless + self._rules.wait:
            self._fail_without_room(now)
        if now >= self._next_look:
            for spot in [spot for spot in self._spots.values() if spot.alarm <= now]:
                self._see_to(spot, now)
            self._next_look = min((spot.alarm for spot in self._spots.values()), default=math.inf)

    def _fail_without_room(self, now: float) -> None:
        error = self._executor.no_room(now - self._roomless)
        if error is not None:
            raise error
        self._roomless = now

    def _see_to(self, spot: _Spot, now: float) -> None:
        if spot.work is not None and not spot.is_late:
            spot.is_late = True
            self._set_alarm(spot, now + _GRACE)
            self._executor.cancel(spot.place)
            return
        self._close(spot)
        if spot.work is not None:
            self._give_up(spot, spot.work)


def _lost(work: _Work) -> TaskLostError:
    """The error of a task for which there are no retries left."""
    last, tries = work.failures[-1], len(work.failures)
    times = "once" if tries == 1 else f"{tries} times"
    first_line = (str(last).splitlines() or [""])[0]
    error = TaskLostError(f"task {work.index} was lost {times}, the last time to {type(last).__name__}: {first_line}")
    error.__cause__ = last
    return error

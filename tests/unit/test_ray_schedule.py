"""The schedule of a map over a fleet, on an executor in memory with a clock of its own."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.errors import SmolvmError, TaskLostError
from smolkit.ray.executor import Ended, Lost, Opened
from smolkit.ray.schedule import AHEAD, BUFFER, Rules, Schedule

Happening = Opened | Ended | Lost
FOREVER = float("inf")


class Fleet:
    """An executor in memory.

    Args:
        room: How many places each host has.
        run: Tells of a task, and of the host that it is run on, how long it takes and how it ends. Default: it takes a
            second, and its result is the task.
        heeds: Whether tasks end when they are cancelled.
    """

    def __init__(
        self, room: dict[str, int], run: Callable[[Any, str], tuple[float, Happening]] | None = None, *, heeds: bool = True
    ) -> None:
        self.room, self.heeds = room, heeds
        self.now = 0.0
        self.run = run or (lambda task, _: (1.0, Ended(task)))
        self.numbers = itertools.count()
        self.pending: dict[int, set[str]] = {}  # places that were asked for, and the hosts where they must not be
        self.places: dict[int, str] = {}
        self.busy: dict[int, Any] = {}
        self.events: list[tuple[float, int, int, Happening]] = []
        self.most_busy = 0
        self.opened = 0
        self.ended = 0
        self.cancelled: list[Any] = []

    def open(self, shunned: Collection[str]) -> int:
        """A place is there as soon as a host has room."""
        number = next(self.numbers)
        self.pending[number] = set() if {*self.room} <= {*shunned} else {*shunned}
        self._place()
        return number

    def _place(self) -> None:
        for number, shunned in tuple(self.pending.items()):
            for host, room in self.room.items():
                if host not in shunned and [*self.places.values()].count(host) < room:
                    del self.pending[number]
                    self.places[number] = host
                    self.opened += 1
                    self._tell(0.01, number, Opened(host))
                    break

    def _tell(self, seconds: float, place: int, event: Happening) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), place, event))

    def submit(self, place: int, task: Any) -> None:
        """Each place runs one task at a time."""
        assert place in self.places
        assert place not in self.busy
        self.busy[place] = task
        self.most_busy = max(self.most_busy, len(self.busy))
        seconds, event = self.run(task, self.places[place])
        self._tell(seconds, place, event)

    def cancel(self, place: int) -> None:
        """The task ends at once, if it heeds."""
        self.cancelled.append(self.busy[place])
        if self.heeds:
            self._tell(0.0, place, Lost(KeyboardInterrupt()))

    def close(self, place: int) -> None:
        """Its room is free at once."""
        self.pending.pop(place, None)
        self.places.pop(place, None)
        self.busy.pop(place, None)
        self.events = [event for event in self.events if event[2] != place]
        heapq.heapify(self.events)
        self._place()

    def wait(self, timeout: float) -> Iterator[tuple[int, Happening]]:
        """All events of the next moment at which there are some."""
        if not self.events or self.events[0][0] > self.now + timeout:
            self.now += max(timeout, 1e-6)
            return
        self.now = max(self.now, self.events[0][0])
        while self.events and self.events[0][0] <= self.now:
            *_, place, event = heapq.heappop(self.events)
            if isinstance(event, Ended | Lost):
                self.busy.pop(place, None)
            yield place, event

    def end(self) -> None:
        """Nothing is left."""
        self.ended += 1
        self.pending, self.places, self.busy = {}, {}, {}

    def no_room(self, seconds: float) -> SmolvmError:
        """The error of a full fleet."""
        return SmolvmError(f"no room within {seconds:.0f} s")


def results(fleet: Fleet, tasks: Iterable[Any], **rules: Any) -> list[tuple[int, Any]]:
    """All results: an index with a value, or with the name of an error."""
    run = Schedule(fleet, tasks, Rules(**rules), lambda: fleet.now).run()
    found = [(index, ended.value if ended.error is None else type(ended.error).__name__) for index, ended in run]
    assert 1 == fleet.ended
    return found


def test_results_come_as_tasks_end() -> None:
    """A short task's result comes before that of a long one that began earlier."""
    fleet = Fleet({"a": 2}, lambda task, _: (task, Ended(-task)))

    assert [(1, -1.0), (2, -2.0), (0, -9.0)] == results(fleet, [9.0, 1.0, 2.0])


def test_results_come_in_order_if_asked_for() -> None:
    """A long task holds back the results of those behind it."""
    fleet = Fleet({"a": 2}, lambda task, _: (task, Ended(-task)))

    assert [(0, -9.0), (1, -1.0), (2, -2.0)] == results(fleet, [9.0, 1.0, 2.0], ordered=True)


def test_no_tasks_need_no_place() -> None:
    """An empty list asks the fleet for nothing."""
    fleet = Fleet({"a": 1})

    assert [] == results(fleet, [])
    assert 0 == fleet.opened


def test_a_place_serves_one_task_after_another() -> None:
    """A hundred tasks in four places need four places; all room is used."""
    fleet = Fleet({"a": 3, "b": 1})

    assert 100 == len(results(fleet, range(100)))
    assert (4, 4) == (fleet.opened, fleet.most_busy)
    assert fleet.now < 26


def test_a_fleet_that_grows_is_used() -> None:
    """Room that comes free while the map runs is taken."""
    fleet = Fleet({"a": 1})

    def tasks() -> Iterator[int]:
        for number in range(100):
            if number == 30:
                fleet.room["b"] = 9
            yield number

    assert 100 == len(results(fleet, tasks()))
    assert 10 == fleet.most_busy


def test_room_that_no_task_needs_is_left_to_others() -> None:
    """While the last task runs, the map holds one place and asks for no other."""
    fleet = Fleet({"a": 4}, lambda task, _: (task, Ended(task)))
    run = Schedule(fleet, [1.0, 1.0, 1.0, 1.0, 99.0], Rules(), lambda: fleet.now).run()
    for _ in range(4):
        next(run)

    assert (1, 0) == (len(fleet.places), len(fleet.pending))
    assert [4] == [index for index, _ in run]


@pytest.mark.parametrize("rules", [{}, {"ordered": True}, {"most": 3}, {"most": 3, "ordered": True}])
def test_tasks_are_read_as_there_is_room(rules: dict[str, Any]) -> None:
    """A generator of very many tasks is never read far ahead of the results that were taken, also where one task sticks."""
    fleet = Fleet({"a": 4}, lambda task, _: (50.0 if task == 5 else 1.0, Ended(task)))
    read, most = itertools.count(), 0
    for taken, _ in enumerate(Schedule(fleet, read, Rules(**rules), lambda: fleet.now).run(), 1):
        most = max(most, int(repr(read)[len("count(") : -1]) - taken)
        if taken == 1000:
            break

    places = 4 + AHEAD
    bound = rules.get("most", AHEAD + places * (BUFFER if rules.get("ordered") else 1))
    assert most <= 2 * bound  # what has ended, and is being handed out, does not count


def test_at_most_so_many_are_under_way() -> None:
    """`most` bounds what runs at once, where the fleet would have more room."""
    fleet = Fleet({"a": 100})

    assert 20 == len(results(fleet, range(20), most=3))
    assert 3 == fleet.most_busy


def test_the_fleet_works_while_the_caller_does() -> None:
    """All free places have their next task before a result is handed out."""
    fleet = Fleet({"a": 4})
    run = Schedule(fleet, itertools.count(), Rules(), lambda: fleet.now).run()
    for _ in range(40):
        next(run)
        assert 4 == len(fleet.busy)
    run.close()


@pytest.mark.parametrize("end", ["break", "exception", "close"])
def test_the_end_of_the_loop_ends_everything(end: str) -> None:
    """A generator that is left ends what runs, once."""
    fleet = Fleet({"a": 4})
    run = Schedule(fleet, itertools.count(), Rules(), lambda: fleet.now).run()
    next(run)
    if end == "exception":
        with pytest.raises(KeyboardInterrupt):
            run.throw(KeyboardInterrupt)
    else:
        run.close()

    assert (1, {}) == (fleet.ended, fleet.busy)


def test_a_generator_that_was_never_begun_asks_for_nothing() -> None:
    """Only the first result needs the fleet."""
    fleet = Fleet({"a": 4})
    Schedule(fleet, [1], Rules(), lambda: fleet.now).run().close()

    assert 0 == fleet.opened == fleet.ended


def test_tasks_that_fail_to_come_end_everything() -> None:
    """What the iterable raises comes out, and nothing is left."""

    def tasks() -> Iterator[int]:
        yield 1
        raise LookupError

    fleet = Fleet({"a": 1})
    with pytest.raises(LookupError):
        results(fleet, tasks())
    assert 1 == fleet.ended


def test_a_functions_exception_is_its_result() -> None:
    """It is not tried again, and the place goes on."""
    tried: list[int] = []

    def run(task: int, _: str) -> tuple[float, Happening]:
        tried.append(task)
        return 1.0, Ended(error=ZeroDivisionError()) if task == 1 else Ended(task)

    fleet = Fleet({"a": 1}, run)
    assert [(0, 0), (1, "ZeroDivisionError"), (2, 2)] == results(fleet, range(3))
    assert ([0, 1, 2], 1) == (tried, fleet.opened)


def test_a_lost_task_is_run_elsewhere() -> None:
    """A host that loses what runs there gets no task again that was lost, while another host serves."""
    ran: list[tuple[int, str]] = []

    def run(task: int, host: str) -> tuple[float, Happening]:
        ran.append((task, host))
        return (0.1, Lost(OSError("gone"))) if host == "bad" else (1.0, Ended(task))

    fleet = Fleet({"bad": 1, "good": 2}, run)
    assert [*range(20)] == sorted(value for _, value in results(fleet, range(20)))
    hosts = {task: [host for other, host in ran if other == task] for task in range(20)}
    assert {("good",), ("bad", "good")} == {*map(tuple, hosts.values())}
    assert fleet.now < 20


def test_a_host_is_tried_again_later() -> None:
    """The only other host is full with what nobody else can do; after a while the first one, now well, serves again."""
    lost: list[int] = []

    def run(task: int, host: str) -> tuple[float, Happening]:
        if task == 0:
            return 1000.0, Ended("long")
        if not lost:
            lost.append(task)
            return 0.1, Lost(OSError("gone"))
        return 1.0, Ended(host)

    fleet = Fleet({"a": 1, "b": 1}, run)
    found = results(fleet, range(4))
    assert {(0, "long"), (1, "b"), (2, "b"), (3, "b")} == {*found}
    assert 1000 < fleet.now < 1001


def test_a_task_that_is_lost_too_often_is_given_up() -> None:
    """It has a TaskLostError, which has the last failure; other tasks have their results."""
    fleet = Fleet({"a": 2}, lambda task, _: (1.0, Lost(OSError(f"gone {task}")) if task == 1 else Ended(task)))
    run = Schedule(fleet, range(4), Rules(retries=2), lambda: fleet.now).run()
    found = dict(run)
    error = found[1].error

    assert [0, None, 2, 3] == [found[index].value for index in range(4)]
    assert isinstance(error, TaskLostError)
    assert "task 1 was lost 3 times, the last time to OSError: gone 1" == error.message
    assert isinstance(error.__cause__, OSError)


def test_places_that_are_lost_before_they_are_used_have_an_end() -> None:
    """Where no place ever comes up, each task is given up after its retries."""

    class Broken(Fleet):
        def open(self, shunned: Collection[str]) -> int:  # noqa: ARG002
            number = next(self.numbers)
            self._tell(0.1, number, Lost(OSError("no keeper")))
            return number

    assert [(index, "TaskLostError") for index in range(5)] == sorted(results(Broken({}), range(5), retries=1))


def test_a_place_that_may_hold_something_is_not_used_again() -> None:
    """The result stands, and the next task gets another place."""
    fleet = Fleet({"a": 1}, lambda task, _: (1.0, Ended(task, is_clean=False)))

    assert [(0, 0), (1, 1), (2, 2)] == results(fleet, range(3))
    assert 3 == fleet.opened


@pytest.mark.parametrize("heeds", [True, False])
def test_a_task_that_takes_too_long_is_ended(heeds: bool) -> None:
    """It is cancelled and then killed; it is not tried again, and others are not held up."""
    fleet = Fleet({"a": 2}, lambda task, _: (FOREVER if task == 0 else 1.0, Ended(task)), heeds=heeds)

    assert {(0, "TaskTimeoutError"), *((index, index) for index in range(1, 8))} == {*results(fleet, range(8), timeout=5)}
    assert [0] == fleet.cancelled
    assert 5 <= fleet.now < 20


def test_a_timeout_is_each_tasks() -> None:
    """It begins when the task does, not with those before it in its place."""
    fleet = Fleet({"a": 1}, lambda task, _: (4.0, Ended(task)))

    assert [(index, index) for index in range(5)] == results(fleet, range(5), timeout=5)


def test_a_result_that_comes_with_the_cancellation_counts() -> None:
    """A task that ends by itself once it is cancelled has its result."""

    class Slow(Fleet):
        def cancel(self, place: int) -> None:
            self._tell(1.0, place, Ended("late"))

    fleet = Slow({"a": 1}, lambda *_: (FOREVER, Ended()))
    assert [(0, "late")] == results(fleet, [0], timeout=5)


def test_a_fleet_without_room_is_an_error() -> None:
    """Nothing runs within `wait`: the executor's error comes out. While something runs, the rest waits for it."""
    fleet = Fleet({"a": 0})
    with pytest.raises(SmolvmError, match="no room within 60 s"):
        results(fleet, [1], wait=60)

    assert 2 == len(results(Fleet({"a": 1}, lambda task, _: (500.0, Ended(task))), [1, 2], wait=60))


def test_progress_is_told() -> None:
    """It is called with the number of results, failures and all, but not of retries."""
    told: list[int] = []
    lost = iter([Lost(OSError())])
    fleet = Fleet({"a": 2}, lambda task, _: (1.0, next(lost, Ended(task))))
    run = Schedule(fleet, range(5), Rules(), lambda: fleet.now, told.append).run()

    assert 5 == len([*run])
    assert [1, 2, 3, 4, 5] == told


HOSTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 4), min_size=1).filter(lambda room: any(room.values()))


@settings(max_examples=200, deadline=None)
@given(st.data(), HOSTS, st.integers(0, 40), st.booleans(), st.one_of(st.none(), st.integers(1, 5)))
def test_every_task_has_one_outcome(
    data: st.DataObject, room: dict[str, int], count: int, ordered: bool, most: int | None
) -> None:
    """Whatever hosts lose and functions raise, each task comes out once, and is run as often as it may be."""
    runs: dict[int, int] = {}
    ways: list[Callable[[int], Happening]] = [Ended, Ended, lambda _: Ended(error=ValueError()), lambda _: Lost(OSError())]

    def run(task: int, _: str) -> tuple[float, Happening]:
        runs[task] = runs.get(task, 0) + 1
        return data.draw(st.floats(0.1, 9)), data.draw(st.sampled_from(ways))(task)

    fleet, retries = Fleet(room, run), data.draw(st.integers(0, 3))
    found = results(fleet, range(count), ordered=ordered, most=most, retries=retries, timeout=data.draw(st.floats(5, 9)))
    indices = [index for index, _ in found]

    assert [*range(count)] == (indices if ordered else sorted(indices))
    assert all(times <= retries + 1 for times in runs.values())
    assert fleet.most_busy <= min(sum(room.values()), most or 99)

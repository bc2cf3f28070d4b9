"""Ray as the executor of a map: a place is a placement group, which serves one task after another.

A group for each task would cost a worker process for each: some 100 ms, where a task in a group that is there costs 7.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, final

import ray
from attrs import define, field
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from smolkit.errors import SmolvmError
from smolkit.ray import cluster, tasks
from smolkit.ray.executor import Ended, Lost, Opened
from smolkit.ray.runner import Placement
from smolkit.runners.remote.connection import Signal

_NAME = "smolkit-map-"  # how the names of the groups begin
_GRACE = 5.0  # seconds that cancelled tasks have to remove their machines at the end, before they are killed
_END = 30.0  # seconds for giving all groups up

Event = Opened | Ended | Lost


@define(eq=False)
class _Place:
    """A place: a group, once Ray has made it."""

    shunned: frozenset[str] = frozenset()
    group: str | None = None
    placement: Placement | None = None
    golden: str | None = None
    remote: Any = None  # Ray's function that runs tasks there
    coming: Any = None  # the reference of what waits for it
    task: Any = None  # the reference of what runs there
    is_closed: bool = False


@define(eq=False)
class _Golden:
    """The golden machine of a host, or one that is being made, and the places that wait for it."""

    place: _Place
    name: str | None = None
    waiting: list[_Place] = field(factory=list)


@final
class Places:
    """An Executor (see `smolkit.ray.executor`) over the connected Ray cluster. Its host names are Ray's node ids.

    Args:
        job: What the tasks have in common.
    """

    def __init__(self, job: tasks.Job) -> None:
        self._bundle, self._is_warm = job.bundle, job.warm is not None
        self._refs = [ray.put(job)]
        remote = ray.remote(max_retries=0, num_cpus=job.bundle.cpus)
        self._run: Any = remote(tasks.run)
        self._prepare: Any = remote(tasks.prepare)
        self._arrive: Any = remote(tasks.arrive)
        self._inbox = deque[tuple[_Place, Event]]()
        self._changed = Signal()
        self._open = set[_Place]()
        self._goldens: dict[str, _Golden] = {}
        self._failure: BaseException | None = None
        # Calls of Ray's head, which block, are made in their order in a thread of their own.
        self._clerk = ThreadPoolExecutor(1, "smolkit: places")

    def open(self, shunned: Collection[str]) -> Hashable:
        """As in Executor."""
        place = _Place(frozenset(shunned))
        self._open.add(place)
        self._in_turn(self._request, place)
        return place

    def _in_turn(self, function: Callable[[_Place], object], place: _Place) -> None:
        def call() -> None:
            try:
                function(place)
            except Exception as error:  # noqa: BLE001  (whatever Ray raises)
                self._tell(place, Lost(error))

        try:
            self._clerk.submit(call)
        except RuntimeError:  # after the end
            return

    def _tell(self, place: _Place, event: Event) -> None:
        self._inbox.append((place, event))
        self._changed.set()

    def _request(self, place: _Place) -> None:
        if not place.is_closed:
            place.group = cluster.request(self._bundle, _NAME, place.shunned)
            # It waits for the group's host, and then for a worker process: no task's time begins before.
            place.coming = self._arrive.options(**_at(place)).remote(self._refs)
            place.coming.future().add_done_callback(partial(self._has_come, place))

    def _has_come(self, place: _Place, done: Future[Any]) -> None:  # in a thread of Ray's, which must not wait for Ray
        place.coming = None
        try:
            node, address = done.result()
        except RayTaskError as error:  # the function cannot be unpickled there
            self._fail(_cause(error))
        except Exception as error:  # noqa: BLE001  (whatever Ray raises)
            self._tell(place, Lost(error))
        else:
            place.placement = Placement(str(place.group), node, address, is_kept=True)
            if self._is_warm:
                self._in_turn(self._warm, place)
            else:
                self._tell(place, Opened(node))

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._changed.set()

    def _warm(self, place: _Place) -> None:
        """Tell of a place once its host has a golden machine, which the host's first place is used for."""
        placement = place.placement
        if place.is_closed or placement is None:
            return
        golden = self._goldens.get(placement.node)
        if golden is None:
            golden = self._goldens[placement.node] = _Golden(_Place(group=place.group, placement=placement))
            place.group = place.placement = None
            golden.place.task = self._prepare.options(**_at(golden.place)).remote(self._refs, placement)
            golden.place.task.future().add_done_callback(partial(self._is_prepared, golden, placement.node))
        if golden.name is None:
            golden.waiting.append(place)
        else:
            self._tell_warm(place, golden)

    def _tell_warm(self, place: _Place, golden: _Golden) -> None:
        if place.placement is None:  # it gave its group to the golden machine, and needs another one
            self._in_turn(self._request, place)
        else:
            place.golden = golden.name
            self._tell(place, Opened(place.placement.node))

    def _is_prepared(self, golden: _Golden, node: str, done: Future[Any]) -> None:
        self._in_turn(lambda _: self._prepared(golden, node, _outcome(done)), golden.place)

    def _prepared(self, golden: _Golden, node: str, event: Ended | Lost) -> None:
        golden.place.task = None
        if isinstance(event, Lost):
            self._forget(node)
        elif event.error is not None:
            self._fail(event.error)
        else:
            golden.name = event.value
        for place in golden.waiting:
            if isinstance(event, Lost):
                self._tell(place, event)
            else:
                self._tell_warm(place, golden)
        golden.waiting.clear()
        self._changed.set()

    def _forget(self, node: str) -> None:
        """Give up a golden machine: the next place of its host is used for another one."""
        if (golden := self._goldens.pop(node, None)) is not None:
            self.close(golden.place)

    def submit(self, place: Any, task: Any) -> None:
        """As in Executor."""
        if place.remote is None:
            place.remote = self._run.options(**_at(place))
        place.task = place.remote.remote(self._refs, place.placement, place.golden, task)
        place.task.future().add_done_callback(partial(self._is_done, place))

    def _is_done(self, place: _Place, done: Future[Any]) -> None:  # in a thread of Ray's, too
        event = _outcome(done)
        place.task = None
        if isinstance(event, Lost) and isinstance(event.error, SmolvmError):
            self._in_turn(self._doubt, place)
        self._tell(place, event)

    def _doubt(self, place: _Place) -> None:
        """A machine could not be made: if it was to be a branch of a golden machine, that one may be why."""
        node = "" if place.placement is None else place.placement.node
        if node in self._goldens and place.golden == self._goldens[node].name is not None:
            self._forget(node)

    def cancel(self, place: Any) -> None:
        """As in Executor."""
        if (task := place.task) is not None:
            ray.cancel(task)

    def close(self, place: Any) -> None:
        """As in Executor."""
        place.is_closed = True
        self._open.discard(place)
        self._in_turn(self._remove, place)

    @staticmethod
    def _remove(place: _Place) -> None:
        if place.group is not None:
            cluster.remove(place.group)

    def wait(self, timeout: float) -> Iterable[tuple[Hashable, Event]]:
        """As in Executor.

        Raises:
            BaseException: what the function raised that prepares a golden machine.
        """
        self._changed.wait(lambda: self._inbox or self._failure, timeout)
        if self._failure is not None:
            raise self._failure
        while self._inbox:
            yield self._inbox.popleft()

    def end(self) -> None:
        """As in Executor."""
        goldens = [golden.place for golden in self._goldens.values()]
        running = [place for place in (*self._open, *goldens) if place.task is not None]
        try:
            for place in running:
                self.cancel(place)
            self._changed.wait(lambda: all(place.task is None for place in running), _GRACE)
        finally:
            for place in (*self._open, *goldens):
                self.close(place)
            last = self._clerk.submit(self._changed.set)
            self._clerk.shutdown(wait=False)
            self._changed.wait(last.done, _END)

    def no_room(self, seconds: float) -> SmolvmError | None:
        """As in Executor."""
        if any(golden.name is None for golden in self._goldens.values()):
            return None
        if any(place.group and cluster.node_of(place.group) for place in tuple(self._open)):
            return None  # it has its host, and waits for a worker process
        return cluster.no_room(self._bundle, seconds)


def _at(place: _Place) -> dict[str, Any]:
    """The options of a task of Ray that runs in a place."""
    group = cluster.group_of(str(place.group))
    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)}


def _outcome(done: Future[Any]) -> Ended | Lost:
    """The outcome of a task of Ray."""
    try:
        found: Ended | Lost = done.result()
    except RayTaskError as error:  # of an exception that is not the function's: it, a task or a result cannot be pickled
        return Ended(error=_cause(error))
    except RayError as error:
        return Lost(error)
    except Exception as error:  # noqa: BLE001  (the result cannot be unpickled here)
        return Ended(error=error)
    return found


def _cause(error: RayTaskError) -> BaseException:
    """The exception that Ray has wrapped."""
    found: BaseException = getattr(error, "cause", None) or error
    return found

"""The placement groups on one host, and their machines: a machine goes with its group, and an empty group is given back."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, final

from attrs import define, field

from smolkit.commands.lifecycle import Ls
from smolkit.errors import MachineNotFoundError
from smolkit.flows import reap, teardown
from smolkit.flows.lookup import status
from smolkit.flows.steps import perform
from smolkit.runners.local import watchdog
from smolkit.runners.remote.far import Machines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from smolkit.commands.dialect import Dialect
    from smolkit.flows.steps import Steps
    from smolkit.runners.local.subprocess import SubprocessRunner

PLACEMENT = "smolkit.placement"  # a machine's label: the id of its group
_IDLE = 5.0  # seconds after which a group without a machine is given back: a create that is tried again takes fewer
_SAMPLE = 20  # groups that are looked up at a time, for the sake of Ray's head; if one of them is gone, all are
_REMOVALS = 8  # machines that are removed at once

Held = tuple[str, str]  # the runner's host, and a machine's name


class Cluster(Protocol):
    """Ray, as far as a keeper needs it."""

    def gone(self, groups: Collection[str]) -> set[str]:
        """Those of the groups that do not exist any more, or not on this host."""

    def remove(self, group: str) -> None:
        """Remove a group. No-op if it is gone."""

    def groups(self) -> list[str]:
        """The groups of single machines on this host."""


@define(eq=False)
class _Group:
    """One group.

    Attributes:
        is_kept: Whoever asked for it removes it.
        is_shared: Its handle was pickled: the machines do not end with the process that made them.
        calls: Calls of the engine that run.
        used: When the last one ended.
        machines: The session over which each machine was made.
        making: Those that a call which runs may still make.
        doomed: Those that are to be removed.
        runners: The engines.
        is_gone: It does not exist any more; what is left of it is being removed.
    """

    is_kept: bool
    used: float
    is_shared: bool = False
    calls: int = 0
    machines: dict[Held, str] = field(factory=dict)
    making: set[Held] = field(factory=set)
    doomed: set[Held] = field(factory=set)
    runners: dict[str, SubprocessRunner] = field(factory=dict)
    is_gone: bool = False

    @property
    def is_empty(self) -> bool:
        """True if nothing is in it, or on its way."""
        return not (self.machines or self.calls)


@final
class Groups:
    """All groups on this host that a session has spoken of.

    Args:
        cluster: Ray.
        clock: Monotonic clock, in seconds.
    """

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster, self._clock = cluster, clock
        self._lock = threading.Lock()
        self._groups: dict[str, _Group] = {}
        self._removing: set[Held] = set()
        self._turn = 0
        self._pool = ThreadPoolExecutor(_REMOVALS, "smolkit: removal")

    def adopt(self) -> None:
        """Take over the groups of a former keeper of this host, whose machines are gone."""
        for name in self._cluster.groups():
            with self._lock:
                self._groups.setdefault(name, _Group(is_kept=False, used=self._clock()))

    def hold(self, name: str, *, kept: bool) -> bool:
        """Make sure of a group, before a machine is made in it. False if it is gone."""
        known = self._groups.get(name)
        if (known is None or known.is_gone or known.is_empty) and name in self._cluster.gone([name]):
            return False
        with self._lock:
            group = self._groups.setdefault(name, _Group(kept, self._clock()))
            group.used = self._clock()
            return not group.is_gone

    def share(self, name: str) -> bool:
        """Take note that a group's handle was pickled. False if it is gone."""
        with self._lock:
            if (group := self._groups.get(name)) is not None:
                group.is_shared = True
            return group is not None

    def begin(self, name: str, session: str, runner: SubprocessRunner, makes: list[str]) -> list[Held]:
        """A call begins that may make these machines. Returns those that were not known before."""
        with self._lock:
            group = self._groups.setdefault(name, _Group(is_kept=False, used=self._clock()))
            group.calls += 1
            group.runners[runner.host] = runner
            new = [held for made in makes if (held := (runner.host, made)) not in group.machines]
            group.machines.update(dict.fromkeys(new, session))
            group.making.update(new)
            return new

    def end(self, name: str, new: Collection[Held], absent: Collection[Held]) -> None:
        """A call has ended, which may have made `new` machines; and those that are `absent` do not exist (any more)."""
        with self._lock:
            group = self._groups[name]
            group.calls -= 1
            group.making.difference_update(new)
            group.used = self._clock()
            had = len(group.machines)
            for held in set(absent) - group.making:
                group.machines.pop(held, None)
                group.doomed.discard(held)
            is_free = had > len(group.machines) and self._is_free(group)
        if is_free and not group.is_kept:
            self._give_back(name)

    @staticmethod
    def _is_free(group: _Group) -> bool:
        return group.is_empty and not group.is_gone

    def _give_back(self, name: str) -> None:
        with self._lock:
            self._groups.pop(name, None)
        self._cluster.remove(name)

    def leave(self, session: str) -> None:
        """Remove the machines of a session that has ended, unless others may have handles on them."""
        for name, group in list(self._groups.items()):
            if not group.is_shared:
                group.doomed.update(held for held, made_by in list(group.machines.items()) if made_by == session)
                self._remove_doomed(name, group)

    def look(self) -> None:
        """Remove the machines of groups that are gone, and give groups back that have none. About once a second."""
        for name in self._find_gone():
            with self._lock:
                self._groups[name].is_gone = True
        for name, group in list(self._groups.items()):
            self._remove_doomed(name, group)
            if group.is_gone:
                self._clear(name, group)
            elif not group.is_kept and group.is_empty and self._clock() - group.used > _IDLE:
                self._give_back(name)

    def _find_gone(self) -> set[str]:
        names = [name for name, group in list(self._groups.items()) if not group.is_gone]
        if not names:
            return set()
        begin = self._turn % len(names)
        sample = (names[begin:] + names[:begin])[:_SAMPLE]
        self._turn += _SAMPLE
        gone = self._cluster.gone(sample)
        return self._cluster.gone(names) if gone and len(sample) < len(names) else gone

    def _clear(self, name: str, group: _Group) -> None:
        """Remove what is in a group that is gone."""
        if not group.is_empty:
            group.doomed.update(list(group.machines))
            self._remove_doomed(name, group)
        elif group.runners:  # branches that were to outlive their process are told by their label only
            host, runner = group.runners.popitem()
            self._pool.submit(self._find_labelled, name, group, host, runner)
        else:
            with self._lock:
                self._groups.pop(name, None)

    def _find_labelled(self, name: str, group: _Group, host: str, runner: SubprocessRunner) -> None:
        for info in runner.run(Ls()):
            if info.labels.get(PLACEMENT) == name:
                with self._lock:
                    group.machines[host, info.name], group.runners[host] = "", runner

    def _remove_doomed(self, name: str, group: _Group) -> None:
        with self._lock:
            found = group.doomed - self._removing if name in self._groups else set()
            self._removing |= found
        for held in found:
            self._pool.submit(self._remove_now, name, group.runners[held[0]], held)

    def _remove_now(self, name: str, runner: SubprocessRunner, held: Held) -> None:
        absent: list[Held] = []
        self.begin(name, "", runner, [])
        try:
            perform(runner, _remove(held[1], name, runner.engine.dialect))
            absent = [held]
            watchdog.mine().forget(held)
        except Exception:
            logging.getLogger("smolkit").exception("machine %s is left", held[1])
        finally:
            self._removing.discard(held)
            self.end(name, (), absent)

    def settle(self, runner: SubprocessRunner) -> None:
        """Remove what a former keeper has left on an engine, which this one drives from now on."""
        self._pool.submit(self._settle, runner)

    @staticmethod
    def _settle(runner: SubprocessRunner) -> None:
        dialect = runner.engine.dialect
        found = perform(runner, reap.reapable(runner.here(), dialect))
        perform(runner, reap.reap([item for item in found if PLACEMENT in item.machine.labels], dialect))


def _remove(name: str, group: str, dialect: Dialect) -> Steps[None]:
    """Remove a machine of the group, unless another one has its name by now."""
    try:
        found = yield from status(name, dialect)
    except MachineNotFoundError:
        return
    if dialect.supports("machine create --label") and found.labels.get(PLACEMENT) != group:
        return
    if failures := (yield from teardown.discard(name, dialect, half_booted=True)):
        raise failures[0]


@final
class GroupMachines(Machines):
    """Tells the groups, too, of the calls of one session.

    Args:
        groups: The groups.
        session: The session.
    """

    def __init__(self, groups: Groups, session: str) -> None:
        self._groups, self._session = groups, session

    def during(self, run: Callable[[], int], runner: SubprocessRunner, fields: Mapping[str, Any]) -> int:
        """As in Machines."""
        name = fields.get("placement")
        if name is None:
            return super().during(run, runner, fields)
        new = self._groups.begin(str(name), self._session, runner, [str(made) for made in fields.get("makes", ())])
        absent: list[Held] = []
        try:
            code = super().during(run, runner, fields)
            if code > 0:
                absent = new
            elif (deleted := fields.get("deletes")) is not None:
                absent = [(runner.host, str(deleted))]
            return code
        finally:
            self._groups.end(str(name), new, absent)

"""The keeper in this process, with placement groups that a test has in its hands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from smolkit import Machine, RemoteRunner, Smolvm
from smolkit.ray.groups import PLACEMENT, Groups
from smolkit.ray.keeper import Keeper
from smolkit.ray.link import KeeperTransport
from smolkit.runners.remote.links import Link
from smolkit.runners.remote.transport import Transport
from smolkit.testing import NamespaceEngine
from smolkit.values.ownership import Here
from smolkit.values.results import Invocation
from tests.processes import until
from tests.ray.fleet import Fleet


class Placements:
    """Placement groups that are gone when a test says so."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.removed: list[str] = []

    def gone(self, groups: Collection[str]) -> set[str]:
        """Those that have ended."""
        return {*groups} & self.ended

    def remove(self, group: str) -> None:
        """Remove one."""
        self.removed.append(group)
        self.ended.add(group)

    def groups(self) -> list[str]:
        """A group of a former keeper."""
        return ["former"]


class Actor:
    """Calls an object as an actor of Ray is called, in an event loop of a thread."""

    def __init__(self, called: object) -> None:
        self._called, self.loop = called, asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def __getattr__(self, name: str) -> Any:
        def remote(*args: object) -> SimpleNamespace:
            future: Future[Any] = asyncio.run_coroutine_threadsafe(getattr(self._called, name)(*args), self.loop)
            return SimpleNamespace(future=lambda: future)

        return SimpleNamespace(remote=remote)

    def end(self) -> None:
        """End the event loop."""
        self.loop.call_soon_threadsafe(self.loop.call_later, 0.1, self.loop.stop)  # once closed sockets are
        self.thread.join()
        self.loop.close()


class ActorLink(Link):
    """A link to such an actor."""

    host = "here"

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def argv(self, command: Any) -> tuple[str, ...]:
        """As in Link."""
        return tuple(command)

    def open(self) -> Transport:
        """As in Link."""
        return KeeperTransport(lambda: self._actor)


class Placed(RemoteRunner):
    """A runner whose machines are in the group "g"."""

    def here(self) -> Here:
        """As in RemoteRunner."""
        return evolve(super().here(), labels=((PLACEMENT, "g"),))

    def _request(self, invocation: Invocation, *, stdin: bool) -> dict[str, Any]:
        return {**super()._request(invocation, stdin=stdin), "placement": "g"}


@pytest.fixture
def placements() -> Placements:
    """Placement groups."""
    return Placements()


@pytest.fixture
def runner(fleet: Fleet, placements: Placements) -> Iterator[Placed]:
    """A runner whose far end is a keeper in this process. (A transport looks whether this process has Ray.)"""
    with NamespaceEngine() as engine:
        actor = Actor(Keeper(placements))
        made = Placed(ActorLink(actor), program=engine.program)
        made.watch()
        yield made
        made.close()
        until(lambda: not engine.left)
        if made._session is not None:
            made._session.thread.join()
        actor.end()


@pytest.fixture
def m(runner: Placed) -> Machine:
    """A machine that runs."""
    made = Smolvm(runner=runner).machine("agent")
    made.create()
    made.start()
    return made


def test_a_machine_goes_with_its_group(m: Machine, placements: Placements) -> None:
    """A machine whose group is gone is removed, and so are those that its label alone tells of."""
    data = bytes(range(256)) * 4096
    m.write_bytes("/data", data)
    assert data == m.read_bytes("/data")
    placements.ended.add("g")
    until(lambda: not m.exists())


def test_a_machine_gives_its_group_back(m: Machine, placements: Placements) -> None:
    """The last machine of a group that is deleted gives it back; groups of a former keeper go, too."""
    m.delete()
    until(lambda: "g" in placements.removed)
    until(lambda: "former" in placements.removed)


def test_machines_of_a_session_end_with_it(m: Machine, runner: Placed, placements: Placements) -> None:
    """A machine that only one process could reach ends with that process's session."""
    runner.close()
    until(lambda: "g" in placements.removed)
    assert not m.exists()


def test_a_shared_machine_outlives_the_session(m: Machine, runner: Placed, placements: Placements) -> None:
    """A machine whose handle was pickled lives as long as its group."""
    assert runner._connected().ask("hold", "g", False).fields["value"]  # noqa: FBT003  (the wire's arguments)
    assert runner._connected().ask("share", "g").fields["value"]
    runner.close()
    assert m.exists()
    placements.ended.add("g")
    until(lambda: not m.exists())


def test_a_group_without_a_machine_is_given_back() -> None:
    """A group that nothing was made in is given back after some seconds, unless whoever asked for it removes it."""
    now, placements = [0.0], Placements()
    groups = Groups(placements, lambda: now[0])
    assert groups.hold("a", kept=False)
    assert groups.hold("b", kept=True)
    groups.look()
    now[0] = 10.0
    groups.look()

    assert ["a"] == placements.removed
    assert not groups.hold("a", kept=False)
    assert not groups.share("a")
    assert groups.hold("b", kept=True)

"""The runner of one machine of a fleet: on a cluster and on keepers that a test has in its hands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from smolkit import errors
from smolkit.ray.cluster import Bundle, Node
from smolkit.ray.groups import PLACEMENT
from smolkit.ray.hosts import Engines
from smolkit.ray.runner import Placement, RayRunner
from smolkit.values.ownership import Here
from tests.processes import struck_after, until


class Keeper:
    """The session with a keeper: it answers as it is told."""

    def __init__(self, owner: str) -> None:
        self.hello = SimpleNamespace(fields={"owner": owner})
        self.is_lost = False
        self.holds = True
        self.asked: list[tuple[object, ...]] = []

    def ask(self, *call: object, timeout: float | None = None) -> SimpleNamespace:
        """Answer a call."""
        assert timeout is None or timeout <= 60
        self.asked.append(call)
        return SimpleNamespace(fields={"value": self.holds})


class Cluster:
    """A cluster of one host, which gives room at once. It stands for the engines, too."""

    options: dict[str, Any] = {}  # noqa: RUF012  (never changed)

    def __init__(self) -> None:
        self.ray = self
        self.keeper = Keeper("first")
        self.groups: set[str] = set()
        self.made = 0
        self.alive = True
        self.hold_up: Callable[[], object] = lambda: None

    def request(self, _: Bundle) -> str:
        """Make a group."""
        self.hold_up()
        self.made += 1
        self.groups.add(f"group {self.made}")
        return f"group {self.made}"

    def wait(self, group: str, _: float) -> bool:
        """It is there."""
        return group in self.groups

    def node_of(self, group: str) -> str | None:
        """The host."""
        return "node" if group in self.groups else None

    def remove(self, group: str) -> None:
        """Remove a group."""
        self.groups.discard(group)

    def nodes(self) -> list[Node]:
        """The host."""
        return [Node("node", "10.0.0.1", {}, {})]

    def is_alive(self, _: str) -> bool:
        """True unless a test has ended the host."""
        return self.alive

    def at(self, node: str, address: str) -> Any:
        """The host's runner."""
        assert ("node", "10.0.0.1") == (node, address)
        return self

    def _connected(self, _: float | None = None) -> Keeper:
        if not self.alive:
            raise errors.HostUnreachableError("no answer")
        return self.keeper

    def here(self) -> Here:
        """The keeper's process."""
        return Here(None, 0.0, lambda *_: True, None)


@pytest.fixture
def cluster() -> Cluster:
    """A cluster."""
    return Cluster()


def runner_of(cluster: Cluster, placement: Placement | None = None) -> RayRunner:
    """A runner in it."""
    return RayRunner(cast("Engines", cluster), Bundle(1, 512), 5.0, placement)


def test_a_machine_is_made_where_its_keeper_holds_the_group(cluster: Cluster) -> None:
    """The group is asked for once, and held each time a machine is made; its name is the machine's label."""
    runner = runner_of(cluster)
    assert ((PLACEMENT, "group 1"),) == runner.here().labels
    runner.here()

    assert {"group 1"} == cluster.groups
    assert {("hold", "group 1", False)} == set(cluster.keeper.asked)
    assert not runner.is_lost


def test_no_machine_is_made_in_a_group_that_the_keeper_does_not_hold(cluster: Cluster) -> None:
    """A keeper that says that a new group is gone makes the call fail, and the group is given up."""
    cluster.keeper.holds = False
    with pytest.raises(errors.HostUnreachableError, match="group 1 was removed meanwhile; nothing was run"):
        runner_of(cluster).here()

    assert not cluster.groups


def test_an_interrupt_gives_up_the_group_that_is_asked_for(cluster: Cluster) -> None:
    """Ctrl-C while Ray makes the group raises at once; the group is removed as soon as it is there."""
    goes_on = threading.Event()
    cluster.hold_up = goes_on.wait
    with pytest.raises(KeyboardInterrupt), struck_after(0.1, KeyboardInterrupt()):
        runner_of(cluster).here()
    assert not cluster.made
    goes_on.set()
    until(lambda: cluster.made)
    until(lambda: not cluster.groups)


@pytest.mark.parametrize("shared", [False, True])
def test_a_machine_is_lost_with_its_keeper(cluster: Cluster, shared: bool) -> None:
    """Calls raise HostLostError once another keeper answers; the group goes, and the next machine has another one."""
    runner = runner_of(cluster)
    runner.here()
    if shared:
        runner.__getstate__()
    cluster.keeper = Keeper("second")
    for _ in range(2):
        with pytest.raises(errors.HostLostError, match="the machine is gone"):
            runner._connected()

    assert runner.is_lost
    assert not cluster.groups
    assert ((PLACEMENT, "group 2"),) == runner.here().labels
    assert not runner.is_lost


def test_a_machine_is_lost_with_its_link(cluster: Cluster) -> None:
    """A machine that nobody else has ends with the link over which it was made, and is known to be lost without a call."""
    runner = runner_of(cluster)
    runner.here()
    cluster.keeper.is_lost = True

    assert runner.is_lost
    with pytest.raises(errors.HostLostError):
        runner._connected()
    assert not cluster.groups


def test_a_shared_machine_outlives_its_link(cluster: Cluster) -> None:
    """A machine whose handle was pickled is there as long as its keeper is."""
    runner = runner_of(cluster)
    runner.here()
    runner.__getstate__()
    cluster.keeper.is_lost = True
    cluster.keeper = Keeper("first")

    assert cluster.keeper is runner._connected()  # type: ignore[comparison-overlap]
    assert not runner.is_lost


def test_a_machine_is_lost_with_its_host(cluster: Cluster) -> None:
    """A host that is dead, and not only out of reach, makes calls raise HostLostError."""
    runner = runner_of(cluster)
    runner.here()
    cluster.alive = False
    with pytest.raises(errors.HostLostError):
        runner._connected()

    assert not cluster.groups


def test_a_place_that_was_given_is_never_changed(cluster: Cluster) -> None:
    """A runner with a group of its caller's raises HostLostError once it is gone, and removes nothing."""
    cluster.groups.add("given")
    runner = runner_of(cluster, Placement("given", "node", "10.0.0.1", is_kept=True))
    runner.here()
    cluster.keeper = Keeper("second")
    with pytest.raises(errors.HostLostError):
        runner.here()

    assert (0, {"given"}) == (cluster.made, cluster.groups)

"""The runner of one machine, which is on whichever host of a Ray cluster has room for it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, final

from attrs import evolve, frozen

from smolkit.errors import HostLostError, HostUnreachableError
from smolkit.ray import cluster
from smolkit.ray.cluster import Bundle
from smolkit.ray.groups import PLACEMENT
from smolkit.ray.hosts import Engines
from smolkit.ray.link import KeeperLink
from smolkit.runners.blocking import Gate
from smolkit.runners.bounds import least
from smolkit.runners.remote.links import Link
from smolkit.runners.remote.runner import RemoteRunner
from smolkit.values.ownership import Here, Owner

if TYPE_CHECKING:
    from smolkit.commands.dialect import Engine
    from smolkit.runners.remote.session import Session
    from smolkit.values.results import Invocation

_LOOK = 1.0  # seconds between two looks at a group that waits for its host


@final
@frozen
class Placement:
    """A group that has its host.

    Attributes:
        group: Ray's id of it.
        node: Ray's id of the host.
        address: The host's IP address.
        is_kept: Whoever asked for the group removes it, and not the keeper when its machine is deleted.
    """

    group: str
    node: str
    address: str
    is_kept: bool = False


@final
class RayRunner(RemoteRunner):
    """Runs the engine for one machine, on the host where its placement group is. `RaySmolvm.machine` makes one.

    It asks for the group with the first call that needs an engine. The machine lives as long as the group, which Ray frees
    with the job that asked for it; and the group is given back when the machine is deleted.

    A pickled copy reaches the same host from any task or actor. A machine whose handle was never pickled ends with the
    process that made it, however that ends.

    Args:
        engines: The engines of the hosts.
        bundle: What the machine takes of its host.
        wait: Seconds to wait for room.
        placement: A group that is there already.
    """

    def __init__(self, engines: Engines, bundle: Bundle, wait: float, placement: Placement | None = None) -> None:
        super().__init__(KeeperLink("", "not placed yet"), **engines.options)
        self._engines, self._bundle, self._wait, self._placement = engines, bundle, wait, placement
        self._is_fixed, self._is_lost = placement is not None, False
        self._identity = os.urandom(8).hex()

    def _begin(self) -> None:
        super()._begin()
        self._placing = Gate(1, "to place the machine")

    def __getstate__(self) -> dict[str, Any]:
        if self._placement is not None and not self._is_lost:
            with suppress(HostLostError, HostUnreachableError):  # its machine is gone
                self._connected().ask("share", self._placement.group)
        return {**super().__getstate__(), "_env": (), "_placing": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._is_fixed = False

    @property
    def host(self) -> str:
        """The machine's host, whichever that is: equal for copies of one handle."""
        return f"ray: {self._identity}: {self.program}"

    def _placed(self, within: float | None = None) -> Placement:
        """The placement: a new one if there is none."""
        if self._placement is None:
            return self._placing.during(partial(self._ask_for_place, within), within)
        return self._placement

    def _ask_for_place(self, within: float | None) -> Placement:
        if self._placement is None:
            group = cluster.in_thread(partial(cluster.request, self._bundle))
            try:
                placement = self._await_host(group, least(self._wait, within) or 0.0)
                self.link: Link = KeeperLink(placement.node, placement.address)
                self._smolkit.engine, self._is_lost = None, False
                self._hold(placement)  # the keeper gives it back if no machine is made
            except BaseException:
                cluster.remove(group)
                raise
            self._placement = placement
        return self._placement

    def _await_host(self, group: str, seconds: float) -> Placement:
        until = time.monotonic() + seconds
        while not cluster.in_thread(partial(cluster.wait, group, max(0.0, min(_LOOK, until - time.monotonic())))):
            if time.monotonic() >= until:
                raise cluster.no_room(self._bundle, seconds)
        node = cluster.in_thread(partial(cluster.node_of, group))
        found = {host.id: host for host in cluster.nodes()}
        if node is None or node not in found:
            raise HostUnreachableError(f"the host of the placement group {group} is gone; nothing was run")
        return Placement(group, node, found[node].address)

    def _there(self, within: float | None = None) -> RemoteRunner:
        """The runner of the machine's host, which other machines there share."""
        placement = self._placed(within)
        return self._engines.at(placement.node, placement.address)

    def _connected(self, within: float | None = None) -> Session:
        """As in RemoteRunner.

        Raises:
            HostLostError: the host is gone, and the machine with it.
        """
        return self._session_of(self._placed(within), within)

    def _session_of(self, placement: Placement, within: float | None = None) -> Session:
        if not self._is_lost:
            try:
                return self._engines.at(placement.node, placement.address)._connected(within)  # noqa: SLF001  (of this class)
            except HostUnreachableError:
                if cluster.is_alive(placement.node):
                    raise
                self._is_lost = True
                if not placement.is_kept:
                    cluster.remove(placement.group)  # Ray has found it another host
        raise HostLostError(f"{self.link.host} is gone, and machines that were there")

    def _probe_engine(self, within: float | None) -> Engine:
        self._connected(within)  # raises if the host is gone
        return self._there(within)._find_engine(within)  # noqa: SLF001  (of this class)

    def here(self) -> Here:
        """The keeper and its host. A machine may be made there: the group is there, or a new one is placed."""
        if self._placement is not None:
            self._renew(self._placement)
        placement = self._placed()
        found = self._there().here()
        return evolve(found, labels=((PLACEMENT, placement.group),))

    def _renew(self, placement: Placement) -> None:
        """Forget a group that is gone: its machine was deleted, or its host is dead.

        Raises:
            HostLostError: it was given to this runner, which has no other.
        """
        try:
            is_there = self._hold(placement)
        except HostLostError:
            is_there = False
        if not is_there:
            if self._is_fixed:
                raise HostLostError(f"the placement group {placement.group} is gone, and machines that were there")
            self._placement = None

    def _hold(self, placement: Placement) -> bool:
        session = self._session_of(placement)
        return bool(session.ask("hold", placement.group, placement.is_kept).fields["value"])

    def owner(self) -> Owner | None:
        """None: nobody knows the host before the machine is placed."""
        return None

    def now(self) -> float:
        """The time of the engine's host, as far as it is known."""
        return time.time() if self._placement is None else self._there().now()

    def _request(self, invocation: Invocation, *, stdin: bool) -> dict[str, Any]:
        return {**super()._request(invocation, stdin=stdin), "placement": self._placed().group}

    def close(self) -> None:
        """No-op: the session is the client's."""

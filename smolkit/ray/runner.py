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
from smolkit.ray.hosts import Engines, Ray
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
_SHARE = 60.0  # seconds in which a keeper must have taken note that a handle is pickled


@final
@frozen
class Placement:
    """A group that has its host.

    Attributes:
        group: Ray's id of it.
        node: Ray's id of the host.
        address: The host's IP address.
        is_kept: Whoever asked for the group removes it, and not the keeper when its machine is deleted.
        keeper: The process of the keeper that holds the group; "" while none does.
    """

    group: str
    node: str
    address: str
    is_kept: bool = False
    keeper: str = ""


@final
class _Request:
    """A request for a group, made in a thread: whoever gives up waiting does not know the group yet.

    Args:
        ray: Makes the group.
    """

    def __init__(self, ray: Ray) -> None:
        self._ray, self._group, self._is_unwanted = ray, "", False

    def make(self, bundle: Bundle) -> str:
        """Ask for the group, and return its id."""
        self._group = self._ray.request(bundle)
        if self._is_unwanted:
            self._ray.remove(self._group)
        return self._group

    def drop(self) -> None:
        """Give the group up: now, or as soon as it is there."""
        self._is_unwanted = True
        if self._group:
            self._ray.remove(self._group)


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
        # The session that the machine ends with; None if the machine was shared, or was not made yet.
        self._made_over: Session | None = None
        self._identity = os.urandom(8).hex()

    def _begin(self) -> None:
        super()._begin()
        self._placing = Gate(1, "to place the machine")

    def __getstate__(self) -> dict[str, Any]:
        if self._placement is not None and not self.is_lost:
            with suppress(HostLostError, HostUnreachableError):  # its machine is gone
                self._connected(_SHARE).ask("share", self._placement.group, timeout=_SHARE)
                self._made_over = None
        return {**super().__getstate__(), "_env": (), "_placing": None, "_made_over": None}

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
            request = _Request(self._engines.ray)
            try:
                self._placement = self._new_place(request, least(self._wait, within) or 0.0)
            except BaseException:
                cluster.in_thread(request.drop)
                raise
        return self._placement

    def _new_place(self, request: _Request, seconds: float) -> Placement:
        group = cluster.in_thread(partial(request.make, self._bundle))
        placement = self._await_host(group, seconds)
        self.link: Link = KeeperLink(placement.node, placement.address)
        self._smolkit.engine, self._is_lost, self._made_over = None, False, None
        held = self._held(placement)  # the keeper gives it back if no machine is made
        if held is None:
            raise HostUnreachableError(f"the placement group {group} was removed meanwhile; nothing was run")
        return held

    def _await_host(self, group: str, seconds: float) -> Placement:
        ray, until = self._engines.ray, time.monotonic() + seconds
        while not cluster.in_thread(partial(ray.wait, group, max(0.0, min(_LOOK, until - time.monotonic())))):
            if time.monotonic() >= until:
                raise ray.no_room(self._bundle, seconds)
        node = cluster.in_thread(partial(ray.node_of, group))
        found = {host.id: host for host in ray.nodes()}
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

    @property
    def is_lost(self) -> bool:
        """True once the machine is known to be gone with its host, its keeper or the link. Asks nobody."""
        return self._is_lost or (self._made_over is not None and self._made_over.is_lost)

    def _session_of(self, placement: Placement, within: float | None = None) -> Session:
        try:
            if not self.is_lost:
                session = self._engines.at(placement.node, placement.address)._connected(within)  # noqa: SLF001  (of this class)
                if placement.keeper in {"", _keeper_of(session)}:
                    return session
        except HostUnreachableError:
            if self._engines.ray.is_alive(placement.node):
                raise
        raise self._lost(placement)

    def _lost(self, placement: Placement) -> HostLostError:
        """The error of a machine that is gone. Its group is given up: Ray may find it another host."""
        if not (self._is_lost or placement.is_kept):
            self._engines.ray.remove(placement.group)
        self._is_lost = True
        error = HostLostError(f"the machine is gone: {self.link.host}, its keeper or the link to it was lost since")
        error.hint = "`create` makes another one, where there is room"
        return error

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
            held = self._held(placement)
        except HostLostError:
            held = None
        if held is None and self._is_fixed:
            raise HostLostError(f"the placement group {placement.group} is gone, and machines that were there")
        self._placement = held

    def _held(self, placement: Placement) -> Placement | None:
        """The placement, whose keeper holds the group from now on; None if it is gone."""
        session = self._session_of(placement)
        if not session.ask("hold", placement.group, placement.is_kept).fields["value"]:
            return None
        self._made_over = session
        return evolve(placement, keeper=_keeper_of(session))

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


def _keeper_of(session: Session) -> str:
    """The process of the keeper at the far end."""
    return str(session.hello and session.hello.fields.get("owner"))

"""The hosts of a cluster, and the engine of each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, final

from attrs import frozen

from smolkit.commands.lifecycle import Ls
from smolkit.errors import QueueTimeoutError, SmolvmError
from smolkit.ray import cluster
from smolkit.ray.cluster import KVM, Bundle, Node
from smolkit.ray.link import KeeperLink
from smolkit.runners.remote.runner import RemoteRunner
from smolkit.values.results import MachineInfo


class Ray(Protocol):
    """The cluster, as runners need it: functions of `smolkit.ray.cluster`."""

    def request(self, bundle: Bundle) -> str:
        """As there."""

    def wait(self, group: str, seconds: float) -> bool:
        """As there."""

    def node_of(self, group: str) -> str | None:
        """As there."""

    def remove(self, group: str) -> None:
        """As there."""

    def nodes(self) -> list[Node]:
        """As there."""

    def is_alive(self, node: str) -> bool:
        """As there."""

    def no_room(self, bundle: Bundle, seconds: float) -> QueueTimeoutError:
        """As there."""


@final
@frozen
class RayHost:
    """One host of the cluster.

    Attributes:
        node: Ray's id of it.
        address: Its IP address.
        cpus, cpus_free: Its CPUs, and those that nobody has.
        memory, memory_free: MiB of memory, likewise.
        places, places_free: Machines that it takes (its resource "kvm"), and how many more of them.
        engine: The engine's version; "" if that failed.
        machines: The engine's machines, whoever made them.
        error: Why the engine failed; None if it did not.
    """

    node: str
    address: str
    cpus: float
    cpus_free: float
    memory: int
    memory_free: int
    places: int
    places_free: int
    engine: str = ""
    machines: tuple[MachineInfo, ...] = ()
    error: SmolvmError | None = None


@final
class Engines:
    """The engines of all hosts, as one client has them: those of one process share a session for each host.

    Args:
        options: Those of RemoteRunner.
        ray: The cluster.
    """

    def __init__(self, options: Mapping[str, Any], ray: Ray = cluster) -> None:
        self.options: dict[str, Any] = dict(options)
        self.ray: Ray = ray
        self._found: dict[str, RemoteRunner] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[[_Options], Engines], tuple[_Options]]:
        return _engines, (_Options(self.options),)

    def at(self, node: str, address: str) -> RemoteRunner:
        """The runner of one host."""
        with self._lock:
            runner = self._found.get(node)
            if runner is None:
                runner = self._found[node] = RemoteRunner(KeeperLink(node, address), **self.options)
                runner.watch()  # at the end of this process, what only it could reach is removed
            return runner

    def close(self) -> None:
        """End the sessions."""
        for runner in tuple(self._found.values()):
            runner.close()

    def look(self, node: Node) -> RayHost:
        """One host, with what its engine says."""
        total, free = node.total, node.free
        version, machines, failure = "", tuple[MachineInfo, ...](), None
        try:
            runner = self.at(node.id, node.address)
            version, machines = runner.engine.version, tuple(runner.run(Ls()))
        except SmolvmError as error:
            failure = error
        return RayHost(
            node.id,
            node.address,
            total.get("CPU", 0.0),
            free.get("CPU", 0.0),
            int(total.get("memory", 0) / 2**20),
            int(free.get("memory", 0) / 2**20),
            int(total.get(KVM, 0)),
            int(free.get(KVM, 0)),
            version,
            machines,
            failure,
        )

    def hosts(self) -> list[RayHost]:
        """All hosts, each asked in a thread of its own."""
        found: list[RayHost] = []
        threads = [
            threading.Thread(target=lambda n=node: found.append(self.look(n)), daemon=True) for node in self.ray.nodes()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(found, key=lambda host: (host.address, host.node))


@final
class _Options:
    """Options that are compared by their text, so that the copies of one client in a process share their sessions."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Options) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    @property
    def _text(self) -> str:
        return repr(sorted(self.options.items()))


@lru_cache(4)
def _engines(options: _Options) -> Engines:
    return Engines(options.options)

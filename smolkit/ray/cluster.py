"""Ray, as smolkit uses it: placement groups, nodes, and the keeper of each. The only module that imports it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, TypeVar, final

import ray
from attrs import field, frozen
from ray._private import state
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from smolkit.errors import QueueTimeoutError
from smolkit.ray.keeper import Keeper
from smolkit.runners.remote.connection import Signal

T = TypeVar("T")

KVM = "kvm"  # the resource of a host: its places for machines
MACHINE = "smolkit-machine-"  # how the names of groups begin that hold one machine
_CALLS = 10_000  # of a keeper at once: each session has one that waits


def in_thread(function: Callable[[], T], timeout: float | None = None) -> T:
    """Call a function that waits for Ray, while an event loop goes on and signals are heard.

    Raises:
        TimeoutError: it did not return within `timeout` seconds. It goes on.
        Exception: its failure.
    """
    done: list[T] = []
    failed: list[BaseException] = []
    changed = Signal()

    def work() -> None:
        try:
            done.append(function())
        except BaseException as error:  # noqa: BLE001  (raised by the caller)
            failed.append(error)
        changed.set()

    threading.Thread(target=work, daemon=True, name="smolkit: Ray").start()
    if not changed.wait(lambda: done or failed, timeout):
        raise TimeoutError
    if failed:
        raise failed[0]
    return done[0]


@final
@frozen
class Bundle:
    """The resources of one machine.

    Attributes:
        cpus: Virtual processors.
        memory: MiB.
    """

    cpus: int
    memory: int

    def __str__(self) -> str:
        return f"{self.cpus} CPU{'s' * (self.cpus > 1)}, {self.memory} MiB of memory and one place for a machine ({KVM})"

    @property
    def resources(self) -> dict[str, float]:
        """The same as Ray has it."""
        return {"CPU": float(self.cpus), "memory": float(self.memory * 2**20), KVM: 1.0}


@final
@frozen
class Node:
    """One host of the cluster.

    Attributes:
        id: Ray's id of it.
        address: Its IP address.
        total: Its resources.
        free: Those that nobody has.
    """

    id: str
    address: str
    total: Mapping[str, float] = field(repr=False)
    free: Mapping[str, float] = field(repr=False)

    def __str__(self) -> str:
        shown = ", ".join(
            f"{self.free.get(name, 0) / unit:g} of {self.total.get(name, 0) / unit:g} {text} free"
            for name, unit, text in (("CPU", 1, "CPUs"), ("memory", 2**20, "MiB"), (KVM, 1, "places"))
        )
        return f"{self.address} ({self.id[:8]}): {shown}"


def _all_nodes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


def nodes() -> list[Node]:
    """The hosts that live and offer places for machines."""
    free = state.available_resources_per_node()  # type: ignore[no-untyped-call]
    return [
        Node(found["NodeID"], found["NodeManagerAddress"], found["Resources"], free.get(found["NodeID"], {}))
        for found in _all_nodes()
        if found["Alive"] and found["Resources"].get(KVM)
    ]


def no_room(bundle: Bundle, seconds: float) -> QueueTimeoutError:
    """The error that no host had room, with what is free."""
    hosts = [str(node) for node in nodes()] or [
        "no host offers places: ray start --resources='{\"kvm\": 64}' makes one that takes 64 machines"
    ]
    error = QueueTimeoutError(
        "\n  ".join((f"no host had room for {bundle} within {seconds:.3g} s; nothing was run", *hosts))
    )
    error.hint = "RaySmolvm(wait=...) waits longer; `ray status` shows who has the rest"
    return error


def is_alive(node: str) -> bool:
    """True if Ray has the node among those that live."""
    return any(found["Alive"] for found in _all_nodes() if found["NodeID"] == node)


def request(bundle: Bundle, name: str = MACHINE, shunned: Collection[str] = ()) -> str:
    """Ask for a group of one bundle, and return its id. It goes with its job (also where an actor asks, 2.60).

    Args:
        bundle: What it holds.
        name: How its name begins.
        shunned: Hosts where it must not be, if there are others.
    """
    there = {node.id for node in nodes()} if shunned else set()
    kept_out = sorted(there & set(shunned)) if there - set(shunned) else []
    selector = [{"ray.io/node-id": f"!in({','.join(kept_out)})"}] if kept_out else None
    name += os.urandom(8).hex()
    made = placement_group([bundle.resources], strategy="PACK", name=name, bundle_label_selector=selector)
    return str(made.id.hex())


def group_of(group: str) -> PlacementGroup:
    """Ray's own object for a group."""
    return PlacementGroup(ray.PlacementGroupID.from_hex(group))


def wait(group: str, seconds: float) -> bool:
    """Wait until the group has its host. False if it has none within so many seconds. Blocks the thread."""
    return bool(group_of(group).wait(seconds))


def node_of(group: str) -> str | None:
    """The host of a group; None if the group is gone, or has none."""
    found = _table(group)
    return next(iter(found["bundles_to_node_id"].values()), None) if found.get("state") == "CREATED" else None


def _table(group: str) -> dict[str, Any]:
    found: dict[str, Any] = placement_group_table(group_of(group))
    return found


def remove(group: str) -> None:
    """Remove a group. No-op if it is gone."""
    remove_placement_group(group_of(group))


@final
class Here:
    """Ray, as a keeper sees it."""

    @cached_property
    def _node(self) -> str:  # not before it is in the keeper's process
        return str(ray.get_runtime_context().get_node_id())

    def gone(self, groups: Collection[str]) -> set[str]:
        """As in `groups.Cluster`."""
        return {group for group in groups if self._is_gone(_table(group))}

    def _is_gone(self, found: dict[str, Any]) -> bool:
        if found.get("state") in {None, "REMOVED"}:
            return True
        return found["state"] == "CREATED" and self._node not in found["bundles_to_node_id"].values()

    def remove(self, group: str) -> None:
        """As in `groups.Cluster`."""
        remove(group)

    def groups(self) -> list[str]:
        """As in `groups.Cluster`."""
        return [
            group
            for group, found in placement_group_table().items()
            if found["name"].startswith(MACHINE) and self._node in found["bundles_to_node_id"].values()
        ]


def keeper(node: str) -> Any:
    """The keeper of a node, started if there is none. It comes to life by itself."""
    options = {
        "name": f"smolkit-keeper-{node}",
        "namespace": "smolkit",
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "max_concurrency": _CALLS,
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
    }
    return ray.remote(Keeper).options(**options).remote(Here())

"""A Ray cluster on this machine: a head and two hosts, each with a NamespaceEngine of its own."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group_table

from smolkit.ray import RaySmolvm
from smolkit.testing import NamespaceEngine

ENGINE = "SMOLKIT_TEST_ENGINE"  # variable of a host: the directory of its engine
PLACES = 3  # of each host
_STORE = 80 * 2**20  # bytes of a host's object store
# Ray's head takes a host for dead after 2 s, and not after half a minute.
_SOON = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
_PROGRAM = f'#!/bin/sh\nexec "${ENGINE}/smolvm" "$@"\n'


class Fleet:
    """The cluster, and the engines of its hosts.

    Args:
        folder: A new directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "smolvm"
        self.program.write_text(_PROGRAM)
        self.program.chmod(0o755)
        self.engines: dict[str, NamespaceEngine] = {}  # by the host's id
        self._former: list[NamespaceEngine] = []  # of hosts that are dead
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": _STORE,
                "_system_config": _SOON,
            },
        )
        self._nodes: dict[str, Any] = {}
        self.address: str = self._cluster.address
        for _ in range(2):
            self.add_host()
        self.connect()

    def connect(self) -> None:
        """Connect this process as a driver."""
        ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING)

    def add_host(self, cpus: int = 8) -> str:
        """Add a host, and return its id."""
        engine = NamespaceEngine(self.folder / os.urandom(3).hex())
        node = self._cluster.add_node(
            num_cpus=cpus,
            memory=4 * 2**30,
            resources={"kvm": PLACES},
            object_store_memory=_STORE,
            env_vars={ENGINE: str(engine.folder)},
        )
        self.engines[node.node_id], self._nodes[node.node_id] = engine, node
        return str(node.node_id)

    def remove_host(self, node: str) -> None:
        """Kill a host's processes of Ray. Its engine's machines must be gone soon."""
        self._former.append(self.engines.pop(node))
        self._cluster.remove_node(self._nodes.pop(node), allow_graceful=False)

    @property
    def options(self) -> dict[str, Any]:
        """The options of its clients."""
        return {"program": self.program, "pass_env": [ENGINE], "wait": 30}

    def client(self, **options: Any) -> RaySmolvm:
        """A client of the engines."""
        return RaySmolvm(**{**self.options, **options})

    @property
    def left(self) -> list[str]:
        """What is left on any host, dead ones included."""
        return [name for engine in (*self.engines.values(), *self._former) for name in engine.left]

    @property
    def groups(self) -> list[str]:
        """The placement groups that are left."""
        return [group for group, found in placement_group_table().items() if found["state"] != "REMOVED"]

    def close(self) -> None:
        """End all of it."""
        with suppress(Exception):
            ray.shutdown()
        self._cluster.shutdown()  # type: ignore[no-untyped-call]
        for engine in (*self.engines.values(), *self._former):
            engine.close()

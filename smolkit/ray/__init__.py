"""Machines on the hosts of a Ray cluster, placed where there is room. Needs `pip install 'smolkit[ray]'`.

    client = RaySmolvm(wait=60)
    with client.machine(cpus=2, memory=2048) as m:
        print(ray.get(use.remote(m)))  # the handle knows its host, from any task or actor

A host takes part if it has the engine and offers places for machines: `ray start --resources='{"kvm": 64}'`.
"""

from typing import TYPE_CHECKING

from smolkit.lazy import exports

if TYPE_CHECKING:
    from smolkit.ray.async_client import AsyncRaySmolvm
    from smolkit.ray.client import RaySmolvm
    from smolkit.ray.hosts import RayHost
    from smolkit.ray.runner import RayRunner

__all__ = ["AsyncRaySmolvm", "RayHost", "RayRunner", "RaySmolvm"]

_MODULES = {"AsyncRaySmolvm": "async_client", "RayHost": "hosts", "RayRunner": "runner", "RaySmolvm": "client"}

if not TYPE_CHECKING:  # a type checker would take it for a module that has every name
    __getattr__, __dir__ = exports(__name__, _MODULES, extra="ray")

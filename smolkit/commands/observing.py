"""Reading what the engine tells of a machine besides its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from smolkit.commands.records import dict_of, typed
from smolkit.errors import UnknownEngineError
from smolkit.observed import EgressEvent, Stats

if TYPE_CHECKING:
    from smolkit.values import Completed


def stats(completed: Completed) -> Stats:
    """What `machine stats --json` says."""
    item = dict_of(completed)
    memory = item.get("memory")
    of_memory: Mapping[str, Any] = memory if isinstance(memory, dict) else {}
    share = item.get("cpu_percent")
    return Stats(
        cpu_percent=float(share) if isinstance(share, (int, float)) else None,
        cpus=typed(item, "cpus", int),
        memory_total=typed(of_memory, "total_bytes", int),
        memory_used=typed(of_memory, "used_bytes", int),
        memory_free=typed(of_memory, "free_bytes", int),
        memory_available=typed(of_memory, "available_bytes", int),
        memory_cached=typed(of_memory, "cached_bytes", int),
        swap_total=typed(of_memory, "swap_total_bytes", int),
        swap_used=typed(of_memory, "swap_used_bytes", int),
        raw=item,
    )


def egress_event(item: Any, completed: Completed) -> EgressEvent:
    """One of `machine egress-events --json`."""
    if not isinstance(item, dict):
        raise UnknownEngineError("the engine's record of an egress event is no object", completed)
    timestamp, operation, destination = (str(item.get(key) or "") for key in ("timestamp", "operation", "dest"))
    return EgressEvent(timestamp, operation, destination, item)

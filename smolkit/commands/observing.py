"""Parsing of what the engine reports of a machine besides its record: statistics, egress events, monitor events."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from smolkit import values
from smolkit.commands.parse import dict_of, typed
from smolkit.errors import UnknownEngineError
from smolkit.values.observed import EgressEvent, MonitorEvent, Stats


def stats(completed: values.Completed) -> Stats:
    """The answer of `machine stats --json`."""
    item = dict_of(completed)
    memory = item.get("memory")
    of_memory: Mapping[str, Any] = memory if isinstance(memory, dict) else {}
    share = typed(item, "cpu_percent", float) or typed(item, "cpu_percent", int)
    return Stats(
        cpu_percent=float(share) if share is not None and math.isfinite(share) else None,
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


def egress_event(item: Any, completed: values.Completed) -> EgressEvent:
    """One event of `machine egress-events --json`."""
    if not isinstance(item, dict):
        raise UnknownEngineError("the engine's record of an egress event is not an object", completed)
    timestamp, operation, destination = (typed(item, key, str) or "" for key in ("timestamp", "operation", "dest"))
    return EgressEvent(timestamp, operation, destination, item)


# The lines that `machine monitor` prints, by the source of 0.7.2 to 1.9.3 and the strings in 1.32.2.
_EVENTS = tuple(
    (kind, re.compile(pattern.replace("{n}", "[0-9]{1,9}")))  # short enough for int()
    for kind, pattern in (
        ("starting", r"Machine '[^']*' is not running, starting"),
        ("watching", r"Monitoring machine '"),
        ("check failed", r"  health check failed \(exit (?P<code>-?{n}), (?P<count>{n})/{n}\)"),
        ("check failed", r"  (?:health check error|cannot connect to agent) \((?P<count>{n})/{n}\)"),
        ("recovered", r"  health check passed"),
        ("unhealthy", r"  unhealthy "),
        ("exited", r"  machine exited \(exit code: (?:(?P<code>-?{n})|unknown)\)"),
        ("restarting", r"  restarting \(attempt (?P<count>{n}),"),
        ("restarted", r"  machine restarted"),
        ("restart failed", r"  restart failed: "),
        ("given up", r"  not restarting \("),
        ("suspended", r"  detected suspend "),
        ("stopped", r"Stopped monitoring\. "),
    )
)


def monitor_event(line: str) -> MonitorEvent:
    """The event of one line of `machine monitor`; its kind is "other" if the line is unknown."""
    for kind, pattern in _EVENTS:
        if found := pattern.match(line):
            parts = {part: int(number) for part, number in found.groupdict().items() if number is not None}
            return MonitorEvent(kind, line.strip(), parts.get("code"), parts.get("count"))
    return MonitorEvent("other", line.strip())

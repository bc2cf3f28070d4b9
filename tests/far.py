"""Far ends on this host: a link that starts them by `env`, and how to find and disturb their processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from smolkit import RemoteRunner, StdioLink
from smolkit.runners.remote.transport import ProgramTransport
from smolkit.testing import NamespaceEngine

RELAY = Path(__file__).with_name("relay.py")


def link(cache: Path, delay: float | None = None) -> StdioLink:
    """A link to this host, whose far end finds this Python first, and has a cache of its own.

    Args:
        cache: The cache directory.
        delay: Seconds that each byte takes, either way, by a program in between that can be killed as ssh can.
    """
    path = f"{os.path.dirname(sys.executable)}:/usr/bin:/bin"
    relay = [] if delay is None else [sys.executable, str(RELAY), str(delay)]
    return StdioLink([*relay, "env", f"PATH={path}", f"XDG_CACHE_HOME={cache}"])


def runner(engine: NamespaceEngine, delay: float | None = None, **options: object) -> RemoteRunner:
    """A runner of the engine at such a far end."""
    return at(engine.folder, delay, **options)


def at(folder: Path, delay: float | None = None, **options: object) -> RemoteRunner:
    """A runner of the engine in this directory, likewise."""
    return RemoteRunner(link(folder / "cache", delay), program=folder / "smolvm", **options)  # type: ignore[arg-type]


def far_pid(runner: RemoteRunner) -> int:
    """The far process."""
    me = runner.here().me
    assert me is not None
    return me.pid


def link_pid(runner: RemoteRunner) -> int:
    """The process of the link's program here."""
    runner.here()
    assert runner._session is not None
    transport = runner._session._transport
    assert isinstance(transport, ProgramTransport)
    return transport.child.pid


def most_memory(pid: int) -> int:
    """The most memory, in bytes, that a process has had until now."""
    (found,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(found.split()[1]) * 1024


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if parent_of(int(entry)) == pid:
                found += descendants(int(entry))
        except OSError:
            continue
    return found

"""The engine's and the guest's reports about machines, besides their records: statistics, events, files, exits."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import Any, final

from attrs import field, frozen


@final
@frozen
class ExitInfo:
    """The end of a machine's VM.

    Attributes:
        cause: The engine's term: exited, stopped, killed, crashed, oom_killed, seccomp, or a new one of a later engine.
        returncode: The exit status of the VMM process, if it had one.
        signal: The number of the signal that ended it, if one did.
        exited_at: Seconds since the epoch.
        raw: The whole answer of the engine.
    """

    cause: str
    returncode: int | None = None
    signal: int | None = None
    exited_at: float | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@final
@frozen
class Stats:
    """A machine's current resource use, as its guest counts it (engine >= 1.29.1).

    Attributes:
        cpu_percent: CPU use of all processors together, 0 to 100, over a short time.
        cpus: Virtual processors online.
        memory_total, memory_used, memory_free, memory_available, memory_cached: Bytes.
        swap_total, swap_used: Bytes.
        raw: The whole answer of the engine.
    """

    cpu_percent: float | None = None
    cpus: int | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    memory_free: int | None = None
    memory_available: int | None = None
    memory_cached: int | None = None
    swap_total: int | None = None
    swap_used: int | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@final
@frozen
class EgressEvent:
    """One attempt of a guest to connect to the outside (engine >= 1.8.1).

    Attributes:
        timestamp: RFC 3339, or "".
        operation: connect or sendto.
        destination: ip:port.
        raw: The whole answer of the engine.
    """

    timestamp: str
    operation: str
    destination: str
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@final
@frozen
class MonitorEvent:
    """One event of `machine.monitor()`.

    Attributes:
        kind: One of
            "starting" (the machine was not running), "watching",
            "check failed" (a health check), "recovered" (a check passed after failed ones), "unhealthy" (too many failed:
            the machine is being stopped), "exited" (the machine), "restarting", "restarted", "restart failed",
            "given up" (by the restart policy; the last event), "suspended" (this host was asleep),
            "stopped", or "other" for any other line of the engine.
        text: The engine's line. It includes the stderr of a health command, whose further lines are events of their own:
            a guest can write lines that look like events.
        returncode: The exit status of the failed health command, or of the machine's VMM; None if there is none.
        count: The number of health checks that failed in a row, or of the restart attempt; None for other kinds.
    """

    kind: str
    text: str
    returncode: int | None = None
    count: int | None = None


@final
@frozen
class FileStat:
    """Metadata of a file in the guest.

    Attributes:
        mode: File type and permissions, as in `os.stat`: `stat.S_IMODE(mode)` gives the permissions.
        size: Bytes.
        uid, gid: Numeric owner and group, in the guest.
        mtime: Time of the last change, in whole seconds since the epoch.
    """

    mode: int
    size: int
    uid: int
    gid: int
    mtime: int

    @property
    def is_dir(self) -> bool:
        """True for a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """True for a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """True for a symlink (only from `stat(follow_symlinks=False)`)."""
        return stat.S_ISLNK(self.mode)


@final
@frozen
class Check:
    """One check of `client.doctor()`.

    Attributes:
        name: What was checked.
        ok: True if it is well.
        detail: What was found.
        hint: What to do if it is not well.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""

"""What an engine tells of its machines besides their records. Imported where it is used."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import Any, final

from attrs import field, frozen


@final
@frozen
class ExitInfo:
    """How a machine's VM ended.

    Attributes:
        cause: The engine's word: exited, stopped, killed, crashed, oom_killed, seccomp, or one that a later engine brings.
        returncode: The VMM's exit status, if it had one.
        signal: The number of the signal that ended it, if one did.
        exited_at: Seconds since the epoch.
        raw: All that the engine said.
    """

    cause: str
    returncode: int | None = None
    signal: int | None = None
    exited_at: float | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@final
@frozen
class Stats:
    """What a machine uses right now, as its guest counts it (engine >= 1.29.1).

    Attributes:
        cpu_percent: Of all its processors together, 0 to 100, over a moment.
        cpus: Virtual processors online.
        memory_total, memory_used, memory_free, memory_available, memory_cached: Bytes.
        swap_total, swap_used: Bytes.
        raw: All that the engine said.
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
    """One attempt of a guest to reach out (engine >= 1.8.1).

    Attributes:
        timestamp: RFC 3339, or "".
        operation: connect or sendto.
        destination: ip:port.
        raw: All that the engine said.
    """

    timestamp: str
    operation: str
    destination: str
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@final
@frozen
class MonitorEvent:
    """What `machine.monitor()` saw or did.

    Attributes:
        kind: One of
            "starting" (the machine did not run), "watching",
            "check failed" (a health check), "recovered" (a check passed after failed ones), "unhealthy" (too many failed:
            the machine is being stopped), "exited" (the machine has), "restarting", "restarted", "restart failed",
            "given up" (the restart policy has it so; nothing comes after it), "suspended" (this host was asleep),
            "stopped", or "other" for all else that the engine says.
        text: The engine's line. The stderr of a health command is in it, and goes on in lines of its own: a guest can make
            lines that look like events.
        returncode: The exit status of the health command that failed, or of the machine's VMM; None where there is none.
        count: How many health checks failed in a row, or which attempt to restart it is; None for other kinds.
    """

    kind: str
    text: str
    returncode: int | None = None
    count: int | None = None


@final
@frozen
class FileStat:
    """What a guest says of a file.

    Attributes:
        mode: Its kind and permissions, as `os.stat` has them: `stat.S_IMODE(mode)` are the latter.
        size: Bytes.
        uid, gid: Its owner's and group's numbers in the guest.
        mtime: When it was changed, in whole seconds since the epoch.
    """

    mode: int
    size: int
    uid: int
    gid: int
    mtime: int

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a link (of `stat(follow_symlinks=False)` only)."""
        return stat.S_ISLNK(self.mode)


@final
@frozen
class Check:
    """One finding of `client.doctor()`: what was looked at, whether it is well, what was seen, and what to do if not."""

    name: str
    ok: bool
    detail: str
    hint: str = ""

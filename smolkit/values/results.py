"""The plain values that cross the layers: calls of the engine, their outcome, machines and paths. No I/O."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from typing import Any, final

from attrs import evolve, field, frozen

from smolkit import values
from smolkit.values.cut import Cut
from smolkit.values.hidden import Hidden
from smolkit.values.shown import redact, without_users


def shown_argv(argv: tuple[str, ...]) -> str:
    """The repr of the engine's arguments, secrets masked."""
    return repr(redact(argv))


def shown_bytes(data: bytes | None) -> str:
    """The repr of output, shortened, without the users and passwords of URLs."""
    if data is None or len(data) <= 80:  # noqa: PLR2004  (a line of a terminal)
        return without_users(repr(data))
    return f"{without_users(repr(data))[:80]}... ({len(data)} bytes)"


def shown_size(data: bytes | None) -> str:
    """The repr of an input: its size only, since it may be a secret."""
    return "None" if data is None else f"<{len(data)} bytes>"


@final
@frozen
class Invocation:
    """One call of the engine, as a runner receives it.

    Attributes:
        argv: The engine's arguments, without the program.
        env: Environment variables for the engine's process, in addition to the runner's own.
        stdin: Bytes for its standard input; None is /dev/null.
        timeout: Seconds after which the runner kills it; None is no limit.
        finish: True if an interrupt must wait for its end, because half of it is worse than all of it (create, start,
            stop, delete).
        output_limit: Maximum bytes of output, if less than the runner's own limit.
        truncate: True if the call goes on beyond that limit. The runner keeps the beginning and the end of each stream, of
            as many bytes at least, and may drop what is between them.
        patience: Seconds that the call may wait for its turn; they count towards the timeout. With None the wait has no
            limit, and the timeout begins with the turn.
        goes_on: True if the call boots a VM and continues after that. The first byte of stdout means that the VM is up.
        booted: For such a call: called once, with True when the VM is up, or with False when it should be up by now.
        command: The `smolkit.commands.Command` of the call; None if it was made without one.
    """

    argv: tuple[str, ...] = field(repr=shown_argv)
    env: tuple[tuple[str, Hidden], ...] = ()
    stdin: bytes | None = field(default=None, repr=shown_size)
    timeout: float | None = None
    finish: bool = False
    output_limit: int | None = None
    truncate: bool = False
    patience: float | None = None
    goes_on: bool = False
    booted: Callable[[bool], object] | None = field(default=None, eq=False, repr=False)
    command: Any = field(default=None, eq=False, repr=False)  # not its type, which is of a layer above


@final
@frozen
class Completed:
    """The outcome of an Invocation.

    Attributes:
        argv: The Invocation's.
        returncode: The engine's exit status; -N if signal N killed it.
        stdout, stderr: The exact bytes, without the note that a renamed engine prints first.
        duration: Seconds from start to end, on the host's monotonic clock.
        ended_by: Why the exit status has no meaning: "timeout" or "output limit" if the runner killed it; "reaped
            elsewhere" if other code in this program took the status. "" if it has one.
        stdout_cut, stderr_cut: What is missing there, of a call with `truncate`; None if nothing is.
    """

    argv: tuple[str, ...] = field(repr=shown_argv)
    returncode: int
    stdout: bytes = field(default=b"", repr=shown_bytes)
    stderr: bytes = field(default=b"", repr=shown_bytes)
    duration: float = 0.0
    ended_by: str = ""
    stdout_cut: Cut | None = None
    stderr_cut: Cut | None = None

    def redacted(self) -> Completed:
        """Return a copy with the values of env masked in argv: errors keep and pickle only that."""
        return evolve(self, argv=redact(self.argv))


@final
@frozen
class GuestPath:
    """A path in one machine: `m.path("/root") / "job.sh"`. A pure value, and an os.PathLike of the guest.

    It is accepted wherever a path in the guest is: the file methods, `workdir`, an argument of a command.

    Attributes:
        machine: The machine's name.
        path: The path in the guest: absolute, without redundant slashes.
        host: The engine host of the machine (its runner's `host`).
    """

    machine: str
    path: str
    host: str = field(default="", repr=False)

    def __truediv__(self, part: str | os.PathLike[str]) -> GuestPath:
        return evolve(self, path=posixpath.join(self.path, os.fspath(part)))

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """The last component of the path."""
        return posixpath.basename(self.path)

    @property
    def parent(self) -> GuestPath:
        """The path without its last component."""
        return evolve(self, path=posixpath.dirname(self.path))


@final
@frozen
class MachineInfo:
    """The engine's record of a machine.

    Attributes:
        name: Its name.
        state: The engine's term: created, running, stopped, failed, unreachable, frozen (>= 1.3.0), paused (>= 1.18.2),
            or a new one of a later engine. `unreachable` need not mean dead: one probe may have failed.
        cpus: Virtual processors.
        memory: MiB.
        created_at: Seconds since the epoch.
        storage_gb, overlay_gb: Size of its data disk and of its root overlay in GiB, as requested; None is the engine's
            default (20 and 10 with 1.32.2).
        entrypoint, cmd: Its workload, as given to it, without the image's own. Empty if none was given, None if unknown.
        pid: The VMM's process id on the host. It stays after a crash, so it does not mean that the machine runs.
        image: The image it was made from, or None for a bare machine.
        network: True if it has network access at all.
        labels: Its labels (engine >= 1.8.0).
        parent: The machine that it was branched from and whose disks it depends on (engine >= 1.14.0), or None.
        allowed_cidrs, allowed_hosts: The recorded allow lists. None if there are none, or if the engine (< 1.27.3) does not
            report them.
        last_exit: How its VM last ended (engine >= 1.31.5), or None.
        ports: Its published ports, each (host, guest), from `status` (1.32.2). None if unknown (`ls`).
        raw: The engine's whole record, unknown keys included.
    """

    name: str
    state: str = ""
    cpus: int | None = None
    memory: int | None = None
    storage_gb: int | None = None
    overlay_gb: int | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    created_at: int | None = None
    pid: int | None = None
    image: str | None = None
    network: bool | None = None
    labels: Mapping[str, str] = field(factory=dict, hash=False)
    parent: str | None = None
    allowed_cidrs: tuple[str, ...] | None = None
    allowed_hosts: tuple[str, ...] | None = None
    last_exit: values.ExitInfo | None = None
    ports: tuple[tuple[int, int], ...] | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @property
    def running(self) -> bool:
        """True if the engine calls it running."""
        return self.state == "running"

"""The plain values that cross the layers: what goes to the engine and what comes back. No I/O, no clock, no environment."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Any, final

from attrs import evolve, field, frozen

from smolkit.values.hidden import Hidden
from smolkit.values.shown import redact, without_users

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from smolkit.values.observed import ExitInfo


def shown_argv(argv: tuple[str, ...]) -> str:
    """The repr of the engine's arguments, without secrets."""
    return repr(redact(argv))


def _shown_bytes(data: bytes | None) -> str:
    if data is None or len(data) <= 80:  # noqa: PLR2004  (a line of a terminal)
        return without_users(repr(data))
    return f"{without_users(repr(data))[:80]}... ({len(data)} bytes)"


def shown_size(data: bytes | None) -> str:
    """The repr of an input, which may be a secret."""
    return "None" if data is None else f"<{len(data)} bytes>"


@final
@frozen
class Invocation:
    """One call of the engine, as a runner gets it.

    Attributes:
        argv: The engine's arguments, without the program.
        env: Variables for the engine's process on top of the runner's own.
        stdin: Bytes for its standard input; None is /dev/null.
        timeout: Seconds after which the runner ends it; None is no bound.
        finish: Whether an interrupt waits for its end: half of it is worse than all of it (create, start, stop, delete).
        output_limit: Bytes of output, where they are fewer than the runner takes.
        patience: Seconds for which the call may wait for its turn; they count to the timeout. None is no bound, and then
            the timeout begins with the turn.
        goes_on: Whether it boots a VM and goes on after that, and the first byte of its stdout says that the VM is up.
        booted: Of such a call: to be told once with True when the VM is up, or with False when it has to be by now.
        command: The `smolkit.commands.Command` that it says; None for one that no command was made of.
    """

    argv: tuple[str, ...] = field(repr=shown_argv)
    env: tuple[tuple[str, Hidden], ...] = ()
    stdin: bytes | None = field(default=None, repr=shown_size)
    timeout: float | None = None
    finish: bool = False
    output_limit: int | None = None
    patience: float | None = None
    goes_on: bool = False
    booted: Callable[[bool], object] | None = field(default=None, eq=False, repr=False)
    command: Any = field(default=None, eq=False, repr=False)  # not its type, which is of a layer above


@final
@frozen
class Completed:
    """What became of an Invocation.

    Attributes:
        argv: The Invocation's.
        returncode: The engine's exit status; -N if signal N killed it.
        stdout, stderr: The exact bytes, without the note that a renamed engine puts before everything.
        duration: Seconds from start to end, by the host's monotonic clock.
        ended_by: Why its exit status says nothing: "timeout" or "output limit", at which the runner ended it; "reaped
            elsewhere", where other code of this program took the status; "" where it does.
    """

    argv: tuple[str, ...] = field(repr=shown_argv)
    returncode: int
    stdout: bytes = field(default=b"", repr=_shown_bytes)
    stderr: bytes = field(default=b"", repr=_shown_bytes)
    duration: float = 0.0
    ended_by: str = ""

    def redacted(self) -> Completed:
        """The same, with the values of env gone from argv for good: what errors keep and pickle."""
        return evolve(self, argv=redact(self.argv))


@final
@frozen
class ExecResult:
    """How a command in the guest ended. Any exit status is a result; `check()` makes a non-zero one an error.

    Attributes:
        args: The command, as given.
        returncode: Its exit status; 128 + N if signal N killed it (engine >= 0.8.1; 255 before).
        stdout_bytes, stderr_bytes: Exactly what it wrote.
        duration: Seconds the whole call took on the host.
    """

    args: tuple[str, ...]
    returncode: int
    stdout_bytes: bytes = field(default=b"", repr=_shown_bytes)
    stderr_bytes: bytes = field(default=b"", repr=_shown_bytes)
    duration: float = field(default=0.0, eq=False)

    @property
    def stdout(self) -> str:
        """`stdout_bytes` as UTF-8 text; what is no UTF-8 comes out as U+FFFD."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """`stderr_bytes` as UTF-8 text; what is no UTF-8 comes out as U+FFFD."""
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        """Whether the exit status is 0."""
        return self.returncode == 0

    def check(self) -> Self:
        """Itself, if the exit status is 0.

        Raises:
            CommandFailedError: it is not.
        """
        if not self.ok:
            from smolkit.errors import CommandFailedError  # late: it has a result, and so knows this class

            raise CommandFailedError(self)
        return self


@final
@frozen
class GuestPath:
    """A path in one machine: `m.path("/root") / "job.sh"`. A pure value; `machine.cp` takes it for one of its sides.

    Attributes:
        machine: The machine's name.
        path: The path there, absolute and without needless slashes.
        host: Which engine host the machine is on (its runner's `host`).
    """

    machine: str
    path: str
    host: str = field(default="", repr=False)

    def __truediv__(self, part: str | os.PathLike[str]) -> GuestPath:
        return evolve(self, path=posixpath.join(self.path, os.fspath(part)))

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path)

    @property
    def parent(self) -> GuestPath:
        """The path without its last part."""
        return evolve(self, path=posixpath.dirname(self.path))


@final
@frozen
class MachineInfo:
    """What the engine has on record of a machine.

    Attributes:
        name: Its name.
        state: The engine's word: created, running, stopped, failed, unreachable, frozen (>= 1.3.0), paused (>= 1.18.2),
            or one that a later engine brings. `unreachable` is not dead: it can be a probe that failed once.
        cpus: Virtual processors.
        memory: MiB.
        created_at: Seconds since the epoch.
        storage_gb, overlay_gb: GiB of its data disk and of its root's overlay, as asked; None is the engine's own size
            (20 and 10 with 1.32.2).
        entrypoint, cmd: Its workload: what it was given, not what its image brings; empty for none, None where not told.
        pid: The VMM's process on the host; kept after a crash, so no sign of life.
        image: The image it was made from, or None for a bare machine.
        network: Whether it may reach out at all.
        labels: Its labels (engine >= 1.8.0).
        parent: The machine that it was branched from, whose disks it depends on (engine >= 1.14.0), or None.
        allowed_cidrs, allowed_hosts: The recorded allow lists, or None where there are none (or the engine is older
            than 1.27.3 and does not show them).
        last_exit: How its VM ended last (engine >= 1.31.5), or None.
        ports: Its published ports, (host, guest) each, as `status` has them (1.32.2); None where that is not told (`ls`).
        raw: All that the engine said, unknown keys too.
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
    last_exit: ExitInfo | None = None
    ports: tuple[tuple[int, int], ...] | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @property
    def running(self) -> bool:
        """Whether the engine calls it running."""
        return self.state == "running"

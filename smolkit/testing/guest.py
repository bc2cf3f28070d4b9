"""The machines of a FakeSmolvm, and the commands that run in them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from typing import Any, final

from attrs import define, field, frozen

from smolkit.testing.filesystem import Files
from smolkit.testing.guest_io import GuestStdin
from smolkit.testing.secret_sources import Sources
from smolkit.values.hidden import Variables, masked


@final
@frozen
class GuestResult:
    """A command's exit status and output: the complete answer of a handler.

    Attributes:
        returncode: The exit status.
        stdout, stderr: The output of the command.
    """

    returncode: int = 0
    stdout: bytes | str = b""
    stderr: bytes | str = b""


@final
@define
class FakeMachine:
    """A machine of a FakeSmolvm. Tests may read and change all of it.

    Attributes:
        name: The machine's name.
        files: The guest's file system.
        record: What `ls` and `status` show: cpus, memory_mib, labels and so on.
        state: The engine's word for the state: created, running, stopped or frozen.
        env: The machine's environment variables.
        branchable: True if it was started so that it can be branched.
        calls: The commands that ran in it, in order.
        log: The output of its workload, which `machine.logs()` reads.
        console: Its console, which `machine.console()` reads.
        half_booted: True if a failed start left a VM behind, which only `stop` ends.
        spawned: When each command that was left to run ends, in seconds since the epoch, by its mark.
        secrets: Where the engine gets the value of each secret.
    """

    name: str
    files: Files
    record: dict[str, Any]
    state: str = "created"
    env: dict[str, str] = field(factory=dict, repr=masked)
    branchable: bool = False
    calls: list[GuestCall] = field(factory=list, init=False)
    log: bytes = b""
    console: bytes = b""
    half_booted: bool = False
    spawned: dict[str, float] = field(factory=dict, init=False)
    secrets: Sources = field(factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """The machine's labels. Those that smolkit adds begin with `smolkit.`."""
        found: dict[str, str] = self.record["labels"]
        return found

    @property
    def image(self) -> str | None:
        """The image that the machine was made from; None for a bare machine."""
        found: str | None = self.record["image"]
        return found

    @property
    def parent(self) -> str | None:
        """The machine that this one was branched from."""
        found: str | None = self.record.get("parent_machine")
        return found

    def shown(self) -> dict[str, Any]:
        """The machine's record as the engine shows it now."""
        return {**self.record, "state": self.state, "pid": 4242 if self.state == "running" else None}

    def listen(self, port: int) -> None:
        """Open a TCP port in the guest, for `machine.wait_until(port=...)` to find."""
        files, table = self.files, "/proc/net/tcp6"
        if not files.exists(table):
            files.mkdir("/proc/net", exist_ok=True)
            for name in ("/proc/net/tcp", table):
                files.write_bytes(name, b"  sl  local_address ...\n")
        line = b"   0: %032X:%04X %032X:0000 0A 0 0\n" % (0, port, 0)
        files.write_bytes(table, files.read_bytes(table) + line)


@final
@define
class GuestCall:
    """A command in a fake machine, as a handler gets it.

    Attributes:
        machine: The machine in which it runs.
        args: The program and its arguments.
        env: Its environment variables: the machine's, then secrets, then its own.
        workdir: Its working directory; "/" by default.
        user: The user to run as, if one was given.
        now: When it started, in seconds since the epoch, by the fake's clock.
    """

    machine: FakeMachine
    args: tuple[str, ...]
    env: Variables
    workdir: str
    user: str | None
    _input: GuestStdin = field(repr=False, eq=False)
    now: float
    _sleep: Callable[[float], None] = field(repr=False, eq=False)

    @property
    def stdin(self) -> bytes:
        """All of its stdin. With `popen(stdin=True)`, waits until that is closed."""
        return self._input.read()

    def lines(self) -> Iterator[bytes]:
        """The lines of its stdin, each as soon as it is written: for handlers that answer while they read."""
        return self._input.lines()

    @property
    def files(self) -> Files:
        """The machine's files, with Machine's methods: `call.files.write_text(call.path("out.txt"), "done")`."""
        return self.machine.files

    def path(self, name: str) -> str:
        """The absolute path of a file; relative names start at `workdir`."""
        return posixpath.join(self.workdir, name)

    def sleep(self, seconds: float) -> None:
        """Advance the fake's clock. Nobody waits, but timeouts take effect."""
        self._sleep(seconds)


# What a handler returns: stdout, an exit status, an OSError for a program that cannot be started, or a GuestResult. A
# generator yields pieces of stdout, or ("stderr", text), and returns the exit status.
HandlerResult = str | bytes | int | None | GuestResult | BaseException
Handler = Callable[[GuestCall], HandlerResult | Iterator[Any]]

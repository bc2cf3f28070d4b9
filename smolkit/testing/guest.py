"""What runs in a fake machine: handlers that tests register, and a few honest programs of its own."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Callable, Generator, Iterator
from types import GeneratorType
from typing import TYPE_CHECKING, Any, final

from attrs import define, evolve, field, frozen

from smolkit.handles.spawned import FIND, KILL
from smolkit.testing import file_scripts
from smolkit.testing.guest_io import GuestInput
from smolkit.testing.programs import PROGRAMS
from smolkit.testing.scripted import UnexpectedCommandError
from smolkit.testing.shell import NULL, Pieces, Shell, normal
from smolkit.testing.shell_syntax import UnknownSyntaxError
from smolkit.values.hidden import Variables, masked
from smolkit.values.validate import data

if TYPE_CHECKING:
    from smolkit.testing.filesystem import Files
    from smolkit.testing.secret_sources import Sources


@final
@frozen
class GuestResult:
    """How a handler says all of it at once.

    Attributes:
        returncode: The exit status.
        stdout, stderr: What the command writes.
    """

    returncode: int = 0
    stdout: bytes | str = b""
    stderr: bytes | str = b""


# What a handler gives: stdout, an exit status, an OSError for "it cannot be started", or all at once. A generator's pieces
# are stdout, or ("stderr", text); what it returns is the exit status.
Said = str | bytes | int | None | GuestResult | BaseException
Handler = Callable[["GuestCall"], Said | Iterator[Any]]


@final
@define
class FakeMachine:
    """A machine of a FakeSmolvm. Tests may look at all of it, and change it.

    Attributes:
        name: Its name.
        state: The engine's word: created, running, stopped, frozen.
        files: Its files.
        record: What the engine shows of it: cpus, memory_mib, labels and so on.
        env: Its variables.
        branchable: Whether it was started so.
        calls: What was run in it, in order.
        log, console: What `machine.logs()` gives, and the end of its console.
        half_booted: Whether a start that failed left a VM behind, which only a stop ends.
    """

    name: str
    files: Files
    record: dict[str, Any]
    state: str = "created"
    env: dict[str, str] = field(factory=dict, repr=masked)
    branchable: bool = False
    calls: list[GuestCall] = field(factory=list)
    log: bytes = b""
    console: bytes = b""
    half_booted: bool = False
    spawned: dict[str, float] = field(factory=dict)  # by their mark: when they end, in seconds since the epoch
    secrets: Sources = field(factory=dict)  # where the engine gets each

    @property
    def labels(self) -> dict[str, str]:
        """Its labels; those of smolkit's own begin with `smolkit.`."""
        found: dict[str, str] = self.record["labels"]
        return found

    @property
    def image(self) -> str | None:
        """What it was made from."""
        found: str | None = self.record["image"]
        return found

    @property
    def parent(self) -> str | None:
        """What it was branched from."""
        found: str | None = self.record.get("parent_machine")
        return found

    def shown(self) -> dict[str, Any]:
        """Its record, as the engine shows it."""
        return {**self.record, "state": self.state, "pid": 4242 if self.state == "running" else None}

    def listen(self, port: int) -> None:
        """From now on something in the guest listens on this TCP port: `machine.wait_until(port=...)` sees it."""
        old = self.files.read("/proc/net/tcp6") if self.files.exists("/proc/net/tcp6") else b"  sl  local_address ...\n"
        if not self.files.is_dir("/proc/net"):
            self.files.mkdir("/proc/net")
            self.files.write("/proc/net/tcp", b"  sl  local_address ...\n")
        self.files.write("/proc/net/tcp6", old + b"   0: %032X:%04X %032X:0000 0A 0 0\n" % (0, port, 0))


@final
@define
class GuestCall:
    """A command in a fake machine: what a handler is given.

    Attributes:
        machine: Where it runs.
        args: The command.
        env: Its variables, a mapping: the machine's, the secrets', its own.
        workdir: Where it runs; "/" by default.
        user: As whom, if that was said.
        now: Seconds since the epoch, by the fake's clock.
    """

    machine: FakeMachine
    args: tuple[str, ...]
    env: Variables
    workdir: str
    user: str | None
    _input: GuestInput = field(repr=False, eq=False)
    now: float
    _sleep: Callable[[float], None] = field(repr=False, eq=False)

    @property
    def stdin(self) -> bytes:
        """All that it is given to read. Of `popen(stdin=True)`: waits until that is closed."""
        return self._input.read()

    def lines(self) -> Iterator[bytes]:
        """What it is given to read, line by line as it is written: for handlers that answer while they read."""
        return self._input.lines()

    @property
    def files(self) -> Files:
        """The machine's files."""
        return self.machine.files

    def path(self, name: str) -> str:
        """A file's absolute path: relative ones begin at workdir."""
        return posixpath.join(self.workdir, name)

    def sleep(self, seconds: float) -> None:
        """Lets time pass, by the fake's clock: nobody waits, but timeouts come true."""
        self._sleep(seconds)


def run(call: GuestCall, handlers: list[tuple[tuple[str, ...], Any]]) -> Pieces:
    """Runs a command: by the handler that was registered last, or one of the fake's own programs.

    Raises:
        FileNotFoundError, PermissionError: it cannot be started.
        UnexpectedCommandError: there is nothing to run it with.
    """
    return (yield from _begun(call, handlers))  # a handler is called when its output is read, within the command's bounds


def _begun(call: GuestCall, handlers: list[tuple[tuple[str, ...], Any]]) -> Pieces:
    if not call.files.is_dir(call.workdir):
        raise FileNotFoundError(call.workdir)
    for words, handler in reversed(handlers):
        if call.args[: len(words)] == words:
            return _pieces(handler(call) if callable(handler) and not isinstance(handler, type) else handler)
    try:
        text = None if call.args == ("sh", "-c") else file_scripts.run(call.files, call.args, call._input, int(call.now))  # noqa: SLF001  (of this module)
    except file_scripts.Exit as end:
        return _said(GuestResult(end.status, b"", end.stderr))
    if text is not None:
        return _said(text)
    if call.args[:2] == ("sh", "-c") and call.args[2:] and not call.args[2].startswith(("-", "+")):  # those are options
        return _spawned(call) or _shell(call, handlers)
    if call.args[0] in PROGRAMS:
        return PROGRAMS[call.args[0]](call)
    if "/" in call.args[0]:
        _look(call)
    raise UnexpectedCommandError(
        f"the fake's guest does not know {call.args[0]!r}, of {list(call.args)}\n"
        f"  say what it does: fake.on({call.args[0]!r}, 'its output'); FileNotFoundError, if it is not there\n"
        f"  it knows: {', '.join(sorted({words[0] for words, _ in handlers} | {*PROGRAMS, 'sh -c'}))}"
    )


def _look(call: GuestCall) -> None:
    """Looks for a program that is named by its path, but not where only a real guest has some.

    Raises:
        FileNotFoundError, PermissionError: it is not there, or no program.
    """
    name, path = call.args[0], normal(call.path(call.args[0]))
    try:
        node = call.files.find(path)[1]
    except (FileNotFoundError, NotADirectoryError):
        node = None
    is_dir = node is not None and stat.S_ISDIR(node.mode)
    if path == NULL or is_dir or (node is not None and not name.endswith("/") and not stat.S_IMODE(node.mode) & 0o111):
        raise PermissionError(name)
    if name.endswith("/") or (node is None and not path.startswith(("/bin/", "/sbin/", "/usr/", "/opt/", "/dev/"))):
        raise FileNotFoundError(name)


def _spawned(call: GuestCall) -> Pieces | None:
    """What the scripts of `Spawned` do: looking for what was left to run, and ending it."""
    mark, machine = call.env.get("SMOLKIT_MARK", ""), call.machine
    if call.args[2] == FIND:
        return _said("/proc/600/environ\n" if machine.spawned.get(mark, 0) > call.now else "")
    if call.args[2] == KILL:
        machine.spawned[mark] = 0
        return _said(0)
    return None


def _shell(call: GuestCall, handlers: list[tuple[tuple[str, ...], Any]]) -> Pieces:
    def execute(words: tuple[str, ...], stdin: GuestInput) -> Pieces:
        return run(evolve(call, args=words, input=stdin), handlers)

    try:
        shell = Shell(call.files, call.env, call.workdir, execute)
        return (yield from shell.run(call.args[2], call._input))  # noqa: SLF001  (of this module)
    except UnknownSyntaxError as error:
        raise UnexpectedCommandError(
            f"the fake's `sh -c` does not know {str(error)!r}, of {call.args[2]!r}\n"
            "  say what the script does: fake.on(['sh', '-c'], lambda call: ...)"
        ) from None


def _pieces(said: Any) -> Pieces:
    if isinstance(said, type) and issubclass(said, BaseException):
        said = said()
    if isinstance(said, BaseException):
        raise said
    return _live(said) if isinstance(said, GeneratorType) else _said(said)


def _said(said: Any) -> Pieces:
    if isinstance(said, int):
        said = GuestResult(said)
    if not isinstance(said, GuestResult):
        said = GuestResult(0, b"" if said is None else said)
    for stream, text in (("stdout", said.stdout), ("stderr", said.stderr)):
        if text:
            yield stream, data("a handler's answer", text) or b""
    return int(said.returncode)


def _live(said: Generator[Any, Any, Any]) -> Pieces:
    status = None
    while True:
        try:
            piece = next(said)
        except StopIteration as end:
            status = end.value
            break
        stream, text = piece if isinstance(piece, tuple) else ("stdout", piece)
        yield stream, data("a handler's piece", text) or b""
    return status or 0

"""Commands in the guest that are followed while they run, and such as are left to run."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

from attrs import evolve, field, frozen

from smolkit import checks
from smolkit.commands.execute import GRACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from smolkit.commands.execute import Exec
    from smolkit.commands.verbs import Logs, Monitor
    from smolkit.errors import SmolvmError
    from smolkit.machine_commands import MachineCommands
    from smolkit.runners.base import Runner

T = TypeVar("T", bytes, str)

_ERROR = b'{"error":{'  # how a failure of the engine begins, at the end of stderr
_KEPT = 65_536  # bytes of stderr that are kept to tell how it ended
_LONGEST_LINE = 1_048_576  # characters after which a line is given without its end


@final
class Input:
    """The standard input of a Process."""

    def __init__(self, live: Any) -> None:
        self._live = live
        self.closed = False

    def write(self, data: bytes | str) -> None:
        """Gives the command data; text as UTF-8. Waits until there is room for all of it.

        Raises:
            BrokenPipeError: it has ended, or reads no more.
            ValueError: it was closed.
        """
        if self.closed:
            raise ValueError("write to a standard input that was closed")
        self._live.write(checks.data("data", data) or b"")

    def close(self) -> None:
        """The command sees the end of its input."""
        self.closed = True
        self._live.close_stdin()


@final
class Process(Generic[T]):
    """A command in the guest while it runs, shaped like `subprocess.Popen`. Made by `machine.popen`.

    Iterate it for `(stream, data)`, where stream is "stdout" or "stderr": pieces of bytes as they come, or lines of text
    with text=True. Nothing is kept, and what is not read slows the command down. The end of the iteration waits for the
    command and sets `returncode`; a failure of the engine is raised there, as by `exec`.

    As a context manager it is waited for at the end of the block; after an exception it is killed instead.

    Attributes:
        args: The command.
        returncode: Its exit status, or None while it runs. Negative: the engine's process was ended by that signal
            (`terminate`, `kill`), and the command with it.
        stdin: To write to, with stdin=True; else None.
    """

    def __init__(self, runner: Runner, command: Exec | Logs | Monitor, *, stdin: bool, text: bool) -> None:
        self._command, self._runner, self._text = command, runner, text
        self._invocation, self._started = command.invocation(runner.engine.dialect), runner.clock()
        self._live = runner.follow(command, stdin=stdin)
        self._deadline = None if command.timeout is None else runner.clock() + command.timeout + GRACE
        self._ended_by = ""
        self._told = False  # to end, by us
        self._over = False
        self._failure: SmolvmError | None = None
        self._wrote = False  # anything on stdout
        self._tail = b""  # of stderr
        self._held = b""  # of stderr, while it may be the engine's last words
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {"stdout": decoder("replace"), "stderr": decoder("replace")}
        self._rests = {"stdout": "", "stderr": ""}
        self.args = command.command or (type(command).__name__.lower(),)
        self.stdin = Input(self._live) if stdin else None
        self.returncode: int | None = None

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode={self.returncode}"
        return f"<Process {list(self.args)!r} in {self._command.name!r}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            if not self._over:
                self.kill()
                self._close()

    def __del__(self) -> None:
        if getattr(self, "returncode", 0) is None:
            import warnings  # late: only where something went wrong

            warnings.warn(f"{self!r} was left without waiting for its end", ResourceWarning, 2, source=self)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        while (piece := self._read(None)) is not None:
            stream, chunk = piece
            if self._text:
                yield from ((stream, line) for line in self._lines(stream, chunk))  # type: ignore[misc]
            else:
                yield stream, chunk  # type: ignore[misc]
        for stream, rest in self._rests.items():
            if last := rest + self._decoders[stream].decode(b"", final=True):
                self._rests[stream] = ""
                yield stream, last  # type: ignore[misc]
        self.wait()

    def _lines(self, stream: str, chunk: bytes) -> Iterator[str]:
        *lines, rest = (self._rests[stream] + self._decoders[stream].decode(chunk)).split("\n")
        yield from (f"{line}\n" for line in lines)
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = ""
        self._rests[stream] = rest

    def _read(self, until: float | None) -> tuple[str, bytes] | None:
        """The next piece that is the guest's; None at the end. TimeoutError, if it did not come by then."""
        while not self._over:
            bounds = [bound for bound in (until, self._deadline) if bound is not None]
            try:
                piece = self._live.read(max(0.0, min(bounds) - self._runner.clock()) if bounds else None)
            except TimeoutError:
                if self._deadline is None or self._runner.clock() < self._deadline:
                    raise
                self._deadline, self._ended_by = None, "timeout"
                self._live.end()
                continue
            if piece is None:
                self._finish()
                self._over = True
                return ("stderr", self._held) if self._held else None
            stream, chunk = piece
            said = self._not_the_engines(chunk) if stream == "stderr" else chunk
            self._wrote = self._wrote or stream == "stdout"
            if said:
                return stream, said
        return None

    def _not_the_engines(self, chunk: bytes) -> bytes:
        """What of stderr is surely the guest's; the rest is held until it is known."""
        said = self._held + chunk
        self._tail = (self._tail + chunk)[-_KEPT:]
        start = said.rstrip(b"\n").rfind(b"\n") + 1
        last = said[start:]
        begins = any(last.endswith(_ERROR[:length]) for length in range(1, len(_ERROR)))
        if len(last) < _KEPT and (_ERROR in last or begins):
            self._held = last
            return said[:start]
        self._held = b""
        return said

    def _finish(self) -> None:
        completed = self._live.close()
        self.returncode = completed.returncode
        if not (self._told and completed.returncode < 0):
            self._failure = self._command.failure(
                evolve(
                    completed,
                    stdout=b"-" if self._wrote else b"",
                    stderr=self._tail,
                    ended_by=self._ended_by or completed.ended_by,
                )
            )
        if self._failure is not None:
            self._held = self._held.partition(_ERROR)[0]
        self._runner.tell(self._command, self._invocation, self._started, completed.returncode, self._failure)

    def _close(self) -> None:
        while self._read(None) is not None:
            pass

    def poll(self) -> int | None:
        """The exit status, or None while it runs. Output that was not read does not count as its end."""
        if self.returncode is None and self._live.poll() is None:
            return None
        return self.returncode if self.returncode is not None else self._live.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end and gives the exit status. Output that was not read by then is thrown away.

        Raises:
            TimeoutError: it did not end in so many seconds; it still runs.
            SmolvmError: the engine failed: as for `exec`.
        """
        until = None if timeout is None else self._runner.clock() + checks.seconds("timeout", timeout)
        while not self._over:
            try:
                self._read(until)
            except TimeoutError:
                raise TimeoutError(f"{self!r} did not end within {timeout:g} s") from None
        if self._failure is not None:
            raise self._failure
        assert self.returncode is not None  # noqa: S101  (for the type checker: it is over)
        return self.returncode

    def terminate(self) -> None:
        """Ends the command, with all that it started (SIGTERM to the engine's process). Harmless if it has ended."""
        self._told = True
        self._live.end()

    def kill(self) -> None:
        """Ends the command, with all that it started, for sure (SIGKILL to the engine's process)."""
        self._told = True
        self._live.end(kill=True)


@final
@frozen
class Spawned:
    """A command that was started in the guest and left to run. Made by `machine.spawn`.

    It is known by a variable in its environment, which what it starts inherits: the numbers of processes differ between an
    image machine's inside and outside, and are used again.

    Attributes:
        machine: Where it runs.
        pid: Its number in the VM. In an image machine, commands inside see another one.
        mark: The variable's value.
    """

    machine: MachineCommands = field(eq=False)
    pid: int
    mark: str

    def is_running(self) -> bool:
        """Whether it, or anything that it started, runs.

        Raises:
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: it has no `grep` (exit status 127).
            MachineNotRunningError: the machine does not run.
        """
        return bool(self.machine.sh(FIND, env={"SMOLKIT_MARK": self.mark}, check=True).stdout.strip())

    def kill(self, signal: str = "KILL") -> None:
        """Sends a signal to it and to all that it started.

        Raises:
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: it has no `grep` (exit status 127), or some would not go.
        """
        if not signal.removeprefix("SIG").replace("+", "").isalnum():
            raise ValueError(f"not the name of a signal: {signal!r}")
        env = {"SMOLKIT_MARK": self.mark, "SMOLKIT_SIGNAL": signal.removeprefix("SIG")}
        self.machine.sh(KILL, env=env, check=True)


MARK = "SMOLKIT_SPAWN"
# The searching shell has the value under another name. grep's own status tells of processes that ended meanwhile, too.
FIND = f"""command -v grep >/dev/null || exit 127
grep -ls "{MARK}=$SMOLKIT_MARK" /proc/[0-9]*/environ; exit 0"""
# As often as it takes for those that are being born; a polite signal is sent once.
KILL = f"""command -v grep >/dev/null || exit 127
for round in 1 2 3 4 5 6 7 8 9 10; do
    found=$(grep -ls "{MARK}=$SMOLKIT_MARK" /proc/[0-9]*/environ)
    [ -n "$found" ] || exit 0
    for file in $found; do pid=${{file#/proc/}}; kill -"$SMOLKIT_SIGNAL" "${{pid%/environ}}" 2>/dev/null; done
    [ "$SMOLKIT_SIGNAL" = KILL ] || exit 0
done
exit 1"""

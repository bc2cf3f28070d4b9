"""Commands in the guest that are followed while they run."""

from __future__ import annotations

import codecs
import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

from attrs import evolve

from smolkit.commands.exec import GRACE
from smolkit.runners.acting import acting
from smolkit.runners.attempts import stamped
from smolkit.runners.blocking import Gate, Ticket, caller, caller_is_gone, holding_interrupts
from smolkit.runners.execution import tell
from smolkit.values import validate
from smolkit.values.results import Completed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from smolkit.commands.exec import Exec
    from smolkit.commands.verbs import Logs, Monitor
    from smolkit.errors import SmolvmError
    from smolkit.runners.base import AnyRunner

T = TypeVar("T", bytes, str)

_ERROR = b'{"error":{'  # how a failure of the engine begins, at the end of stderr
_KEPT = 65_536  # bytes of stderr that are kept to tell how it ended
_TERM_WAIT = 2.0  # seconds between SIGTERM and SIGKILL
_LONGEST_LINE = 1_048_576  # characters after which a line is given without its end


@final
class Input:
    """The standard input of a Process. One thread or task may write to it while another one reads the output."""

    def __init__(self, process: Process[Any]) -> None:
        self._process = process

    @property
    def closed(self) -> bool:
        """Whether it was closed by `close`, or by the end of the block."""
        return self._process._closed  # noqa: SLF001  (its other half)

    def write(self, data: bytes | str) -> None:
        """Gives the command data; text as UTF-8. Waits until there is room for all of it.

        While nobody reads, up to 16 MiB of the command's output are kept meanwhile. Then this waits for a reader.

        Raises:
            BrokenPipeError: it has ended, or reads no more; or not before its output is read, which no other thread or task
                ever did.
            ExecTimeoutError: it took nothing until the time was over that `popen` gave it.
            RuntimeError: another thread or task is writing.
            ValueError: it was closed.
        """
        if self.closed:
            raise ValueError("write to a standard input that was closed")
        self._process._write(validate.data("data", data) or b"")  # noqa: SLF001  (its other half)

    def close(self) -> None:
        """The command sees the end of its input. A write in another thread ends with BrokenPipeError."""
        self._process._closed = True  # noqa: SLF001  (likewise)
        self._process._live.close_stdin()  # noqa: SLF001


@final
class Process(Generic[T]):
    """A command in the guest while it runs, shaped like `subprocess.Popen`. Made by `machine.popen`.

    Iterate it for `(stream, data)`, where stream is "stdout" or "stderr": pieces of bytes as they come, or lines of text
    with text=True. Nothing is kept, and what is not read slows the command down. The end of the iteration waits for the
    command and sets `returncode`; a failure of the engine is raised there, as by `exec`.

    One thread or task may iterate it while another one writes to stdin; `poll`, `wait`, `terminate` and `kill` are for any.

    As a context manager its input is closed at the end of the block, and it has `grace` seconds to end by itself; then it
    is terminated, and `returncode` is negative. For a command that works on, `wait` in the block, or `grace=None`. After
    an exception it is killed at once. A forked child of this program has no part in it.

    Attributes:
        args: The command.
        returncode: Its exit status, or None while it runs. Negative: the engine's process was ended by that signal
            (`terminate`, `kill`), and the command with it.
    """

    def __init__(
        self, runner: AnyRunner, command: Exec | Logs | Monitor, *, stdin: bool, text: bool, grace: float | None = 5.0
    ) -> None:
        self._command, self._runner, self._text = command, runner, text
        self._grace, self._pid, self._started = grace, os.getpid(), runner.clock()
        self._deadline = None if command.timeout is None else self._started + command.timeout + GRACE
        self._live = runner.follow(command, stdin=stdin)
        self._invocation = command.invocation(runner.engine.dialect)
        self._turn = Gate(1)  # of those who read to the end
        self._piece = Gate(1, "to read this process's output")  # the end of the block reads, too
        self._reader: tuple[object, Ticket] | None = None  # who has it
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
        self.returncode: int | None = None
        self._takes_input, self._closed = stdin, False

    @property
    def stdin(self) -> Input | None:
        """To write to, with stdin=True; else None."""
        # Not kept: in a cycle, a process that is dropped would live until the garbage is collected.
        return Input(self) if self._takes_input else None

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode={self.returncode}"
        return f"<Process {list(self.args)!r} in {self._command.name!r}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pid != os.getpid():
            return
        try:
            if error is None and not self._over:
                self._part()
        finally:
            self._end()

    def _part(self) -> None:
        """Lets it end by itself, if it does so soon; else tells it to."""
        if self.stdin is not None:
            self.stdin.close()
        with suppress(TimeoutError):
            self._wait(self._grace)
            return
        self.terminate()
        with suppress(TimeoutError):
            self._wait(_TERM_WAIT)

    def __del__(self) -> None:
        if getattr(self, "returncode", 0) is None and self._pid == os.getpid():
            try:
                import warnings  # late: only where something went wrong
            except ImportError:  # the interpreter exits
                return

            warnings.warn(f"{self!r} was left without waiting for its end", ResourceWarning, 2, source=self)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        with self._iterating():
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
            self._wait(None)

    @contextmanager
    def _iterating(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(self._reading(0))
            except TimeoutError:
                words = "another thread or task reads from this process: one may read while one writes"
                raise RuntimeError(words) from None
            yield

    @contextmanager
    def _reading(self, timeout: float | None) -> Iterator[None]:
        """Has the output, to its end. Who has it already (and waits in the middle of a loop over it) goes on with it.

        Raises:
            TimeoutError: another thread or task has it, and did not leave it in so many seconds.
        """
        me, ticket = caller(), Ticket(caller_is_gone())
        if self._reader is not None and self._reader[0] == me:
            yield
            return
        try:
            self._turn.acquire(ticket, timeout)
            self._reader = (me, ticket)
            yield
        finally:
            if self._reader == (me, ticket):
                self._reader = None
            self._turn.release(ticket)

    def _lines(self, stream: str, chunk: bytes) -> Iterator[str]:
        *lines, rest = (self._rests[stream] + self._decoders[stream].decode(chunk)).split("\n")
        yield from (f"{line}\n" for line in lines)
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = ""
        self._rests[stream] = rest

    def _read(self, until: float | None) -> tuple[str, bytes] | None:
        """The next piece that is the guest's; None at the end. TimeoutError, if it did not come by then."""
        ticket = Ticket()
        try:
            try:
                self._piece.acquire(ticket, None if until is None else max(0.0, until - self._runner.clock()))
                return self._next(until)
            finally:
                self._piece.release(ticket)
        finally:
            self._piece.release(ticket)  # again: an interrupt may have struck in the line above

    def _next(self, until: float | None) -> tuple[str, bytes] | None:
        while not self._over:
            try:
                piece = self._live.read(self._left(until))
            except TimeoutError:
                if not self._is_expired():
                    raise
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

    def _left(self, until: float | None) -> float | None:
        bounds = [bound for bound in (until, self._deadline) if bound is not None]
        return max(0.0, min(bounds) - self._runner.clock()) if bounds else None

    def _is_expired(self) -> bool:
        """Whether its own time is over. It is told to end then; and where that does not help, ended."""
        if self._deadline is None or self._runner.clock() < self._deadline:
            return False
        told, self._ended_by = bool(self._ended_by), "timeout"
        self._deadline = None if told else self._runner.clock() + _TERM_WAIT
        self._live.end(kill=told)
        return True

    def _write(self, data: bytes) -> None:
        try:
            self._live.write(data, self._left(None))
        except TimeoutError:
            self._is_expired()
            done = Completed(self._invocation.argv, -15, b"-", self._tail, self._runner.clock() - self._started, "timeout")
            raise self._command.failure(done) or TimeoutError from None

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
        completed = stamped(self._live.close(), self._invocation, self._runner.clock() - self._started)
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
        tell(self._runner, self._command, self._invocation, self._started, completed.returncode, self._failure)

    def _end(self) -> None:
        """Kills it, if it has not been read to its end, and reads to that: another one who reads ends there, too."""
        if not self._over:
            self.kill()
        while self._read(None) is not None:
            pass

    def poll(self) -> int | None:
        """The exit status, or None while it runs. Output that was not read does not count as its end."""
        if self.returncode is None and self._live.poll() is None:
            return None
        return self.returncode if self.returncode is not None else self._live.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end and gives the exit status. Output that was not read by then is thrown away.

        While another thread or task iterates the process, the output is that one's, and this waits for it to reach the end.

        Raises:
            TimeoutError: it did not end in so many seconds; it still runs.
            SmolvmError: the engine failed: as for `exec`.
        """
        return self._wait(None if timeout is None else validate.seconds("timeout", timeout))

    def _wait(self, timeout: float | None) -> int:
        until = None if timeout is None else self._runner.clock() + timeout
        try:
            while not self._over:
                with self._reading(timeout):
                    while not self._over:
                        self._read(until)
                        if until is not None and not self._over and self._runner.clock() >= until:
                            raise TimeoutError  # noqa: TRY301  (one that writes faster than this reads)
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


def start(
    runner: AnyRunner, command: Exec | Logs | Monitor, *, stdin: bool, text: bool, grace: float | None = 5.0
) -> Process[Any]:
    """Starts a command to be followed. An interrupt that keeps it from the caller ends it."""
    return holding_interrupts(
        lambda _: Process(acting(runner), command, stdin=stdin, text=text, grace=grace),  # for good: also after a dry run
        lambda process: process._end(),  # noqa: SLF001  (made here)
    )

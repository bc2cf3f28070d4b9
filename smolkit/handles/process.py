"""Commands in the guest that are followed while they run."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final

from attrs import evolve

from smolkit import commands, runners
from smolkit.errors import SmolvmError
from smolkit.handles.output import KEPT, Lines, Stderr
from smolkit.runners.attempts import stamped
from smolkit.runners.blocking import Gate, Ticket, caller, caller_is_gone
from smolkit.runners.execution import tell
from smolkit.values import validate
from smolkit.values.results import Completed

T = TypeVar("T", bytes, str)

_TERM_WAIT = 2.0  # seconds between SIGTERM and SIGKILL


@final
class Input:
    """The stdin of a Process. One thread or task may write to it while another one reads the output."""

    def __init__(self, process: Process[Any]) -> None:
        self._process = process

    @property
    def closed(self) -> bool:
        """True once it was closed, by `close` or by the end of the block."""
        return self._process._closed  # noqa: SLF001  (its other half)

    def write(self, data: bytes | str) -> None:
        """Write all of the data to the command's stdin, text as UTF-8. Blocks while there is no room.

        If nobody reads the output meanwhile, up to 16 MiB of it are buffered. After that, this blocks until somebody reads.

        Raises:
            BrokenPipeError: the command has ended or closed its stdin; or the buffer is full and no other thread or task
                has ever read the output.
            ExecTimeoutError: the command read nothing until its timeout (see `popen`).
            RuntimeError: another thread or task is writing.
            ValueError: stdin was closed.
        """
        if self.closed:
            raise ValueError("write to a closed stdin")
        self._process._write(validate.data("data", data) or b"")  # noqa: SLF001  (its other half)

    def close(self) -> None:
        """Close the command's stdin: it reads end of file. A write in another thread ends with BrokenPipeError."""
        self._process._closed = True  # noqa: SLF001  (its other half)
        self._process._live.close_stdin()  # noqa: SLF001


@final
class Process(Generic[T]):
    """A command in the guest while it runs, shaped like `subprocess.Popen`. Made by `machine.popen`.

    Iterate it for `(stream, data)`, where stream is "stdout" or "stderr" and data a piece of bytes, as it comes, or a line
    of text with text=True. Nothing is buffered: unread output blocks the command. The iteration ends when the command has
    ended. Then `returncode` is set, and a failure of the engine is raised, as by `exec`.

    One thread or task may iterate it while another one writes to stdin. `poll`, `wait`, `terminate` and `kill` may be
    called by any.

    As a context manager it closes the command's stdin at the end of the block, and gives the command `grace` seconds to end
    by itself. After that it terminates it, and `returncode` is negative. For a command that takes longer, call `wait` in
    the block, or pass `grace=None`. After an exception the command is killed at once. In a forked child of this program
    the end of the block does nothing.

    Attributes:
        args: The command.
        returncode: Its exit status, or None while it runs. Negative: the engine's process was ended by that signal
            (`terminate`, `kill`), and the command with it.
    """

    def __init__(
        self,
        runner: runners.AnyRunner,
        command: commands.Command[Any],
        machine: str,
        args: tuple[str, ...],
        *,
        stdin: bool,
        text: bool,
        grace: float | None = 5.0,
        explain: Callable[[SmolvmError], SmolvmError] | None = None,
    ) -> None:
        self._command, self._runner, self._machine, self._text = command, runner, machine, text
        self._explain = explain
        self._grace, self._pid, self._started = grace, os.getpid(), runner.clock()
        self._live = runner.follow(command, stdin=stdin)
        self._invocation = command.invocation(runner.engine.dialect)
        # The same bound as that of a call that is not followed: the command's own timeout, and a grace for the engine.
        self._deadline = None if self._invocation.timeout is None else self._started + self._invocation.timeout
        self._turn = Gate(1)  # for the one who reads to the end
        self._piece = Gate(1, "to read this process's output")  # for each read: the end of the block reads, too
        self._reader: tuple[object, Ticket] | None = None  # who has the turn
        self._ended_by = ""  # "timeout", if this ended it
        self._told = self._over = False  # the caller told it to end; its output was read to the end
        self._failure: SmolvmError | None = None
        self._last, self._stderr, self._lines = b"", Stderr(), Lines()  # the last piece of stdout, ...
        self.args: tuple[str, ...] = args
        self.returncode: int | None = None
        self._takes_input, self._closed = stdin, False

    @property
    def stdin(self) -> Input | None:
        """The command's stdin, or None without stdin=True."""
        # Made anew each time: a reference cycle would keep a dropped process alive until garbage collection.
        return Input(self) if self._takes_input else None

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode={self.returncode}"
        return f"<Process {list(self.args)!r} in {self._machine!r}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pid != os.getpid():  # a forked child shares the pipes: what it reads or kills would be its parent's
            return
        try:
            if error is None and not self._over:
                self._await_end()
        finally:
            self._kill_and_drain()

    def _await_end(self) -> None:
        """Close its stdin, wait `grace` seconds for it to end by itself, then terminate it."""
        if self.stdin is not None:
            self.stdin.close()
        ended = self._ends_within(self._grace)
        if not ended:
            self.terminate()
        if ended or self._ends_within(_TERM_WAIT):
            self._result()

    def __del__(self) -> None:
        if getattr(self, "returncode", 0) is None and self._pid == os.getpid():
            warnings.warn(f"{self!r} was left without waiting for its end", ResourceWarning, 2, source=self)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        with self._iterating():
            while (piece := self._read(None)) is not None:
                if self._text:
                    yield from self._lines.of(*piece)  # type: ignore[misc]
                else:
                    yield piece  # type: ignore[misc]
            yield from self._lines.last()  # type: ignore[misc]
            self._wait(None)  # it has ended: this raises its failure

    @contextmanager
    def _iterating(self) -> Iterator[None]:
        # Entered by hand, so that a TimeoutError that the caller's loop raises is not taken for one of the turn.
        with ExitStack() as stack:
            try:
                stack.enter_context(self._reading(0))
            except TimeoutError:
                message = "another thread or task reads from this process: one may read while one writes"
                raise RuntimeError(message) from None
            yield

    @contextmanager
    def _reading(self, timeout: float | None) -> Iterator[None]:
        """Take the turn to read to the end. Re-entrant: `wait` in the middle of a loop over the process keeps the turn.

        Raises:
            TimeoutError: another thread or task did not give the turn up within `timeout` seconds.
        """
        # A thread or task that ended in the middle of its loop, without closing it, gives the turn up as well.
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

    def _read(self, until: float | None) -> tuple[str, bytes] | None:
        """The next piece of the guest's output; None at the end.

        Raises:
            TimeoutError: it did not come by `until`, on the runner's clock.
        """
        ticket = Ticket()
        try:
            try:
                self._piece.acquire(ticket, None if until is None else max(0.0, until - self._runner.clock()))
                return self._next_piece(until)
            finally:
                self._piece.release(ticket)
        finally:
            self._piece.release(ticket)  # again: an interrupt may have struck in the line above

    def _next_piece(self, until: float | None) -> tuple[str, bytes] | None:
        while not self._over:
            try:
                piece = self._live.read(self._left(until))
            except TimeoutError:
                if not self._is_expired():
                    raise
                continue  # told to end: its last output and its exit status are still to come
            if piece is None:
                self._finish()
                self._over = True
                return ("stderr", self._stderr.held) if self._stderr.held else None
            stream, chunk = piece
            if stream == "stdout":
                self._last = chunk[-KEPT:]
                return stream, chunk
            if said := self._stderr.guests(chunk):
                return stream, said
        return None

    def _left(self, until: float | None) -> float | None:
        bounds = [bound for bound in (until, self._deadline) if bound is not None]
        return max(0.0, min(bounds) - self._runner.clock()) if bounds else None

    def _is_expired(self) -> bool:
        """True if its own time is over. The first time it is terminated, and `_TERM_WAIT` later it is killed."""
        if self._deadline is None or self._runner.clock() < self._deadline:
            return False
        terminated, self._ended_by = bool(self._ended_by), "timeout"
        self._deadline = None if terminated else self._runner.clock() + _TERM_WAIT
        self._live.end(kill=terminated)
        return True

    def _write(self, data: bytes) -> None:
        try:
            self._live.write(data, self._left(None))
        except TimeoutError:
            self._is_expired()  # terminates it; a reader gets its exit status
            took = self._runner.clock() - self._started
            done = Completed(self._invocation.argv, -signal.SIGTERM, duration=took, ended_by="timeout")
            raise self._failure_of(done) or TimeoutError from None

    def _failure_of(self, completed: Completed) -> SmolvmError | None:
        """The engine's failure, if it failed. The error holds the end of each stream."""
        ended_by = self._ended_by or completed.ended_by
        return self._command.failure(evolve(completed, stdout=self._last, stderr=self._stderr.end, ended_by=ended_by))

    def _finish(self) -> None:
        code = None
        try:
            completed = stamped(self._live.close(), self._invocation, self._runner.clock() - self._started)
            code = completed.returncode
            if not (self._told and code < 0):  # death by the signal that the caller asked for is no failure
                self._failure = self._failure_of(completed)
        except SmolvmError as error:  # its host was lost
            self._failure = error
        self.returncode = -signal.SIGKILL if code is None else code
        if self._failure is not None:
            self._stderr.drop_error()
        tell(self._runner, self._command, self._invocation, self._started, code, self._failure)

    def _kill_and_drain(self) -> None:
        """Kill it unless its output was read to the end, and read the rest: another reader reaches the end, too."""
        if not self._over:
            self.kill()
        while self._read(None) is not None:
            pass

    def poll(self) -> int | None:
        """Its exit status, or None while it runs. It may have ended before all of its output is read."""
        return self._live.poll() if self.returncode is None else self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status. Output that was not read until then is discarded.

        While another thread or task iterates the process, the output is left to it, and this waits for it to reach the end.

        Raises:
            TimeoutError: it did not end within `timeout` seconds; it still runs.
            SmolvmError: the engine failed, as for `exec`.
        """
        return self._wait(None if timeout is None else validate.seconds("timeout", timeout))

    def _wait(self, timeout: float | None) -> int:
        if self._ends_within(timeout):
            return self._result()
        raise TimeoutError(f"{self!r} did not end within {timeout:g} s")

    def _ends_within(self, timeout: float | None) -> bool:
        """Wait for the end, at most `timeout` seconds. Its failure is no TimeoutError here, though it may be one."""
        until = None if timeout is None else self._runner.clock() + timeout
        with suppress(TimeoutError):
            while not self._over:  # again: whoever had the turn may have given it up before the end
                with self._reading(timeout):
                    while not self._over:
                        self._read(until)
                        if until is not None and not self._over and self._runner.clock() >= until:
                            return False  # it writes faster than this reads
        return self._over

    def _result(self) -> int:
        if self._failure is not None:
            if self._explain is not None:
                self._failure, self._explain = self._explain(self._failure), None
            raise self._failure
        assert self.returncode is not None  # noqa: S101  (for the type checker: it is over)
        return self.returncode

    def terminate(self) -> None:
        """Terminate the command and every process that it started (SIGTERM to the engine's). No-op if it has ended."""
        self._told = True
        self._live.end()

    def kill(self) -> None:
        """Kill the command and every process that it started (SIGKILL to the engine's). No-op if it has ended."""
        self._told = True
        self._live.end(kill=True)

"""A call of the engine as a child process whose output is read while it runs."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import finalize, ref

from smolkit.runners.blocking import Sole, Ticket, caller
from smolkit.runners.live import Live
from smolkit.runners.local.capture import terminate_and_reap
from smolkit.runners.local.engine_note import NOTE, without_note
from smolkit.runners.local.pipes import Pipes, wait_ready, write_some
from smolkit.runners.local.posix import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.runners.blocking import Gate
    from smolkit.runners.local.launcher import Launcher
    from smolkit.values.results import Completed, Invocation


_MOST = 16 * 2**20  # bytes of output that are kept for a later reader while input is written
_STALLED = 10.0  # seconds for which a writer waits for a reader, where nobody but itself has ever read
_GONE = 2.0  # seconds to wait for the end after SIGKILL: another user's process (sudo) cannot be killed
_GLANCE = 0.5  # seconds between two polls of a child that takes no input, where there is no pidfd


class LiveChild(Live):
    """A child process that is read while it runs. Unread output stays in its pipes: a slow reader slows it down.

    One thread or task may read while another one writes. A writer that waits for room reads too, as long as nobody else
    does, and keeps the output for a later reader: otherwise a child that writes before it reads on would deadlock with it.

    Args:
        launcher: Starts the engine.
        processes: Semaphore in which the child has a place while it runs.
        invocation: The call.
        clock: Monotonic clock, in seconds.
        stdin: Whether it has a stdin to write to, instead of /dev/null.
    """

    def __init__(
        self, launcher: Launcher, processes: Gate, invocation: Invocation, clock: Callable[[], float], *, stdin: bool
    ) -> None:
        self._launcher, self._processes, self._invocation, self._clock = launcher, processes, invocation, clock
        self._process, self._started = os.getpid(), clock()
        self._ready: deque[tuple[str, bytes]] = deque()
        self._kept = 0  # bytes in it
        self._reader: object = None  # the thread or task that read last
        self._head: bytes | None = b""  # the beginning of stderr, while it may be the note of a renamed engine
        self._reading = Sole("another thread or task reads from this process: one may read while one writes")
        self._writing = Sole("another thread or task writes to this process: one may write while one reads")
        self._serving = threading.Lock()  # held while the pipes are read, by the reader or by a writer that waits for room
        self._alarm: list[int] = []  # a pipe's two ends, by which a reader that stops wakes a writer that waits
        self._gone: float | None = None  # when to give up waiting for the end of a child that was killed
        self._closes = False  # whether to close stdin as soon as nobody writes
        self._done = False  # whether to close everything else then
        # Both before the try, whose handler needs them; they hold nothing of the host yet.
        self._child = ChildProcess()
        self._ticket = Ticket(_tells_end(self._child))
        try:
            processes.acquire(self._ticket, invocation.patience)
            self._child.open_pipes(stdin=stdin)
            self._pipes = Pipes(self._child, clock)
            launcher.start(self._child, invocation)
            if self._child.stdin is not None:
                os.set_blocking(self._child.stdin.fileno(), False)
            self._ticket.holder = None  # from now on it ends by itself, whatever the thread or task waits for
        except BaseException:
            terminate_and_reap(self._child, clock)
            self._child.close()
            processes.release(self._ticket)
            raise

    def read(self, timeout: float | None) -> tuple[str, bytes] | None:
        """As in Live."""
        self._check_process()
        return self._reading.during(lambda: self._read(None if timeout is None else self._clock() + timeout))

    def _read(self, deadline: float | None) -> tuple[str, bytes] | None:
        try:
            with self._serving:
                # While one reads, the place in the semaphore depends on that one: who would wait for it there deadlocks.
                self._reader = self._ticket.holder = caller()
                return self._next(deadline)
        finally:
            self._ticket.holder = None
            self._wake()

    def _next(self, deadline: float | None) -> tuple[str, bytes] | None:
        while not self._ready:
            if self._is_at_end():
                return None
            bounds = [bound - self._clock() for bound in (deadline, self._gone) if bound is not None]
            self._serve_pipes(max(0.0, min(bounds)) if bounds else None)
            if not self._ready and deadline is not None and self._clock() >= deadline and not self._is_at_end():
                raise TimeoutError
        piece = self._ready.popleft()
        self._kept -= len(piece[1])
        return piece

    def _is_at_end(self) -> bool:
        """True if no more output comes: the child has ended and its pipes are closed, or waiting for that is given up."""
        if self._gone is not None and self._clock() >= self._gone:
            return True
        return not self._pipes.open and (self._pipes.ended or self._child.poll() is not None)

    def _serve_pipes(self, timeout: float | None) -> None:
        for stream, chunk in self._pipes.serve(timeout):
            if output := self._without_note(stream, chunk):
                self._ready.append((stream, output))
                self._kept += len(output)

    def _without_note(self, stream: str, chunk: bytes) -> bytes:
        """The chunk without the note of a renamed engine; empty while the chunk may still be a part of the note."""
        if stream != "stderr" or self._head is None:
            return chunk
        self._head += chunk
        if chunk and b"\n" not in self._head and (NOTE.startswith(self._head) or self._head.startswith(NOTE)):
            return b""
        output, self._head = without_note(self._head, self._launcher.program.path), None
        return output

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """As in Live."""
        self._check_process()
        deadline = None if timeout is None else self._clock() + timeout
        try:
            self._writing.during(lambda: self._write(memoryview(data), deadline))
        finally:
            self._close_what_is_over()  # what `close_stdin` and `close` left to this writer

    def _write(self, rest: memoryview, deadline: float | None) -> None:
        assert self._child.stdin is not None  # noqa: S101  (for the type checker: it was opened with one)
        moved = self._clock()
        while rest:
            if self._closes or self._child.stdin.closed or self._child.poll() is not None:
                raise BrokenPipeError(errno.EPIPE, "the command has ended, or its input was closed")
            try:
                rest, moved = rest[write_some(self._child.stdin.fileno(), rest) :], self._clock()
            except BlockingIOError:
                left = None if deadline is None else deadline - self._clock()
                if left is not None and left <= 0:
                    raise TimeoutError from None
                self._wait_for_room(self._child.stdin.fileno(), self._until_stalled(moved, left))

    def _until_stalled(self, moved: float, left: float | None) -> float | None:
        """Seconds to wait for room. Raise if nobody will make room: this writer is the only one that has ever read."""
        if self._kept < _MOST or self._serving.locked() or self._reader not in {None, caller()}:
            return left
        if (stalls := moved + _STALLED - self._clock()) <= 0:
            raise BrokenPipeError(
                errno.EPIPE, "the command takes no more input before its output is read, and nobody reads it"
            ) from None
        return stalls if left is None else min(stalls, left)

    def _wait_for_room(self, stdin: int, timeout: float | None) -> None:
        """Wait until the child may take more. If nobody reads, keep its output meanwhile, _MOST bytes at most."""
        if not self._alarm:
            self._alarm += _alarm()
            finalize(self, _close, self._alarm).atexit = False
        serves = self._kept < _MOST and not self._serving.locked()
        outputs = self._pipes.outputs if serves else ()
        pidfd = self._child.pidfd
        if pidfd is None:
            timeout = _GLANCE if timeout is None else min(timeout, _GLANCE)
        wait_ready({self._alarm[0], *outputs, *([] if pidfd is None else [pidfd])}, {stdin}, timeout)
        with suppress(BlockingIOError):  # it was not the alarm
            os.read(self._alarm[0], 4096)
        # Asked for, never waited for: a reader may have come meanwhile, and will read.
        if serves and self._serving.acquire(blocking=False):
            try:
                self._serve_pipes(0)
            finally:
                self._serving.release()

    def _wake(self) -> None:
        """Wake a writer that waits: nobody reads any more, or there is more room to keep output."""
        if self._writing.busy and self._alarm:
            with suppress(BlockingIOError):  # the pipe is full: the writer has not read earlier alarms yet, and will wake
                os.write(self._alarm[1], b"!")

    def close_stdin(self) -> None:
        """As in Live. A writer that waits gets a BrokenPipeError."""
        self._check_process()
        self._closes = True
        self._wake()
        self._close_what_is_over()

    def poll(self) -> int | None:
        """As in Live."""
        return self._child.poll()

    def end(self, *, kill: bool = False) -> None:
        """As in Live. The signal goes to its whole process group."""
        if not self._child.is_own or self._child.poll() is not None:
            return
        if kill and self._gone is None:
            self._gone = self._clock() + _GONE
        self._child.signal(signal.SIGKILL if kill else signal.SIGTERM)

    def close(self) -> Completed:
        """As in Live."""
        try:
            code = self._child.wait(None if self._gone is None else max(0.0, self._gone - self._clock()))
        except TimeoutError:
            code = -signal.SIGKILL
        self._child.reap()
        self._release()
        duration, ended_by = self._clock() - self._started, "reaped elsewhere" if self._child.lost else ""
        return self._launcher.completed(self._invocation, code, b"", b"", duration, ended_by)

    def _release(self) -> None:
        self._processes.release(self._ticket)
        self._closes = self._done = True
        self._wake()
        self._close_what_is_over()

    def _close_what_is_over(self) -> None:
        """Close what `_closes` and `_done` say. While somebody writes, it is left to the writer, which calls this later.

        A descriptor that is closed while it is waited for, or written to, may be another file's by then.
        """
        if self._writing.busy:
            return
        if self._closes:
            self._pipes.close_stdin()
        if self._done:
            self._pipes.close()
            _close(self._alarm)

    def _check_process(self) -> None:
        if not self._child.is_own:
            raise RuntimeError(f"this command was started by process {self._process}, and a fork of that must not use it")


def _alarm() -> list[int]:
    ends = list(os.pipe())
    for fd in ends:
        os.set_blocking(fd, False)
    return ends


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _tells_end(child: ChildProcess) -> Callable[[], bool]:
    """A function that returns whether the child has ended, or was garbage-collected and so killed."""
    # A weak reference, since the semaphore holds this function: it must not keep the child alive.
    reference = ref(child)

    def is_over() -> bool:
        child = reference()
        return child is None or (child.is_started and child.poll() is not None)

    return is_over

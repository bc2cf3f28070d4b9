"""A call of the engine as a child process that is followed while it runs."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import finalize, ref

from smolkit.runners.blocking import Sole, Ticket, caller
from smolkit.runners.live import Live
from smolkit.runners.local.capture import end
from smolkit.runners.local.engine_note import NOTE, without_note
from smolkit.runners.local.pipes import Pipes, wait_ready, write_some
from smolkit.runners.local.posix import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.runners.local.subprocess import SubprocessRunner
    from smolkit.values.results import Completed, Invocation


_MOST = 16 * 2**20  # bytes of output that are kept for a later reader while input is written
_STALLED = 10.0  # seconds for which a reader is waited for, where there never was one but the writer itself
_GONE = 2.0  # seconds after SIGKILL for which its end is waited for: another user's (sudo) cannot be killed
_GLANCE = 0.5  # seconds between two looks whether it has ended while it takes no input, where no pidfd tells


class Child(Live):
    """Such a process. What is not read stays in its pipes: a slow reader slows it down.

    One thread or task may read while another one writes. The writer reads too, as long as nobody else does, and keeps what
    comes: a child that writes before it reads on must not stop both for ever.
    """

    def __init__(self, runner: SubprocessRunner, invocation: Invocation, *, stdin: bool) -> None:
        self._runner, self._invocation, self._process = runner, invocation, os.getpid()
        self._started = time.monotonic()
        self._ready: deque[tuple[str, bytes]] = deque()
        self._kept = 0  # bytes in it
        self._reader: object = None  # who read last
        self._head: bytes | None = b""  # of stderr, while it may still be the engine's note
        self._reading = Sole("another thread or task reads from this process: one may read while one writes")
        self._writing = Sole("another thread or task writes to this process: one may write while one reads")
        self._serving = threading.Lock()  # the pipes, held while one reads from them
        self._alarm: list[int] = []  # a pipe's two ends, which wakes a writer when the reader has left
        self._gone: float | None = None  # when, on the monotonic clock, it is given up
        self._closes = False  # its stdin, as soon as nobody writes
        self._done = False  # and all else
        self._child = ChildProcess()
        self._ticket = Ticket(_tells_end(self._child))
        try:
            runner.processes.acquire(self._ticket, invocation.patience)
            self._child.open_pipes(stdin=stdin)
            self._pipes = Pipes(self._child)
            runner.spawn(self._child, invocation)
            if self._child.stdin is not None:
                os.set_blocking(self._child.stdin.fileno(), False)
            self._ticket.holder = None
        except BaseException:
            end(self._child)
            self._child.close()
            runner.processes.release(self._ticket)
            raise

    def read(self, timeout: float | None) -> tuple[str, bytes] | None:
        """As in Live."""
        self._check_process()
        return self._reading.during(lambda: self._read(None if timeout is None else time.monotonic() + timeout))

    def _read(self, deadline: float | None) -> tuple[str, bytes] | None:
        try:
            with self._serving:
                self._reader = self._ticket.holder = caller()
                return self._next(deadline)
        finally:
            self._ticket.holder = None
            self._wake()

    def _next(self, deadline: float | None) -> tuple[str, bytes] | None:
        while not self._ready:
            if self._is_at_end():
                return None
            bounds = [bound - time.monotonic() for bound in (deadline, self._gone) if bound is not None]
            self._serve(max(0.0, min(bounds)) if bounds else None)
            if not self._ready and deadline is not None and time.monotonic() >= deadline and not self._is_at_end():
                raise TimeoutError
        piece = self._ready.popleft()
        self._kept -= len(piece[1])
        return piece

    def _is_at_end(self) -> bool:
        """Whether nothing more comes: it has ended, and its pipes are at their end; or it is given up."""
        if self._gone is not None and time.monotonic() >= self._gone:
            return True
        return not self._pipes.open and (self._pipes.ended or self._child.poll() is not None)

    def _serve(self, timeout: float | None) -> None:
        for stream, chunk in self._pipes.serve(timeout):
            if said := self._said(stream, chunk):
                self._ready.append((stream, said))
                self._kept += len(said)

    def _said(self, stream: str, chunk: bytes) -> bytes:
        """The chunk, without what is the note of a renamed engine."""
        if stream != "stderr" or self._head is None:
            return chunk
        self._head += chunk
        if chunk and b"\n" not in self._head and (NOTE.startswith(self._head) or self._head.startswith(NOTE)):
            return b""
        said, self._head = without_note(self._head, self._runner.engine.path), None
        return said

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """As in Live."""
        self._check_process()
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            self._writing.during(lambda: self._write(memoryview(data), deadline))
        finally:
            self._shut()

    def _write(self, rest: memoryview, deadline: float | None) -> None:
        assert self._child.stdin is not None  # noqa: S101  (for the type checker: it was opened with one)
        moved = time.monotonic()
        while rest:
            if self._closes or self._child.stdin.closed or self._child.poll() is not None:
                raise BrokenPipeError(errno.EPIPE, "the command has ended, or its input was closed")
            try:
                rest, moved = rest[write_some(self._child.stdin.fileno(), rest) :], time.monotonic()
            except BlockingIOError:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError from None
                self._wait_for_room(self._child.stdin.fileno(), self._until_stalled(moved, left))

    def _until_stalled(self, moved: float, left: float | None) -> float | None:
        """How long to wait for room. While this very thread is the only one that ever read, nobody can be about to."""
        if self._kept < _MOST or self._serving.locked() or self._reader not in {None, caller()}:
            return left
        if (stalls := moved + _STALLED - time.monotonic()) <= 0:
            raise BrokenPipeError(errno.EPIPE, "it takes no more before its output is read, and nobody reads it") from None
        return stalls if left is None else min(stalls, left)

    def _wait_for_room(self, stdin: int, timeout: float | None) -> None:
        """Waits until the child may take more. If nobody reads, its output is kept meanwhile, as far as there is room."""
        if not self._alarm:
            self._alarm += _alarm()
            finalize(self, _close, self._alarm).atexit = False
        serves = self._kept < _MOST and not self._serving.locked()
        outputs = self._pipes.outputs if serves else ()
        pidfd = self._child.pidfd
        if pidfd is None:
            timeout = _GLANCE if timeout is None else min(timeout, _GLANCE)
        wait_ready({self._alarm[0], *outputs, *([] if pidfd is None else [pidfd])}, {stdin}, timeout)
        with suppress(BlockingIOError):
            os.read(self._alarm[0], 4096)
        if serves and self._serving.acquire(blocking=False):
            try:
                self._serve(0)
            finally:
                self._serving.release()

    def _wake(self) -> None:
        """A writer that waits looks again: nobody reads now, or there is more room."""
        if self._writing.busy and self._alarm:
            with suppress(BlockingIOError):  # it has been woken often enough
                os.write(self._alarm[1], b"!")

    def close_stdin(self) -> None:
        """As in Live. A writer that waits is told that it is closed."""
        self._check_process()
        self._closes = True
        self._wake()
        self._shut()

    def poll(self) -> int | None:
        """As in Live."""
        return self._child.poll()

    def end(self, *, kill: bool = False) -> None:
        """As in Live, and of all its process group."""
        if not self._child.is_own or self._child.poll() is not None:
            return
        if kill and self._gone is None:
            self._gone = time.monotonic() + _GONE
        self._child.signal(signal.SIGKILL if kill else signal.SIGTERM)

    def close(self) -> Completed:
        """As in Live."""
        try:
            code = self._child.wait(None if self._gone is None else max(0.0, self._gone - time.monotonic()))
        except TimeoutError:
            code = -signal.SIGKILL
        self._child.reap()
        self._let_go()
        duration, ended_by = time.monotonic() - self._started, "reaped elsewhere" if self._child.lost else ""
        return self._runner.completed(self._invocation, code, b"", b"", duration, ended_by)

    def _let_go(self) -> None:
        self._runner.processes.release(self._ticket)
        self._closes = self._done = True
        self._wake()
        self._shut()

    def _shut(self) -> None:
        """Closes what is to be closed; while one writes that is the writer's to do, when it leaves."""
        if self._writing.busy:
            return
        if self._closes:
            self._pipes.close_stdin()
        if self._done:
            self._pipes.close()
            _close(self._alarm)

    def _check_process(self) -> None:
        if not self._child.is_own:
            raise RuntimeError(f"this process was started by process {self._process}: a forked child has no part in it")


def _alarm() -> list[int]:
    ends = list(os.pipe())
    for fd in ends:
        os.set_blocking(fd, False)
    return ends


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _tells_end(child: ChildProcess) -> Callable[[], bool]:
    """Tells whether the child has ended, or was dropped and so killed. It does not keep it from being dropped."""
    reference = ref(child)

    def is_over() -> bool:
        child = reference()
        return child is None or (child.is_started and child.poll() is not None)

    return is_over

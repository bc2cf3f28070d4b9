"""A call of the engine as a child process that is followed while it runs."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import deque
from typing import TYPE_CHECKING

from smolkit.runners.call import NOTE, end, without_note
from smolkit.runners.live import Live
from smolkit.runners.pipes import Pipes
from smolkit.runners.posix import ChildProcess

if TYPE_CHECKING:
    from smolkit.runners.local import SubprocessRunner
    from smolkit.values import Completed, Invocation


_PIECE = 65_536
_WAITING = 64 * 2**20  # bytes of output that are kept while input is written


class Child(Live):
    """Such a process. What is not read stays in its pipes: a slow reader slows it down."""

    def __init__(self, runner: SubprocessRunner, invocation: Invocation, *, stdin: bool) -> None:
        self._runner, self._invocation = runner, invocation
        self._started = time.monotonic()
        self._ready: deque[tuple[str, bytes]] = deque()
        self._head: bytes | None = b""  # of stderr, while it may still be the engine's note
        self._child = ChildProcess()
        runner.processes.enter()
        try:
            self._child.open_pipes(stdin=stdin)
            self._pipes = Pipes(self._child)
            runner.spawn(self._child, invocation)
        except BaseException:
            end(self._child)
            self._child.close()
            runner.processes.leave()
            raise

    def read(self, timeout: float | None) -> tuple[str, bytes] | None:
        """As in Live."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            if not (self._pipes.open and self._child.is_own):  # what a fork reads, its parent does not get
                return None
            found = self._pipes.serve(None if deadline is None else max(0.0, deadline - time.monotonic()))
            self._ready += ((stream, said) for stream, chunk in found if (said := self._said(stream, chunk)))
            if not self._ready and deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError
        return self._ready.popleft()

    def _said(self, stream: str, chunk: bytes) -> bytes:
        """The chunk, without what is the note of a renamed engine."""
        if stream != "stderr" or self._head is None:
            return chunk
        self._head += chunk
        if chunk and b"\n" not in self._head and (NOTE.startswith(self._head) or self._head.startswith(NOTE)):
            return b""
        said, self._head = without_note(self._head, self._runner.engine.path), None
        return said

    def write(self, data: bytes) -> None:
        """As in Live."""
        assert self._child.stdin is not None  # noqa: S101  (for the type checker: it was opened with one)
        if self._child.stdin.closed:  # by `close`
            raise BrokenPipeError(errno.EPIPE, "the command has ended")
        rest, waiting = memoryview(data), 0
        self._pipes.watch_stdin()
        try:
            while rest:
                if not self._pipes.takes_stdin:
                    raise BrokenPipeError(errno.EPIPE, "the command has ended")
                for stream, chunk in self._pipes.serve(None):
                    if stream == "stdin":
                        rest = rest[os.write(self._child.stdin.fileno(), rest[:_PIECE]) :]
                    elif said := self._said(stream, chunk):
                        # Nobody reads while we write: a child that writes before it reads on must not stop both for ever.
                        self._ready.append((stream, said))
                        waiting += len(said)
                if waiting > _WAITING:
                    raise BrokenPipeError(errno.EPIPE, "it writes more than it reads")
        finally:
            self._pipes.leave_stdin()

    def close_stdin(self) -> None:
        """As in Live."""
        self._pipes.close_stdin()

    def poll(self) -> int | None:
        """As in Live."""
        return self._child.poll()

    def end(self, *, kill: bool = False) -> None:
        """As in Live, and of all its process group."""
        self._child.signal(signal.SIGKILL if kill else signal.SIGTERM)

    def close(self) -> Completed:
        """As in Live."""
        code = self._child.wait()
        self._child.reap()
        self._pipes.close()
        self._runner.processes.leave()
        duration, ended_by = time.monotonic() - self._started, "reaped elsewhere" if self._child.lost else ""
        return self._runner.completed(self._invocation, code, b"", b"", duration, ended_by)

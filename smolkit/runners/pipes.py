"""A child's three pipes, served at once: nothing deadlocks, nothing is lost, and the memory for its output is bounded."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import IO

_CHUNK = 65_536
# Seconds between looks at whether a silent child still lives: a process of its making may hold its pipes open for ever.
_GLANCE = 0.5
# For three pipes poll takes fewer system calls than epoll; subprocess chooses so too.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Pump:
    """Feeds a child's stdin and collects its output.

    `subprocess.communicate` does the same without a bound on memory, and waits for whoever else holds the pipes open.

    Args:
        child: Started with pipes for stdout and stderr, and for stdin if there is data for it.
        data: For its stdin; None where that is no pipe.
        limit: Bytes of output, both streams together, after which it is not read any further.
    """

    def __init__(self, child: subprocess.Popen[bytes], data: bytes | None, limit: int) -> None:
        self._child = child
        self._rest = memoryview(data or b"")
        self._room = limit
        self._chunks: dict[int, list[bytes]] = {}
        self._selector = _Selector()
        for pipe in (child.stdout, child.stderr):
            assert pipe is not None  # noqa: S101  (for the type checker: the caller made them)
            self._chunks[pipe.fileno()] = []
            self._selector.register(pipe, selectors.EVENT_READ)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            self._selector.register(child.stdin, selectors.EVENT_WRITE)

    @property
    def stdout(self) -> bytes:
        """What there is of standard output."""
        return b"".join(next(iter(self._chunks.values())))

    @property
    def stderr(self) -> bytes:
        """What there is of standard error."""
        return b"".join(list(self._chunks.values())[1])

    def run(self, deadline: float | None) -> str:
        """Serves the pipes until the child has ended, and gives "" then; else why it stopped: Completed's `ended_by`."""
        while self._selector.get_map():
            if self._room < 0:
                return "output limit"
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return "timeout"
            if not self._serve(_GLANCE if left is None else min(left, _GLANCE)) and self._child.poll() is not None:
                return ""
        try:
            self._child.wait(None if deadline is None else max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return "timeout"
        return ""

    def drain(self, deadline: float) -> None:
        """Keeps what a child that is being ended still writes, until it has ended; never longer than to the deadline."""
        while self._child.poll() is None and time.monotonic() < deadline:
            if self._selector.get_map() and self._room >= 0:
                self._serve(_GLANCE / 10)
            else:
                time.sleep(_GLANCE / 10)
        while self._room >= 0 and self._selector.get_map() and self._serve(0):
            pass

    def close(self) -> None:
        """Lets go of the pipes."""
        self._selector.close()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    def _serve(self, timeout: float) -> bool:
        """One round of what is ready; whether anything was."""
        ready = self._selector.select(timeout)
        for key, _ in ready:
            pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
            if pipe is self._child.stdin:
                self._write(pipe)
            else:
                self._read(pipe)
        return bool(ready)

    def _read(self, pipe: IO[bytes]) -> None:
        chunk = os.read(pipe.fileno(), _CHUNK)
        if not chunk:
            self._selector.unregister(pipe)
            return
        self._room -= len(chunk)
        self._chunks[pipe.fileno()].append(chunk)

    def _write(self, pipe: IO[bytes]) -> None:
        try:
            self._rest = self._rest[os.write(pipe.fileno(), self._rest[:_CHUNK]) :]
        except BrokenPipeError:  # it ended, or closed its stdin, without reading it all: its right
            self._rest = self._rest[:0]
        if not self._rest:
            self._selector.unregister(pipe)
            pipe.close()

"""A child's three pipes, served at once: nothing deadlocks, nothing is lost, and the memory for its output is bounded."""

from __future__ import annotations

import os
import selectors
import subprocess
import time

from smolkit.runners import waiting

_CHUNK = 65_536
# Seconds between looks at whether a silent child still lives: a process of its making may hold its pipes open for ever.
GLANCE = 0.5
_BRIEFLY = (0.0005, 0.05)  # seconds between two looks whether one has ended: the first, and the longest


def _selector() -> selectors.BaseSelector:
    """For three pipes poll takes fewer system calls than epoll; but an event loop can wait for the latter."""
    if waiting.loop() is None and hasattr(selectors, "PollSelector"):
        return selectors.PollSelector()
    return selectors.DefaultSelector()


def ended(child: subprocess.Popen[bytes], timeout: float | None = None) -> int:
    """Waits until a child has ended, for its exit status.

    Raises:
        subprocess.TimeoutExpired: it has not, in so many seconds.
    """
    if waiting.loop() is None:
        return child.wait(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    pause, longest = _BRIEFLY
    while (code := child.poll()) is None:
        if deadline is not None and time.monotonic() >= deadline:
            raise subprocess.TimeoutExpired(child.args, timeout or 0)
        waiting.sleep(pause)
        pause = min(pause * 2, longest)
    return code


class Pipes:
    """What is ready on a child's stdout and stderr, and room on its stdin.

    Args:
        child: Started with pipes for stdout and stderr. Those that are closed by now have nothing more to say.
    """

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self._selector = _selector()
        for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            if pipe is not None and not pipe.closed:
                self._selector.register(pipe, selectors.EVENT_READ, name)

    @property
    def open(self) -> bool:
        """Whether any pipe may still have something."""
        return bool(self._selector.get_map())

    def watch_stdin(self) -> None:
        """From now on room on stdin is reported too."""
        assert self._child.stdin is not None  # noqa: S101  (for the type checker: the caller made it)
        os.set_blocking(self._child.stdin.fileno(), False)
        self._selector.register(self._child.stdin, selectors.EVENT_WRITE, "stdin")

    def leave_stdin(self) -> None:
        """Room on stdin is not reported any more."""
        if self._child.stdin is not None and self._child.stdin in self._selector.get_map():
            self._selector.unregister(self._child.stdin)

    def close_stdin(self) -> None:
        """The child sees the end of its stdin."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            self.leave_stdin()
            self._child.stdin.close()

    def serve(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """What came within this time, at most one piece of each: the stream's name and bytes, `stdin` and none for room."""
        found = []
        for key, _ in self._select(timeout):
            if key.data == "stdin":
                found.append(("stdin", b""))
                continue
            chunk = os.read(key.fd, _CHUNK)
            if chunk:
                found.append((key.data, chunk))
            else:
                self._selector.unregister(key.fileobj)
                found.append((key.data, b""))
        return found

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0 and (loop := waiting.loop()) is not None:
            loop.readable(self._selector.fileno(), timeout)  # type: ignore[attr-defined]  # see _selector
            timeout = 0
        return self._selector.select(timeout)

    def close(self) -> None:
        """Lets go of the pipes."""
        self._selector.close()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()


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
        self._pipes = Pipes(child)
        self._rest = memoryview(data or b"")
        self._room = limit
        self._chunks: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        if child.stdin is not None and not child.stdin.closed:
            self._pipes.watch_stdin()

    @property
    def stdout(self) -> bytes:
        """What there is of standard output."""
        return b"".join(self._chunks["stdout"])

    @property
    def stderr(self) -> bytes:
        """What there is of standard error."""
        return b"".join(self._chunks["stderr"])

    def run(self, deadline: float | None) -> str:
        """Serves the pipes until the child has ended, and gives "" then; else why it stopped: Completed's `ended_by`."""
        while self._pipes.open:
            if self._room < 0:
                return "output limit"
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return "timeout"
            if not self._serve(GLANCE if left is None else min(left, GLANCE)) and self._child.poll() is not None:
                return ""
        try:
            ended(self._child, None if deadline is None else max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return "timeout"
        return ""

    def drain(self, deadline: float) -> None:
        """Keeps what a child that is being ended still writes, until it has ended; never longer than to the deadline."""
        while self._child.poll() is None and time.monotonic() < deadline:
            if self._pipes.open and self._room >= 0:
                self._serve(GLANCE / 10)
            else:
                waiting.sleep(GLANCE / 10)
        while self._room >= 0 and self._pipes.open and self._serve(0):
            pass

    def close(self) -> None:
        """Lets go of the pipes."""
        self._pipes.close()

    def _serve(self, timeout: float) -> bool:
        """One round of what is ready; whether anything was."""
        found = self._pipes.serve(timeout)
        for stream, chunk in found:
            if stream == "stdin":
                self._write()
            else:
                self._room -= len(chunk)
                self._chunks[stream].append(chunk)
        return bool(found)

    def _write(self) -> None:
        assert self._child.stdin is not None  # noqa: S101  (for the type checker)
        try:
            self._rest = self._rest[os.write(self._child.stdin.fileno(), self._rest[:_CHUNK]) :]
        except BrokenPipeError:  # it ended, or closed its stdin, without reading it all: its right
            self._rest = self._rest[:0]
        if not self._rest:
            self._pipes.close_stdin()

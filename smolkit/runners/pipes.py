"""A child's three pipes, served at once: nothing deadlocks, nothing is lost, and the memory for its output is bounded."""

from __future__ import annotations

import fcntl
import os
import selectors
import struct
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from smolkit.runners import waiting

if TYPE_CHECKING:
    from smolkit.runners.posix import ChildProcess

_CHUNK = 65_536
# Seconds for which whoever else holds the pipes of a child that has ended is listened to: what it started may hold them for
# ever, but a program between it and us (`sudo`, a wrapper) may hand its last words on a little later.
_LINGER = 0.5
_GLANCE = 0.5  # seconds between two looks whether a silent child has ended, where no pidfd tells (before Linux 5.3, macOS)


def _selector() -> selectors.BaseSelector:
    """For three pipes poll takes fewer system calls than epoll; but an event loop can wait for the latter."""
    if waiting.loop() is None and hasattr(selectors, "PollSelector"):
        return selectors.PollSelector()
    return selectors.DefaultSelector()


def _unread(pipe: int) -> int:
    (found,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return int(found)


class Pipes:
    """What is ready on a child's stdout and stderr, and room on its stdin.

    They are read to their end while the child runs, however long that takes. Once it has ended, all that it wrote is read,
    and what others write into its pipes for _LINGER seconds: then they count as closed, whoever still holds them.

    Args:
        child: With pipes for stdout and stderr, not started yet: all that this takes of the host is had before there is a
            process that could not be served. Pipes that are closed by now have nothing more to say.

    Attributes:
        takes_stdin: Whether room on stdin is reported. Not any more, once the child has ended.
    """

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self.takes_stdin = False
        self._selector = _selector()
        self._outputs = 0  # that are open
        self._unread: dict[str, int] | None = None  # bytes of each that an ended child left; None while it runs
        self._until = 0.0  # when, on the monotonic clock, others are not listened to any more
        for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            if pipe is not None and not pipe.closed:
                self._selector.register(pipe, selectors.EVENT_READ, name)
                self._outputs += 1
        self._watches_end = False  # by the child's pidfd
        self._next_look = 0.0

    @property
    def open(self) -> bool:
        """Whether any of its output may still come."""
        return self._outputs > 0

    @property
    def ended(self) -> bool:
        """Whether the child has been seen to end."""
        return self._unread is not None

    def watch_stdin(self) -> None:
        """From now on room on stdin is reported too."""
        assert self._child.stdin is not None  # noqa: S101  (for the type checker: the caller made it)
        if self._unread is None:
            os.set_blocking(self._child.stdin.fileno(), False)
            self._selector.register(self._child.stdin, selectors.EVENT_WRITE, "stdin")
            self.takes_stdin = True

    def leave_stdin(self) -> None:
        """Room on stdin is not reported any more."""
        if self.takes_stdin and self._child.stdin is not None:
            self._selector.unregister(self._child.stdin)
            self.takes_stdin = False

    def close_stdin(self) -> None:
        """The child sees the end of its stdin."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            self.leave_stdin()
            self._child.stdin.close()

    def serve(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """What came within this time, at most one piece of each: the stream's name and bytes, `stdin` and none for room.

        Nothing may come although there was time: then something else happened, the child's end for one.
        """
        found = []
        if not self._watches_end and self._child.pidfd is not None:
            self._watch_end(self._child.pidfd)
        ready = self._select(self._bound(timeout))
        for key, _ in ready:
            if key.data == "stdin":
                found.append(("stdin", b""))
            elif key.data == "end":
                self._has_ended()
                self._selector.unregister(key.fileobj)
            else:
                found.append((key.data, self._read(key)))
        if not self._watches_end and self._unread is None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _GLANCE
            if self._child.poll() is not None:
                self._has_ended()
        if self._unread is not None and time.monotonic() >= self._until:
            self._let_go()
        return found

    def _bound(self, timeout: float | None) -> float | None:
        bounds = [] if timeout is None else [timeout]
        if self._unread is not None:
            bounds.append(max(0.0, self._until - time.monotonic()))
        elif not self._watches_end:
            bounds.append(max(0.0, self._next_look - time.monotonic()))
        return min(bounds) if bounds else None

    def _read(self, key: selectors.SelectorKey) -> bytes:
        chunk = os.read(key.fd, _CHUNK)
        if not chunk:
            self._leave(key)
        elif self._unread is not None:
            self._unread[key.data] -= len(chunk)
        return chunk

    def _has_ended(self) -> None:
        """The child has. What it wrote is in the pipes by now, before all that others still write."""
        self.leave_stdin()
        self._until = time.monotonic() + _LINGER
        keys = [key for key in self._selector.get_map().values() if key.data != "end"]
        self._unread = {key.data: _unread(key.fd) for key in keys}

    def _watch_end(self, pidfd: int) -> None:
        with suppress(KeyError):  # an interrupt came between these two lines
            self._selector.register(pidfd, selectors.EVENT_READ, "end")
        self._watches_end = True

    def _let_go(self) -> None:
        """Others have had their time: a pipe from which all that is the child's was read is at its end."""
        assert self._unread is not None  # noqa: S101  (for the type checker: the child has ended)
        for key in [key for key in self._selector.get_map().values() if self._unread[key.data] <= 0]:
            self._leave(key)

    def _leave(self, key: selectors.SelectorKey) -> None:
        self._selector.unregister(key.fileobj)
        self._outputs -= 1

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0 and (loop := waiting.loop()) is not None:
            loop.readable(self._selector.fileno(), timeout)  # type: ignore[attr-defined]  # see _selector
            timeout = 0
        return self._selector.select(waiting.SLICE if timeout is None else min(timeout, waiting.SLICE))

    def close(self) -> None:
        """Lets go of the pipes."""
        self._selector.close()
        self._child.close()


class Pump:
    """Feeds a child's stdin and collects its output.

    `subprocess.communicate` does the same without a bound on memory, and waits for whoever else holds the pipes open.

    Args:
        child: With pipes for stdout and stderr, and for stdin if there is data for it; not started yet.
        data: For its stdin; None where that is no pipe.
        limit: Bytes of output, both streams together, after which it is not read any further.
    """

    def __init__(self, child: ChildProcess, data: bytes | None, limit: int) -> None:
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
        while self._pipes.open or self._pipes.takes_stdin:
            if self._room < 0:
                return "output limit"
            left = None if deadline is None or self._pipes.ended else deadline - time.monotonic()
            if left is not None and left <= 0 and self._child.poll() is None:
                return "timeout"
            self._serve(left)
        try:
            self._child.wait(None if deadline is None else max(0, deadline - time.monotonic()))
        except TimeoutError:
            return "timeout"
        return ""

    def drain(self, deadline: float) -> None:
        """Keeps what a child that is being ended still writes, and those it started; never longer than to the deadline."""
        while self._room >= 0 and self._pipes.open and (left := deadline - time.monotonic()) > 0:
            self._serve(left)
        with suppress(TimeoutError):
            self._child.wait(max(0.0, deadline - time.monotonic()))
        while self._room >= 0 and self._pipes.open and self._serve(0):
            pass

    def close(self) -> None:
        """Lets go of the pipes."""
        self._pipes.close()

    def _serve(self, timeout: float | None) -> bool:
        """One round of what is ready; whether anything was."""
        found = self._pipes.serve(None if timeout is None else max(0.0, timeout))
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

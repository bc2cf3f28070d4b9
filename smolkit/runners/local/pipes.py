"""A child's three pipes, served at once: nothing deadlocks, nothing is lost, and the memory for its output is bounded."""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import struct
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

from smolkit.runners import blocking

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smolkit.runners.local.posix import ChildProcess

_CHUNK = 65_536
# Seconds for which whoever else holds the pipes of a child that has ended is listened to: what it started may hold them for
# ever, but a program between it and us (`sudo`, a wrapper) may hand its last words on a little later.
_LINGER = 0.5
_GLANCE = 0.5  # seconds between two looks whether a silent child has ended, where no pidfd tells (before Linux 5.3, macOS)


def _selector() -> selectors.BaseSelector:
    """For three pipes poll takes fewer system calls than epoll; but an event loop can wait for the latter."""
    if blocking.loop() is None and hasattr(selectors, "PollSelector"):
        return selectors.PollSelector()
    return selectors.DefaultSelector()


def _select(selector: selectors.BaseSelector, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
    if timeout != 0 and (loop := blocking.loop()) is not None:
        loop.readable(selector.fileno(), timeout)  # type: ignore[attr-defined]  # see _selector
        timeout = 0
    return selector.select(blocking.SLICE if timeout is None else min(timeout, blocking.SLICE))


def wait_ready(reads: Iterable[int], writes: Iterable[int], timeout: float | None) -> None:
    """Waits until one of these descriptors can be read from or written to, or for so many seconds."""
    with _selector() as selector:
        for fds, event in ((reads, selectors.EVENT_READ), (writes, selectors.EVENT_WRITE)):
            for fd in fds:
                selector.register(fd, event)
        _select(selector, timeout)


def write_some(fd: int, data: memoryview) -> int:
    """Writes what there is room for, and gives its length.

    SIGPIPE is blocked meanwhile: a program that has its default action back (command line tools do) would be killed by it.

    Raises:
        BlockingIOError: there is no room.
        BrokenPipeError: nobody can read it any more.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        return os.write(fd, data[:_CHUNK])
    except BrokenPipeError:
        if signal.SIGPIPE not in before and signal.SIGPIPE in signal.sigpending():
            signal.sigwait({signal.SIGPIPE})
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
        outputs: The descriptors of its output that are open.
    """

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self.takes_stdin: bool = False
        self._selector = _selector()
        self.outputs: tuple[int, ...] = ()
        self._unread: dict[str, int] | None = None  # bytes of each that an ended child left; None while it runs
        self._until = 0.0  # when, on the monotonic clock, others are not listened to any more
        for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            if pipe is not None and not pipe.closed:
                self._selector.register(pipe, selectors.EVENT_READ, name)
                self.outputs += (pipe.fileno(),)
        self._watches_end = False  # by the child's pidfd
        self._next_look = 0.0
        _all.add(self)

    @property
    def open(self) -> bool:
        """Whether any of its output may still come."""
        return bool(self.outputs)

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
        ready = _select(self._selector, self._bound(timeout))
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
        self.outputs = tuple(fd for fd in self.outputs if fd != key.fd)

    def close(self) -> None:
        """Lets go of the pipes."""
        self._selector.close()
        self._child.close()


_all: WeakSet[Pipes] = WeakSet()


def _after_fork() -> None:
    """A forked child holds its parent's pipes open: whoever is at their other end would wait for it, too."""
    for pipes in tuple(_all):
        pipes.close()


os.register_at_fork(after_in_child=_after_fork)

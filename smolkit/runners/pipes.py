"""A child's three pipes, served at once: nothing deadlocks, nothing is lost, and the memory for its output is bounded."""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING
from weakref import WeakSet

from smolkit.runners import waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK = 65_536
# Seconds for which whoever else holds the pipes of a child that has ended is listened to: what it started may hold them for
# ever, but a program between it and us (`sudo`, a wrapper) may hand its last words on a little later.
_LINGER = 0.5
_GLANCE = 0.5  # seconds between two looks whether a silent child has ended, where no pidfd tells (before Linux 5.3, macOS)
_BRIEFLY = (0.0005, 0.05)  # likewise, while nothing else is waited for: the first, and the longest


def _selector() -> selectors.BaseSelector:
    """For three pipes poll takes fewer system calls than epoll; but an event loop can wait for the latter."""
    if waiting.loop() is None and hasattr(selectors, "PollSelector"):
        return selectors.PollSelector()
    return selectors.DefaultSelector()


def _select(selector: selectors.BaseSelector, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
    if timeout != 0 and (loop := waiting.loop()) is not None:
        loop.readable(selector.fileno(), timeout)  # type: ignore[attr-defined]  # see _selector
        timeout = 0
    return selector.select(timeout)


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


def _pidfd(child: subprocess.Popen[bytes]) -> int | None:
    """Becomes readable when the child ends. None where the platform has none, or gives none."""
    try:
        return os.pidfd_open(child.pid)
    except (AttributeError, OSError):
        return None


class Pipes:
    """What is ready on a child's stdout and stderr, and room on its stdin.

    They are read to their end while the child runs, however long that takes. Once it has ended, all that it wrote is read,
    and what others write into its pipes for _LINGER seconds: then they count as closed, whoever still holds them.

    Args:
        child: Started with pipes for stdout and stderr. Those that are closed by now have nothing more to say.

    Attributes:
        takes_stdin: Whether room on stdin is reported. Not any more, once the child has ended.
        pidfd: Becomes readable when the child ends; None where the platform has none.
    """

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self.takes_stdin = False
        self._selector = _selector()
        self.outputs: tuple[int, ...] = ()  # that are open
        self._unread: dict[str, int] | None = None  # bytes of each that an ended child left; None while it runs
        self._until = 0.0  # when, on the monotonic clock, others are not listened to any more
        for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            if pipe is not None and not pipe.closed:
                self._selector.register(pipe, selectors.EVENT_READ, name)
                self.outputs += (pipe.fileno(),)
        self.pidfd, self._next_look = _pidfd(child), 0.0
        if self.pidfd is not None:
            self._selector.register(self.pidfd, selectors.EVENT_READ, "end")
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
        ready = _select(self._selector, self._bound(timeout))
        for key, _ in ready:
            if key.data == "stdin":
                found.append(("stdin", b""))
            elif key.data == "end":
                self._selector.unregister(key.fileobj)
                self._has_ended()
            else:
                found.append((key.data, self._read(key)))
        if self.pidfd is None and self._unread is None and time.monotonic() >= self._next_look:
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
        elif self.pidfd is None:
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
        self._unread = {}
        for key in self._selector.get_map().values():
            (self._unread[key.data],) = struct.unpack("i", fcntl.ioctl(key.fd, termios.FIONREAD, b"\0" * 4))

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
        pidfd, self.pidfd = self.pidfd, None
        if pidfd is not None:
            os.close(pidfd)
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()


_all: WeakSet[Pipes] = WeakSet()


def _after_fork() -> None:
    """A forked child holds its parent's pipes open: whoever is at their other end would wait for it, too."""
    for pipes in tuple(_all):
        pipes.close()


os.register_at_fork(after_in_child=_after_fork)

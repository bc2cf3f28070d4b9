"""The three pipes of a child process, served together: no deadlock, no lost output, bounded memory."""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import struct
import termios
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

from smolkit.runners import blocking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smolkit.runners.local.posix import ChildProcess

_CHUNK = 65_536  # bytes: what a pipe holds
_LARGE = 2**20  # bytes: the size of a pipe that has been full, and of what is read from it at a time
_BREATH = 0.01  # seconds after which other tasks of the event loop have a turn, while there is always something to read
# Seconds for which the pipes of a child that has ended are still read, if other processes hold them. A daemon that it
# started may hold them for ever, but a program between it and us (`sudo`, a wrapper) may pass its last output on late.
_LINGER = 0.5
_GLANCE = 0.5  # seconds between two polls of a silent child, where there is no pidfd (before Linux 5.3, macOS)


def _selector() -> selectors.BaseSelector:
    # For three pipes poll takes fewer system calls than epoll; but only epoll has a descriptor, which an event loop needs.
    if blocking.loop() is None and hasattr(selectors, "PollSelector"):
        return selectors.PollSelector()
    return selectors.DefaultSelector()


def _wait_until_ready(selector: selectors.BaseSelector, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
    """Wait for events, for `timeout` seconds or less: a thread's wait is cut into slices (`blocking.SLICE`)."""
    if timeout != 0 and (loop := blocking.loop()) is not None:
        if ready := selector.select(0):  # a wait of an event loop takes longer than to read what is there
            return ready
        loop.readable(selector.fileno(), timeout)  # type: ignore[attr-defined]  # see _selector
        timeout = 0
    return selector.select(blocking.SLICE if timeout is None else min(timeout, blocking.SLICE))


def wait_ready(reads: Iterable[int], writes: Iterable[int], timeout: float | None) -> None:
    """Wait until one of these descriptors is ready, or for `timeout` seconds; perhaps for less."""
    with _selector() as selector:
        for fds, event in ((reads, selectors.EVENT_READ), (writes, selectors.EVENT_WRITE)):
            for fd in fds:
                selector.register(fd, event)
        _wait_until_ready(selector, timeout)


def write_some(fd: int, data: memoryview) -> int:
    """Write what there is room for, and return its length.

    SIGPIPE is blocked meanwhile: a program that has restored its default action (command line tools do) would be killed.

    Raises:
        BlockingIOError: there is no room.
        BrokenPipeError: nobody can read it any more.
    """
    # An empty set changes nothing, and says what is blocked now: before the try, so that the finally always knows.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        return os.write(fd, data[:_CHUNK])
    except BrokenPipeError:
        # Ours is taken back before it is unblocked, or it would be delivered then.
        if signal.SIGPIPE not in before and signal.SIGPIPE in signal.sigpending():
            signal.sigwait({signal.SIGPIPE})
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unread(pipe: int) -> int:
    (found,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return int(found)


class Pipes:
    """Reports output on a child's stdout and stderr, and room on its stdin.

    The pipes are read until they are closed while the child runs. Once it has ended, all that it wrote is read, and what
    other processes write for _LINGER seconds: then the pipes count as closed, whoever still holds them.

    Args:
        child: Must have pipes for stdout and stderr, and not be started yet: descriptors that this needs are opened before
            there is a process that could not be served without them. Pipes that are closed already are skipped.
        clock: Monotonic clock, in seconds.

    Attributes:
        takes_stdin: Whether room on stdin is reported. False once the child has ended.
        outputs: The open descriptors of its output.
    """

    def __init__(self, child: ChildProcess, clock: Callable[[], float]) -> None:
        self._child, self._clock = child, clock
        self.takes_stdin: bool = False
        self._selector = _selector()
        self.outputs: tuple[int, ...] = ()
        self._large: set[int] = set()  # descriptors of pipes that have been full
        self._breathed = 0.0  # when other tasks last had a turn
        self._unread: dict[str, int] | None = None  # bytes that the ended child left in each; None while it runs
        self._until = 0.0  # when the _LINGER seconds are over
        for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            if pipe is not None and not pipe.closed:
                self._selector.register(pipe, selectors.EVENT_READ, name)
                self.outputs += (pipe.fileno(),)
        self._watches_end = False  # whether the child's pidfd is in the selector
        self._next_look = 0.0
        _all.add(self)

    @property
    def open(self) -> bool:
        """True if more output may come."""
        return bool(self.outputs)

    @property
    def ended(self) -> bool:
        """True if the child has been seen to end."""
        return self._unread is not None

    def watch_stdin(self) -> None:
        """Report room on stdin from now on. No-op if the child has ended."""
        assert self._child.stdin is not None  # noqa: S101  (for the type checker: the caller made it)
        if self._unread is None:
            os.set_blocking(self._child.stdin.fileno(), False)
            self._selector.register(self._child.stdin, selectors.EVENT_WRITE, "stdin")
            self.takes_stdin = True

    def _unwatch_stdin(self) -> None:
        if self.takes_stdin and self._child.stdin is not None:
            self._selector.unregister(self._child.stdin)
            self.takes_stdin = False

    def close_stdin(self) -> None:
        """Close the child's stdin: it sees its end."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            self._unwatch_stdin()
            self._child.stdin.close()

    def serve(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Wait until something is ready, and return it: pairs of a stream's name and a chunk, `stdin` with b"" for room.

        At most one chunk per stream; b"" is the end of an output. The list may be empty before the timeout, after the
        child's end for one.
        """
        found = []
        # Not in __init__: the child has a pidfd only once it is started.
        if not self._watches_end and self._child.pidfd is not None:
            self._watch_end(self._child.pidfd)
        if timeout != 0 and self._clock() - self._breathed > _BREATH:
            blocking.breathe()
            self._breathed = self._clock()
        ready = _wait_until_ready(self._selector, self._bound(timeout))
        for key, _ in ready:
            if key.data == "stdin":
                found.append(("stdin", b""))
            elif key.data == "end":
                self._has_ended()
                self._selector.unregister(key.fileobj)
            else:
                found.append((key.data, self._read(key)))
        if not self._watches_end and self._unread is None and self._clock() >= self._next_look:
            self._next_look = self._clock() + _GLANCE
            if self._child.poll() is not None:
                self._has_ended()
        if self._unread is not None and self._clock() >= self._until:
            self._drop_lingering()
        return found

    def _bound(self, timeout: float | None) -> float | None:
        bounds = [] if timeout is None else [timeout]
        if self._unread is not None:
            bounds.append(max(0.0, self._until - self._clock()))
        elif not self._watches_end:
            bounds.append(max(0.0, self._next_look - self._clock()))
        return min(bounds) if bounds else None

    def _read(self, key: selectors.SelectorKey) -> bytes:
        chunk = os.read(key.fd, _LARGE if key.fd in self._large else _CHUNK)
        if not chunk:
            self._drop(key)
        elif len(chunk) == _CHUNK and key.fd not in self._large:
            self._enlarge(key.fd)
        if self._unread is not None:
            self._unread[key.data] -= len(chunk)
        return chunk

    def _enlarge(self, fd: int) -> None:
        """Have the pipe hold more, so that the child writes on while this reads. Not every pipe: a user has a quota."""
        self._large.add(fd)
        with suppress(OSError, AttributeError):  # the quota is used up; not Linux
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _LARGE)

    def _has_ended(self) -> None:
        """Note how much the child left in its pipes: from here on, what comes behind that is other processes' output."""
        self._unwatch_stdin()
        self._until = self._clock() + _LINGER
        keys = [key for key in self._selector.get_map().values() if key.data != "end"]
        # Last: before it is there the child does not count as ended, and after an interrupt all this is done again.
        self._unread = {key.data: _unread(key.fd) for key in keys}

    def _watch_end(self, pidfd: int) -> None:
        with suppress(KeyError):  # registered already: an interrupt struck between these two lines
            self._selector.register(pidfd, selectors.EVENT_READ, "end")
        self._watches_end = True

    def _drop_lingering(self) -> None:
        """Drop the pipes from which all that the child wrote has been read: other processes have had their time."""
        assert self._unread is not None  # noqa: S101  (for the type checker: the child has ended)
        for key in [key for key in self._selector.get_map().values() if self._unread[key.data] <= 0]:
            self._drop(key)

    def _drop(self, key: selectors.SelectorKey) -> None:
        self._selector.unregister(key.fileobj)
        self.outputs = tuple(fd for fd in self.outputs if fd != key.fd)

    def close(self) -> None:
        """Close the pipes."""
        self._selector.close()
        self._child.close()


_all: WeakSet[Pipes] = WeakSet()


def _after_fork() -> None:
    # A forked child holds its parent's pipes open: whoever reads or writes at their other end would wait for it, too.
    for pipes in tuple(_all):
        pipes.close()


os.register_at_fork(after_in_child=_after_fork)

"""One end of a link: sends and receives frames, and notices that the other end is gone. Both ends use it.

One thread serves it. All others only append to a deque and wake that thread: a signal handler may raise in any line of
theirs, and must find nothing half written.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, final
from weakref import finalize

from smolkit.runners import blocking
from smolkit.runners.local.pipes import write_some
from smolkit.runners.remote.wire import Decoder, Frame, WireError, encode

_CHUNK = 2**18  # bytes that are read at a time
_BATCH = 2**16  # bytes of frames that are written together
_JUNK = 2**16  # bytes that a login shell may print before the far end speaks
_LINGER = 0.5  # seconds for which a link is read whose program has ended
_UNTIL_THEN = 3600.0  # seconds: the heartbeat before one is expected; whoever starts the other end has its own bound
_BEATS = 4  # heartbeats in the time after which the other end counts as gone
WINDOW = 2**24  # bytes of a stream that are under way, or wait for their reader
CREDIT = 2**20  # bytes after which a reader returns what it has read

_Unsent = tuple[int, bytes]


class Signal:
    """Wakes the threads and tasks that wait for a change."""

    def __init__(self) -> None:
        self._waiting: list[blocking.Event] = []

    def set(self) -> None:
        """Wake who waits. From any thread."""
        for event in tuple(self._waiting):
            with suppress(RuntimeError):  # of an event loop that is gone
                event.set()

    def wait(self, look: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until `look` returns something true. False if it did not within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not look():
            event = blocking.event()
            try:
                self._waiting.append(event)
                if look():
                    return True
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                blocking.interruptible(partial(event.wait, blocking.SLICE if left is None else min(left, blocking.SLICE)))
            finally:
                with suppress(ValueError):
                    self._waiting.remove(event)
        return True


@final
class Connection:
    """Frames over two descriptors.

    Args:
        reads, writes: The descriptors. They are the caller's to close, once `serve` has returned.
        receive: Called with each frame, in the thread that serves.
        mark: Bytes before the first frame; what comes before them is skipped.
        hears: A descriptor whose output is kept, for messages.
        ends: A descriptor that is readable once the link's program has ended; others may still hold the link open.

    Attributes:
        said: The end of what came from that descriptor.
        at_end: True once the other end has closed the link.
    """

    def __init__(
        self,
        reads: int,
        writes: int,
        receive: Callable[[Frame], None],
        *,
        mark: bytes = b"",
        hears: int | None = None,
        ends: int | None = None,
    ) -> None:
        self._ends, self._ended_at = ends, float("inf")
        self._reads, self._writes, self._hears, self._receive = reads, writes, hears, receive
        self._heartbeat = _UNTIL_THEN
        self._mark, self._junk, self._decoder = mark, b"", Decoder()
        self._unsorted: deque[_Unsent] = deque()  # what others send
        self._queues: dict[int, deque[bytes]] = {}  # the same by channels, which take turns
        self._unsent = memoryview(b"")  # frames that are written
        self._closes = self._closes_now = False
        self._heard = self._sent = time.monotonic()
        self._alarm = os.pipe()
        for fd in (*self._alarm, writes, *([] if hears is None else [hears])):
            os.set_blocking(fd, False)
        finalize(self, _close, self._alarm).atexit = False
        self.said: bytes = b""
        self.at_end: bool = False

    def expect(self, heartbeat: float) -> None:
        """From now on, so many seconds without a byte mean that the other end is gone. Until then it may take its time."""
        self._heartbeat, self._heard = heartbeat, time.monotonic()

    def send(self, channel: int, op: str, blob: bytes = b"", **fields: Any) -> None:
        """Send a frame, after those of the same channel. From any thread; it does not wait.

        Raises:
            ValueError: the frame is too large.
        """
        self.send_raw(encode(channel, op, blob, **fields), channel)

    def send_raw(self, data: bytes, channel: int = 0) -> None:
        """Send bytes."""
        self._unsorted.append((channel, data))
        self.wake()

    def wake(self) -> None:
        """Have the thread that serves look around."""
        with suppress(BlockingIOError):  # full: it has been woken often enough
            os.write(self._alarm[1], b"!")

    def close(self, *, now: bool = False) -> None:
        """Stop serving, once all is sent; or now."""
        self._closes, self._closes_now = True, now
        self.wake()

    def serve(self) -> str:
        """Send and receive until the link ends. Returns why: "" after `close`."""
        try:
            while not self._closes_now and (not self._closes or self._has_unsent()):
                self._serve_once()
        except WireError as error:
            return f"it does not speak this protocol: {error}"
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _serve_once(self) -> None:
        waiting = select.poll()
        for fd in (self._reads, self._alarm[0], self._hears, self._ends):
            if fd is not None:
                waiting.register(fd, select.POLLIN)
        if self._has_unsent():
            waiting.register(self._writes, select.POLLOUT)
        now = time.monotonic()
        left = min(self._sent + self._heartbeat / _BEATS, self._heard + self._heartbeat, self._ended_at + _LINGER) - now
        for fd, _ in waiting.poll(1000 * max(0.0, left) + 1):
            self._serve_fd(fd)
        self._beat()

    def _serve_fd(self, fd: int) -> None:
        if fd == self._writes:
            self._write()
        elif fd == self._alarm[0]:
            os.read(fd, 4096)
        elif fd == self._hears:
            self.listen()
        elif fd == self._ends:
            self._ends, self._ended_at = None, time.monotonic()
        else:
            self._read()

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._ended_at > _LINGER:
            self.at_end = True
            raise ConnectionResetError(errno.ECONNRESET, "its program has ended")
        if now - self._heard > self._heartbeat:
            raise TimeoutError(errno.ETIMEDOUT, f"the other end was silent for {self._heartbeat:g} s")
        if now - self._sent >= self._heartbeat / _BEATS:
            self._sent = now
            self.send(0, "beat")

    def _read(self) -> None:
        data = os.read(self._reads, _CHUNK)
        if not data:
            self.at_end = True
            raise ConnectionResetError(errno.ECONNRESET, "it was closed by the other end")
        self._heard = time.monotonic()
        if self._mark:
            data = self._without_junk(data)
        for frame in self._decoder.feed(data):
            try:
                self._receive(frame)
            except (LookupError, TypeError, ValueError) as error:
                raise WireError(f"{frame.op}: {error!r}") from error

    def _without_junk(self, data: bytes) -> bytes:
        """The part behind the mark; empty until it was found."""
        self._junk += data
        before, mark, after = self._junk.partition(self._mark)
        if mark:
            self._mark = self._junk = b""
        elif len(before) > _JUNK:
            raise WireError(f"it prints {before[:200]!r}")
        return after

    def listen(self) -> None:
        """Read what is to be heard, until there is no more for now. Only in the thread that serves."""
        with suppress(BlockingIOError):
            while self._hears is not None:
                data = os.read(self._hears, _CHUNK)
                self.said = (self.said + data)[-4096:]
                if not data:
                    self._hears = None

    def _has_unsent(self) -> bool:
        return bool(self._unsent or self._unsorted or self._queues)

    def _write(self) -> None:
        while self._unsorted:
            channel, data = self._unsorted.popleft()
            self._queues.setdefault(channel, deque()).append(data)
        if not self._unsent:
            self._unsent = memoryview(self._batch())
        self._unsent = self._unsent[write_some(self._writes, self._unsent) :]
        self._sent = time.monotonic()

    def _batch(self) -> bytes:
        """The next frames: one of each channel in turn, so that a long stream delays the others by a frame or two."""
        found: list[bytes] = []
        size = 0
        while self._queues and size < _BATCH:
            channel = next(iter(self._queues))
            queue = self._queues.pop(channel)
            found.append(queue.popleft())
            size += len(found[-1])
            if queue:
                self._queues[channel] = queue  # again, behind the others
        return b"".join(found)


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)

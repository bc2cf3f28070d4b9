"""Calls of the engine at the far end: one that is run to its end, and one that is followed."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Any, final
from weakref import finalize

from smolkit.runners.blocking import SLICE, Sole, Ticket, caller
from smolkit.runners.live import Live
from smolkit.runners.remote.connection import CREDIT, WINDOW
from smolkit.runners.remote.failures import failure
from smolkit.runners.remote.wire import MAX_BLOB
from smolkit.values.cut import KeptOutput
from smolkit.values.results import Completed

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.runners.blocking import Gate
    from smolkit.runners.remote.channel import Channel
    from smolkit.values.results import Invocation

_TERM_WAIT = 2.0  # seconds between SIGTERM and SIGKILL
_GONE = 5.0  # seconds after SIGKILL in which the far end answers
_BOOT = 60.0  # seconds, as for a child process: see `local.pump`
_STALLED = 10.0  # seconds for which a writer waits for a reader: see `local.child`


@final
class CapturedCall:
    """A call that is run to its end, its output captured. After an interrupt, `run_to_end` may be called again.

    Args:
        begin: Opens its channel.
        invocation: The call.
        request: What the far end is told of it.
        deadline: When it is ended, by `clock`; None for never.
        limit: Bytes of output after which it is ended.
        clock: Monotonic clock, in seconds.
    """

    def __init__(  # noqa: PLR0917  (made in one place)
        self,
        begin: Callable[[], Channel],
        invocation: Invocation,
        request: dict[str, Any],
        deadline: float | None,
        limit: int,
        clock: Callable[[], float],
    ) -> None:
        self._begin, self._invocation, self._request = begin, invocation, request
        self._deadline, self._limit, self._clock = deadline, limit, clock
        self._boots_until = clock() + _BOOT
        self._booted = invocation.booted
        self._rest = memoryview(invocation.stdin or b"")
        self._fed = 0
        self._is_fed = invocation.stdin is None
        self._channel: Channel | None = None
        self._ended_by: str | None = None
        keep = limit if invocation.truncate else None
        self._out = {"stdout": KeptOutput(keep), "stderr": KeptOutput(keep)}
        self._returned = 0  # bytes of output for which the far end has got new credit
        self.is_started: bool = False

    def run_to_end(self) -> Completed:
        """Start it, unless it is started, and wait for its end.

        Raises:
            HostLostError: the link was lost.
            SmolvmError, OSError, ValueError: it could not be started.
        """
        if self._channel is None:
            self._channel = self._begin()
        channel = self._channel
        if not self.is_started:
            # All of its output is for the memory of this process: there is no reader to wait for. (What is not kept is
            # taken as it comes.)
            window = WINDOW if self._invocation.truncate else self._limit + WINDOW
            channel.send("run", window=window, **self._request)
            self.is_started = True  # after an interrupt in this very line it is sent again, which the far end ignores
        if self._ended_by is None:
            self._ended_by = self._wait(channel)
        self.terminate()
        return self._completed(channel)

    def _wait(self, channel: Channel) -> str:
        """Wait for its end. Returns why it is to be ended, or ""."""
        while not channel.is_over:
            self._feed(channel)
            self._keep(channel)
            if self._is_too_much(channel):
                return "output limit"
            left = None if self._deadline is None else self._deadline - self._clock()
            if left is not None and left <= 0:
                return "timeout"
            self._tell_boot(channel)
            channel.changed.wait(lambda: self._has_news(channel), SLICE if left is None else min(left, SLICE))
        self._tell_boot(channel)
        return "output limit" if self._is_too_much(channel) else ""

    def _is_too_much(self, channel: Channel) -> bool:
        return channel.arrived > self._limit and not self._invocation.truncate

    def _keep(self, channel: Channel) -> None:
        """Take what has come. The far end may send more for what is dropped."""
        while channel.pieces:
            stream, data = channel.pieces[0]
            self._out[stream].add(data)
            channel.pieces.popleft()
        if self._invocation.truncate and channel.arrived - self._returned >= CREDIT:
            channel.send("credit", size=channel.arrived - self._returned)
            self._returned = channel.arrived

    def _has_news(self, channel: Channel) -> bool:
        can_feed = not self._is_fed and not channel.deaf and channel.room > self._fed
        is_up = self._booted is not None and channel.speaks
        has_output = self._invocation.truncate and channel.pieces
        return bool(channel.is_over or can_feed or is_up or has_output or self._is_too_much(channel))

    def _feed(self, channel: Channel) -> None:
        if self._is_fed or channel.deaf:
            return
        while self._rest and channel.room > self._fed:
            chunk = self._rest[: min(MAX_BLOB, channel.room - self._fed)]
            channel.send("stdin", bytes(chunk))
            self._fed += len(chunk)
            self._rest = self._rest[len(chunk) :]
        if not self._rest:
            channel.send("eof")
            self._is_fed = True

    def _tell_boot(self, channel: Channel) -> None:
        if self._booted is None:
            return
        if channel.speaks or self._clock() >= self._boots_until:
            tell, self._booted = self._booted, None
            tell(channel.speaks)

    def terminate(self) -> None:
        """End it unless it has ended."""
        channel = self._channel
        if channel is None:
            return
        for kill, seconds in ((False, _TERM_WAIT), (True, _GONE)):
            if not channel.is_over:
                channel.send("end", kill=kill)
                channel.changed.wait(lambda: channel.is_over, seconds)
        channel.forget()

    def _completed(self, channel: Channel) -> Completed:
        answer = channel.answer
        if answer is None and channel.session.ended is not None:
            raise channel.session.lost()
        if answer is not None and answer.op == "error":
            raise failure(answer, channel.session.host)
        code, duration, ended_by = _end_of(channel)
        self._keep(channel)
        out, err, ended_by = self._out["stdout"], self._out["stderr"], self._ended_by or ended_by
        return Completed(self._invocation.argv, code, out.data, err.data, duration, ended_by, out.cut, err.cut)


def _end_of(channel: Channel) -> tuple[int, float, str]:
    """The exit status, the duration, and by whom it was ended."""
    if channel.answer is None:  # killed, and the far end does not answer
        return -signal.SIGKILL, 0.0, ""
    fields = channel.answer.fields
    return channel.answer.integer("code"), float(fields.get("duration", 0)), str(fields.get("ended_by", ""))


@final
class RemoteLive(Live):
    """A call at the far end that is followed. Unread output stays there, up to WINDOW bytes that are under way or here.

    Args:
        begin: Opens its channel.
        invocation: The call.
        request: What the far end is told of it.
        processes: Semaphore in which it has a place while it runs.
        clock: Monotonic clock, in seconds.
        logged: Called with its end.
    """

    def __init__(  # noqa: PLR0917  (made in one place)
        self,
        begin: Callable[[], Channel],
        invocation: Invocation,
        request: dict[str, Any],
        processes: Gate,
        clock: Callable[[], float],
        logged: Callable[[Completed], Completed],
    ) -> None:
        self._invocation, self._processes, self._clock, self._process = invocation, processes, clock, os.getpid()
        self._logged = logged
        self._reading = Sole("another thread or task reads from this process: one may read while one writes")
        self._writing = Sole("another thread or task writes to this process: one may write while one reads")
        self._reader: object = None  # the thread or task that read last
        self._read_bytes = self._returned = self._written = 0
        self._closes = False
        opened: list[Channel] = []
        self._ticket = Ticket(lambda: bool(opened) and opened[0].is_over)
        try:
            processes.acquire(self._ticket, invocation.patience)
            self._channel = begin()
            opened.append(self._channel)
            finalize(self, _drop, self._channel).atexit = False
            self._channel.send("run", window=WINDOW, **request)
            self._ticket.holder = None  # from now on it ends by itself
        except BaseException:
            processes.release(self._ticket)
            raise

    def read(self, timeout: float | None) -> tuple[str, bytes] | None:
        """As in Live."""
        self._check_process()
        return self._reading.during(lambda: self._read(None if timeout is None else self._clock() + timeout))

    def _read(self, deadline: float | None) -> tuple[str, bytes] | None:
        channel = self._channel
        try:
            self._reader = self._ticket.holder = caller()
            while not (channel.pieces or channel.is_over):
                left = None if deadline is None else deadline - self._clock()
                if left is not None and left <= 0:
                    raise TimeoutError
                channel.changed.wait(lambda: channel.pieces or channel.is_over, SLICE if left is None else min(left, SLICE))
            return self._take(channel) if channel.pieces else None
        finally:
            self._ticket.holder = None

    def _take(self, channel: Channel) -> tuple[str, bytes]:
        piece = channel.pieces.popleft()
        self._read_bytes += len(piece[1])
        if self._read_bytes - self._returned >= CREDIT:
            channel.send("credit", size=self._read_bytes - self._returned)
            self._returned = self._read_bytes
        channel.changed.set()  # a writer may wait for a reader
        return piece

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """As in Live."""
        self._check_process()
        deadline = None if timeout is None else self._clock() + timeout
        self._writing.during(lambda: self._write(memoryview(data), deadline))

    def _write(self, rest: memoryview, deadline: float | None) -> None:
        channel, moved = self._channel, self._clock()
        while rest:
            if channel.session.ended is not None and channel.answer is None:
                raise channel.session.lost()
            if self._closes or channel.is_over or channel.deaf or channel.code is not None:
                raise BrokenPipeError(errno.EPIPE, "the command has ended, or its input was closed")
            if (room := channel.room - self._written) > 0:
                chunk = rest[: min(room, MAX_BLOB)]
                channel.send("stdin", bytes(chunk))
                self._written, moved, rest = self._written + len(chunk), self._clock(), rest[len(chunk) :]
            else:
                self._wait_for_room(channel, moved, deadline)

    def _wait_for_room(self, channel: Channel, moved: float, deadline: float | None) -> None:
        left = SLICE if deadline is None else deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        unread = channel.arrived - self._read_bytes
        if unread >= WINDOW - CREDIT and self._reader in {None, caller()} and self._clock() - moved > _STALLED:
            raise BrokenPipeError(
                errno.EPIPE, "the command takes no more input before its output is read, and nobody reads it"
            )
        has_room = lambda: self._closes or channel.is_over or channel.deaf or channel.room > self._written  # noqa: E731
        channel.changed.wait(has_room, min(left, SLICE))

    def close_stdin(self) -> None:
        """As in Live. A writer that waits gets a BrokenPipeError."""
        self._check_process()
        if not self._closes:
            self._closes = True
            self._channel.send("eof")
            self._channel.changed.set()

    def poll(self) -> int | None:
        """As in Live."""
        if self._channel.code is None and self._channel.is_over:
            return -signal.SIGKILL  # lost, or not started: `close` says which
        return self._channel.code

    def end(self, *, kill: bool = False) -> None:
        """As in Live."""
        if self._process == os.getpid() and not self._channel.is_over:
            self._channel.send("end", kill=kill)

    def close(self) -> Completed:
        """As in Live.

        Raises:
            HostLostError: the link was lost before its end.
            SmolvmError, OSError, ValueError: it could not be started.
        """
        self._processes.release(self._ticket)
        self._channel.forget()
        self._channel.result(0)
        code, duration, ended_by = _end_of(self._channel)
        return self._logged(Completed(self._invocation.argv, code, duration=duration, ended_by=ended_by))

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise RuntimeError(f"this command was started by process {self._process}, and a fork of that must not use it")


def _drop(channel: Channel) -> None:
    """Nobody holds the call any more: it is killed, and its output dropped."""
    if not channel.is_over:
        channel.send("drop")
    channel.forget()

"""One far process, and the calls that this process has there."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from threading import Thread
from typing import Any, final
from weakref import WeakSet

from smolkit.errors import HostLostError, HostUnreachableError
from smolkit.runners.remote import payload
from smolkit.runners.remote.channel import Channel
from smolkit.runners.remote.connection import Connection, Signal
from smolkit.runners.remote.links import Link
from smolkit.runners.remote.transport import Transport
from smolkit.runners.remote.wire import Frame, WireError

_LAST_WORDS = 2.0  # seconds that the transport has to end once its output has ended
_LINES = 8  # of the words of the link's program, the last of which say why it ended
_ORDERLY = 10.0  # seconds that the far process has for its end


@final
class Session:
    """One far process, reached over one transport of the link.

    Args:
        link: The link.
        settings: What the far process is told first.
        heartbeat: As for RemoteRunner.

    Attributes:
        host: The link's.
        hello: The far process's first frame; None until it is there.
        ended: Why the link has ended; None while it has not.
        is_lost: True once it has ended without `close`.
        ahead: Seconds by which the clock of the far host is ahead of this one's.
        thread: Serves it.
        keeps: Whether the far process's machines are to stay at the end of the session.
    """

    def __init__(self, link: Link, settings: Mapping[str, Any], heartbeat: float) -> None:
        self.host: str = link.host
        self.hello: Frame | None = None
        self.ended: str | None = None
        self.is_lost: bool = False
        self.ahead: float = 0.0
        self.keeps: bool = True
        self._link, self._settings, self._heartbeat, self._process = link, settings, heartbeat, os.getpid()
        self._numbers, self._channels, self._changed = count(1), dict[int, Channel](), Signal()
        self._transport: Transport = link.open()
        self._connection: Connection | None = None
        self.thread: Thread = Thread(target=self._serve, name=f"smolkit: {self.host}", daemon=True)

    def connect(self, timeout: float) -> None:
        """Start the far process.

        Raises:
            HostUnreachableError: it did not start within `timeout` seconds.
        """
        _sessions.add(self)  # first: a fork must close its copies of the pipes
        try:
            self._start()
            self._await_hello(timeout)
        except BaseException:
            self.kill()
            raise

    def _start(self) -> None:
        reads, writes = self._transport.open()
        way = self._transport
        try:
            self._connection = Connection(reads, writes, self._receive, mark=way.mark, hears=way.hears, ends=way.ends)
            if way.greeting:
                self._connection.send_raw(way.greeting)
            else:
                self._connection.send(0, "settings", **self._settings)
            self.thread.start()
        except (OSError, RuntimeError) as error:
            raise HostUnreachableError(f"cannot reach {self.host}: {error}") from error

    def _await_hello(self, timeout: float) -> None:
        done = self._changed.wait(lambda: self.hello is not None or self.ended is not None, timeout)
        if not done or self.ended is not None:
            why = self.ended if done else self._reason(f"no answer within {timeout:.3g} s")
            raise HostUnreachableError(f"cannot reach {self.host}: {why}")

    def _serve(self) -> None:
        assert self._connection is not None  # noqa: S101  (for the type checker: it is there before the thread)
        reason = "an internal error of smolkit"
        try:
            reason = self._connection.serve()
        finally:
            self._end(reason)

    def _end(self, reason: str) -> None:
        """Let all calls know, and end the transport."""
        transport, connection = self._transport, self._connection
        transport.hang_up()
        if connection is not None and connection.at_end:
            transport.wait(_LAST_WORDS)  # how it ends is a part of the reason
            connection.listen()
        self.is_lost = self.ended is None
        self.ended = self.ended or self._reason(reason)
        self._changed.set()
        for channel in tuple(self._channels.values()):
            channel.changed.set()
        if not reason:  # closed in order: so is what the far process has
            transport.wait(_ORDERLY)
        transport.dispose()

    def _reason(self, reason: str) -> str:
        """The reason with what the link's program has written, and its exit status."""
        said = b"" if self._connection is None else self._connection.said
        lines = said.decode("utf-8", "replace").split("\n")[-_LINES:]
        return "\n  ".join((reason + self._transport.status(), *lines)).strip()

    def _receive(self, frame: Frame) -> None:
        if frame.op in {"have", "need"} and self.hello is None and self._connection is not None:
            if frame.op == "need":
                self._connection.send_raw(payload.parcel())
            self._connection.send(0, "settings", **self._settings)
        elif frame.op == "hello":
            self.ahead = float(frame.fields["now"]) - time.time()
            self.hello = frame
            if self._connection is not None:
                self._connection.expect(self._heartbeat)
                self._connection.listen()
                self._connection.said = b""  # by the shell that looked for a Python, and found one
            self._changed.set()
        elif frame.op == "refused":
            raise WireError(f"it refuses: {frame.fields.get('message')}")
        elif (channel := self._channels.get(frame.channel)) is not None:
            channel.receive(frame)

    def send(self, channel: int, op: str, blob: bytes = b"", **fields: Any) -> None:
        """Send a frame. No-op if the link is lost."""
        if self.ended is None and self._connection is not None:
            self._connection.send(channel, op, blob, **fields)

    def channel(self) -> Channel:
        """A channel for a new call."""
        number = next(self._numbers)
        channel = self._channels[number] = Channel(self, number)
        return channel

    def forget(self, number: int) -> None:
        """Drop a channel."""
        self._channels.pop(number, None)

    def lost(self) -> HostLostError:
        """The error of a call that got no answer."""
        return HostLostError(f"the link to {self.host} was lost: {self.ended}")

    def ask(self, name: str, *args: Any, timeout: float | None = None) -> Frame:
        """Call a function of the far process, and return its answer. Raises as `Channel.result` does."""
        channel = self.channel()
        try:
            channel.send("call", name=name, args=args)
            return channel.result(timeout)
        finally:
            channel.forget()

    @contextmanager
    def holding(self, name: str, *args: Any, feed: Callable[[Channel], None] | None = None) -> Iterator[Frame]:
        """A context manager of the far process around the block. Raises as `Channel.result` does.

        Args:
            name: Its name.
            args: Its arguments.
            feed: Called to send its input.
        """
        channel, ok = self.channel(), False
        try:
            channel.send("call", name=name, args=args)
            if feed is not None:
                feed(channel)
            yield channel.result()
            ok = True
        finally:
            channel.send("release", ok=ok)
            channel.forget()

    def close(self) -> None:
        """End the session, and the far process with it. Does not wait."""
        if self._connection is not None and self.ended is None and self._process == os.getpid():
            self._connection.send(0, "bye", keep=self.keeps)
            self.ended = "it was closed"
            self._connection.close()

    def kill(self) -> None:
        """End the transport, and the session with it."""
        self._transport.kill()
        if self._connection is not None:
            self._connection.close(now=True)
        if not self.thread.ident:  # it was not started: nobody else does this
            self._transport.dispose()

    def abandon(self) -> None:
        """In a fork: the session is the parent's."""
        self.ended = "this process was forked from the one that opened it"
        self._transport.abandon()


_sessions: WeakSet[Session] = WeakSet()


def _close_all() -> None:
    for session in tuple(_sessions):
        session.close()
    for session in tuple(_sessions):
        if session.thread.is_alive():  # of a program that could not be started it never began
            session.thread.join(_LAST_WORDS)


def _after_fork() -> None:
    for session in tuple(_sessions):
        session.abandon()


atexit.register(_close_all)  # threads still run then
os.register_at_fork(after_in_child=_after_fork)

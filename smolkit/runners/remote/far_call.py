"""One call, at the far end of a link."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Protocol, final

from smolkit.runners.remote.connection import CREDIT, WINDOW, Connection, Signal
from smolkit.runners.remote.wire import MAX_BLOB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smolkit.runners.local.subprocess import SubprocessRunner
    from smolkit.runners.remote.wire import Frame

_GLANCE = 0.2  # seconds between two looks at a child whose output is not read


class Far(Protocol):
    """The far process, as its calls see it."""

    work: str
    connection: Connection

    def required(self) -> SubprocessRunner:
        """The runner of this host, once there are settings."""


class Ended(Protocol):
    """A command that runs."""

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    def end(self, *, kill: bool = False) -> None:
        """End it."""


class Resized(Protocol):
    """A command in a terminal."""

    def resize(self, size: list[int]) -> None:
        """Change the terminal's size: columns and lines."""


@final
class FarCall:
    """One call, at this end: what arrives for it, and what it sends."""

    def __init__(self, server: Far, number: int) -> None:
        self._server, self._number = server, number
        self.changed: Signal = Signal()
        self.room: int = WINDOW  # bytes of output that the other end takes, since the beginning
        self.is_dropped: bool = False
        self._sent = self._fed = 0  # bytes of output, and of input that was used
        self._input: list[bytes] = []
        self._at_eof = self._is_lost = False
        self.released: bool | None = None
        self.ending: int | None = None  # the signal that is to end it
        self.live: Ended | None = None
        self.terminal: Resized | None = None
        self.finish: bool = False

    @property
    def runner(self) -> SubprocessRunner:
        """The runner of this host."""
        return self._server.required()

    @property
    def work(self) -> str:
        """A directory for files that are copied, which need not exist."""
        return self._server.work

    @property
    def _is_given_up(self) -> bool:
        return self._is_lost or self.is_dropped or self.released is not None

    def send(self, op: str, blob: bytes = b"", **fields: Any) -> None:
        """Send a frame."""
        self._server.connection.send(self._number, op, blob, **fields)

    def receive(self, frame: Frame) -> None:
        """Take a frame. In the main thread, which must not wait."""
        if frame.op == "stdin":
            self._input.append(frame.blob)
        elif frame.op == "eof":
            self._at_eof = True
        elif frame.op == "credit":
            self.room += frame.integer("size")
        elif frame.op == "release":
            self.released = bool(frame.fields.get("ok"))
        elif frame.op == "size" and self.terminal is not None:
            self.terminal.resize(frame.fields["size"])
        elif frame.op == "drop":
            self.is_dropped = True
            self.end(kill=True)
        elif frame.op == "end":
            self.end(kill=bool(frame.fields.get("kill")))
        self.changed.set()

    def end(self, *, kill: bool) -> None:
        """End its command."""
        self.ending = signal.SIGKILL if kill else signal.SIGTERM
        if self.live is not None:
            self.live.end(kill=kill)

    def lose(self, *, kill: bool) -> None:
        """The link is lost: nobody waits for it."""
        self._is_lost = self.is_dropped = True
        if kill or not self.finish:
            self.end(kill=kill)
        self.changed.set()

    def close_input(self) -> None:
        """Its command has ended, and reads no more."""
        self._at_eof = True
        self.changed.set()

    def wait_for_release(self) -> bool:
        """Wait until the other end needs it no more. True if all went well there."""
        self.changed.wait(lambda: self.released is not None or self._is_lost)
        return bool(self.released)

    def send_output(self, stream: str, data: bytes) -> None:
        """Send a piece of output, as the other end has room for it."""
        for start in range(0, len(data), MAX_BLOB):
            self._send_blob(stream, data[start : start + MAX_BLOB])

    def _send_blob(self, stream: str, data: bytes) -> None:
        while not self.changed.wait(lambda: self.is_dropped or self.room > self._sent, _GLANCE):
            if self.live is not None and (code := self.live.poll()) is not None:
                self.send("ended", code=code)
                self.changed.wait(lambda: self.is_dropped or self.room > self._sent)
        if not self.is_dropped:
            self._sent += len(data)
            self.send(stream, data)

    def pieces(self) -> Iterator[bytes]:
        """The pieces of its input, as they come; the other end gets room for more once they are used."""
        returned = 0
        while True:
            self.changed.wait(lambda: self._input or self._at_eof or self._is_given_up)
            if self._input and not self._is_given_up:
                piece = self._input.pop(0)
                yield piece
                self._fed += len(piece)
                if self._fed - returned >= CREDIT:
                    self.send("credit", size=self._fed - returned)
                    returned = self._fed
            else:
                return

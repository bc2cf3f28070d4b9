"""One call over a session, at this end."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol, final

from smolkit.errors import HostLostError
from smolkit.runners.remote.connection import WINDOW, Signal
from smolkit.runners.remote.failures import failure
from smolkit.runners.remote.wire import MAX_BLOB, Frame, WireError


class Carrier(Protocol):
    """The session, as its channels see it."""

    host: str
    ended: str | None

    def send(self, channel: int, op: str, blob: bytes = b"", **fields: Any) -> None:
        """Send a frame. No-op if the link is lost."""

    def forget(self, number: int) -> None:
        """Drop a channel."""

    def lost(self) -> HostLostError:
        """The error of a call that got no answer."""


@final
class Channel:
    """One call over a session, at this end.

    Attributes:
        session: The session.
        pieces: Output that arrived: the stream's name and bytes.
        arrived: The number of these bytes, since the beginning.
        granted: The number of bytes of output after which the far end sends no further frame, since the beginning.
        speaks: True once there was something on stdout.
        room: The number of bytes of input that the far end takes, since the beginning.
        deaf: True once the far command reads no more.
        code: The command's exit status, as soon as it is known.
        answer: The last frame; None until it is there. What comes after it is ignored: an `end` that crosses the answer on
            its way is answered, too.
        changed: Set whenever one of these has changed.
    """

    def __init__(self, session: Carrier, number: int) -> None:
        self._number = number
        self.session: Carrier = session
        self.pieces: deque[tuple[str, bytes]] = deque()
        self.arrived: int = 0
        self.granted: int = WINDOW
        self.speaks: bool = False
        self.room: int = WINDOW
        self.deaf: bool = False
        self.code: int | None = None
        self.answer: Frame | None = None
        self.changed: Signal = Signal()

    @property
    def is_over(self) -> bool:
        """True if nothing more will arrive."""
        return self.answer is not None or self.session.ended is not None

    def send(self, op: str, blob: bytes = b"", **fields: Any) -> None:
        """Send a frame. No-op if the link is lost."""
        if op == "run":
            self.granted = fields["window"]
        elif op == "credit":
            self.granted += fields["size"]
        self.session.send(self._number, op, blob, **fields)

    def receive(self, frame: Frame) -> None:
        """Take a frame. In the session's thread.

        Raises:
            WireError: the far end sends more than it may, which would fill this process's memory.
        """
        if self.answer is not None:
            return
        if frame.op in {"stdout", "stderr"}:
            self.pieces.append((frame.op, frame.blob))
            self.arrived += len(frame.blob)
            if self.arrived >= self.granted + MAX_BLOB:
                raise WireError(f"it has sent {self.arrived} bytes of output where it may send {self.granted}")
            self.speaks = self.speaks or frame.op == "stdout"
        elif frame.op == "credit":
            self.room += frame.integer("size")
        elif frame.op == "deaf":
            self.deaf = True
        elif frame.op == "ended":
            self.code = frame.integer("code")
        elif frame.op in {"exit", "result", "error"}:
            self.code = frame.integer("code") if frame.op == "exit" else None
            self.answer = frame
        self.changed.set()

    def result(self, timeout: float | None = None) -> Frame:
        """Wait for the answer.

        Raises:
            HostLostError: the link was lost before.
            TimeoutError: it did not come within `timeout` seconds.
            Exception: the far end's failure.
        """
        if not self.changed.wait(lambda: self.is_over, timeout):
            raise TimeoutError
        if self.answer is None:
            raise self.session.lost()
        if self.answer.op == "error":
            raise failure(self.answer, self.session.host)
        return self.answer

    def forget(self) -> None:
        """Drop what still arrives for it."""
        self.session.forget(self._number)

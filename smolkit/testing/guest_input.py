"""The standard input of a command in a fake's guest: there from the start, or written while the command runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import final

# The piece of a command that cannot go on before there is input, or the end of it.
WAITS = ("stdin", b"")


class Left(BaseException):
    """Ends a guest's program that waits for input longer than anybody has time. No Exception: handlers let it pass."""


@final
class GuestInput:
    """Such an input.

    Args:
        data: What there is of it.
        wait: Waits for more and says whether any came; without it there is no more to come.

    Attributes:
        closed: Whether its end is known.
        until: When the command that reads it is out of time, by the fake's clock; None for no bound.
    """

    def __init__(self, data: bytes = b"", *, wait: Callable[[], bool] | None = None) -> None:
        self._data, self._read, self._wait = bytearray(data), 0, wait
        self.closed: bool = wait is None
        self.until: float | None = None

    @property
    def ready(self) -> bool:
        """Whether a read would not wait."""
        return self.closed or self._read < len(self._data)

    def write(self, data: bytes) -> None:
        """There is more of it."""
        self._data += data

    def close(self) -> None:
        """That was all."""
        self.closed = True

    def take(self) -> bytes | None:
        """What came since the last time: empty at the end, None if nothing has come yet."""
        if not self.ready:
            return None
        taken = bytes(self._data[self._read :])
        self._read += len(taken)
        return taken

    def read(self) -> bytes:
        """All of it, from its very beginning, once its end is there."""
        while not self.closed:
            self._read = len(self._data)
            self._more()
        self._read = len(self._data)
        return bytes(self._data)

    def lines(self) -> Iterator[bytes]:
        """Its lines, as they come."""
        rest = b""
        while taken := self._taken():
            *lines, rest = (rest + taken).split(b"\n")
            yield from (line + b"\n" for line in lines)
        if rest:
            yield rest

    def _taken(self) -> bytes:
        while (taken := self.take()) is None:
            self._more()
        return taken

    def _more(self) -> None:
        if self._wait is not None and not self._wait():
            raise Left

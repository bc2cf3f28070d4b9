"""The standard streams of a command in a fake machine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import final

Pieces = Generator[tuple[str, bytes], None, int]  # output as (stream, data); returns the exit status

# Yielded by a command that cannot go on before more of its stdin, or the end of it, is there.
WAITING = ("stdin", b"")


class StdinTimeout(BaseException):
    """Ends a handler or program that waits for stdin when its time is up.

    A BaseException, so that a handler's `except Exception` does not swallow it.
    """


@final
class GuestStdin:
    """The stdin of a command: complete from the start, or written while the command runs.

    Args:
        data: The input so far.
        wait: Waits for more input and returns True if there is some. Without it, `data` is all of the input.

    Attributes:
        closed: True once the end of the input is known.
        deadline: When the command's timeout is over, in seconds of the fake's clock; None without a timeout.
    """

    def __init__(self, data: bytes = b"", *, wait: Callable[[], bool] | None = None) -> None:
        self._data, self._position, self._wait = bytearray(data), 0, wait
        self.closed: bool = wait is None
        self.deadline: float | None = None

    @property
    def ready(self) -> bool:
        """True if a read would not wait."""
        return self.closed or self._position < len(self._data)

    def write(self, data: bytes) -> None:
        """Append to the input."""
        self._data += data

    def close(self) -> None:
        """Mark the end of the input."""
        self.closed = True

    def take(self) -> bytes | None:
        """The input since the last call, without waiting: b"" at its end, None if there is none yet."""
        if not self.ready:
            return None
        taken = bytes(self._data[self._position :])
        self._position += len(taken)
        return taken

    def read(self) -> bytes:
        """All of the input, from its start. Waits for its end."""
        while not self.closed:
            self._position = len(self._data)  # or `ready`, which the wait looks at, would be true at once
            self._wait_for_more()
        self._position = len(self._data)
        return bytes(self._data)

    def lines(self) -> Iterator[bytes]:
        """The lines of the input, each as soon as it is written."""
        rest = b""
        while taken := self._take_waiting():
            *lines, rest = (rest + taken).split(b"\n")
            yield from (line + b"\n" for line in lines)
        if rest:
            yield rest

    def _take_waiting(self) -> bytes:
        while (taken := self.take()) is None:
            self._wait_for_more()
        return taken

    def _wait_for_more(self) -> None:
        if self._wait is not None and not self._wait():
            raise StdinTimeout

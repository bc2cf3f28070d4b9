"""Output of which only the beginning and the end are kept."""

from __future__ import annotations

from typing import final

from attrs import frozen


@final
@frozen
class Cut:
    """A part of a stream that is missing: its middle.

    Attributes:
        offset: Where it was, in bytes from the beginning of what is kept.
        size: How many bytes are missing there.
    """

    offset: int
    size: int


def shortened(data: bytes, cut: Cut | None, most: int) -> tuple[bytes, Cut | None]:
    """The beginning and the end of a stream, `most` bytes in all, and what is missing between them.

    Args:
        data: The stream, or its beginning and its end.
        cut: What is missing in it already.
        most: Bytes to keep.
    """
    total = len(data) + (cut.size if cut else 0)
    if total <= most:
        return data, cut
    head, tail = most - most // 2, most // 2
    if cut is not None:
        head, tail = min(head, cut.offset), min(tail, len(data) - cut.offset)
    return data[:head] + data[len(data) - tail :], Cut(head, total - head - tail)


def shares(most: int, one: int, other: int) -> tuple[int, int]:
    """The bytes to keep of two streams of these sizes, `most` in all: half each, and what one leaves is the other's."""
    first = min(one, max(most // 2, most - other))
    return first, min(other, most - first)


@final
class KeptOutput:
    """A stream as it comes, within bounds of memory.

    Args:
        limit: Bytes to keep of its beginning, and of its end. None: all of it.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []  # the beginning, or all of it
        self._head = 0  # bytes in it
        self._tail, self._dropped = bytearray(), 0

    def add(self, chunk: bytes) -> None:
        """Add what came."""
        room = len(chunk) if self._limit is None else max(0, self._limit - self._head)
        self._chunks.append(chunk[:room])
        self._head += min(room, len(chunk))
        if self._limit is not None and len(chunk) > room:
            self._tail += chunk[room:]
            if len(self._tail) > 2 * self._limit:  # not with each chunk: it moves all that is behind it
                extra = len(self._tail) - self._limit
                self._dropped += extra
                del self._tail[:extra]

    @property
    def data(self) -> bytes:
        """The parts of it that are kept."""
        return b"".join([*self._chunks, self._tail])

    @property
    def cut(self) -> Cut | None:
        """The part that is missing in `data`; None if none is."""
        return Cut(self._head, self._dropped) if self._dropped else None

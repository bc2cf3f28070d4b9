"""A fake's command while it is followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from smolkit.runners.live import Live
from smolkit.runners.waiting import breathe
from smolkit.values import Completed

if TYPE_CHECKING:
    from smolkit.testing.fake import FakeSmolvm
    from smolkit.testing.shell import Pieces
    from smolkit.values import Invocation


@final
class LiveCall(Live):
    """A call that is followed: its pieces come when they are read."""

    def __init__(self, fake: FakeSmolvm, invocation: Invocation) -> None:
        self._fake, self._invocation = fake, invocation
        self._stdin = bytearray()
        self._pieces: Pieces | None = None
        self._held: list[tuple[str, bytes] | None] = []
        self._started = fake.clock()
        self._returncode: int | None = None

    def read(self, timeout: float | None) -> tuple[str, bytes] | None:
        """As in Live."""
        if self._held:
            return self._held.pop()
        if self._pieces is None:
            self._pieces = self._fake.pieces(self._invocation, bytes(self._stdin))
        breathe()
        before = self._fake.clock()
        piece: tuple[str, bytes] | None = None
        if self._returncode is None:
            try:
                piece = next(self._pieces)
            except StopIteration as end:
                self._returncode = end.value or 0
        if timeout is not None and self._fake.clock() - before > timeout:
            self._held.append(piece)
            raise TimeoutError
        return piece

    def write(self, data: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """As in Live: what was written until the first read is all."""
        if self._returncode is not None:
            raise BrokenPipeError
        self._stdin += data

    def close_stdin(self) -> None:
        """As in Live."""

    def poll(self) -> int | None:
        """As in Live."""
        return self._returncode

    def end(self, *, kill: bool = False) -> None:
        """As in Live."""
        if self._returncode is None:
            self._returncode = -9 if kill else -15
            self._held.clear()
            if self._pieces is not None:
                self._pieces.close()

    def close(self) -> Completed:
        """As in Live."""
        while self.read(None) is not None:
            pass
        return Completed(self._invocation.argv, self._returncode or 0, duration=self._fake.clock() - self._started)

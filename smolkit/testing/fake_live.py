"""A fake's command while it is followed."""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from typing import TYPE_CHECKING, final

from smolkit.runners import blocking
from smolkit.runners.live import Live
from smolkit.testing.guest_io import WAITS, GuestInput, Left
from smolkit.testing.scripted import UnexpectedCommandError
from smolkit.values.results import Completed

if TYPE_CHECKING:
    from smolkit.testing.fake import FakeSmolvm
    from smolkit.values.results import Invocation

_GLANCE = 0.005  # seconds of this host between two looks for input
_MANY = (
    10_000  # pieces that take no time; further ones take _A_PIECE seconds, where who reads waits for the time to be over
)
_A_PIECE = 0.001


@final
class LiveCall(Live):
    """A call that is followed: its pieces come when they are read.

    A command that reads its stdin waits until another thread or task writes to it, or closes it. Only then does a timeout,
    the command's or the reader's, take time: nobody can tell whether somebody is about to write.
    """

    def __init__(self, fake: FakeSmolvm, invocation: Invocation, *, stdin: bool) -> None:
        self._fake, self._invocation = fake, invocation
        self._stdin = GuestInput(wait=self._came if stdin else None)
        self._pieces = fake.pieces(invocation, self._stdin)
        self._held: list[tuple[str, bytes] | None] = []
        self._started = fake.clock()
        self._until: float | None = None  # the reader's, by the fake's clock
        self._count = 0  # pieces that were read within a bound
        self._lost = False  # in the middle of a program that cannot be resumed
        self._returncode: int | None = None

    def read(self, timeout: float | None) -> tuple[str, bytes] | None:
        """As in Live."""
        if self._held:
            return self._held.pop()
        blocking.breathe()
        self._until = None if timeout is None else self._fake.clock() + timeout
        piece = self._next()
        self._count += timeout is not None
        if self._count > _MANY and timeout is not None:
            self._fake.sleep(_A_PIECE)  # a program that writes on and on
        if self._until is not None and self._fake.clock() > self._until:
            self._held.append(piece)
            raise TimeoutError
        return piece

    def _next(self) -> tuple[str, bytes] | None:
        while self._returncode is None:
            try:
                piece = self._resumed()
            except StopIteration as end:
                self._over(end.value or 0)
            except Left:
                if self._returncode is None:
                    self._lost = True
                    raise TimeoutError from None
            else:
                if piece != WAITS:
                    return piece
                if not self._came() and self._until is not None and self._fake.clock() >= self._until:
                    raise TimeoutError
        return None

    def _resumed(self) -> tuple[str, bytes]:
        if self._lost:
            raise UnexpectedCommandError(
                f"{self._what}: its handler was left in the middle, as it waited for stdin, by a timeout of who reads; "
                "it can only be ended. Write or close stdin before, or give no timeout"
            )
        return next(self._pieces)

    @property
    def _what(self) -> str:
        argv = self._invocation.argv
        return repr(list(argv[argv.index("--") + 1 :] if "--" in argv else argv))

    def _came(self) -> bool:
        """Waits for input; False, if it did not come in time, or the command was ended."""
        ends = [end for end in (self._until, self._stdin.until) if end is not None]
        left = max(0.0, min(ends) - self._fake.clock()) if ends else None
        patience = self._fake.patience if left is None else min(left, self._fake.patience)
        deadline = time.monotonic() + patience
        while not self._stdin.ready and self._returncode is None:
            if time.monotonic() >= deadline:
                return self._gives_up(left)
            blocking.sleep(_GLANCE)
        return self._returncode is None

    def _gives_up(self, left: float | None) -> bool:
        if left is None:
            raise UnexpectedCommandError(
                f"{self._what} reads its stdin, and nobody writes to it or closes it: a real one would wait for ever"
            )
        self._fake.sleep(left + 0.001)  # the command is out of time after its timeout, not at it
        return False

    def write(self, data: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """As in Live. There is always room."""
        if self._returncode is not None:
            raise BrokenPipeError(errno.EPIPE, "the command has ended")
        self._stdin.write(data)

    def close_stdin(self) -> None:
        """As in Live."""
        self._stdin.close()

    def poll(self) -> int | None:
        """As in Live."""
        return self._returncode

    def end(self, *, kill: bool = False) -> None:
        """As in Live."""
        if self._returncode is None:
            self._over(-9 if kill else -15)
            self._held.clear()
            with suppress(ValueError):  # another thread reads just now, and sees that it is over
                self._pieces.close()

    def _over(self, returncode: int) -> None:
        self._returncode = returncode
        self._stdin.close()

    def close(self) -> Completed:
        """As in Live."""
        while self.read(None) is not None:
            pass
        return Completed(self._invocation.argv, self._returncode or 0, duration=self._fake.clock() - self._started)

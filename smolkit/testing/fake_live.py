"""A call of a fake engine that is followed while it runs."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from typing import final

from smolkit.runners import blocking
from smolkit.runners.live import Live
from smolkit.testing.clock import FakeClock
from smolkit.testing.guest_io import WAITING, GuestStdin, Pieces, StdinTimeout
from smolkit.testing.scripted import UnexpectedCommandError
from smolkit.values.results import Completed, Invocation

_POLL_INTERVAL = 0.005  # seconds of this host between two looks for input
# A handler may write for ever without taking any time. A reader with a timeout would then read for ever: from the 10,000th
# piece on, each takes a millisecond of the fake's clock.
_FREE_PIECES = 10_000
_SECONDS_PER_PIECE = 0.001


@final
class FakeLive(Live):
    """A call that is followed. The guest's command runs on each time that its output is read.

    A command that reads its stdin waits until another thread or task writes to it or closes it. Only this wait takes real
    time, since nobody can know whether somebody is about to write.

    Args:
        invocation: The call.
        run: Starts the call with this stdin.
        clock: The fake's clock.
        patience: The most seconds of this host to wait for input.
        stdin: True if there is a stdin to write to.
    """

    def __init__(
        self,
        invocation: Invocation,
        run: Callable[[Invocation, GuestStdin], Pieces],
        clock: FakeClock,
        *,
        patience: float,
        stdin: bool,
    ) -> None:
        self._invocation, self._clock, self._patience = invocation, clock, patience
        self._stdin = GuestStdin(wait=self._wait_for_input if stdin else None)
        self._pieces = run(invocation, self._stdin)
        self._unread: list[tuple[str, bytes] | None] = []  # a piece that came after the reader's timeout: for its next read
        self._started = clock.seconds
        self._deadline: float | None = None  # of the reader, by the fake's clock
        self._bounded_reads = 0
        self._interrupted = False  # in the middle of a handler, which then cannot be resumed
        self._returncode: int | None = None

    def read(self, timeout: float | None) -> tuple[str, bytes] | None:
        """As in Live."""
        if self._unread:
            return self._unread.pop()
        blocking.breathe()
        self._deadline = None if timeout is None else self._clock.seconds + timeout
        piece = self._next()
        self._bounded_reads += timeout is not None
        if self._bounded_reads > _FREE_PIECES and timeout is not None:
            self._clock.sleep(_SECONDS_PER_PIECE)
        if self._deadline is not None and self._clock.seconds > self._deadline:
            self._unread.append(piece)
            raise TimeoutError
        return piece

    def _next(self) -> tuple[str, bytes] | None:
        while self._returncode is None:
            try:
                piece = self._resume()
            except StopIteration as end:
                self._end_with(end.value or 0)
            except StdinTimeout:
                if self._returncode is None:
                    self._interrupted = True
                    raise TimeoutError from None
            else:
                if piece != WAITING:
                    return piece
                if not self._wait_for_input() and self._deadline is not None and self._clock.seconds >= self._deadline:
                    raise TimeoutError
        return None

    def _resume(self) -> tuple[str, bytes]:
        if self._interrupted:
            raise UnexpectedCommandError(
                f"{self._command}: its handler was waiting for stdin when a read timed out, and cannot be resumed\n"
                "  write to stdin or close it before you read, or read without a timeout"
            )
        return next(self._pieces)

    @property
    def _command(self) -> str:
        argv = self._invocation.argv
        return repr(list(argv[argv.index("--") + 1 :] if "--" in argv else argv))

    def _wait_for_input(self) -> bool:
        """Wait for input: False if none came before the deadline, or the call was ended."""
        deadlines = [at for at in (self._deadline, self._stdin.deadline) if at is not None]
        left = max(0.0, min(deadlines) - self._clock.seconds) if deadlines else None
        patience = self._patience if left is None else min(left, self._patience)
        give_up_at = time.monotonic() + patience
        while not self._stdin.ready and self._returncode is None:
            if time.monotonic() >= give_up_at:
                return self._give_up(left)
            blocking.sleep(_POLL_INTERVAL)
        return self._returncode is None

    def _give_up(self, left: float | None) -> bool:
        if left is None:
            raise UnexpectedCommandError(
                f"{self._command} reads its stdin, and nobody writes to it or closes it: a real command would wait for ever"
            )
        self._clock.sleep(left + 0.001)  # a command is ended after its timeout, not exactly at it
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
            self._end_with(-9 if kill else -15)
            self._unread.clear()
            with suppress(ValueError):  # another thread is in the generator: it sees the return code and stops
                self._pieces.close()

    def _end_with(self, returncode: int) -> None:
        self._returncode = returncode
        self._stdin.close()

    def close(self) -> Completed:
        """As in Live."""
        while self.read(None) is not None:
            pass
        return Completed(self._invocation.argv, self._returncode or 0, duration=self._clock.seconds - self._started)

"""A child process served to its end: its stdin is fed and its output collected, both within bounds."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from smolkit.runners.local.pipes import Pipes, write_some
from smolkit.values.cut import KeptOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.runners.local.posix import ChildProcess

_BOOT = 60.0  # seconds; an engine whose VM makes no progress gives up after 30 (1.32.2)


class Pump:
    """Feeds a child's stdin and collects its output.

    `subprocess.communicate` does the same without a bound on memory, and waits for whoever else holds the pipes open.

    Args:
        child: Must have pipes for stdout and stderr, and for stdin if there is data for it; not started yet.
        data: The bytes for its stdin; None if that is not a pipe.
        limit: Bytes of output, both streams together, after which no more is read.
        clock: Monotonic clock, in seconds.
        booted: Called once for a call that goes on after its VM has booted: with True when its first output shows that the
            VM is up, with False if there was no output for _BOOT seconds.
        truncate: Read all output, but keep only the beginning and the end of each stream, `limit` bytes of either.

    Attributes:
        stdout, stderr: The output, as far as it was read.
    """

    def __init__(
        self,
        child: ChildProcess,
        data: bytes | None,
        limit: int,
        clock: Callable[[], float],
        booted: Callable[[bool], object] | None = None,
        *,
        truncate: bool = False,
    ) -> None:
        self._child, self._clock = child, clock
        self._booted, self._boots_until = booted, clock() + _BOOT
        self._pipes = Pipes(child, clock)
        self._rest = memoryview(data or b"")
        self._room: float = math.inf if truncate else limit
        self.stdout: KeptOutput = KeptOutput(limit if truncate else None)
        self.stderr: KeptOutput = KeptOutput(limit if truncate else None)
        if child.stdin is not None and not child.stdin.closed:
            self._pipes.watch_stdin()

    def pump_until_end(self, deadline: float | None) -> str:
        """Serve the pipes until the child has ended. Returns "" then, else why it stopped: Completed's `ended_by`.

        May be called again after an interrupt.
        """
        # Not only until the pipes are at their end: what the child started may hold them, and it may close them itself.
        while self._pipes.open or self._pipes.takes_stdin:
            if self._room < 0:
                return "output limit"
            # After the child's end there is no timeout any more: it has ended in time, whatever is still in its pipes.
            left = None if deadline is None or self._pipes.ended else deadline - self._clock()
            # The last look before it is killed: one that has just ended is no timeout.
            if left is not None and left <= 0 and self._child.poll() is None:
                return "timeout"
            self._serve_pipes(self._until_boot(left))
        try:
            self._child.wait(None if deadline is None else max(0, deadline - self._clock()))
        except TimeoutError:
            return "timeout"
        return ""

    def _until_boot(self, left: float | None) -> float | None:
        """The time to wait for output, `left` at the most: until the VM counts as not booting any more."""
        if self._booted is None:
            return left
        if (boots := self._boots_until - self._clock()) <= 0:
            self._tell_boot(up=False)
            return left
        return boots if left is None else min(boots, left)

    def _tell_boot(self, *, up: bool) -> None:
        if self._booted is not None:
            # Cleared before it is called: it is called once, also where an interrupt strikes in it.
            tell, self._booted = self._booted, None
            tell(up)

    def drain(self, deadline: float) -> None:
        """Read what a child that is being ended, or one of its own children, still writes; until the deadline at most."""
        while self._room >= 0 and self._pipes.open and (left := deadline - self._clock()) > 0:
            self._serve_pipes(left)
        with suppress(TimeoutError):
            self._child.wait(max(0.0, deadline - self._clock()))
        # It wrote until it died, which may be after the last look above.
        while self._room >= 0 and self._pipes.open and self._serve_pipes(0):
            pass

    def close(self) -> None:
        """Close the pipes."""
        self._pipes.close()

    def _serve_pipes(self, timeout: float | None) -> bool:
        """Read or write once whatever is ready. True if anything was."""
        found = self._pipes.serve(None if timeout is None else max(0.0, timeout))
        for stream, chunk in found:
            if stream == "stdin":
                self._write()
            else:
                self._room -= len(chunk)
                (self.stdout if stream == "stdout" else self.stderr).add(chunk)
                if stream == "stdout" and chunk:
                    self._tell_boot(up=True)
        return bool(found)

    def _write(self) -> None:
        assert self._child.stdin is not None  # noqa: S101  (for the type checker)
        try:
            self._rest = self._rest[write_some(self._child.stdin.fileno(), self._rest) :]
        except BrokenPipeError:  # it ended, or closed its stdin, without reading everything, which is no failure
            self._rest = self._rest[:0]
        if not self._rest:
            self._pipes.close_stdin()

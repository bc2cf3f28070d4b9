"""A call that is run to its end: its stdin fed, its output collected, both within bounds."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from smolkit.runners.local.pipes import Pipes, write_some

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.runners.local.posix import ChildProcess

_BOOT = 60.0  # seconds; an engine whose VM makes no progress gives up after 30 (1.32.2)


class Pump:
    """Feeds a child's stdin and collects its output.

    `subprocess.communicate` does the same without a bound on memory, and waits for whoever else holds the pipes open.

    Args:
        child: With pipes for stdout and stderr, and for stdin if there is data for it; not started yet.
        data: For its stdin; None where that is no pipe.
        limit: Bytes of output, both streams together, after which it is not read any further.
        booted: Told once of a call that goes on after its VM's boot that the boot is over: with True when its first output
            shows that it is up, with False when there was none for _BOOT seconds.
    """

    def __init__(
        self,
        child: ChildProcess,
        data: bytes | None,
        limit: int,
        booted: Callable[[bool], object] | None = None,
    ) -> None:
        self._child = child
        self._booted, self._boots_until = booted, time.monotonic() + _BOOT
        self._pipes = Pipes(child)
        self._rest = memoryview(data or b"")
        self._room = limit
        self._chunks: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        if child.stdin is not None and not child.stdin.closed:
            self._pipes.watch_stdin()

    @property
    def stdout(self) -> bytes:
        """What there is of standard output."""
        return b"".join(self._chunks["stdout"])

    @property
    def stderr(self) -> bytes:
        """What there is of standard error."""
        return b"".join(self._chunks["stderr"])

    def run(self, deadline: float | None) -> str:
        """Serves the pipes until the child has ended, and gives "" then; else why it stopped: Completed's `ended_by`."""
        while self._pipes.open or self._pipes.takes_stdin:
            if self._room < 0:
                return "output limit"
            left = None if deadline is None or self._pipes.ended else deadline - time.monotonic()
            if left is not None and left <= 0 and self._child.poll() is None:
                return "timeout"
            self._serve(self._until_boot(left))
        try:
            self._child.wait(None if deadline is None else max(0, deadline - time.monotonic()))
        except TimeoutError:
            return "timeout"
        return ""

    def _until_boot(self, left: float | None) -> float | None:
        if self._booted is None:
            return left
        if (boots := self._boots_until - time.monotonic()) <= 0:
            self._tell_boot(up=False)
            return left
        return boots if left is None else min(boots, left)

    def _tell_boot(self, *, up: bool) -> None:
        if self._booted is not None:
            tell, self._booted = self._booted, None
            tell(up)

    def drain(self, deadline: float) -> None:
        """Keeps what a child that is being ended still writes, and those it started; never longer than to the deadline."""
        while self._room >= 0 and self._pipes.open and (left := deadline - time.monotonic()) > 0:
            self._serve(left)
        with suppress(TimeoutError):
            self._child.wait(max(0.0, deadline - time.monotonic()))
        while self._room >= 0 and self._pipes.open and self._serve(0):
            pass

    def close(self) -> None:
        """Lets go of the pipes."""
        self._pipes.close()

    def _serve(self, timeout: float | None) -> bool:
        """One round of what is ready; whether anything was."""
        found = self._pipes.serve(None if timeout is None else max(0.0, timeout))
        for stream, chunk in found:
            if stream == "stdin":
                self._write()
            else:
                self._room -= len(chunk)
                self._chunks[stream].append(chunk)
                if stream == "stdout" and chunk:
                    self._tell_boot(up=True)
        return bool(found)

    def _write(self) -> None:
        assert self._child.stdin is not None  # noqa: S101  (for the type checker)
        try:
            self._rest = self._rest[write_some(self._child.stdin.fileno(), self._rest) :]
        except BrokenPipeError:  # it ended, or closed its stdin, without reading it all: its right
            self._rest = self._rest[:0]
        if not self._rest:
            self._pipes.close_stdin()

"""A call of the engine that is followed while it runs. Part of the extension point: see `Runner.open`."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from attrs import evolve

from smolkit.runners.attempts import checked

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.values.results import Completed, Invocation


class Live(ABC):
    """A call of the engine while it runs. One may read while another one writes; `end` and `poll` are for any."""

    @abstractmethod
    def read(self, timeout: float | None) -> tuple[str, bytes] | None:
        """The next piece of output, `"stdout"` or `"stderr"` and bytes; None after the last one, when it has ended.

        Raises:
            TimeoutError: none came in so many seconds, nor its end.
            RuntimeError: another one reads.
        """

    @abstractmethod
    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Gives it data on its stdin. Waits until there is room for all.

        Raises:
            BrokenPipeError: it reads no more.
            TimeoutError: there was no room in so many seconds; a part may have been written.
            RuntimeError: another one writes.
        """

    @abstractmethod
    def close_stdin(self) -> None:
        """Lets it see the end of its stdin."""

    @abstractmethod
    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    @abstractmethod
    def end(self, *, kill: bool = False) -> None:
        """Tells it to end (SIGTERM), or ends it (SIGKILL). The guest's command ends with it. Harmless if it has ended."""

    @abstractmethod
    def close(self) -> Completed:
        """Lets go of its pipes, once `read` gave None, and says how it ended. The output that was read is not in it."""


class Replayed(Live):
    """For runners that only `execute`: the call runs to its end when its output is first read."""

    def __init__(self, execute: Callable[[Invocation], Completed], invocation: Invocation, *, stdin: bool) -> None:
        self._execute, self._invocation = execute, invocation
        self._written = bytearray()
        self._takes_input = stdin
        self._done: Completed | None = None
        self._pieces: list[tuple[str, bytes]] = []

    def _completed(self) -> Completed:
        if self._done is None:
            data = bytes(self._written) if self._takes_input else None
            self._done = checked(self._execute(evolve(self._invocation, stdin=data)))
            both = (("stdout", self._done.stdout), ("stderr", self._done.stderr))
            self._pieces = [(stream, chunk) for stream, chunk in both if chunk]
        return self._done

    def read(self, timeout: float | None) -> tuple[str, bytes] | None:  # noqa: ARG002
        """As in Live."""
        self._completed()
        return self._pieces.pop(0) if self._pieces else None

    def write(self, data: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """As in Live."""
        if self._done is not None:
            raise BrokenPipeError(errno.EPIPE, "it has ended: this runner takes only what is written before the first read")
        self._written += data

    def close_stdin(self) -> None:
        """As in Live: what was written until the first read is all."""

    def poll(self) -> int | None:
        """As in Live."""
        return None if self._done is None else self._done.returncode

    def end(self, *, kill: bool = False) -> None:  # noqa: ARG002
        """As in Live."""
        self._completed()

    def close(self) -> Completed:
        """As in Live."""
        return evolve(self._completed(), stdout=b"", stderr=b"")

"""A call of the engine that is followed while it runs. Part of the extension point: see `Runner.open`."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable

from attrs import evolve

from smolkit.runners.attempts import checked
from smolkit.values.results import Completed, Invocation


class Live(ABC):
    """A call of the engine while it runs: what a runner's `open` returns.

    One thread or task may read while another one writes; `end` and `poll` may be called by any.
    """

    @abstractmethod
    def read(self, timeout: float | None) -> tuple[str, bytes] | None:
        """The next piece of output, as `("stdout", data)` or `("stderr", data)`; None after the last, at the call's end.

        Raises:
            TimeoutError: neither a piece nor the end came within `timeout` seconds.
            RuntimeError: another thread or task is reading.
        """

    @abstractmethod
    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Write data to the call's stdin, and wait until there is room for all of it.

        Raises:
            BrokenPipeError: the call reads no more.
            TimeoutError: there was no room within `timeout` seconds; a part may have been written.
            RuntimeError: another thread or task is writing.
        """

    @abstractmethod
    def close_stdin(self) -> None:
        """Close the call's stdin, which it reads as the end of its input."""

    @abstractmethod
    def poll(self) -> int | None:
        """The engine's exit status, or None while it runs."""

    @abstractmethod
    def end(self, *, kill: bool = False) -> None:
        """End the call by SIGTERM, or by SIGKILL; the guest's command ends with it. No-op if it has ended."""

    @abstractmethod
    def close(self) -> Completed:
        """Close the call's pipes, after `read` returned None, and return how it ended, without the output that was read."""


class Replayed(Live):
    """A call of a runner that has only `execute`: it runs to its end when its output is first read."""

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
            raise BrokenPipeError(errno.EPIPE, "the call has ended: this runner takes input only before the first read")
        self._written += data

    def close_stdin(self) -> None:
        """No-op: what is written before the first read is all of the input."""

    def poll(self) -> int | None:
        """As in Live."""
        return None if self._done is None else self._done.returncode

    def end(self, *, kill: bool = False) -> None:  # noqa: ARG002
        """As in Live."""
        self._completed()

    def close(self) -> Completed:
        """As in Live."""
        return evolve(self._completed(), stdout=b"", stderr=b"")

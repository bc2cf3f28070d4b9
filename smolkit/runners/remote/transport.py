"""Transports: what carries the bytes of a session to the far process and back."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import final

from smolkit.errors import HostUnreachableError
from smolkit.runners.local.capture import terminate_and_reap
from smolkit.runners.local.locate import which
from smolkit.runners.local.posix import ChildProcess
from smolkit.runners.remote import payload
from smolkit.runners.remote.bootstrap import MARK


class Transport(ABC):
    """The way of one session's bytes. It is opened once, and disposed of by the session's thread.

    Attributes:
        mark: Bytes before the far process's first frame.
        greeting: Bytes that start the far process, which then asks for the settings; if empty, these are sent at once.
        hears: Descriptor of messages for people; None without.
        ends: Descriptor that is readable once the transport has ended, although others may hold it open; None without.
    """

    mark: bytes = b""
    greeting: bytes = b""
    hears: int | None = None
    ends: int | None = None

    @abstractmethod
    def open(self) -> tuple[int, int]:
        """Open it, and return the descriptors to read from and to write to.

        Raises:
            HostUnreachableError, OSError: it cannot be opened.
        """

    @abstractmethod
    def hang_up(self) -> None:
        """Send nothing more: the far end sees the end of the link. May be called again."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Wait until it has ended, for at most so many seconds."""

    @abstractmethod
    def status(self) -> str:
        """The manner of its end, to stand behind the reason of a lost link; "" if there is nothing to tell."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once. From any thread."""

    @abstractmethod
    def dispose(self) -> None:
        """End it unless it has ended, and free what it has."""

    @abstractmethod
    def abandon(self) -> None:
        """Close the descriptors of a fork's copy."""


@final
class ProgramTransport(Transport):
    """The stdin and stdout of a child process, which runs the far process's command on the other host.

    Args:
        host: The host, for messages.
        argv: The child's arguments.
    """

    mark = MARK

    def __init__(self, host: str, argv: Sequence[str]) -> None:
        self._host, self._argv = host, argv
        self.child: ChildProcess = ChildProcess()

    def open(self) -> tuple[int, int]:
        """As in Transport."""
        argv, child = self._argv, self.child
        executable = which(argv[0])
        if executable is None:
            raise HostUnreachableError(f"cannot reach {self._host}: there is no program {argv[0]}, or it is not executable")
        child.open_pipes(stdin=True)
        assert child.stdin and child.stdout and child.stderr  # noqa: S101, PT018  (for the type checker: opened above)
        try:
            child.start(executable, argv, dict(os.environ))
        except OSError as error:
            raise HostUnreachableError(f"cannot reach {self._host}: cannot run {executable}: {error}") from error
        self.greeting: bytes = payload.greeting()
        self.hears: int | None = child.stderr.fileno()
        self.ends: int | None = child.pidfd
        return child.stdout.fileno(), child.stdin.fileno()

    def hang_up(self) -> None:
        """As in Transport."""
        if self.child.stdin is not None:
            self.child.stdin.close()

    def wait(self, seconds: float) -> None:
        """As in Transport."""
        with suppress(TimeoutError):
            self.child.wait(seconds)

    def status(self) -> str:
        """As in Transport."""
        code = self.child.poll() if self.child.is_started else None
        return "" if code is None else f" (exit status {code})"

    def kill(self) -> None:
        """As in Transport."""
        self.child.signal(9)

    def dispose(self) -> None:
        """As in Transport."""
        terminate_and_reap(self.child, time.monotonic)
        self.child.close()

    def abandon(self) -> None:
        """As in Transport."""
        self.child.close()

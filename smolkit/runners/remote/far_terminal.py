"""A terminal of the far host, in which a command runs for a terminal at the other end of the link."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, final

from smolkit.runners.local.posix import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.runners.remote.far_call import FarCall

_CHUNK = 2**16


@final
class TerminalCall:
    """A command in a terminal of its own.

    Args:
        call: The call, whose input are keys.
        start: Starts the engine as this child process.
        size: Columns and lines.
    """

    def __init__(self, call: FarCall, start: Callable[[ChildProcess], None], size: list[int]) -> None:
        self._call, self._child = call, ChildProcess()
        self._terminal = self._child.open_terminal()
        self.resize(size)
        start(self._child)

    def resize(self, size: list[int]) -> None:
        """Change its size."""
        columns, lines = size
        with suppress(OSError, struct.error):
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._child.poll()

    def end(self, *, kill: bool = False) -> None:
        """End it."""
        self._child.signal(signal.SIGKILL if kill else signal.SIGHUP)

    def run(self) -> int:
        """Pass keys and output on until it has ended. Returns its exit status."""
        stderr = self._child.stderr
        assert stderr is not None  # noqa: S101  (for the type checker: it was opened)
        threads = [Thread(target=self._type, daemon=True), Thread(target=self._send, args=("stderr", stderr.fileno()))]
        for thread in threads:
            thread.start()
        self._send("stdout", self._terminal)
        code = self._child.wait()
        self.end(kill=True)  # who is left of its process group holds stderr open
        threads[1].join()
        self._child.reap()
        self._child.close()
        return code

    def _type(self) -> None:
        with suppress(OSError):
            for piece in self._call.pieces():
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(self._terminal, rest) :]

    def _send(self, stream: str, fd: int) -> None:
        for data in _output(fd):
            self._call.send_output(stream, data)


def _output(fd: int) -> Iterator[bytes]:
    try:
        while data := os.read(fd, _CHUNK):
            yield data
    except OSError as error:
        if error.errno != errno.EIO:  # nobody has the terminal open any more
            raise

"""This program's terminal, handed over to a command at the far end."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, final

from smolkit.runners.remote.connection import CREDIT, WINDOW
from smolkit.runners.remote.wire import MAX_BLOB
from smolkit.values.results import Completed

if TYPE_CHECKING:
    from smolkit.runners.remote.channel import Channel
    from smolkit.values.results import Invocation

_LOOK = 250  # milliseconds between two looks at the terminal's size


@final
class Terminal:
    """The terminal of this program, or what it has in its place.

    Args:
        stdin, stdout: Its descriptors.
    """

    def __init__(self, stdin: int = 0, stdout: int = 1) -> None:
        self._stdin, self._stdout = stdin, stdout
        self._is_terminal = os.isatty(stdin) and os.isatty(stdout)

    def run(self, channel: Channel, invocation: Invocation, request: dict[str, Any]) -> Completed:
        """Run a call with this stdin and stdout: a terminal there, if they are one here.

        Raises:
            HostLostError: the link was lost.
        """
        if self._is_terminal:
            request["terminal"] = [os.environ.get("TERM", "dumb"), *os.get_terminal_size(self._stdout)]
        sys.stdout.flush()
        try:
            channel.send("run", window=WINDOW, **request)
            with self._raw(), self._keyboard(channel):
                stderr = self._pass_output_on(channel)
            fields = channel.result().fields
            return Completed(invocation.argv, int(fields["code"]), b"", stderr, float(fields["duration"]))
        finally:
            channel.send("drop")
            channel.forget()

    def _pass_output_on(self, channel: Channel) -> bytes:
        """Write what arrives to stdout until the call is over. Returns its stderr."""
        stderr, read, returned = b"", 0, 0
        while channel.pieces or not channel.is_over:
            channel.changed.wait(lambda: channel.pieces or channel.is_over)
            while channel.pieces:
                stream, data = channel.pieces.popleft()
                read += len(data)
                if stream == "stderr":
                    stderr += data
                else:
                    _write(self._stdout, data)
            if read - returned >= CREDIT:
                channel.send("credit", size=read - returned)
                returned = read
        return stderr

    @contextmanager
    def _raw(self) -> Iterator[None]:
        """Pass each key on as it is, Ctrl-C too."""
        if not self._is_terminal:
            yield
            return
        before = termios.tcgetattr(self._stdin)
        try:
            tty.setraw(self._stdin, termios.TCSADRAIN)  # what was typed already goes there, too
            yield
        finally:
            termios.tcsetattr(self._stdin, termios.TCSADRAIN, before)

    @contextmanager
    def _keyboard(self, channel: Channel) -> Iterator[None]:
        """Send stdin, and the terminal's size when it changes. By a thread, which reads nothing more after the block."""
        alarm = os.pipe()
        thread = Thread(target=self._send_input, args=(channel, alarm[0]), daemon=True)
        try:
            thread.start()
            yield
        finally:
            os.close(alarm[1])
            thread.join()
            os.close(alarm[0])

    def _send_input(self, channel: Channel, alarm: int) -> None:
        keys, sent, size = select.poll(), 0, None
        keys.register(self._stdin, select.POLLIN)
        keys.register(alarm, select.POLLIN)
        while not channel.is_over:
            ready = {fd for fd, _ in keys.poll(_LOOK)}
            if alarm in ready:
                return
            if self._is_terminal and (found := self._size()) != size:
                size = found
                channel.send("size", size=size)
            if self._stdin in ready and channel.room > sent:
                data = self._read()
                channel.send("stdin" if data else "eof", data)
                sent += len(data)
                if not data:
                    keys.unregister(self._stdin)

    def _read(self) -> bytes:
        with suppress(OSError):
            return os.read(self._stdin, MAX_BLOB)
        return b""

    def _size(self) -> list[int] | None:
        with suppress(OSError):
            return list(os.get_terminal_size(self._stdout))
        return None


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]

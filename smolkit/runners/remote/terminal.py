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
from typing import TYPE_CHECKING, Any

from smolkit.runners.remote.connection import CREDIT, WINDOW
from smolkit.runners.remote.wire import MAX_BLOB
from smolkit.values.results import Completed

if TYPE_CHECKING:
    from smolkit.runners.remote.session import Channel
    from smolkit.values.results import Invocation

_LOOK = 250  # milliseconds between two looks at the terminal's size


def run_in_terminal(channel: Channel, invocation: Invocation, request: dict[str, Any]) -> Completed:
    """Run a call with this program's stdin and stdout: a terminal there, if they are one here.

    Raises:
        HostLostError: the link was lost.
    """
    is_terminal = os.isatty(0) and os.isatty(1)
    if is_terminal:
        request["terminal"] = [os.environ.get("TERM", "dumb"), *os.get_terminal_size(1)]
    sys.stdout.flush()
    try:
        channel.send("run", window=WINDOW, **request)
        with _raw(is_terminal), _keyboard(channel, is_terminal):
            stderr = _pass_output_on(channel)
        fields = channel.result().fields
        return Completed(invocation.argv, int(fields["code"]), b"", stderr, float(fields["duration"]))
    finally:
        channel.send("drop")
        channel.forget()


def _pass_output_on(channel: Channel) -> bytes:
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
                _write(data)
        if read - returned >= CREDIT:
            channel.send("credit", size=read - returned)
            returned = read
    return stderr


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


@contextmanager
def _raw(is_terminal: bool) -> Iterator[None]:
    """Pass each key on as it is, Ctrl-C too."""
    if not is_terminal:
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSADRAIN)  # what was typed already goes there, too
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def _keyboard(channel: Channel, is_terminal: bool) -> Iterator[None]:
    """Send stdin, and the terminal's size when it changes. By a thread, which reads nothing more after the block."""
    alarm = os.pipe()
    thread = Thread(target=_send_input, args=(channel, alarm[0], is_terminal), daemon=True)
    try:
        thread.start()
        yield
    finally:
        os.close(alarm[1])
        thread.join()
        os.close(alarm[0])


def _send_input(channel: Channel, alarm: int, is_terminal: bool) -> None:
    keys, sent, size = select.poll(), 0, None
    keys.register(0, select.POLLIN)
    keys.register(alarm, select.POLLIN)
    while not channel.is_over:
        ready = {fd for fd, _ in keys.poll(_LOOK)}
        if alarm in ready:
            return
        if is_terminal and (found := _size()) != size:
            size = found
            channel.send("size", size=size)
        if 0 in ready:
            data = _read(sent, channel)
            channel.send("stdin" if data else "eof", data)
            sent += len(data)
            if not data:
                keys.unregister(0)


def _read(sent: int, channel: Channel) -> bytes:
    channel.changed.wait(lambda: channel.is_over or channel.room > sent, 1.0)
    with suppress(OSError):
        return os.read(0, MAX_BLOB)
    return b""


def _size() -> list[int] | None:
    with suppress(OSError):
        return list(os.get_terminal_size(1))
    return None

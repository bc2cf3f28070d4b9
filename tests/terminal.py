"""A terminal for tests: the command line as a process of its own in a pty, and what is left on the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping, Sequence

SMOLKIT = (sys.executable, "-m", "smolkit")
_PIECE = re.compile(rb"\x1b\[[?0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+|\x1b")


def restore_signals() -> None:
    """Give signals their defaults: a test run in the background, or under nohup, has them ignored, and so its children."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(
    program: object, *arguments: str, command: Sequence[str] = SMOLKIT, **settings: object
) -> subprocess.Popen[bytes]:
    """Start the command line with this engine, signals as they are by default, and its output going to pipes."""
    words = [*command, "--engine", str(program), *arguments]
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": restore_signals}
    return subprocess.Popen(words, **{**usual, **settings})  # type: ignore[call-overload, no-any-return]


def on_terminal(
    program: object,
    *arguments: str,
    command: Sequence[str] = SMOLKIT,
    columns: int = 80,
    env: Mapping[str, str] | None = None,
    meanwhile: Callable[[subprocess.Popen[bytes], int], object] = lambda process, terminal: None,
) -> tuple[int, bytes]:
    """Run the command line with a terminal of its own as its controlling terminal, stdin, stdout and stderr.

    Args:
        program: The engine.
        arguments: Those of `smolkit`.
        command: The command line itself.
        columns: The terminal's width.
        env: More variables.
        meanwhile: Is called with the process and our end of the terminal, once it was started.

    Returns:
        The exit status, and everything that was written.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 10, columns, 0, 0))

    def take_over() -> None:
        restore_signals()
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    sized = {"COLUMNS", "LINES"}  # which would hide the terminal's own size
    inherited = {name: value for name, value in os.environ.items() if name not in sized}
    variables = {**inherited, "TERM": "xterm", **(env or {})}
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = start(program, *arguments, command=command, env=variables, preexec_fn=take_over, **streams)
    os.close(theirs)
    meanwhile(process, ours)
    seen = b""
    try:
        while piece := os.read(ours, 2**16):
            seen += piece
    except OSError:  # at its end, a pty fails
        pass
    os.close(ours)
    return process.wait(), seen


def screen(written: bytes) -> list[str]:
    """The lines of an endless screen after this was written to it: what moves the cursor and erases is obeyed."""
    lines, row, column = [""], 0, 0
    for piece in _PIECE.findall(written):
        moved = re.fullmatch(rb"\x1b\[(\d*)([ABKG])", piece)
        if piece == b"\r":
            column = 0
        elif piece == b"\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif moved and moved[2] in b"AB":
            row = max(0, row + (-1 if moved[2] == b"A" else 1) * int(moved[1] or 1))
        elif moved and moved[2] == b"K":
            lines[row] = "" if moved[1] == b"2" else lines[row][:column]
        elif not piece.startswith(b"\x1b"):
            text = piece.decode()
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
    return [line.rstrip() for line in lines if line.strip()]

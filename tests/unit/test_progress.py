"""The progress bar for uploads and downloads."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from tests.terminal import screen

PROGRAM = """
from smolkit.progress import bar
with bar("[red]tests[/bold] \\x1b[2J") as progress:
    progress(1, 2)
    progress(2, 2)
print("done")
"""


def test_in_a_pipe_it_is_quiet() -> None:
    """Nobody looks: neither stream has anything of it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert ("done\n", "") == (done.stdout, done.stderr)


def on_a_terminal(program: str) -> tuple[bytes, bytes]:
    """The output of a program, and all that a terminal gets as its stderr."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=theirs, env=env, check=True)
    os.close(theirs)
    seen = os.read(ours, 2**16)
    os.close(ours)
    return done.stdout, seen


def test_tasks_are_counted() -> None:
    """With their number if that is known; another unit is refused."""
    program = """
from smolkit.progress import bar
with bar("tests", unit="tasks") as progress:
    progress(3, 4)
with bar("more", unit="tasks") as progress:
    progress(5, None)
try:
    bar("x", unit="byte").__enter__()
except ValueError as error:
    print(error)
"""
    out, seen = on_a_terminal(program)

    assert b"unit must be 'bytes' or 'tasks', not 'byte'\n" == out
    assert b"3/4" in seen
    assert b"5/?" in seen


def test_on_a_terminal_it_is_shown_on_stderr() -> None:
    """A program's output may go to a file meanwhile. The description is no markup, and cannot drive the terminal."""
    out, seen = on_a_terminal(PROGRAM)

    assert b"done\n" == out
    [line] = screen(seen)
    assert (True, True) == (line.startswith(r"[red]tests[/bold] \x1b[2J "), "2/2 bytes" in line)

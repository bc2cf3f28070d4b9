"""Terminals and ports of an engine on another host."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from smolkit import Invocation, errors
from smolkit.runners.remote.forwards import Forwards
from smolkit.runners.remote.links import READY, Link
from smolkit.runners.remote.terminal import Terminal
from smolkit.testing import NamespaceEngine
from tests import far as far_ends
from tests.processes import until

CODE = """
import sys
from smolkit import Smolvm
from tests import far
from pathlib import Path
m = Smolvm(runner=far.at(Path(sys.argv[1]), version="1.32.2")).machine("agent")
if sys.argv[2] == "bare":
    print("status", m.terminal(sys.argv[3:]))
else:
    with m:
        print("status", m.terminal(sys.argv[3:], secrets={"TOKEN": "s3cr3t"}))
"""


@contextmanager
def running_in_terminal(folder: Path, *command: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A program in a terminal of its own, which hands it over to a command at a far end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    argv = [sys.executable, "-c", CODE, str(folder), *command]
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        try:
            yield ours, process
        finally:
            process.kill()
            os.close(ours)


def read_until(terminal: int, words: bytes) -> bytes:
    """Read the terminal until it shows the words."""
    found = b""
    while words not in found:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, found
        try:
            found += os.read(terminal, 4096)
        except OSError:
            raise AssertionError(found) from None
    return found


def test_a_terminal_is_handed_over(engine: NamespaceEngine) -> None:
    """A command there has a terminal of the same size, gets keys as they are, Ctrl-C too, and its status comes back."""
    script = (
        'trap "echo struck" INT; stty size; echo $TOKEN; read a; echo "got $a"; while :; do read b && break; done; exit 7'
    )
    with running_in_terminal(engine.folder, "made", "sh", "-c", script) as (terminal, process):
        assert b"31 97\r\n" in read_until(terminal, b"s3cr3t\r\n")
        os.write(terminal, b"hello\n")
        read_until(terminal, b"got hello")
        os.write(terminal, b"\x03")
        read_until(terminal, b"struck")
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 32, 98, 0, 0))
        os.write(terminal, b"\n")
        read_until(terminal, b"status 7")
        assert 0 == process.wait(60)

    assert [] == engine.left


def test_a_shell_gets_the_new_size(program: Path) -> None:
    """The terminal there changes its size with this one."""
    with running_in_terminal(program.parent, "bare", "sh", "-c", "while read a; do stty size; done") as (terminal, _):
        os.write(terminal, b"\n")
        read_until(terminal, b"31 97")
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        for _ in range(200):
            os.write(terminal, b"\n")
            if b"40 120" in read_until(terminal, b"\r\n"):
                break
        else:
            pytest.fail("the size stayed")
        os.write(terminal, b"\x04")
        read_until(terminal, b"status 0")


def test_input_that_is_no_terminal_goes_there_too(engine: NamespaceEngine) -> None:
    """Without a terminal here there is none there: stdin and stdout are passed on."""
    argv = [sys.executable, "-c", CODE, str(engine.folder), "made", "sh", "-c", "tty; cat"]
    done = subprocess.run(argv, input=b"hello\n", capture_output=True, check=True, timeout=120)

    assert b"not a tty\nhello\nstatus 0\n" == done.stdout


def test_a_terminal_whose_program_dies_ends_there(program: Path, tmp_path: Path) -> None:
    """A command in a terminal ends when the program here is killed."""
    pid = tmp_path / "pid"
    with running_in_terminal(program.parent, "bare", "sh", "-c", f"echo $$ >{pid}; sleep 91.5") as (_, process):
        until(lambda: pid.exists() and pid.read_text())
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())


class _Forwarding(Link):
    """A link whose forwards only say that they stand, and leave a line in a file.

    Args:
        starts: The file.
    """

    host = "forwarding"

    def __init__(self, starts: Path) -> None:
        self._starts = starts

    def argv(self, command: Sequence[str]) -> tuple[str, ...]:
        return tuple(command)

    def forward(self, port: int, to: int) -> tuple[str, ...]:
        return ("sh", "-c", f"echo {port} {to} >> {self._starts}; sleep 0.2; echo {READY.decode()}; exec cat")


def test_threads_that_ask_at_once_get_one_forward(tmp_path: Path) -> None:
    """Threads that want the same port at the same time share one forward; ends of several machines disturb none."""
    forwards = Forwards(_Forwarding(tmp_path / "starts"))
    together = threading.Barrier(4)

    def reach(number: int) -> int:
        together.wait(60)
        return forwards.reach("agent", (18080, 18081)[number % 2])

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(reach, range(4)))
        list(pool.map(forwards.end, ["agent", "other", "agent", None]))

    assert 2 == len((tmp_path / "starts").read_text().splitlines())
    assert [*found[:2], *found[:2]] == found


def test_ports_need_a_link_that_forwards_them(engine: NamespaceEngine) -> None:
    """A link that forwards no ports says so, and names the port on the host."""
    runner = far_ends.runner(engine)
    with pytest.raises(
        errors.HostUnreachableError, match="forwards no ports: port 18080 can be reached from that host only"
    ):
        runner.reach("agent", 18080)


def test_a_terminal_of_this_process(program: Path) -> None:
    """A terminal is raw while it is handed over, and as before after it; keys go there until the command ends."""
    runner = far_ends.at(program.parent, version="1.32.2")
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    invocation = Invocation(("--", "sh", "-c", "echo ready; read a; echo got $a; echo note >&2; exit 4"))
    request = runner._request(invocation, stdin=True)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(Terminal(theirs, theirs).run, runner._open(None), invocation, request)
        read_until(ours, b"ready\r\n")
        assert termios.tcgetattr(theirs) != before
        os.write(ours, b"keys\r")
        assert b"got keys\r\n" in read_until(ours, b"got keys\r\n")
        done = call.result(60)
    runner.close()

    assert (4, b"", b"note\n") == (done.returncode, done.stdout, done.stderr)
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_pipes_in_place_of_a_terminal(program: Path) -> None:
    """Input that is no terminal is passed on to its end, and output of many windows comes back."""
    runner = far_ends.at(program.parent, version="1.32.2")
    (reads, ours), (out, writes) = os.pipe(), os.pipe()
    invocation = Invocation(("--", "sh", "-c", "cat; head -c 40000000 /dev/zero"))
    request = runner._request(invocation, stdin=True)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(Terminal(reads, writes).run, runner._open(None), invocation, request)
        os.write(ours, b"hello")
        os.close(ours)
        got = 0
        while got < 40_000_005:
            got += len(os.read(out, 2**20))
        assert 0 == call.result(60).returncode
    runner.close()
    for fd in (reads, out, writes):
        os.close(fd)

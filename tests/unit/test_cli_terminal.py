"""The command line on a terminal: what is waited for, narrow terminals, closed ones."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from smolkit.cli.spinner import waiting
from smolkit.testing import NamespaceEngine
from tests.processes import until, until_idle
from tests.terminal import on_terminal, screen, start

# The command line where the extra `progress` is not installed.
WITHOUT_RICH = (
    sys.executable,
    "-c",
    "import sys; sys.modules['rich'] = None; from smolkit.cli import main; sys.exit(main())",
)

# The command line of an engine in memory on which many machines run.
MANY = (
    sys.executable,
    "-c",
    """
from smolkit import Smolvm, cli
from smolkit.testing import FakeSmolvm
fake = FakeSmolvm()
for number in range(20):
    machine = Smolvm(runner=fake).machine(f"a-name-of-many-characters-{number}", keep=True)
    machine.create()
    machine.start()
raise SystemExit(cli.main(["top", "--interval", "0.1"], runner=fake))
""",
)


@pytest.mark.parametrize(
    ("command", "left"),
    [
        (["echo", "hi"], ["hi"]),
        (["printf", "no newline"], ["no newline"]),
        (["sh", "-c", "echo out; echo err >&2"], ["out", "err"]),
    ],
)
def test_the_wait_is_shown_and_gone_before_the_commands_output(
    command: list[str], left: list[str], engine: NamespaceEngine
) -> None:
    """A spinner while the machine boots; then the screen has the command's output and nothing else."""
    status, seen = on_terminal(engine.program, "run", "--", *command)

    assert (0, True) == (status, b"Starting a machine" in seen)
    assert left == screen(seen)
    assert seen.rindex(b"Starting a machine") < seen.rindex(left[0].encode())


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_the_commands_bytes_are_not_touched(terminal: str, engine: NamespaceEngine) -> None:
    """What the command writes follows the spinner as it is, its own escape sequences too."""
    status, seen = on_terminal(engine.program, "run", "--", "printf", r"\033[31mred\033[0m\007", env={"TERM": terminal})

    assert (0, True) == (status, seen.endswith(b"\x1b[31mred\x1b[0m\x07"))


class Terminal(io.StringIO):
    """A terminal. It may be closed while it is looked at: the hangup comes, and then each write fails."""

    closing = struck = False

    def isatty(self) -> bool:
        """As of any terminal."""
        if self.closing and not self.struck and threading.current_thread() is threading.main_thread():
            self.struck = True
            signal.raise_signal(signal.SIGUSR1)
        return True

    def write(self, text: str) -> int:
        """As of any terminal, or of one that is closed."""
        if self.closing:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


@pytest.mark.parametrize("text", ["[red]alpine[/bold]", "x" * 300])
def test_the_display_is_one_line_of_plain_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is no markup of rich's; and of a second line, something would be left on the screen."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "60")):
        monkeypatch.setenv(name, value)
    with waiting(f"Starting a machine from {text}"):
        pass

    shown = re.split(r"\r|\n", re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", terminal.getvalue()))
    assert (True, True) == (f"machine from {text[:18]}" in "".join(shown), max(map(len, shown)) <= 60)
    assert [] == screen(terminal.getvalue().encode())


@pytest.mark.parametrize("words", [["ls"], ["reap"], ["doctor"], ["run", "--", "true"]])
def test_without_the_extra_a_terminal_shows_no_progress(words: list[str], engine: NamespaceEngine) -> None:
    """No spinner, and no text in its place."""
    _, seen = on_terminal(engine.program, *words, command=WITHOUT_RICH)

    assert (False, False) == (b"\x1b" in seen, b" machine" in seen)


@pytest.mark.parametrize(
    "words", [["ls"], ["reap"], ["reap", "--dry-run"], ["doctor"], ["top", "--once"], ["run", "--", "true"]]
)
def test_in_a_pipe_there_is_no_progress(words: list[str], engine: NamespaceEngine) -> None:
    """stderr is empty, and no stream has escape sequences. (doctor tells on stderr what failed.)"""
    out, err = start(engine.program, *words).communicate()

    assert (False, True) == (b"\x1b" in out + err, not err or words == ["doctor"])


@pytest.mark.parametrize(
    ("words", "left"),
    [(["ls"], ["NAME  STATE  AGE  CPUS  MEMORY  IMAGE  OWNER"]), (["reap"], []), (["reap", "--dry-run"], [])],
)
def test_no_wait_is_left_beside_a_table(words: list[str], left: list[str], engine: NamespaceEngine) -> None:
    """The spinner of a subcommand is gone when it prints."""
    status, seen = on_terminal(engine.program, *words)

    assert (0, True) == (status, b"ing machines" in seen)
    assert left == [re.sub(" {2,}", "  ", line.strip()) for line in screen(seen)]


def test_progress_is_on_the_terminal_though_the_output_is_not(engine: NamespaceEngine) -> None:
    """`smolkit run ... > file`: stderr is the terminal, and the file has the command's output alone."""
    script = f'exec {sys.executable} -m smolkit "$@" >{engine.folder}/out'
    _, seen = on_terminal(engine.program, "run", "--", "echo", "hi", command=("sh", "-c", script, "sh"))

    assert (True, [], "hi\n") == (b"Starting a machine" in seen, screen(seen), (engine.folder / "out").read_text())


def test_no_color_is_obeyed(engine: NamespaceEngine) -> None:
    """NO_COLOR: no sequence that sets a colour."""
    seen = [on_terminal(engine.program, *words, env={"NO_COLOR": "1"})[1] for words in (["ls"], ["run", "--", "true"])]

    assert [] == re.findall(rb"\x1b\[(?:[0-9;]*;)?(?:3|4|9|10)[0-9]m", b"".join(seen))


def test_on_a_narrow_terminal_names_are_whole(engine: NamespaceEngine) -> None:
    """20 columns: lines are left to the terminal to wrap, so that a name can be copied."""
    name = "a-name-of-more-than-twenty-characters"
    subprocess.run([engine.program, "machine", "create", "--name", name], check=True)
    status, seen = on_terminal(engine.program, "ls", columns=20)

    assert (0, True) == (status, any(line.startswith(f"{name} ") for line in screen(seen)))


def test_top_fits_any_terminal_and_ends_by_ctrl_c(engine: NamespaceEngine) -> None:
    """More machines than lines, and lines that are longer: they are cut, from the right. At its end the cursor is back."""

    def press_ctrl_c(process: subprocess.Popen[bytes], terminal: int) -> None:
        while b"a-name" not in seen:
            seen.extend(os.read(terminal, 2**12))
        os.write(terminal, b"\x03")

    seen = bytearray()
    status, rest = on_terminal(engine.program, "top", command=MANY, columns=20, meanwhile=press_ctrl_c)
    seen += rest
    text = re.sub(rb"\x1b\[[?0-9;]*[A-Za-z]", b"", seen)
    assert (130, False, True) == (status, b"Traceback" in text, b"a-name-of-many-chara\r\n" in text)
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")


def test_ctrl_c_while_the_machine_boots_leaves_neither_machine_nor_text(engine: NamespaceEngine) -> None:
    """Meanwhile the display says so, and what a second one does."""
    engine.strike("start", "INT")
    status, seen = on_terminal(engine.program, "run", "--", "echo", "hi")

    assert (130, [], []) == (status, screen(seen), engine.left)
    assert b"Interrupted: cleaning up (Ctrl-C again to end at once)" in seen


def test_a_failing_write_does_not_replace_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hangup comes while the display is ended, and then the terminal fails: the hangup comes out."""

    def hang_up(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    before = signal.signal(signal.SIGUSR1, hang_up)
    try:
        with pytest.raises(KeyboardInterrupt), waiting("Starting a machine") as stop:
            terminal.closing = True
            stop()
            pytest.fail("the interrupt is lost")
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("verb", ["create", "start", "exec"])
def test_a_terminal_that_is_closed_leaves_no_machine(verb: str, engine: NamespaceEngine) -> None:
    """Whatever goes on: the hangup, and each write to the terminal failing."""

    def close(process: subprocess.Popen[bytes], terminal: int) -> None:
        until(lambda: verb in engine.calls)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, terminal)
        os.close(nothing)

    status, _ = on_terminal(engine.program, "run", "--", "sleep", "300", meanwhile=close)
    until(lambda: not engine.left)
    until_idle(engine)

    assert 128 + signal.SIGHUP == status

"""The command line among hostile texts, signals at any time, streams that fail, and an environment that lacks things."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from smolkit import cli
from smolkit.testing import FakeSmolvm, NamespaceEngine
from tests.processes import until, until_idle
from tests.terminal import SMOLKIT, start

Cli = Callable[..., int]
# What a label, an image's name or an engine's message may have: a cleared screen, a title, a forged line, reversed text.
NASTY = "a\x1b[2J\x1b]0;x\x07\nremoved b: \tc\u202e\x9b31m\x7f"
ESCAPED = r"a\x1b[2J\x1b]0;x\x07\nremoved b: \tc\u202e\x9b31m\x7f"
RECORD = {
    "name": NASTY,
    "state": "running",
    "image": NASTY,
    "created_at": 1,
    "labels": {"smolkit.machine": NASTY, "smolkit.expires": "1", NASTY: NASTY},
}


@pytest.fixture
def fake() -> FakeSmolvm:
    """An engine in memory, with a machine that somebody hostile made."""
    fake = FakeSmolvm()
    fake.answer(["machine", "ls", "--json"], json.dumps([RECORD]))
    return fake


@pytest.fixture
def smolkit(fake: FakeSmolvm) -> Cli:
    """The command line on that engine."""
    return lambda *arguments: cli.main(arguments, runner=fake)


@pytest.mark.parametrize("words", [["ls"], ["top", "--once"], ["reap", "--dry-run"]])
def test_what_others_wrote_is_escaped(words: list[str], smolkit: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, images and states can neither drive the terminal nor forge a line."""
    assert 0 == smolkit(*words)
    out, err = capsys.readouterr()
    assert (True, "") == (ESCAPED in out, err)
    assert all(character.isprintable() or character == "\n" for character in out)
    assert not any(line.startswith("removed b") for line in out.splitlines())


def test_json_is_escaped_and_whole(smolkit: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    """`ls --json` is ASCII, and what is read from it is what the engine has."""
    assert 0 == smolkit("ls", "--json")
    out = capsys.readouterr().out
    assert (True, False) == (out.isascii(), "\x1b" in out)
    [machine] = json.loads(out)
    assert (NASTY, NASTY, NASTY) == (machine["name"], machine["image"], machine["labels"][NASTY])


@pytest.mark.parametrize(
    "words", [["run", NASTY], ["run", f"--{NASTY}"], ["shell", NASTY], [NASTY], ["top", "--interval", NASTY]]
)
def test_an_argument_that_is_wrong_is_escaped(words: list[str], capsys: pytest.CaptureFixture[str], smolkit: Cli) -> None:
    """A script may pass on what others wrote."""
    try:
        status = smolkit(*words)
    except SystemExit as ended:
        status = int(ended.code or 0)
    err = capsys.readouterr().err
    assert (2, False) == (status, any(not c.isprintable() and c not in "\n\t" for c in err))


def test_an_engines_message_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """With the notes on it; and hints name what the command line has."""
    fake = FakeSmolvm()
    error = OSError(f"cannot start: {NASTY}")
    error.add_note(f"see client.ls(): {NASTY}")
    fake.answer(["machine", "create"], error=error)

    assert 125 == cli.main(["run", "--", "true"], runner=fake)
    err = capsys.readouterr().err
    assert ("\x1b" in err, "`smolkit ls`" in err) == (False, True)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--secret", "TOKEN=hush", "--", "true"],
        ["run", "--secret=TOKEN=hush", "--", "true"],
        ["run", "--secret-env", "TOKEN=hush", "--", "true"],
        ["run", "--env-file=hush", "--", "true"],
        ["run", "-e", "=hush", "--", "true"],
        ["run", "-e", "A=hush", "-e", "A=\udcff", "--", "true"],
        ["run", "-e", "A=hush", "--memory", "much", "--", "true"],
        ["run", "-e", "A=hush", "true"],
        ["run", "-e", "A=hush", "--", "no-such-program"],
        ["ls", "-e", "A=hush"],
    ],
)
def test_no_value_is_shown_in_an_error(
    words: list[str], smolkit: Cli, fake: FakeSmolvm, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logs of CI jobs are public: wrong calls are told without the values of variables."""
    fake.on("no-such-program", FileNotFoundError)
    try:
        status = smolkit(*words)
    except SystemExit as ended:
        status = int(ended.code or 0)

    out, err = capsys.readouterr()
    assert (True, False) == (status in {2, 127}, "hush" in out + err)


def test_a_forgotten_separator_is_explained(smolkit: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    """As those who know `docker run` write it."""
    with pytest.raises(SystemExit):
        smolkit("run", "uname", "-r")

    assert "the command must be after '--': smolkit run -- uname ..." in capsys.readouterr().err


def test_top_says_which_engine_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Older engines have no statistics: no table of dashes."""
    assert 1 == cli.main(["top", "--once"], runner=FakeSmolvm("1.28.1"))
    assert "1.29.1" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["ls"], ["ls", "--json"], ["reap", "--dry-run"]])
def test_thousands_of_machines_are_no_burden(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One call of the engine, and a line each."""
    fake = FakeSmolvm()
    names = [f"machine-{number}" for number in range(5000)]
    labels = {name: {"smolkit.machine": name, "smolkit.expires": "1"} for name in names}
    fake.answer(
        ["machine", "ls", "--json"], json.dumps([{**RECORD, "name": name, "labels": labels[name]} for name in names])
    )

    assert 0 == cli.main(words, runner=fake)
    out = capsys.readouterr().out
    assert (1, True) == (len(fake.argvs), all(f"{name}" in out for name in names))


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "KILL"])
def test_no_signal_leaves_a_machine(name: str, engine: NamespaceEngine) -> None:
    """Ctrl-C, a service manager, a closed terminal, the kernel."""
    number = signal.Signals[f"SIG{name}"]
    process = start(engine.program, "run", "--", "sleep", "300")
    until(lambda: "exec" in engine.calls or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    process.communicate()
    until(lambda: not engine.left)
    until_idle(engine)

    assert (-number if name == "KILL" else 128 + number) == process.returncode


@pytest.mark.parametrize("verb", ["create", "start", "exec", "delete"])
@pytest.mark.parametrize("names", [("INT", "INT"), ("TERM", "INT"), ("HUP", "TERM"), ("INT", "INT", "INT", "INT")])
def test_nobody_who_insists_leaves_a_machine(names: tuple[str, ...], verb: str, engine: NamespaceEngine) -> None:
    """Signals in a row: while it is made, boots, runs its command, and is removed. It may be gone a little later."""
    engine.strike(verb, *names)
    process = start(engine.program, "run", "--", "true")
    _, err = process.communicate()
    until(lambda: not engine.left)
    until_idle(engine)

    assert process.returncode - 128 in {signal.Signals[f"SIG{name}"] for name in names}
    assert all(b"may still be there" in line for line in err.splitlines())


def test_a_machine_that_could_not_be_removed_is_told_after_an_interrupt(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C, and then the engine fails: the notes on the interrupt are printed."""
    fake = FakeSmolvm()
    fake.on("job", KeyboardInterrupt)
    fake.answer(["machine", "delete"], returncode=1, stderr="Error: disk on fire\n")

    assert 130 == cli.main(["run", "--", "job"], runner=fake)
    assert "disk on fire" in capfd.readouterr().err


def test_handlers_of_others_are_put_back() -> None:
    """`main` may be called by a program that goes on."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert 0 == cli.main(["ls", "--json"], runner=FakeSmolvm())

    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


def test_an_ignored_hangup_stays_ignored(engine: NamespaceEngine) -> None:
    """`nohup smolkit run ...` goes on when its terminal is closed."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(engine.program, "run", "--", "sleep", "3", preexec_fn=ignore)
    until(lambda: "exec" in engine.calls)
    process.send_signal(signal.SIGHUP)
    process.communicate()

    assert (0, []) == (process.returncode, engine.left)


def test_a_reader_that_leaves_ends_the_command(engine: NamespaceEngine) -> None:
    """As in `smolkit run -- yes | head`: quietly, and the machine is gone."""
    process = start(engine.program, "run", "--", "yes")
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"y\n" == process.stdout.readline()
    process.stdout.close()

    assert (b"", 128 + signal.SIGPIPE) == (process.stderr.read(), process.wait())
    assert [] == engine.left
    process.stderr.close()


@pytest.mark.parametrize(
    ("redirection", "status"),
    [
        (">/dev/full", 125),
        ("2>/dev/full", 125),
        ("2>/dev/full >&2", 125),
        (">&-", 0),
        ("2>&-", 0),
        ("<&-", 0),
        ("<&- >&- 2>&-", 0),
    ],
)
def test_no_stream_costs_a_machine(redirection: str, status: int, engine: NamespaceEngine) -> None:
    """A full disk and streams that the caller has closed: no traceback, and the machine is gone."""
    command = f"{' '.join(SMOLKIT)} --engine {engine.program} run -i -- sh -c 'echo out; echo err >&2' {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, stdin=subprocess.DEVNULL, check=False)

    assert (status, False) == (done.returncode, b"Traceback" in done.stderr)
    assert [] == engine.left


@pytest.mark.parametrize("words", [["ls"], ["ls", "--json"], ["doctor"], ["reap"], ["top", "--once"], ["ls", "--help"]])
@pytest.mark.parametrize("redirection", [">/dev/full", "2>/dev/full", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_stream_costs_a_traceback(redirection: str, words: list[str], engine: NamespaceEngine) -> None:
    """Exit statuses 0 to 2 alone: 120 is Python's, for what it could not write at its exit."""
    command = f"{' '.join(SMOLKIT)} {' '.join(words)} --engine {engine.program} {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)

    assert (True, False) == (done.returncode in {0, 1, 2}, b"Traceback" in done.stderr)


def test_a_pipe_that_does_not_block_loses_nothing(engine: NamespaceEngine) -> None:
    """Other programs (node) leave the pipes that they hand down in non-blocking mode."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = start(engine.program, "run", "--", "head", "-c", "1000000", "/dev/zero", stdout=writer)
    os.close(writer)
    time.sleep(1)  # for the pipe to be full
    with open(reader, "rb") as pipe:
        written = len(pipe.read())
    _, err = process.communicate()

    assert (0, 1_000_000, b"") == (process.returncode, written, err)


def test_input_that_does_not_block_is_read_to_its_end(engine: NamespaceEngine) -> None:
    """It may come late."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    process = start(engine.program, "run", "-i", "--", "sh", "-c", "echo ready; cat", stdin=reader)
    os.close(reader)
    assert process.stdout is not None
    assert b"ready\n" == process.stdout.readline()
    os.write(writer, b"late\n")
    os.close(writer)

    assert (b"late\n", b"") == process.communicate()


def test_input_that_stays_open_does_not_keep_the_command_line(engine: NamespaceEngine) -> None:
    """With `-i`, where the command ends first: neither a hang nor an abort at the exit."""
    reader, writer = os.pipe()
    process = start(engine.program, "run", "-i", "--", "true", stdin=reader)
    _, err = process.communicate(timeout=60)
    os.close(reader)
    os.close(writer)

    assert (0, b"") == (process.returncode, err)


def test_input_that_cannot_be_read_ends(engine: NamespaceEngine) -> None:
    """A terminal that was hung up, say: the command gets the end of its input and does not wait for ever; it is told."""
    script = "import os; from smolkit.cli import main; os.dup2(os.open('/', os.O_RDONLY), 0); raise SystemExit(main())"
    process = start(engine.program, "run", "-i", "--", "cat", command=(sys.executable, "-c", script))
    out, err = process.communicate(timeout=60)

    assert (0, b"", []) == (process.returncode, out, engine.left)
    assert err.startswith(b"smolkit: cannot read the input: [Errno 21]")


@pytest.mark.parametrize(
    "environment",
    [{}, {"HOME": "/nonexistent"}, {"PATH": ""}, {"PATH": "/nonexistent"}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}],
)
def test_an_environment_that_lacks_things_is_enough(environment: dict[str, str], engine: NamespaceEngine) -> None:
    """No HOME, no PATH, no locale: bytes pass as they are."""
    cache = {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    helped = ["--prefix", "/usr/bin/env PATH=/usr/bin:/bin", "--engine", str(engine.program)]  # a shell script
    words = [*SMOLKIT, *helped, "run", "--", "/bin/echo", "\u00fc"]
    done = subprocess.run(words, capture_output=True, env={**cache, **environment}, check=False)

    assert (0, "\u00fc\n".encode(), b"") == (done.returncode, done.stdout, done.stderr)


def test_a_broken_path_does_not_keep_the_watchdog(engine: NamespaceEngine) -> None:
    """Killed by SIGKILL, in an environment without programs: the machine is removed all the same."""
    words = ["--prefix", "/usr/bin/env PATH=/usr/bin:/bin", "run", "--", "sleep", "5"]
    process = start(engine.program, *words, env={"PATH": "/nonexistent", "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]})
    until(lambda: "exec" in engine.calls)
    process.kill()
    process.communicate()
    until(lambda: not engine.left)
    until_idle(engine)

    assert -signal.SIGKILL == process.returncode


def test_no_encoding_costs_a_line() -> None:
    """A stdout that has no umlauts: they are escaped."""
    script = (
        "from smolkit import cli; from smolkit.testing import FakeSmolvm; fake = FakeSmolvm(); "
        "fake.answer(['machine', 'ls', '--json'], '[{\"name\": \"m\", \"image\": \"\u00fc\"}]'); "
        "cli.main(['ls'], runner=fake)"
    )
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)

    assert (0, True, "") == (done.returncode, r"\xfc" in done.stdout, done.stderr)


def test_without_an_engine_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 125 of `run` and 1 of others, and no traceback."""
    statuses = [cli.main([*words, "--engine", "/nonexistent/smolvm"]) for words in (["ls"], ["reap"])]

    assert [1, 1] == statuses
    assert 125 == cli.main(["run", "--engine", "/nonexistent/smolvm", "--", "true"])
    assert "/nonexistent/smolvm" in capsys.readouterr().err

"""The command line: what it prints, and its exit statuses."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from smolkit import Smolvm, __version__, cli
from smolkit.testing import FakeSmolvm, GuestResult, NamespaceEngine
from tests.terminal import start

VERBS = ["doctor", "ls", "reap", "run", "shell", "top"]
Cli = Callable[..., int]


@pytest.fixture
def fake() -> FakeSmolvm:
    """An engine in memory."""
    return FakeSmolvm()


@pytest.fixture
def smolkit(fake: FakeSmolvm) -> Cli:
    """The command line on that engine."""
    return lambda *arguments: cli.main(arguments, runner=fake)


@pytest.mark.parametrize("verb", VERBS)
def test_each_subcommand_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` ends with a line that can be copied."""
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])

    assert (0, True) == (ended.value.code, f"example: smolkit {verb}" in capsys.readouterr().out)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`smolkit --version`."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])

    assert (0, f"smolkit {__version__}\n") == (ended.value.code, capsys.readouterr().out)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_what_is_common_to_all(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The engine and its prefix, at the end; `run` shows where its command goes, and its exit statuses."""
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])

    out = capsys.readouterr().out
    assert -1 < out.index("options:") < out.index("the engine:") < out.index("--engine") < out.index("--prefix")
    assert (verb == "run") == ("-- COMMAND [ARGUMENT]..." in out) == ("124 after --timeout" in out)


@pytest.mark.parametrize(
    "words",
    [
        *[
            (),
            ("run",),
            ("run", "uname"),
            ("ls", "--", "uname"),
            ("start",),
            ("ls", "--jso"),
            ("top", "--interval", "soon"),
        ],
        *[("shell", "agent", "--image", "alpine"), ("shell", "agent", "-e", "A=b"), ("ls", "--prefix", "sudo 'x")],
        ("run", "-t", "--timeout", "5", "--", "true"),
    ],
)
def test_wrong_arguments_are_a_usage_error(words: tuple[str, ...], smolkit: Cli, fake: FakeSmolvm) -> None:
    """Exit status 2, before anything runs."""
    with pytest.raises(SystemExit) as ended:
        smolkit(*words)

    assert (2, []) == (ended.value.code, fake.argvs)


@pytest.mark.parametrize("interval", ["0", "-1", "nan"])
def test_top_refuses_an_interval_that_is_none(interval: str, smolkit: Cli, fake: FakeSmolvm) -> None:
    """Exit status 2, before anything runs."""
    with pytest.raises(SystemExit) as ended:
        smolkit("top", "--interval", interval)

    assert (2, []) == (ended.value.code, fake.argvs)


def test_run_prints_what_the_command_writes_and_ends_with_its_status(
    smolkit: Cli, fake: FakeSmolvm, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Bytes are exact, the streams apart; the machine is gone."""
    fake.on("job", GuestResult(3, b"\xff out\n", b"err\n"))

    assert 3 == smolkit("run", "--", "job")
    assert (b"\xff out\n", b"err\n") == capfdbinary.readouterr()
    assert [] == Smolvm(runner=fake).ls()


def test_everything_after_the_dashes_is_the_commands(smolkit: Cli, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """More dashes, and what looks like options of ours, too."""
    assert 0 == smolkit("run", "--", "echo", "--", "--timeout", "1", "--help")
    assert b"-- --timeout 1 --help\n" == capfdbinary.readouterr().out


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_engine_is_named_before_or_after_the_subcommand(place: str, engine: NamespaceEngine) -> None:
    """`smolkit --engine PROGRAM ls` and `smolkit ls --engine PROGRAM`."""
    named = ["--engine", str(engine.program)]
    words = [*named, "ls", "--json"] if place == "before" else ["ls", "--json", *named]
    done = subprocess.run([sys.executable, "-m", "smolkit", *words], capture_output=True, text=True, check=True)

    assert ([], "") == (json.loads(done.stdout), done.stderr)


def test_variables_and_secrets_come_from_this_programs_environment(
    smolkit: Cli, fake: FakeSmolvm, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """`-e KEY` has our value, `-e KEY=VALUE` its own; `--secret KEY` is on no command line."""
    monkeypatch.setenv("TOKEN", "hush")
    monkeypatch.setenv("LANG", "C")
    fake.on("job", lambda call: " ".join(call.env[key] for key in ("TOKEN", "LANG", "NAME")))

    assert 0 == smolkit("run", "--secret", "TOKEN", "-e", "LANG", "-e", "NAME=a=b", "--", "job")
    assert b"hush C a=b" == capfdbinary.readouterr().out
    assert not any("hush" in word for argv in fake.argvs for word in argv)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["run", "-e", "NOPE", "--", "true"], 2, "NOPE"),
        (["run", "--secret", "NOPE", "--", "true"], 2, "NOPE"),
        (["run", "--memory", "1", "--", "true"], 2, "memory"),
        (["run", "--", "no-such-program"], 127, "no-such-program"),
    ],
)
def test_failures_are_told_on_stderr_with_a_status(  # noqa: PLR0917
    words: list[str],
    status: int,
    said: str,
    smolkit: Cli,
    fake: FakeSmolvm,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """124, 125, 126 and 127 mean what they mean to `timeout` and `docker run`; nobody sees a traceback."""
    monkeypatch.delenv("NOPE", raising=False)
    fake.on("no-such-program", FileNotFoundError)

    assert status == smolkit(*words)
    out, err = capfd.readouterr()
    assert ("", True, True, False) == (out, err.startswith("smolkit: "), said in err, "Traceback" in err)


def test_a_command_that_takes_too_long_ends_as_timeouts_does(smolkit: Cli, fake: FakeSmolvm) -> None:
    """Exit status 124, as of coreutils' `timeout`, and the machine is gone."""
    assert 124 == smolkit("run", "--timeout", "3", "--", "sleep", "60")
    assert [] == Smolvm(runner=fake).ls()


def test_memory_has_a_unit_or_is_in_mib(smolkit: Cli, fake: FakeSmolvm) -> None:
    """`--memory 512` and `--memory 1GiB`."""
    assert [0, 0] == [smolkit("run", "--memory", size, "--", "true") for size in ("512", "1GiB")]
    created = [argv for argv in fake.argvs if "create" in argv]
    assert ["512", "1024"] == [argv[argv.index("--mem") + 1] for argv in created]


def test_ls_tells_who_owns_each_machine(smolkit: Cli, fake: FakeSmolvm, capsys: pytest.CaptureFixture[str]) -> None:
    """By process; machines that smolkit did not make have no owner."""
    client = Smolvm(runner=fake)
    client.machine("agent", cpus=2, memory=512).create()
    client.cli("machine", "create", "--name", "other")

    assert 0 == smolkit("ls")
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert ["NAME", "STATE", "AGE", "CPUS", "MEMORY", "IMAGE", "OWNER"] == header
    assert {"agent": str(os.getpid()), "other": "-"} == {row[0]: row[-1] for row in rows}
    assert 0 == smolkit("ls", "--json")
    agent, other = json.loads(capsys.readouterr().out)
    assert ({"pid": os.getpid(), "alive": True}, None) == (agent["owner"], other["owner"])
    assert ("agent", "created", 2, 512) == tuple(agent[key] for key in ("name", "state", "cpus", "memory"))


def test_ls_calls_no_owner_ended_that_reap_would_spare(
    smolkit: Cli, fake: FakeSmolvm, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another boot id proves nothing by itself, as containers may have their own; nor does another host."""
    me = fake.here().me
    assert me is not None
    for name, owner in (("container", evolve(me, boot="0" * 8)), ("elsewhere", evolve(me, place="0" * 8))):
        labels = ("--label", f"smolkit.machine={name}", "--label", f"smolkit.owner={owner}")
        Smolvm(runner=fake).cli("machine", "create", "--name", name, *labels)

    assert 0 == smolkit("ls", "--json")
    assert [None, None] == [machine["owner"]["alive"] for machine in json.loads(capsys.readouterr().out)]
    assert 0 == smolkit("reap")
    assert "" == capsys.readouterr().out


def test_reap_removes_and_dry_run_only_tells(engine: NamespaceEngine) -> None:
    """The machines of processes that have ended."""
    code = f"from smolkit import Smolvm; Smolvm({str(engine.program)!r}).machine('lost').create()"
    subprocess.run([sys.executable, "-c", code], check=True)
    tell, do, again = (start(engine.program, "reap", *words).communicate()[0] for words in (["--dry-run"], [], []))

    assert (b"would remove lost: process ", b"removed lost: process ", b"") == (tell[:27], do[:22], again)
    assert [] == engine.left


def test_doctor_fails_where_a_check_does(smolkit: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, and the hint; without an engine, too."""
    assert 1 == cli.main(["doctor", "--engine", "/nonexistent/smolvm"])
    assert "FAILED" in capsys.readouterr().out
    assert 0 == smolkit("doctor")


def test_top_shows_what_running_machines_use(smolkit: Cli, fake: FakeSmolvm, capsys: pytest.CaptureFixture[str]) -> None:
    """A row each; a machine that cannot tell has dashes."""
    with Smolvm(runner=fake).machine("agent", memory=512), Smolvm(runner=fake).machine("mute"):
        assert 0 == smolkit("top", "--once")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["NAME", "agent", "mute"] == [row[0] for row in rows]


def test_run_passes_its_input_on_if_asked(engine: NamespaceEngine) -> None:
    """With `-i` the command reads ours to its end; without, nothing."""
    with_it = start(engine.program, "run", "-i", "--", "cat", stdin=subprocess.PIPE)
    without = start(engine.program, "run", "--", "cat", stdin=subprocess.PIPE)

    assert (b"\0line\n", b"") == (with_it.communicate(b"\0line\n")[0], without.communicate(b"")[0])


def test_run_and_shell_give_the_terminal_to_the_guest(engine: NamespaceEngine) -> None:
    """`run -t` and `shell`: the command has our terminal, and its exit status is ours."""
    ours, theirs = pty.openpty()
    process = start(engine.program, "run", "-t", "--", "sh", "-c", "test -t 0 && exit 7", stdin=theirs)
    process.communicate()
    os.close(ours)
    os.close(theirs)

    assert (7, []) == (process.returncode, engine.left)


def test_the_command_line_is_installed_as_a_program(tmp_path: Path) -> None:
    """`smolkit` beside this Python."""
    program = Path(sys.executable).parent / "smolkit"
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)

    assert all(verb in done.stdout for verb in VERBS)

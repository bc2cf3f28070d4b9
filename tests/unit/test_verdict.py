"""The verdict: whether a failure is the engine's or the guest's, and which one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from smolkit import SmolvmError, errors
from smolkit.commands import Exec, GuestCommand, PackRun, Run, ScanDirs, Script, Shell, Spawn, Terminal
from smolkit.commands.dialect import Dialect
from smolkit.commands.failures import PHRASES, verdict
from smolkit.values import Completed
from tests.recorded import NOTE, RECORDED, as_json
from tests.samples import commands

JSON = ("--error-format", "json", "machine", "exec", "--name", "m", "-i", "--", "prog")
TEXT = ("machine", "exec", "--name", "m", "--", "prog")
LINE = as_json("SMOLVM_ERROR", "io operation failed: connection closed").encode()


def judge(
    argv: tuple[str, ...], code: int, out: bytes = b"", err: bytes = b"", timeout: float | None = None, **more: Any
) -> SmolvmError | None:
    """The verdict on an exec of `prog`."""
    return verdict(Completed(argv, code, out, err, **more), ("prog",), timeout)


@pytest.mark.parametrize(("version", "how", "stderr", "error"), RECORDED)
def test_recorded_failures_are_typed_errors(version: str, how: str, stderr: str, error: type[SmolvmError]) -> None:
    """Each recorded text of a real engine gives its typed error, with the engine's message first."""
    found = verdict(Completed(("machine", "verb"), 1, stderr=stderr.encode()))

    assert type(found) is error
    summary, words = error.summary, found.message.removeprefix(f"{error.summary}: ")
    assert words
    said = re.sub(r"Then log out [^;]*; libkrun detail: ", "", stderr)  # left out: see below
    assert words in said.encode().decode("unicode_escape") or words in said
    assert not words.startswith("Error: ")
    assert found.message.startswith(summary)


@pytest.mark.parametrize(("pattern", "error"), PHRASES)
def test_every_pattern_has_a_recording(pattern: str, error: type[SmolvmError]) -> None:
    """Every pattern has a recording from a real engine."""
    assert [row for row in RECORDED if row[3] is error and re.search(pattern, message_of(row[2]), re.MULTILINE)]


def message_of(stderr: str) -> str:
    """The engine's message in a recording, in either format."""
    return "\n".join(re.findall(r'(?:Error: |error: |"message":")(.*)', stderr))


@pytest.mark.parametrize("code", [3, 42, 126, 127, 137, 254])
def test_a_status_that_the_engine_never_has_is_the_guests(code: int) -> None:
    """A status that the engine never has is the guest's, whatever was written."""
    assert None is judge(JSON, code, b"out", LINE)
    assert None is judge(TEXT, code, b"", b"Error: vm not found: m\n")


def test_exit_1_is_the_engines_if_stderr_ends_with_its_error() -> None:
    """With JSON errors, exit 1 is the engine's if stderr ends with its error, also glued to a guest's half line."""
    for before in (b"", b"the guest's\n", b"half a line", NOTE.encode()):
        assert isinstance(judge(JSON, 1, b"out", before + LINE), errors.ConnectionLostError)


@pytest.mark.parametrize(
    "stderr",
    [
        b"",
        b"nothing of the kind\n",
        LINE + b"and more\n",
        b'{"error":{"code":"X"}}\n',
        b'{"error":{"code":"X","message":1}}\n',
        b'{"error":{"code":"X","message":"y","more":"z"}}\n',
        b'{"error":{"code":"X","message":"y"}\n',
        b'{"error":{}}\n',
        b'{"error":{"code":' + b"[" * 50_000 + b"\n",
        b"Error: vm not found: m\n",
        b"\xff\xfe",
    ],
)
def test_exit_1_is_the_guests_otherwise(stderr: bytes) -> None:
    """Exit 1 is the guest's if stderr only resembles an engine's error."""
    assert None is judge(JSON, 1, b"", stderr)


@pytest.mark.parametrize(
    ("out", "err", "engine"),
    [
        (b"", b"Error: vm not found: m\n", True),
        (b"", NOTE.encode() + b"Error: agent operation failed: connect: machine 'm' is not running. Use it.\n", True),
        (b"", b"\x1b[2m2026-11-22T11:11:03Z\x1b[0m WARN slow\nError: vm not found: m\n", True),
        (b"out", b"Error: vm not found: m\n", False),
        (b"", b"before\nError: vm not found: m\n", False),
        (b"", b"Error: something that the engine never says\n", False),
        (b"", b"", False),
        (b"", LINE, False),
    ],
)
def test_exit_1_without_json_errors(out: bytes, err: bytes, *, engine: bool) -> None:
    """Without JSON errors, exit 1 is the engine's if stdout is empty and stderr has only its messages."""
    assert engine == (judge(TEXT, 1, out, err) is not None)


@pytest.mark.parametrize("before", [b"", b"the guest's\n", b"half a line", b"Error: the guest's own\n"])
@pytest.mark.parametrize("verb", ["exec", "run"])
def test_a_machine_lost_after_output_without_json_errors(verb: str, before: bytes) -> None:
    """Older engines with -i write output as it comes, so their failure is the last line of stderr (1.8.3)."""
    argv = ("machine", verb, "-i", "--", "prog")
    found = judge(argv, 1, b"in", before + b"Error: io operation failed: connection closed\n")

    assert isinstance(found, errors.ConnectionLostError)
    assert "the guest's" not in found.message
    assert None is judge(argv, 1, b"in", before + b"Error: io operation failed: connection closed\nand more\n")
    assert None is judge(argv, 1, b"in", before + b"Error: something that the engine never says\n")
    assert None is judge(("machine", verb, "--", "-i"), 1, b"in", b"Error: io operation failed: connection closed\n")


@pytest.mark.parametrize(
    ("err", "error"),
    [
        (b"executable file `prog` not found in $PATH: No such file or directory\n", errors.ProgramNotFoundError),
        (b"executable file `prog` not found in $PATH: No such file or directory", errors.ProgramNotFoundError),
        (b"chdir `/nodir`: No such file or directory\n", errors.WorkdirNotFoundError),
        (b"open executable: Permission denied\n", errors.ProgramNotExecutableError),
        (b"open executable: Operation not permitted\n", errors.ProgramNotExecutableError),
        (b"open executable: Not a directory\n", errors.ProgramNotFoundError),
        (b"executable file `other` not found in $PATH: No such file or directory\n", type(None)),
        (b"executable file `prog` not found in $PATH: No such file\nand more\n", type(None)),
        (b"", type(None)),
    ],
)
def test_exit_255_of_image_machines(err: bytes, error: type) -> None:
    """Exit 255 of an image machine is crun's if its one line names the program (1.9.1, 1.32.2), else the guest's."""
    assert error is type(judge(JSON, 255, b"", err))
    assert None is judge(JSON, 255, b"out", err)


@pytest.mark.parametrize(
    ("code", "duration", "timeout", "timed_out"),
    [(124, 2.1, 2.0, True), (124, 1.9, 2.0, False), (124, 99.0, None, False), (0, 2.1, 2.0, False), (137, 2.1, 2.0, False)],
)
def test_a_timeout_is_124_and_the_time(code: int, duration: float, timeout: float | None, *, timed_out: bool) -> None:
    """Status 124 is a timeout if the time is over, else the guest's own."""
    found = judge(JSON, code, b"part", b"err\ncommand timed out after 2000ms", timeout, duration=duration)

    assert timed_out == isinstance(found, errors.ExecTimeoutError)
    if isinstance(found, errors.ExecTimeoutError):
        assert ("part", "err", 2.0, True) == (found.stdout, found.stderr, found.timeout, found.guest_ended)


def test_a_timeout_of_older_engines_is_silent() -> None:
    """Engines up to 1.9.1 print nothing at a timeout, so the duration decides."""
    assert isinstance(judge(TEXT, 124, b"part", b"", 2.0, duration=2.4), errors.ExecTimeoutError)


def test_the_hosts_timeout() -> None:
    """The host's timeout is ExecOutcomeUnknownError for exec, as the command may still run, else EngineTimeoutError."""
    found = judge(JSON, -15, b"part", b"", 2.0, duration=32.0, ended_by="timeout")

    assert isinstance(found, errors.ExecOutcomeUnknownError)
    assert (False, "part") == (found.guest_ended, found.stdout)
    other = verdict(Completed(("machine", "start"), -9, duration=900.0, ended_by="timeout"))
    assert isinstance(other, errors.EngineTimeoutError)
    assert "900 s" in str(other)


def test_an_engine_that_was_killed() -> None:
    """A negative status is an engine that was killed, and never the guest's."""
    assert isinstance(judge(JSON, -9), errors.EngineDiedError)


def test_too_much_output() -> None:
    """Output that the runner cut off raises OutputLimitError."""
    assert isinstance(judge(JSON, -15, b"y" * 9, ended_by="output limit"), errors.OutputLimitError)


_OWN = b"error: unexpected argument '--user' found\n\nUsage: smolvm machine exec [OPTIONS] <COMMAND>...\n\nFor more"
_GUESTS = (
    b"error: unexpected argument '--bad' found\n\nUsage: rg [OPTIONS] PATTERN\n\nFor more information, try '--help'.\n"
)


def test_exit_2_is_a_usage_error_only_of_the_engines_own_usage() -> None:
    """Exit 2 is a usage error only with the engine's own usage text, since guests print similar ones."""
    assert isinstance(judge(JSON, 2, b"", _OWN), errors.UsageError)
    assert None is judge(JSON, 2, b"", _GUESTS)
    assert None is judge(JSON, 2, b"out", _OWN)
    usage = verdict(
        Completed(("machine", "start"), 2, stderr=NOTE.encode() + b"error: unexpected argument 'x' found\n\nUsage")
    )
    assert isinstance(usage, errors.UsageError)
    assert "unexpected argument 'x' found" == usage.message
    assert "please report this text" in str(usage)


_TIMEOUT = "error: invalid value '{}' for '{} <DURATION>': time unit needed\n\nFor more information, try '--help'.\n"


@pytest.mark.parametrize("words", ["machine exec", "machine run", "pack run"])
@pytest.mark.parametrize("opening", [(), ("--error-format", "json")])
def test_exit_2_of_exec_and_run(words: str, opening: tuple[str, ...]) -> None:
    """Exit 2 of exec or run is a usage error if it names the verb or the passed flag and value, else a result."""
    argv = (*opening, *words.split(), "--timeout", "5s", "--user=-x", "--", "prog", "--level", "m")
    own = _OWN.replace(b"machine exec", words.encode())
    rows = [
        (own, errors.UsageError),
        (_TIMEOUT.format("5s", "--timeout").encode(), errors.ConfigError),
        (_TIMEOUT.format("-x", "--user").encode(), errors.ConfigError),
        (_TIMEOUT.format("m", "--level").encode(), type(None)),
        (_TIMEOUT.format("5s", "--wait").encode(), type(None)),
        (_TIMEOUT.format("6s", "--timeout").encode(), type(None)),
        (b"before " + own, type(None)),
        (own.replace(words.encode(), b"machine status"), type(None)),
    ]
    assert [kind for _, kind in rows] == [type(judge(argv, 2, b"", stderr)) for stderr, _ in rows]
    assert None is judge(argv, 2, b"out", own)


def test_a_failure_without_output() -> None:
    """A failure without output has only its status."""
    found = verdict(Completed(("machine", "ls"), 101))

    assert isinstance(found, errors.UnknownEngineError)
    assert "exited with status 101 without a message" in str(found)


def test_success_is_no_failure() -> None:
    """Exit 0 is success, whatever stderr has, since engines print warnings."""
    assert None is verdict(Completed(("machine", "start"), 0, stderr=b"WARN agent ready via SOCKET FALLBACK\n"))


GUESTS = {type(command): command for command in commands() if isinstance(command, GuestCommand)}
OF_THE_ENGINE = as_json("NOT_FOUND", "vm not found: m").encode()


@pytest.mark.parametrize("command", GUESTS.values(), ids=lambda command: type(command).__name__)
def test_every_command_of_the_guest_tells_the_engines_failure_from_the_guests_status(command: GuestCommand[Any]) -> None:
    """Every command of the guest returns the guest's exit status, and raises the engine's failure."""
    argv = command.argv(Dialect.of("1.32.2"))
    ended = Completed(argv, 3, b"out", b"err")

    with pytest.raises(errors.MachineNotFoundError):
        command.read(Completed(argv, 1, b"", OF_THE_ENGINE))
    if type(command) in {
        Spawn,
        Script,
        ScanDirs,
    }:  # no program has ended; a script reports an error about a file
        assert isinstance(command.failure(ended), errors.SmolvmError)
    else:
        assert command.failure(ended) is None
        assert "3" in str(command.read(ended))


def test_the_guests_timeout_bounds_the_call_the_same_way_in_each_command() -> None:
    """The host timeout is 30 s more than the guest's, and 900 s more again where a machine is booted first."""
    run = {"timeout": 2, "input": "x"}
    bounds = [
        Exec("m", ["true"], timeout=2).bound,
        Run.of(None, run, command=["true"]).bound,
        PackRun.of(None, run, command=["true"]).bound,
        Exec("m", ["true"]).bound,
        Shell("m").bound,
    ]

    assert [32, 932, 932, None, None] == bounds


def test_a_command_that_is_left_running_takes_no_timeout() -> None:
    """A spawned command, and one in a terminal, accepts no timeout, since nobody waits for its end."""
    for kind in (Spawn, Terminal):
        with pytest.raises(TypeError, match="unexpected keyword argument 'timeout'"):
            kind("m", ["true"], timeout=3)  # type: ignore[call-arg]


def test_the_end_of_an_advice_is_no_part_of_the_message() -> None:
    """Only the cause that follows the engine's cut-off advice is."""
    stderr = next(said for _, _, said, _ in RECORDED if "Then log out and log back in" in said)
    failure = verdict(Completed(("machine", "start"), 1, stderr=stderr.encode()))

    assert failure is not None
    assert "monitor agent: build microVM: Internal error" in failure.message
    assert "log back in" not in str(failure)

"""Calls that are recorded once, and replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smolkit import Smolvm, errors
from smolkit.testing import FakeSmolvm, Recorder, Replayer, UnexpectedCommandError, UnusedAnswerError


def session(client: Smolvm, folder: Path) -> list[object]:
    """What is recorded, and replayed."""
    (folder / "in").write_bytes(b"\xff\0")
    with client.machine(env={"BASE": "hidden-base"}) as machine:
        found: list[object] = [machine.exec(["echo", "out"]).stdout, machine.sh("echo err >&2; exit 3").returncode]
        found.append(machine.sh('echo "$TOKEN"', secrets={"TOKEN": "s3cr3t-value"}).returncode)
        machine.write_text("/root/file", "text s3cr3t-value")
        found.append(machine.exec(["cat"], input=b"\xff\xfe").stdout_bytes)
        machine.cp(folder / "in", machine.path("/root/in"))
        machine.cp(machine.path("/root/in"), folder / "out")
        found.append((folder / "out").read_bytes())
        with machine.popen(["cat"], stdin=True) as process:
            assert process.stdin is not None
            process.stdin.write("live")
            found.append(list(process))
        with pytest.raises(errors.ProgramNotFoundError):
            machine.exec(["missing"])
        found.append(machine.status().name == machine.name)
    return found


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """A recorded session."""
    fake = FakeSmolvm()
    fake.on("missing", FileNotFoundError)
    (tmp_path / "a").mkdir()
    with Recorder(fake, tmp_path / "tape.json") as runner:
        assert (fake.host, fake.program) == (runner.host, runner.program)
        client = Smolvm(runner=runner)
        assert ["out\n", 3, 0, b"\xff\xfe", b"\xff\0", [("stdout", b"live")], True] == session(client, tmp_path / "a")
        assert b"" == runner.read_log("/nowhere", 0)
    return tmp_path / "tape.json"


@pytest.mark.parametrize("ordered", [False, True])
def test_a_session_is_replayed(tape: Path, tmp_path: Path, ordered: bool) -> None:
    """In another folder, with a machine of another fresh name: the same answers, the same errors, the same files."""
    (tmp_path / "b").mkdir()
    replayer = Replayer(tape, ordered=ordered)
    assert "1.32.2" == replayer.engine.version
    assert ["out\n", 3, 0, b"\xff\xfe", b"\xff\0", [("stdout", b"live")], True] == session(
        Smolvm(runner=replayer), tmp_path / "b"
    )
    replayer.assert_done()
    assert b"" == replayer.read_log("/nowhere", 0)


def test_no_secret_is_on_tape(tape: Path) -> None:
    """Neither a secret, wherever it was heard, nor a variable's value; the rest can be read."""
    text = tape.read_text()
    assert "s3cr3t-value" not in text
    assert "hidden-base" not in text
    assert "text ***" in text
    whole = json.loads(text)
    assert (1, "1.32.2") == (whole["smolkit cassette"], whole["engine"])
    assert ["--error-format", "json", "machine", "create", "-e", "BASE=***"] == whole["calls"][0]["argv"][:6]


def test_what_is_not_on_tape(tape: Path) -> None:
    """It is told, with what there is; so is what was not asked for."""
    replayer = Replayer(tape)
    with pytest.raises(UnexpectedCommandError, match=r"has no such call: smolvm .*machine ls[^$]*machine create"):
        Smolvm(runner=replayer).ls()
    with pytest.raises(UnusedAnswerError, match="machine delete"):
        replayer.assert_done()


def test_order_is_strict_where_asked(tmp_path: Path) -> None:
    """Else any order will do; input counts."""
    fake = FakeSmolvm()
    with Recorder(fake, tmp_path / "tape.json") as runner, Smolvm(runner=runner).machine("m") as machine:
        machine.exec(["cat"], input="one")
        machine.exec(["cat"], input="two")

    for ordered in (False, True):
        replayer = Replayer(tmp_path / "tape.json", ordered=ordered)
        with Smolvm(runner=replayer).machine("m") as machine:
            if ordered:
                with pytest.raises(UnexpectedCommandError, match="has no such call next"):
                    machine.exec(["cat"], input="two")
            else:
                assert "two" == machine.exec(["cat"], input="two").stdout
            assert "one" == machine.exec(["cat"], input="one").stdout
            if ordered:
                assert "two" == machine.exec(["cat"], input="two").stdout
            with pytest.raises(UnexpectedCommandError):
                machine.exec(["cat"], input="three")
        replayer.assert_done()


def test_a_secret_in_a_command_hides_only_itself(tmp_path: Path) -> None:
    """The rest of the word counts."""
    fake = FakeSmolvm()
    fake.on("deploy", "done\n")
    with Recorder(fake, tmp_path / "tape.json") as runner, Smolvm(runner=runner).machine("m") as machine:
        machine.exec(["deploy", "--key=s3cr3t-value"], secrets={"KEY": "s3cr3t-value"})

    assert "s3cr3t" not in (tmp_path / "tape.json").read_text()
    with Smolvm(runner=Replayer(tmp_path / "tape.json")).machine("m") as machine:
        with pytest.raises(UnexpectedCommandError):
            machine.exec(["deploy", "--other=another"], secrets={"KEY": "another"})
        assert "done\n" == machine.exec(["deploy", "--key=another"], secrets={"KEY": "another"}).stdout


def test_waiting_takes_no_time(tmp_path: Path) -> None:
    """The clock goes on by what is waited and what the calls took."""
    fake = FakeSmolvm()
    with Recorder(fake, tmp_path / "tape.json") as runner, Smolvm(runner=runner).machine("m") as machine:
        machine.exec(["sleep", "5"])
    replayer = Replayer(tmp_path / "tape.json")
    with Smolvm(runner=replayer).machine("m") as machine:
        machine.exec(["sleep", "5"])
        replayer.pause(2)
        assert 7 == replayer.clock()


def test_not_a_cassette(tmp_path: Path) -> None:
    """Nor one of a later smolkit."""
    (tmp_path / "x.json").write_text('{"smolkit cassette": 99}')
    with pytest.raises(ValueError, match="not a cassette"):
        Replayer(tmp_path / "x.json")

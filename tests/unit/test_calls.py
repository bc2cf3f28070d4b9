"""Observers of calls, and dry runs."""

from __future__ import annotations

import fcntl
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from smolkit import Smolvm, SubprocessRunner, errors
from smolkit.commands import Create, Delete, Exec, Ls, Start
from smolkit.commands.call import Call
from smolkit.testing import FakeRunner, FakeSmolvm
from tests.recorded import as_json
from tests.samples import commands


def test_observers_get_each_call(fake: FakeRunner) -> None:
    """An observer gets each call's command, redacted argv, duration and outcome in order, of followed processes too."""
    calls: list[Call] = []
    client = Smolvm(runner=fake, on_call=calls.append)
    fake.answer(Exec, returncode=3, times=1)
    fake.answer(Exec, returncode=1, stderr=as_json("NOT_FOUND", "vm not found: m"), times=1)
    fake.answer(["machine"])
    with client.machine("m", env={"KEY": "hidden"}) as machine:
        machine.exec(["false"])
        with pytest.raises(errors.MachineNotFoundError):
            machine.exec(["true"])
        machine.popen(["true"]).wait()

    assert ["machine create", "machine start", *["machine exec"] * 3, "machine delete"] == [call.verb for call in calls]
    assert [0, 0, 3, 1, 0, 0] == [call.returncode for call in calls]
    assert isinstance(calls[3].error, errors.MachineNotFoundError)
    assert [None] * 5 == [call.error for call in calls if call is not calls[3]]
    assert isinstance(calls[0].command, Create)
    assert "KEY=***" in calls[0].argv
    assert "hidden" not in repr(calls)
    assert all(call.duration >= 0 for call in calls)


def test_an_observer_that_raises_is_logged(fake: FakeRunner, caplog: pytest.LogCaptureFixture) -> None:
    """An observer's exception is logged, and the call goes on."""

    def broken(call: Call) -> None:
        raise KeyError("observer")

    fake.answer(["machine"])
    with caplog.at_level(logging.ERROR):
        Smolvm(runner=fake, on_call=broken).machine("m").exec(["true"])

    assert "on_call raised" in caplog.text


@pytest.mark.parametrize("version", ["1.8.3", "1.32.2"])
def test_a_dry_run_changes_no_handle(version: str) -> None:
    """A delete in a dry run does not keep a later `with` from deleting its machine."""
    fake = FakeSmolvm(version)
    client = Smolvm(runner=fake)
    with client.machine("agent") as machine:
        with client.dry_run(echo=False) as plan:
            machine.stop()
            machine.delete()
        assert ["Stop", "Delete"] == [type(command).__name__ for command in plan.commands if type(command) is not Ls]
        assert machine.exec(["true"]).ok
    assert {} == fake.machines


def test_a_dry_run_runs_nothing(fake: FakeRunner, client: Smolvm, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run records and prints commands as shell lines without secrets, runs nothing, and leaves no trace."""
    with client.dry_run() as plan, client.machine("m", env={"K": "hidden"}, secrets={"S": "hidden"}) as machine:
        assert machine.exec(["sh", "-c", "echo $K"], input="data").ok
        assert [] == client.ls()
        assert b"" == machine.read_bytes("/x")
        assert 0 == machine.popen(["true"]).wait()

    assert [] == fake.commands
    kinds = [type(command) for command in plan.commands]
    assert ([Create, Start, Exec], Delete) == (kinds[:3], kinds[-1])
    assert "hidden" not in str(plan)
    assert str(plan) + "\n" == capsys.readouterr().out
    line = "SMOLKIT_MACHINE_SECRET_S=*** smolvm --error-format json machine exec --name m -i "
    line += "--secret-env S=SMOLKIT_MACHINE_SECRET_S -- sh -c 'echo $K' <<< ..."
    assert line == plan.lines[2]
    fake.answer(["machine"])
    client.machine("m").exec(["true"])
    assert 1 == len(fake.commands)


def test_a_dry_run_writes_no_files(tmp_path: Path) -> None:
    """A dry run writes no files, in the guest or on the host."""
    (tmp_path / "smolvm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "smolvm").chmod(0o755)
    client = Smolvm(runner=SubprocessRunner(tmp_path / "smolvm", version="1.32.2"))
    machine = client.machine("m")
    with client.dry_run(echo=False) as plan:
        machine.download("/x", tmp_path / "a")
        machine.cp(machine.path("/x"), tmp_path / "b")
        machine.checkpoint(tmp_path / "c")
        client.pack_create("image", tmp_path / "d")
        machine.upload(tmp_path, "/x")

    assert ["smolvm"] == [path.name for path in tmp_path.iterdir()]
    assert 6 == len(plan.lines)


def test_every_command_has_an_answer_in_a_dry_run(client: Smolvm) -> None:
    """Every command has an answer in a dry run, so that the program can go on."""
    with client.dry_run(echo=False) as plan:
        for command in commands():
            client.runner.run(command)

    assert len(commands()) == len(plan.lines)


def test_a_dry_run_without_an_engine(tmp_path: Path) -> None:
    """A dry run without an engine assumes the newest version, and afterwards the missing engine is an error again."""
    client = Smolvm(tmp_path / "none")
    with client.dry_run(echo=False) as plan:
        client.machine("m").start()
    assert "--error-format json machine start --name m" in plan.lines[0]
    with pytest.raises(errors.EngineNotFoundError):
        client.machine("m").start()


def test_machines_by_their_labels(client: Smolvm, fake: FakeRunner) -> None:
    """ls(labels=...) returns the machines that have all of the labels."""
    fake.answer(
        ["machine", "ls"],
        stdout='[{"name": "a", "labels": {"team": "ci", "x": "1"}}, {"name": "b", "labels": {"team": "ci"}}, '
        '{"name": "c"}]',
    )

    assert ["a", "b"] == [info.name for info in client.ls({"team": "ci"})]
    assert ["a"] == [info.name for info in client.ls(labels={"team": "ci", "x": "1"})]
    assert ["a", "b", "c"] == [info.name for info in client.ls()]


def test_free_ports(client: Smolvm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free ports differ, are not in use, and are not given to another process while this one lives."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    ports = [client.free_port() for _ in range(20)]

    assert 20 == len(set(ports))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", ports[0]))
    (folder,) = tmp_path.iterdir()
    code = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    assert fcntl.LOCK_NB
    done = subprocess.run([sys.executable, "-c", code, folder / str(ports[0])], check=False, capture_output=True, text=True)
    assert "BlockingIOError" in done.stderr


def test_a_free_port_is_one_of_the_engines_host() -> None:
    """free_port is the runner's, whose engine may be on another host."""

    class Elsewhere(FakeRunner):
        def free_port(self) -> int:
            return 4711

    assert 4711 == Smolvm(runner=Elsewhere()).free_port()


def test_observers_get_the_failure_of_a_process(fake: FakeRunner) -> None:
    """An observer of a process that fails gets the error that its reader gets."""
    calls: list[Call] = []
    fake.answer(Exec, returncode=1, stderr=as_json("NOT_FOUND", "vm not found: m"))
    with pytest.raises(errors.MachineNotFoundError) as caught:
        Smolvm(runner=fake, on_call=calls.append).machine("m").popen(["true"]).wait()

    assert [caught.value] == [call.error for call in calls]


def test_a_dry_run_starts_no_shell(client: Smolvm) -> None:
    """A dry run records a shell without giving it the terminal."""
    with client.dry_run(echo=False) as plan:
        assert 0 == client.machine("m").shell()
    assert ["smolvm --error-format json machine shell --name m"] == plan.lines


def test_a_dry_run_in_a_dry_run_does_not_end_it(fake: FakeRunner) -> None:
    """A dry run inside another one does not end it, and each has the commands of its own block."""
    client = Smolvm(runner=fake)
    with client.dry_run(echo=False) as outer:
        client.machine("a").create()
        with client.dry_run(echo=False) as inner:
            client.machine("b").create()
        client.machine("c").create()
    said = [[command.name for command in plan.commands if isinstance(command, Create)] for plan in (outer, inner)]

    assert [["a", "c"], ["b"]] == said
    assert [] == fake.argvs

"""The calls of the thin wrapper that smolkit replaces, in the classic grammar (smolvm up to 1.0.1).

Its two live checks, `smolvm --help` and `smolvm machine ls --json`, are in tests/grammar.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from smolkit import Smolvm, SmolvmError
from smolkit.testing import FakeRunner


@pytest.fixture
def fake() -> FakeRunner:
    """A classic engine whose calls succeed, unless answered otherwise before."""
    return FakeRunner("1.0.1")


def test_pack(client: Smolvm, fake: FakeRunner) -> None:
    """pack_create runs `smolvm pack create --image IMAGE -o OUT`."""
    fake.answer([])
    client.pack_create("IMAGE", "OUT")
    assert [("pack", "create", "--image", "IMAGE", "-o", "OUT")] == fake.argvs


def test_create(client: Smolvm, fake: FakeRunner) -> None:
    """create runs `smolvm machine create NAME`."""
    fake.answer([])
    client.machine("NAME").create()
    assert [("machine", "create", "NAME")] == fake.argvs


def test_create_from_a_pack_and_a_smolfile(client: Smolvm, fake: FakeRunner) -> None:
    """create with a pack and a Smolfile runs `smolvm machine create --from PATH --smolfile PATH NAME`."""
    fake.answer([])
    client.machine("NAME", from_path="PATH", smolfile=Path("FILE")).create()
    assert [("machine", "create", "--from", "PATH", "--smolfile", "FILE", "NAME")] == fake.argvs


def test_start(client: Smolvm, fake: FakeRunner) -> None:
    """start runs `smolvm machine start --name NAME`."""
    fake.answer([])
    client.machine("NAME").start()
    assert [("machine", "start", "--name", "NAME")] == fake.argvs


def test_stop(client: Smolvm, fake: FakeRunner) -> None:
    """stop runs `smolvm machine stop --name NAME`."""
    fake.answer([])
    client.machine("NAME").stop()
    assert [("machine", "stop", "--name", "NAME")] == fake.argvs


def test_delete(client: Smolvm, fake: FakeRunner) -> None:
    """delete runs `smolvm machine delete -f NAME`."""
    fake.answer([])
    client.machine("NAME").delete()
    assert [("machine", "delete", "-f", "NAME")] == fake.argvs


def test_exec(client: Smolvm, fake: FakeRunner) -> None:
    """exec runs `smolvm machine exec --name NAME [-e K=V]... [-w DIR] [--timeout 30s] -- ARGV...`."""
    fake.answer([])
    client.machine("NAME").exec(["ls", "-l"], env={"A": "1", "B": "2"}, workdir="/DIR", timeout=30)
    words = "machine exec --name NAME -e A=1 -e B=2 -w /DIR --timeout 30s -- ls -l"
    assert [tuple(words.split())] == fake.argvs


def test_exec_is_a_result_whatever_the_status(client: Smolvm, fake: FakeRunner) -> None:
    """exec returns a result whatever the guest's exit status."""
    fake.answer([], returncode=1, stdout="out", stderr="err")
    result = client.machine("NAME").exec(["false"])
    assert (1, "out", "err") == (result.returncode, result.stdout, result.stderr)


def test_cp(client: Smolvm, fake: FakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cp runs `smolvm machine cp SRC DST`, with the guest's side written NAME:/path."""
    fake.answer([])
    monkeypatch.chdir(tmp_path)
    Path("SRC").touch()
    machine = client.machine("NAME")
    machine.cp("SRC", machine.path("/path"))
    machine.cp("SRC", "NAME:/path")
    machine.cp(machine.path("/path"), "DST")
    into, out_of = ("machine", "cp", "SRC", "NAME:/path"), ("machine", "cp", "NAME:/path", "DST")
    assert [into, into, out_of] == fake.argvs


def test_cp_of_an_empty_path(client: Smolvm, fake: FakeRunner) -> None:
    """cp with an empty path runs nothing."""
    machine = client.machine("NAME")
    machine.cp("", machine.path("/path"))
    machine.cp(machine.path("/path"), "")
    assert [] == fake.argvs


def test_available(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """is_available looks for `smolvm` on PATH with shutil.which, and runs nothing."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SMOLKIT_SMOLVM", raising=False)
    assert not Smolvm().is_available()

    (tmp_path / "smolvm").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "smolvm").chmod(0o755)
    assert Smolvm().is_available()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("verb", ["create", "start", "stop", "delete"])
def test_everything_else_raises_on_non_zero(client: Smolvm, fake: FakeRunner, verb: str) -> None:
    """Every other call raises SmolvmError with .returncode."""
    fake.answer(["machine", "ls"], stdout='[{"name": "NAME"}]')
    fake.answer([], returncode=3)
    with pytest.raises(SmolvmError) as caught:
        getattr(client.machine("NAME"), verb)()
    assert 3 == caught.value.returncode


def test_the_engines_words_are_in_the_error(client: Smolvm, fake: FakeRunner) -> None:
    """str(error) has the engine's message."""
    fake.answer([], returncode=1, stderr="Error: storage operation failed: disk full\n")
    with pytest.raises(SmolvmError) as caught:
        client.machine("NAME").start()
    assert "storage operation failed: disk full" in str(caught.value)

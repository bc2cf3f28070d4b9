"""The search for the engine, its order, and the checks of doctor."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from smolkit import Smolvm, SubprocessRunner, errors
from smolkit.runners.local.doctor import host_checks
from smolkit.runners.local.locate import VARIABLE, find

Program = Callable[..., Path]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Create an executable file."""

    def make(*parts: str, mode: int = 0o755) -> Path:
        path = tmp_path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\necho smolvm 1.32.2\n")
        path.chmod(mode)
        return path

    return make


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host without an engine: none named, on PATH or installed."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, program: Program) -> Path:
    """The smolmachines package as pip installs it, its program not executable."""
    engine = program("site", "smol", "smol-vmm", mode=0o644)
    program("site", "smol", "libkrun.so", mode=0o644)
    spec = type("Spec", (), {"origin": str(engine.with_name("__init__.py"))})()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec if name == "smol" else None)
    return engine


def test_the_search_order(program: Program, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is searched by argument, then SMOLKIT_SMOLVM, then PATH, then package."""
    assert str(bundle) == find().path
    on_path = program("bin", "smolvm")
    assert str(on_path) == find().path
    monkeypatch.setenv(VARIABLE, str(named := program("elsewhere", "smolvm-1.9")))
    assert str(named) == find().path
    assert str(argument := program("argument")) == find(str(argument)).path
    assert str(on_path) == find("smolvm").path


def test_a_named_program_that_does_not_exist(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named program that does not exist is an error, and no other is used."""
    program("bin", "smolvm")

    with pytest.raises(errors.EngineNotFoundError, match="no program /no/such/smolvm"):
        find("/no/such/smolvm")
    monkeypatch.setenv(VARIABLE, "/no/such/smolvm")
    with pytest.raises(errors.EngineNotFoundError, match=f"no program {VARIABLE}=/no/such/smolvm"):
        find()
    assert not Smolvm().is_available()


def test_no_engine_at_all(tmp_path: Path) -> None:
    """Without an engine a client can be made, and its use raises an error with the places searched and what to install."""
    client = Smolvm()

    assert not client.is_available()
    with pytest.raises(errors.EngineNotFoundError, match=r"none is on PATH(.|\n)*pip install 'smolkit\[engine\]'"):
        client.ls()
    (check, *_) = client.doctor()
    assert ("program", False) == (check.name, check.ok)


def test_the_bundled_engine(bundle: Path) -> None:
    """A bundled engine is made executable if necessary, and gets the path of its libraries."""
    found = find()

    assert {"SMOLVM_LIB_DIR": str(bundle.parent)} == found.env
    assert bundle.stat().st_mode & stat.S_IXUSR
    assert "1.32.2" == Smolvm().engine.version


def test_a_bundled_engine_that_cannot_be_made_executable(bundle: Path, mocker: object) -> None:
    """The error for a bundled engine that cannot be made executable names the file."""
    mocker.patch("pathlib.Path.chmod", side_effect=PermissionError("read-only"))  # type: ignore[attr-defined]
    mocker.patch("os.access", return_value=False)  # type: ignore[attr-defined]

    with pytest.raises(errors.EngineNotFoundError, match="smol-vmm is not executable, and chmod failed: read-only"):
        find()


def test_a_package_without_the_engine(bundle: Path) -> None:
    """Another package named smol is ignored."""
    bundle.unlink()

    with pytest.raises(errors.EngineNotFoundError):
        find()


def test_a_program_is_resolved_once(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative program, PATH entry or prefix is resolved once, and a later change of directory does not matter."""
    program("here", "engine"), program("here", "smolvm")
    there = program("there", "here", "engine").parent
    for name in ("engine", "smolvm"):
        program("there", "here", name).write_text("#!/bin/sh\necho smolvm 1.9.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "here:/usr/bin:/bin")
    monkeypatch.setenv(VARIABLE, "")
    runners = [SubprocessRunner("here/engine"), SubprocessRunner(), SubprocessRunner("smolvm", prefix=["here/engine"])]
    assert str(tmp_path / "here/smolvm") == runners[1].program  # when it is first needed
    monkeypatch.chdir(there.parent)

    assert ["1.32.2"] * 3 == [runner.engine.version for runner in runners]
    assert SubprocessRunner("engine").host == "engine"
    assert SubprocessRunner(str(tmp_path / "here/engine")).host == runners[0].host


def test_available_runs_nothing(program: Program) -> None:
    """is_available looks for the program, and runs nothing."""
    path = program("bin", "smolvm")
    path.write_text("#!/bin/sh\ntouch $0.ran\n")

    assert Smolvm().is_available()
    assert not path.with_name("smolvm.ran").exists()


def test_a_healthy_host(tmp_path: Path) -> None:
    """A healthy host passes every check, without hints."""
    (tmp_path / "kvm").touch(mode=0o666)
    (tmp_path / "kvm").chmod(0o666)
    checks = host_checks({"SMOLVM_DATA_DIR": str(tmp_path)}, tmp_path / "kvm", lambda _: "")

    names = ["kvm present", "kvm permitted", "kvm works", *["state directory writable", "free disk"] * 2]
    assert names == [check.name for check in checks]
    assert all(check.ok and not check.hint for check in checks)


def test_what_is_no_kvm_does_not_work(tmp_path: Path) -> None:
    """KVM is really tried: a file that only looks like it fails the check, which says why."""
    (tmp_path / "kvm").touch(mode=0o666)
    found = [host_checks({"HOME": str(tmp_path)}, place)[2] for place in (tmp_path / "kvm", Path("/dev/null"))]

    assert [("kvm works", False)] * 2 == [(check.name, check.ok) for check in found]
    assert all("ioctl" in check.detail and check.hint for check in found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's VMs have users of their own")
@pytest.mark.parametrize(
    ("mode", "env", "permitted"),
    [(0o600, {}, False), (0o660, {}, False), (0o666, {}, True), (0o600, {"SMOLVM_VM_UID_DROP": "off"}, True)],
)
def test_what_root_may_open_the_engines_vms_may_not(
    tmp_path: Path, mode: int, env: dict[str, str], permitted: bool
) -> None:
    """For root the engine runs VMs as other users (1.32.2): the mode of the device decides, not what root may do."""
    (tmp_path / "kvm").touch()
    (tmp_path / "kvm").chmod(mode)
    check = host_checks({"HOME": str(tmp_path), **env}, tmp_path / "kvm", lambda _: "")[1]

    assert ("kvm permitted", permitted, permitted) == (check.name, check.ok, not check.hint)


def test_failed_checks_have_hints(tmp_path: Path, mocker: object) -> None:
    """Each failed check has a hint."""
    mocker.patch("os.access", return_value=False)  # type: ignore[attr-defined]
    mocker.patch("shutil.disk_usage").return_value.free = 10  # type: ignore[attr-defined]
    checks = host_checks({"HOME": str(tmp_path)}, tmp_path / "no-kvm")
    (tmp_path / "kvm").touch()
    (tmp_path / "kvm").chmod(0o600)
    checks += host_checks({"HOME": str(tmp_path)}, tmp_path / "kvm", lambda _: "it is broken")[:3]

    bad = [check for check in checks if not check.ok]
    assert {"kvm present", "kvm permitted", "kvm works", "state directory writable", "free disk"} == {
        check.name for check in bad
    }
    assert all(check.hint for check in bad)


def test_a_check_that_raises_fails(tmp_path: Path, mocker: object) -> None:
    """A check that raises counts as failed, and doctor does not raise."""
    mocker.patch("shutil.disk_usage", side_effect=OSError("stale handle"))  # type: ignore[attr-defined]
    checks = host_checks({"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")})

    assert 2 == len([check for check in checks if "stale handle" in check.detail and not check.ok])


def test_the_doctor_of_a_whole_client(program: Program) -> None:
    """A client's doctor checks the engine first, then the host."""
    names = [check.name for check in SubprocessRunner(program("smolvm")).doctor()]

    assert ["program", "version"] == names[:2]
    assert "free disk" in names

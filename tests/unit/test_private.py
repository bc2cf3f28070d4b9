"""Locks on files of this user's own: others cannot lay them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from smolkit.runners.local.first_boot import first_start_alone, state_directories
from smolkit.runners.local.ports import free_port
from smolkit.runners.local.private_files import open_lock, private_directory

ROOT = os.geteuid() == 0


def test_a_directory_of_ones_own_is_made_and_closed_to_others(tmp_path: Path) -> None:
    """With its parents; one that is open to others is closed."""
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    for path in (tmp_path / "a/b", tmp_path / "open"):
        os.close(private_directory(path))
        assert 0o700 == stat.S_IMODE(path.stat().st_mode)


def test_a_symlink_is_no_directory_of_ones_own(tmp_path: Path) -> None:
    """Nor is a file; the next one is taken, and without any there is an error."""
    (tmp_path / "target").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "link", tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(OSError, match=r"link|file"):
            private_directory(wrong)
        os.close(private_directory(wrong, tmp_path / "good"))
    assert 0o755 == stat.S_IMODE((tmp_path / "target").stat().st_mode)


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_another_users_directory_or_file_is_not_used(tmp_path: Path) -> None:
    """Who owns it could put anything in its place."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    with pytest.raises(PermissionError, match="belongs to another user"):
        private_directory(theirs)
    directory = private_directory(tmp_path / "ours")
    (tmp_path / "ours/lock").touch()
    os.chown(tmp_path / "ours/lock", 12345, 12345)
    with pytest.raises(PermissionError, match="belongs to another user"):
        open_lock(directory, "lock")
    os.close(directory)


def test_a_lock_is_never_what_a_symlink_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a first start, nor for a port, nor for the mark of a start that succeeded: the target stays as it is."""
    target = tmp_path / "target"
    target.write_text("precious")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    ports = tmp_path / f"smolkit-ports-{os.geteuid()}"
    for directory in (tmp_path / "cache/smolkit", ports):
        directory.mkdir(parents=True)
    (tmp_path / "cache/smolkit/first-start.lock").symlink_to(target)
    for port in range(20_000, 32_768):
        (ports / str(port)).symlink_to(target)
    with first_start_alone(sys.executable, {"SMOLVM_DATA_DIR": str(tmp_path / "state")}):
        info = Path(sys.executable).stat()
        cache = state_directories({"SMOLVM_DATA_DIR": str(tmp_path / "state")})[1]
        cache.mkdir(parents=True)
        mark = cache / f".smolkit-started-{info.st_ino:x}-{info.st_mtime_ns:x}"
        mark.symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="no free port"):
        free_port()

    assert "precious" == target.read_text()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("given", ["missing", "theirs", "file", "", "relative"])
def test_a_port_is_found_whatever_the_runtime_directory_is(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, another user's, or no directory at all: no raw error; two are never the same."""
    (tmp_path / "file").touch()
    (tmp_path / "theirs").mkdir()
    theirs = tmp_path / "theirs" / f"smolkit-ports-{os.geteuid()}"
    theirs.symlink_to("/")
    monkeypatch.chdir(tmp_path)
    place = {"": "", "relative": "relative"}.get(given, str(tmp_path / given))
    monkeypatch.setenv("XDG_RUNTIME_DIR", place)

    assert 20 == len({free_port() for _ in range(20)})


def test_a_user_without_a_home_has_a_lock_all_the_same() -> None:
    """Neither HOME nor the user database names a directory: state folders are still told, and a start is let through."""
    code = (
        "import os, pathlib, sys; from smolkit.runners.local.first_boot import _locked, state_directories\n"
        "pathlib.Path.expanduser = lambda self: (_ for _ in ()).throw(RuntimeError('no home'))\n"
        "print(state_directories({})[0])\n"
        "with _locked(5): print('in')"
    )
    env = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": "/proc/none"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert "/.local/share/smolvm\nin\n" == done.stdout

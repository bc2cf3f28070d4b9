"""Lock files that other users cannot tamper with."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from smolkit.runners.local import first_boot
from smolkit.runners.local.first_boot import first_start_alone, state_directories
from smolkit.runners.local.ports import free_port
from smolkit.runners.local.private_files import open_lock, private_directory

ROOT = os.geteuid() == 0


def test_the_lock_directory_is_closed_to_others(tmp_path: Path) -> None:
    """The directory of locks is made with its parents, and closed if it is open to others."""
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    for path in (tmp_path / "a/b", tmp_path / "open"):
        os.close(private_directory(path))
        assert 0o700 == stat.S_IMODE(path.stat().st_mode)


def test_a_symlink_is_no_lock_directory(tmp_path: Path) -> None:
    """A symlink or file in place of the directory is skipped for the next candidate, and without any an error is raised."""
    (tmp_path / "target").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "link", tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(OSError, match=r"link|file"):
            private_directory(wrong)
        os.close(private_directory(wrong, tmp_path / "good"))
    assert 0o755 == stat.S_IMODE((tmp_path / "target").stat().st_mode)


@pytest.mark.skipif(not ROOT, reason="only root may change a file's owner")
def test_another_users_directory_or_file_is_not_used(tmp_path: Path) -> None:
    """A directory or lock file of another user is not used, since its owner could replace it."""
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


def test_locks_do_not_follow_symlinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of first starts and ports, and the mark of a successful start, do not follow symlinks."""
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
    """free_port works, and never returns the same port twice, whatever the runtime directory is."""
    (tmp_path / "file").touch()
    (tmp_path / "theirs").mkdir()
    theirs = tmp_path / "theirs" / f"smolkit-ports-{os.geteuid()}"
    theirs.symlink_to("/")
    monkeypatch.chdir(tmp_path)
    place = {"": "", "relative": "relative"}.get(given, str(tmp_path / given))
    monkeypatch.setenv("XDG_RUNTIME_DIR", place)

    assert 20 == len({free_port() for _ in range(20)})


def test_a_user_without_a_home_has_a_lock() -> None:
    """Without HOME and a user database entry a start still has a lock and a state directory."""
    code = (
        "import os, pathlib, sys; from smolkit.runners.local.first_boot import first_start_alone, state_directories\n"
        "pathlib.Path.expanduser = lambda self: (_ for _ in ()).throw(RuntimeError('no home'))\n"
        "print(state_directories({})[0])\n"
        "with first_start_alone(sys.executable, {'SMOLVM_DATA_DIR': '/proc/none'}, 5): print('in')"
    )
    env = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": "/proc/none"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert "/.local/share/smolvm\nin\n" == done.stdout


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")  # a lock not taken yet
def test_an_interrupt_at_any_line_of_a_first_start_frees_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that raises, at whatever line of a first start, leaves the lock free for other processes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache/smolkit").mkdir(parents=True, mode=0o700)
    held, point, strikes = [], 0, True
    while strikes:
        left = point

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != first_boot.__file__:
                return None
            left -= event == "line"
            if left == 0:
                left = -1
                raise KeyboardInterrupt(frame.f_lineno)
            return trace

        point, left = point + 1, point + 1
        before, caught = sys.gettrace(), None
        sys.settrace(trace)
        try:
            with first_start_alone(sys.executable, {"SMOLVM_DATA_DIR": str(tmp_path / str(point))}):
                pass
        except KeyboardInterrupt as error:
            caught = error  # as a prompt keeps it, with all frames
        finally:
            sys.settrace(before)
        strikes = caught is not None
        lock = os.open(tmp_path / "cache/smolkit/first-start.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.append((point, str(caught)))
        os.close(lock)
    assert ([], True) == (held, point > 20)

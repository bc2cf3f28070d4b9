"""Files of the guest behave the same on the fake and on real engines."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from smolkit import Machine, errors
from tests.contract.conftest import World
from tests.unit.test_files import NAMES, tree


@pytest.fixture
def folder(machine: Machine) -> str:
    """A directory in the guest with a file, a directory that has one, and an empty directory."""
    return filled(machine, "/root/files")


def filled(machine: Machine, path: str) -> str:
    """Create such a directory."""
    machine.remove(path, recursive=True, missing_ok=True)
    machine.mkdir(path)
    machine.write_text(f"{path}/file", "content", mode=0o640, owner="1000:1001")
    machine.mkdir(f"{path}/full")
    machine.write_bytes(f"{path}/full/one", b"1")
    machine.mkdir(f"{path}/empty", mode=0o700)
    return path


@pytest.mark.differs
def test_writing_and_reading(machine: Machine, folder: str) -> None:
    """Any bytes can be written and read, and an existing file keeps what is not given."""
    data = bytes(range(256)) * 10
    machine.write_bytes(f"{folder}/file", data)
    found = machine.stat(f"{folder}/file")
    assert data == machine.read_bytes(f"{folder}/file")
    assert (2560, 0o640, 1000, 1001, False) == (found.size, stat.S_IMODE(found.mode), found.uid, found.gid, found.is_dir)
    assert abs(found.mtime - machine.stat(f"{folder}/full/one").mtime) < 3600


def test_parts_and_limits(machine: Machine, folder: str) -> None:
    """A part of a file is read, and more than the limit raises, with the limit."""
    data = bytes(range(256)) * 40
    machine.write_bytes(f"{folder}/file", data)
    for offset, length in ((0, 10), (255, 3), (4096, 5000), (5000, None), (10_239, 9), (10_240, None), (99_999, 1)):
        end = None if length is None else offset + length
        assert data[offset:end] == machine.read_bytes(f"{folder}/file", offset=offset, length=length)
    assert data == machine.read_bytes(f"{folder}/file", limit=10_240, timeout=60)
    with pytest.raises(errors.OutputLimitError) as caught:
        machine.read_bytes(f"{folder}/file", offset=1, limit=10_000)
    assert 10_000 == caught.value.limit


def test_missing_parents(machine: Machine, folder: str, tmp_path: Path) -> None:
    """parents=True makes a file's missing directories, and a file in their place is a NotADirectoryError."""
    (tmp_path / "up").write_text("up")
    machine.write_text(f"{folder}/a/b/c", "new", parents=True)
    machine.write_text(f"{folder}/a/b/c", "newer", parents=True, timeout=60)
    machine.upload(tmp_path / "up", f"{folder}/d/e/f", parents=True)
    assert ["newer", "up"] == [machine.read_text(f"{folder}/{name}") for name in ("a/b/c", "d/e/f")]
    assert 0o755 == stat.S_IMODE(machine.stat(f"{folder}/a/b").mode)
    acts: list[Callable[[str], object]] = [
        lambda path: machine.write_text(path, "", parents=True),
        lambda path: machine.upload(tmp_path / "up", path, parents=True),
    ]
    for act in acts:
        with pytest.raises(NotADirectoryError):
            act(f"{folder}/file/x/y")


def test_new_files_and_directories(machine: Machine, folder: str) -> None:
    """New files and directories belong to root, with the guest's default permissions."""
    machine.mkdir(f"{folder}/a/b", parents=True)
    file, new, made = (machine.stat(f"{folder}/{name}") for name in ("full/one", "a/b", "empty"))
    assert (0o644, 0, 0) == (stat.S_IMODE(file.mode), file.uid, file.gid)
    assert (0o755, True) == (stat.S_IMODE(new.mode), new.is_dir)
    assert 0o700 == stat.S_IMODE(made.mode)
    machine.mkdir(f"{folder}/a/b", exist_ok=True)


def test_names_of_any_bytes(machine: Machine, folder: str) -> None:
    """A name may contain any byte but zero and the slash."""
    for name in map(os.fsdecode, NAMES):
        machine.write_text(f"{folder}/empty/{name}", name if name.isascii() else "")
    assert sorted(map(os.fsdecode, NAMES)) == machine.listdir(f"{folder}/empty")
    assert ["empty", "file", "full"] == machine.listdir(folder)


def test_renaming_and_removing(machine: Machine, folder: str) -> None:
    """rename replaces a file by a file and an empty directory by a directory."""
    machine.rename(f"{folder}/file", f"{folder}/full/one")
    assert "content" == machine.read_text(f"{folder}/full/one")
    machine.rename(f"{folder}/full", f"{folder}/empty")
    assert ["one"] == machine.listdir(f"{folder}/empty")
    machine.remove(f"{folder}/empty", recursive=True)
    assert [] == machine.listdir(folder)
    machine.rename(folder, folder)
    machine.remove(f"{folder}/none", missing_ok=True)
    machine.remove(folder)
    assert not machine.exists(folder)


def test_listing_with_stat(machine: Machine, folder: str, tmp_path: Path) -> None:
    """scandir has the stat of each entry, and of what symlinks lead to; names may have any bytes."""
    source = tmp_path / "links"
    source.mkdir()
    (source / "to-file").symlink_to("../file")
    (source / "to-full").symlink_to("../full")
    (source / "lost").symlink_to("nowhere")
    for name in NAMES:
        (source / f"-{os.fsdecode(name)}").touch()
    machine.upload(source, f"{folder}/links")
    one, *_ = found = machine.scandir(folder)
    assert ["empty", "file", "full", "links"] == [entry.name for entry in found]
    assert (f"{folder}/empty", True, False, False) == (one.path, one.is_dir(), one.is_file(), one.is_symlink())
    assert machine.stat(f"{folder}/file") == found[1].stat() == found[1].stat(follow_symlinks=False)
    links = {entry.name: entry for entry in machine.scandir(f"{folder}/links")}
    assert sorted(os.listdir(source)) == list(links)
    assert (7, True, False) == (links["to-file"].stat().size, links["to-file"].is_file(), links["to-file"].is_dir())
    assert not links["to-full"].is_dir(follow_symlinks=False)
    assert links["to-full"].is_dir()
    assert all(links[name].is_symlink() for name in ("lost", "to-file", "to-full"))
    with pytest.raises(FileNotFoundError):
        links["lost"].stat()


def test_walks_and_globs(machine: Machine, folder: str) -> None:
    """A walk is from the top and can be pruned; a glob has pathlib's rules."""
    machine.write_text(f"{folder}/full/deep/.hidden.py", "", parents=True)
    walked = list(machine.walk(folder))
    assert (folder, ["empty", "full"], ["file"]) == walked[0]
    assert ["", "/empty", "/full", "/full/deep"] == [above.removeprefix(folder) for above, _, _ in walked]
    for _, names, _ in (pruned := machine.walk(folder)):
        names[:] = []
    assert [] == list(pruned)
    for pattern, expected in {
        "*": ["/empty", "/file", "/full"],
        "f*": ["/file", "/full"],
        "f*/": ["/full"],
        "**/*.py": ["/full/deep/.hidden.py"],
        "F*/[do]*": [],
        "*/one": ["/full/one"],
        "**/": ["", "/empty", "/full", "/full/deep"],
        "full/../[!f]*": ["/full/../empty"],
        "none/*": [],
    }.items():
        assert expected == [path.removeprefix(folder) for path in machine.glob(folder, pattern)]
    assert ["/full/deep", "/full/one"] == [
        path.removeprefix(folder) for path in machine.glob(folder, "F*/[do]*", case_sensitive=False)
    ]
    assert [] == list(machine.walk(f"{folder}/none"))


FAILURES: list[tuple[str, Callable[[Machine, str], object], type[Exception]]] = [
    ("read none", lambda m, path: m.read_bytes(f"{path}/none"), FileNotFoundError),
    ("read folder", lambda m, path: m.read_bytes(path), IsADirectoryError),
    ("read below file", lambda m, path: m.read_bytes(f"{path}/file/x"), NotADirectoryError),
    ("write folder", lambda m, path: m.write_bytes(f"{path}/full", b""), IsADirectoryError),
    ("write nowhere", lambda m, path: m.write_bytes(f"{path}/none/x", b""), FileNotFoundError),
    ("write below file", lambda m, path: m.write_bytes(f"{path}/file/x", b""), NotADirectoryError),
    ("write for nobody", lambda m, path: m.write_bytes(f"{path}/x", b"", owner="nosuchuser"), PermissionError),
    ("stat none", lambda m, path: m.stat(f"{path}/none"), FileNotFoundError),
    ("list none", lambda m, path: m.listdir(f"{path}/none"), FileNotFoundError),
    ("list file", lambda m, path: m.listdir(f"{path}/file"), NotADirectoryError),
    ("scan none", lambda m, path: m.scandir(f"{path}/none"), FileNotFoundError),
    ("scan file", lambda m, path: m.scandir(f"{path}/file"), NotADirectoryError),
    ("mkdir again", lambda m, path: m.mkdir(f"{path}/full"), FileExistsError),
    ("mkdir over file", lambda m, path: m.mkdir(f"{path}/file", exist_ok=True), FileExistsError),
    ("mkdir below file", lambda m, path: m.mkdir(f"{path}/file/x/y", parents=True), NotADirectoryError),
    ("mkdir nowhere", lambda m, path: m.mkdir(f"{path}/none/x"), FileNotFoundError),
    ("remove none", lambda m, path: m.remove(f"{path}/none"), FileNotFoundError),
    ("remove full", lambda m, path: m.remove(f"{path}/full"), errors.GuestDirectoryNotEmptyError),
    ("rename none", lambda m, path: m.rename(f"{path}/none", f"{path}/x"), FileNotFoundError),
    ("rename nowhere", lambda m, path: m.rename(f"{path}/file", f"{path}/none/x"), FileNotFoundError),
    ("rename to folder", lambda m, path: m.rename(f"{path}/file", f"{path}/empty"), IsADirectoryError),
    ("rename to full", lambda m, path: m.rename(f"{path}/empty", f"{path}/full"), errors.GuestDirectoryNotEmptyError),
    ("download none", lambda m, path: m.download(f"{path}/none", "/tmp/never"), FileNotFoundError),
]


@pytest.mark.parametrize(("what", "call", "error"), FAILURES, ids=[what for what, _, _ in FAILURES])
def test_failures(machine: Machine, what: str, call: Callable[[Machine, str], object], error: type[Exception]) -> None:
    """Failures are of the same types, and change nothing."""
    folder = "/root/untouched" if machine.exists("/root/untouched") else filled(machine, "/root/untouched")
    with pytest.raises(error):
        call(machine, folder)
    assert (["empty", "file", "full"], ["one"]) == (machine.listdir(folder), machine.listdir(f"{folder}/full"))


def test_symlinks(machine: Machine, folder: str, tmp_path: Path) -> None:
    """Symlinks are followed when files are read or written, and not when they are inspected or removed."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to("../file")
    (tmp_path / "tree/lost").symlink_to("nowhere")
    machine.upload(tmp_path / "tree", f"{folder}/links")
    assert "content" == machine.read_text(f"{folder}/links/link")
    assert stat.S_ISLNK(machine.stat(f"{folder}/links/link", follow_symlinks=False).mode)
    assert 7 == machine.stat(f"{folder}/links/link").size
    assert machine.exists(f"{folder}/links/lost")
    machine.write_text(f"{folder}/links/link", "through")
    assert "through" == machine.read_text(f"{folder}/file")
    machine.remove(f"{folder}/links/link")
    assert machine.exists(f"{folder}/file")


@pytest.mark.differs
def test_trees(machine: Machine, folder: str, tmp_path: Path) -> None:
    """Trees are copied both ways with modes, symlinks and empty directories, and keep what was there before."""
    source = tmp_path / "source"
    (source / "deep/empty").mkdir(parents=True)
    (source / "deep/file").write_bytes(os.urandom(3000))
    (source / "tool").write_text("#!/bin/sh\n")
    (source / "tool").chmod(0o755)
    (source / "link").symlink_to("deep/file")
    machine.upload(source, f"{folder}/tree", owner="0:7")
    machine.upload(source, f"{folder}/full")
    machine.download(f"{folder}/tree", tmp_path / "back")
    assert tree(source) == tree(tmp_path / "back")
    assert ["deep", "link", "one", "tool"] == machine.listdir(f"{folder}/full")
    assert (7, 0o755) == ((found := machine.stat(f"{folder}/tree/tool")).gid, stat.S_IMODE(found.mode))
    machine.upload(source / "tool", f"{folder}/tool")
    assert 0o755 == stat.S_IMODE(machine.stat(f"{folder}/tool").mode)
    machine.download(f"{folder}/tool", tmp_path / "tool")
    assert "#!/bin/sh\n" == (tmp_path / "tool").read_text()


@pytest.mark.differs
def test_cp(machine: Machine, folder: str, tmp_path: Path) -> None:
    """cp copies one file in or out, and creates missing directories in the guest."""
    (tmp_path / "in").write_bytes(b"\0\xff" * 100)
    machine.cp(tmp_path / "in", machine.path(f"{folder}/new/way/out"))
    machine.cp(machine.path(f"{folder}/new/way/out"), tmp_path / "out")
    assert b"\0\xff" * 100 == (tmp_path / "out").read_bytes()
    assert 0o644 == stat.S_IMODE(machine.stat(f"{folder}/new/way/out").mode)


@pytest.mark.differs
def test_cp_of_a_missing_file(machine: Machine, world: World, tmp_path: Path) -> None:
    """cp of a missing file raises the builtin error and keeps the host's file (1.8.3 takes a directory for a device)."""
    (tmp_path / "old").write_text("old")
    of_folder = IsADirectoryError if world.supports("machine cp --mode") else errors.CopyError
    for path, kind in (("/no/such", FileNotFoundError), ("/root", of_folder)):
        with pytest.raises(errors.CopyError) as caught:
            machine.cp(machine.path(path), tmp_path / "old")
        assert isinstance(caught.value, kind)
        if isinstance(caught.value, OSError):
            assert path == caught.value.filename
    with pytest.raises(IsADirectoryError):
        machine.cp(tmp_path / "old", machine.path("/root"))
    assert "old" == (tmp_path / "old").read_text()


@pytest.mark.differs
def test_cp_with_permissions(machine: Machine, world: World, tmp_path: Path) -> None:
    """cp sets mode and owner on engines that support it."""
    (tmp_path / "in").write_text("in")
    if not world.supports("machine cp --mode"):
        with pytest.raises(errors.UnsupportedByEngineError, match="machine cp --mode"):
            machine.cp(tmp_path / "in", machine.path("/root/in"), mode=0o600)
        return
    machine.cp(tmp_path / "in", machine.path("/root/in"), mode=0o600, uid=5, gid=6)
    found = machine.stat("/root/in")
    assert (0o600, 5, 6) == (stat.S_IMODE(found.mode), found.uid, found.gid)
    machine.remove("/root/in")

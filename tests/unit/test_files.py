"""Files of the guest: smolkit's scripts run on this host, by a pretend engine."""

from __future__ import annotations

import errno
import io
import os
import pickle
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smolkit import GuestPath, Machine, Smolvm, SubprocessRunner, errors
from smolkit.commands import Cp, Exec
from smolkit.handles.archive import Unpacker
from smolkit.testing import FakeRunner
from tests.recorded import as_json


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of a pretend engine, whose files are this host's."""
    (tmp_path / "host").mkdir()
    (tmp_path / "guest").mkdir()
    program = tmp_path / "host/smolvm"
    program.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    program.chmod(0o755)
    return Smolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m")


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """The directory of the machine's files."""
    return tmp_path / "guest"


NAMES: list[str | bytes] = [
    "plain",
    "with space",
    "new\nline",
    "last newline\n",
    "-dash",
    "quo'te\"$x`",
    "back\\slash",
    "%s%b",
    "grün",
    b"\xff\xfe",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name(machine: Machine, guest: Path, name: str | bytes) -> None:
    """A file is written, listed, inspected, read, renamed and removed, whatever bytes its name and content have."""
    path = os.path.join(guest, os.fsdecode(name))
    content = bytes(range(256)) * 300

    assert not machine.exists(path)
    machine.write_bytes(path, content, mode=0o640)
    assert machine.exists(path)
    assert content == machine.read_bytes(path) == Path(path).read_bytes()
    assert [os.fsdecode(name)] == machine.listdir(str(guest)) == os.listdir(guest)
    found = machine.stat(path)
    assert (len(content), 0o640, os.getuid(), True) == (found.size, stat.S_IMODE(found.mode), found.uid, found.is_file)
    assert int(os.stat(path).st_mtime) == found.mtime
    machine.rename(path, f"{path}.new")
    assert [f"{os.fsdecode(name)}.new"] == os.listdir(guest)
    machine.remove(f"{path}.new")
    assert [] == os.listdir(guest)


def test_text(machine: Machine, guest: Path) -> None:
    """Text is UTF-8 by default, and a path is built with `/`."""
    path = machine.path(guest) / "sub" / "file"
    machine.mkdir(path.parent)
    machine.write_text(path, "grün\n")
    machine.write_text(str(guest / "latin"), "grün", "latin-1")

    assert "grün\n" == machine.read_text(path)
    assert b"gr\xfcn" == machine.read_bytes(guest / "latin")
    assert "gr\ufffdn" == machine.read_text(guest / "latin", errors="replace")


def test_writing_keeps_what_is_not_given(machine: Machine, guest: Path) -> None:
    """Writing keeps an existing file's mode, follows a symlink, and leaves no other file."""
    (guest / "file").write_text("old")
    (guest / "file").chmod(0o751)
    (guest / "link").symlink_to("file")
    machine.write_bytes(guest / "link", b"new")

    assert "new" == (guest / "file").read_text()
    assert (guest / "link").is_symlink()
    assert 0o751 == stat.S_IMODE((guest / "file").stat().st_mode)
    machine.write_bytes(guest / "file", b"", mode=0o600, owner=f"{os.getuid()}:{os.getgid()}")
    assert (b"", 0o600) == ((guest / "file").read_bytes(), stat.S_IMODE((guest / "file").stat().st_mode))
    assert ["file", "link"] == sorted(os.listdir(guest))


Act = Callable[[Machine, str], Any]
FAILURES: list[tuple[str, Act, type[OSError], int]] = [
    ("none", lambda m, p: m.read_bytes(p), FileNotFoundError, errno.ENOENT),
    ("folder", lambda m, p: m.read_bytes(p), IsADirectoryError, errno.EISDIR),
    ("none/x", lambda m, p: m.write_bytes(p, b""), FileNotFoundError, errno.ENOENT),
    ("file/x", lambda m, p: m.write_bytes(p, b""), NotADirectoryError, errno.ENOTDIR),
    ("folder", lambda m, p: m.write_bytes(p, b""), IsADirectoryError, errno.EISDIR),
    ("none", lambda m, p: m.stat(p), FileNotFoundError, errno.ENOENT),
    ("none", lambda m, p: m.listdir(p), FileNotFoundError, errno.ENOENT),
    ("file", lambda m, p: m.listdir(p), NotADirectoryError, errno.ENOTDIR),
    ("folder", lambda m, p: m.mkdir(p), FileExistsError, errno.EEXIST),
    ("file", lambda m, p: m.mkdir(p, exist_ok=True), FileExistsError, errno.EEXIST),
    ("none/x", lambda m, p: m.mkdir(p), FileNotFoundError, errno.ENOENT),
    ("file/x", lambda m, p: m.mkdir(p), NotADirectoryError, errno.ENOTDIR),
    ("none", lambda m, p: m.remove(p), FileNotFoundError, errno.ENOENT),
    ("folder", lambda m, p: m.remove(p), OSError, errno.ENOTEMPTY),
    ("none", lambda m, p: m.rename(p, f"{p}2"), FileNotFoundError, errno.ENOENT),
    ("file", lambda m, p: m.rename(p, f"{p}/none/x"), NotADirectoryError, errno.ENOTDIR),
    ("file", lambda m, p: m.rename(p, p.replace("file", "folder")), IsADirectoryError, errno.EISDIR),
    ("empty", lambda m, p: m.rename(p, p.replace("empty", "folder")), OSError, errno.ENOTEMPTY),
    ("none", lambda m, p: m.download(p, "/tmp/never"), FileNotFoundError, errno.ENOENT),
    ("file", lambda m, p: m.upload(os.path.dirname(p), p), NotADirectoryError, errno.ENOTDIR),
]


@pytest.mark.parametrize(("name", "act", "kind", "number"), FAILURES)
def test_failures_are_builtin_errors(  # noqa: PLR0917  (a row of the table)
    machine: Machine, guest: Path, name: str, act: Act, kind: type[OSError], number: int
) -> None:
    """A failure raises the builtin error, also a SmolvmError, with errno and filename, pickles, and changes nothing."""
    (guest / "file").write_text("old")
    (guest / "folder").mkdir()
    (guest / "folder/x").write_text("x")
    (guest / "empty").mkdir()
    before = sorted(guest.rglob("*"))
    with pytest.raises(kind) as caught:
        act(machine, str(guest / name))

    assert isinstance(caught.value, errors.GuestFileError)
    assert (number, str(guest / name)) == (caught.value.errno, caught.value.filename)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(caught.value), str(caught.value), number) == (type(copy), str(copy), copy.errno)
    assert before == sorted(guest.rglob("*"))
    assert "old" == (guest / "file").read_text()


def test_directories(machine: Machine, guest: Path) -> None:
    """Directories are made with parents and a mode, and removed empty or with contents, without following symlinks."""
    machine.mkdir(guest / "a/b/c", parents=True, mode=0o700)
    machine.mkdir(guest / "a/b/c", exist_ok=True)
    assert 0o700 == stat.S_IMODE((guest / "a/b/c").stat().st_mode)
    assert machine.stat(guest / "a").is_dir
    machine.remove(guest / "a/b/c")
    (guest / "kept").mkdir()
    (guest / "kept/x").touch()
    (guest / "a/link").symlink_to(guest / "kept")
    (guest / "a/.hidden").touch()
    assert [".hidden", "b", "link"] == machine.listdir(guest / "a")
    assert machine.stat(guest / "a/link", follow_symlinks=False).is_symlink
    machine.remove(guest / "a", recursive=True)
    machine.remove(guest / "a", missing_ok=True)

    assert ["kept"] == os.listdir(guest)
    assert (guest / "kept/x").exists()


def test_a_path_of_another_machine(machine: Machine) -> None:
    """A path of another machine, or one that is not absolute, is refused before anything runs."""
    with pytest.raises(ValueError, match="another machine"):
        machine.read_bytes(GuestPath("other", "/x", machine._runner.host))
    with pytest.raises(ValueError, match="must be an absolute path"):
        machine.write_bytes("x", b"")


def tree(folder: Path) -> dict[str, tuple[int, object]]:
    """Every name in a directory, with its mode and content."""
    found: dict[str, tuple[int, object]] = {}
    for path in folder.rglob("*"):
        info = path.lstat()
        content: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (0 if path.is_symlink() else stat.S_IMODE(info.st_mode), content)
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with files of each kind."""
    folder = tmp_path / "source"
    (folder / "deep/er/empty").mkdir(parents=True)
    (folder / "deep/read-only").mkdir()
    for number, name in enumerate(os.fsdecode(given) for given in NAMES):
        (folder / "deep" / name).write_bytes(os.urandom(number * 1000))
    (folder / "deep/read-only/x").write_text("x")
    (folder / "deep/read-only").chmod(0o555)
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    (folder / "secret").write_text("x")
    (folder / "secret").chmod(0o600)
    (folder / "link").symlink_to("deep/plain")
    (folder / "to-folder").symlink_to("deep")
    (folder / "dangling").symlink_to("nowhere")
    os.link(folder / "tool", folder / "hard")
    (folder / ("long" * 60)).write_text("long name")
    return folder


def test_trees_are_copied_both_ways(machine: Machine, guest: Path, source: Path, tmp_path: Path) -> None:
    """A tree is copied both ways with modes, times, symlinks and empty directories, and progress counts all bytes."""
    seen: list[tuple[int, int]] = []
    os.utime(source / "tool", (1_000_000_000, 1_000_000_000))
    machine.upload(source, guest / "new/target", progress=lambda done, total: seen.append((done, total)))

    assert tree(source) == tree(guest / "new/target")
    assert 1_000_000_000 == (guest / "new/target/tool").stat().st_mtime
    total = sum(path.stat().st_size for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    assert (total, total) == seen[-1]
    assert ["target"] == os.listdir(guest / "new")

    seen.clear()
    machine.download(guest / "new/target", tmp_path / "back", progress=lambda done, total: seen.append((done, total)))
    assert tree(source) == tree(tmp_path / "back")
    assert 1_000_000_000 == (tmp_path / "back/tool").stat().st_mtime
    assert (total, total) == seen[-1]
    assert {"host", "guest", "source", "back"} == {path.name for path in tmp_path.iterdir()}


def test_a_tree_is_merged_into_an_existing_directory(machine: Machine, guest: Path, source: Path) -> None:
    """A tree uploaded into an existing directory replaces files of the same names and keeps the others."""
    (guest / "target").mkdir()
    (guest / "target/other").write_text("stays")
    (guest / "target/tool").write_text("goes")
    machine.upload(source, guest / "target")

    assert "stays" == (guest / "target/other").read_text()
    assert tree(source) == {name: item for name, item in tree(guest / "target").items() if name != "other"}


def test_single_files(machine: Machine, guest: Path, source: Path, tmp_path: Path) -> None:
    """Single files are copied with their mode, and an existing file of the host is replaced atomically."""
    seen: list[int] = []
    machine.upload(source / "tool", guest / "tool", progress=lambda done, _: seen.append(done))
    assert (0o755, "#!/bin/sh\n") == (stat.S_IMODE((guest / "tool").stat().st_mode), (guest / "tool").read_text())
    assert [10] == seen

    (tmp_path / "got").write_text("old")
    machine.download(guest / "tool", tmp_path / "got")
    assert "#!/bin/sh\n" == (tmp_path / "got").read_text()


def test_refusals_before_anything_is_copied(machine: Machine, guest: Path, source: Path, tmp_path: Path) -> None:
    """A missing source, a wrong file type or an existing target is refused before anything is copied."""
    os.mkfifo(source / "fifo")
    with pytest.raises(ValueError, match="must hold only regular files"):
        machine.upload(source, guest / "x")
    assert [] == os.listdir(guest)
    with pytest.raises(FileNotFoundError):
        machine.upload(tmp_path / "none", guest / "x")
    (guest / "folder").mkdir()
    for target in (tmp_path / "source", tmp_path / "source/tool"):
        with pytest.raises(FileExistsError):
            machine.download(guest / "folder", target)
    with pytest.raises(errors.UnsafeArchiveError, match="more bytes than the limit"):
        machine.download(source / "tool", tmp_path / "new", limit=9)
    assert not (tmp_path / "new").exists()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"", size: int | None = None
) -> bytes:
    """One member of a hostile archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content) if size is None else size
    info.mode = 0o7777
    return info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape") + content + b"\0" * (-len(content) % 512)


HOSTILE: list[tuple[str, bytes]] = [
    ("leads outside", member("../x", content=b"x")),
    ("leads outside", member("/etc/x", content=b"x")),
    ("leads outside", member("a/../../x", content=b"x")),
    ("leads outside", member("a/..", tarfile.DIRTYPE)),
    ("link that leads outside", member("l", tarfile.SYMTYPE, "/etc/passwd")),
    ("link that leads outside", member("l", tarfile.SYMTYPE, "../x")),
    ("link that leads outside", member("a/l", tarfile.SYMTYPE, "../../x")),
    ("link that leads outside", member("a/b/up", tarfile.SYMTYPE, "../..") + member("a/b/l", tarfile.SYMTYPE, "up/..")),
    ("link that leads outside", member("l", tarfile.SYMTYPE, "")),
    ("through a symlink", member("l", tarfile.SYMTYPE, "d") + member("l/x", content=b"x")),
    ("through a symlink", member("d", tarfile.DIRTYPE) + member("l", tarfile.SYMTYPE, "d") + member("l/x", content=b"x")),
    ("twice", member("x", content=b"x") + member("x", content=b"y")),
    ("twice", member("l", tarfile.SYMTYPE, "x") + member("l", content=b"y")),
    ("leads outside", member("h", tarfile.LNKTYPE, "../../etc/passwd")),
    ("link to no file", member("h", tarfile.LNKTYPE, "none")),
    ("link to no file", member("l", tarfile.SYMTYPE, "x") + member("h", tarfile.LNKTYPE, "l")),
    ("no file, directory or link", member("z", tarfile.CHRTYPE)),
    ("no file, directory or link", member("z", tarfile.BLKTYPE)),
    ("no file, directory or link", member("z", tarfile.FIFOTYPE)),
    ("malformed tar", member("x", content=b"x", size=10**6)),
    ("malformed tar", b"this is no tar at all" * 100),
    ("more bytes than the limit", member("x", content=b"x" * 20_000)),
    ("more bytes than the limit", b"".join(member(f"d{number}", tarfile.DIRTYPE) for number in range(100))),
]


@pytest.mark.parametrize(("reason", "archive"), HOSTILE)
def test_a_hostile_archive_is_refused(tmp_path: Path, reason: str, archive: bytes) -> None:
    """A hostile archive is refused, and touches nothing outside of the target directory."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(errors.UnsafeArchiveError, match=reason):
        Unpacker(str(folder), 10_000, lambda _: None).unpack(io.BytesIO(archive + b"\0" * 1024))

    assert ["folder"] == os.listdir(tmp_path)


def test_setuid_bits_are_dropped(tmp_path: Path) -> None:
    """Setuid, setgid and sticky bits are dropped."""
    Unpacker(str(tmp_path), 10_000, lambda _: None).unpack(io.BytesIO(member("x", content=b"x") + b"\0" * 1024))

    assert 0o777 == stat.S_IMODE((tmp_path / "x").stat().st_mode)


def test_a_download_that_is_refused_leaves_nothing(tmp_path: Path, client: Smolvm, fake: FakeRunner) -> None:
    """A refused download leaves no target directory, and the guest's own error takes precedence."""
    fake.answer(["machine", "exec"], stdout="41ed 1 0 0 1\n", times=1)
    fake.answer(["machine", "exec"], stdout=member("../x", content=b"x") + b"\0" * 1024, times=1)
    with pytest.raises(errors.UnsafeArchiveError):
        client.machine("m").download("/x", tmp_path / "new")
    assert [] == os.listdir(tmp_path)


def test_a_guest_without_the_programs(client: Smolvm, fake: FakeRunner) -> None:
    """A guest without the needed programs raises an error that names what is missing."""
    fake.answer(["machine", "exec"], returncode=87, stderr="tar\n", times=1)
    fake.answer(
        ["machine", "exec"],
        returncode=1,
        stderr=as_json(
            "SMOLVM_ERROR", "agent operation failed: vm exec interactive: No such file or directory (os error 2)"
        ),
    )

    with pytest.raises(errors.ProgramNotFoundError, match="the guest has no program 'tar'"):
        client.machine("m").upload("tests", "/x")
    with pytest.raises(errors.ProgramNotFoundError):
        client.machine("m").read_bytes("/x")


def test_a_malformed_stat_raises(client: Smolvm, fake: FakeRunner) -> None:
    """Malformed output of a guest's stat raises a typed error."""
    for said in ("", "zzz 1 2 3 4", "41ed 1 2", "41ed a b c d"):
        fake.answer(["machine", "exec"], stdout=said, times=1)
        with pytest.raises(errors.GuestFileError):
            client.machine("m").stat("/x")


@pytest.mark.parametrize(("target", "woken"), [("/tmp/x", True), ("/run/x", True), ("/root/x", False)])
def test_a_copy_to_a_directory_that_is_mounted_late(
    client: Smolvm, fake: FakeRunner, tmp_path: Path, target: str, *, woken: bool
) -> None:
    """cp to a directory that an image machine mounts late first runs a command in it, once."""
    (tmp_path / "f").touch()
    fake.answer(["machine"])
    machine = client.machine("m")
    machine.cp(tmp_path / "f", machine.path(target))
    machine.cp(tmp_path / "f", machine.path(target), mode=0o600, uid=1, gid=2)

    kinds = [type(command) for command in fake.commands]
    assert [*([Exec] if woken else []), Cp, Cp] == kinds
    assert ("machine", "cp", "--mode", "600", "--uid", "1", "--gid", "2") == fake.argvs[-1][:8]
    with pytest.raises(ValueError, match="must be left out"):
        machine.cp(machine.path("/x"), tmp_path / "x", mode=0o600)


def test_a_guest_that_floods_or_blocks_an_upload(tmp_path: Path) -> None:
    """An upload to guest programs that never read, or never stop writing, ends with a typed error."""
    (tmp_path / "smolvm").write_text("#!/bin/sh\nexec cat /dev/zero\n")
    (tmp_path / "smolvm").chmod(0o755)
    machine = Smolvm(runner=SubprocessRunner(tmp_path / "smolvm", version="1.32.2")).machine("m")
    (tmp_path / "large").write_bytes(b"x" * 1_000_000)

    with pytest.raises(errors.GuestFileError, match="write too many messages"):
        machine.upload(tmp_path / "large", "/x")


@pytest.mark.timeout(60)
def test_a_fifo_as_a_source_is_not_waited_for(tmp_path: Path) -> None:
    """The check of a file to be copied does not wait for the writer of a FIFO, before any timeout applies."""
    os.mkfifo(tmp_path / "fifo")
    fake = FakeRunner()
    fake.answer(["machine", "cp"])
    Smolvm(runner=fake).machine("m").cp(tmp_path / "fifo", "m:/root/x")
    assert [("machine", "cp")] == [argv[:2] for argv in fake.argvs]

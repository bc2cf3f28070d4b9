"""Files of the guest: the scripts run on this host, as an engine that pretends would run them in a guest."""

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
    """A machine of a pretend engine; its guest's files are this host's."""
    (tmp_path / "host").mkdir()
    (tmp_path / "guest").mkdir()
    program = tmp_path / "host/smolvm"
    program.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    program.chmod(0o755)
    return Smolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m")


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """Where its files are."""
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
    """Written, found, listed, measured, read, renamed and removed: every byte of its name and content counts."""
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
    """UTF-8 unless told otherwise; a path can be built with `/`."""
    path = machine.path(guest) / "sub" / "file"
    machine.mkdir(path.parent)
    machine.write_text(path, "grün\n")
    machine.write_text(str(guest / "latin"), "grün", "latin-1")

    assert "grün\n" == machine.read_text(path)
    assert b"gr\xfcn" == machine.read_bytes(guest / "latin")
    assert "gr\ufffdn" == machine.read_text(guest / "latin", errors="replace")


def test_writing_keeps_what_it_is_not_told(machine: Machine, guest: Path) -> None:
    """Mode of a file that was there, and what a link leads to; nothing else is left beside it."""
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
def test_what_python_people_expect(  # noqa: PLR0917  (a row of the table)
    machine: Machine, guest: Path, name: str, act: Act, kind: type[OSError], number: int
) -> None:
    """The builtin error, which is a SmolvmError too, with errno and filename; it pickles; nothing was changed."""
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


def test_folders(machine: Machine, guest: Path) -> None:
    """Made with those on the way, with a mode; removed when empty, or with all that is in them, never through a link."""
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
    """And one that is not absolute: refused before anything runs."""
    with pytest.raises(ValueError, match="another machine"):
        machine.read_bytes(GuestPath("other", "/x", machine._runner.host))
    with pytest.raises(ValueError, match="not absolute"):
        machine.write_bytes("x", b"")


def tree(folder: Path) -> dict[str, tuple[int, object]]:
    """Every name in a folder, with its mode and content."""
    found: dict[str, tuple[int, object]] = {}
    for path in folder.rglob("*"):
        info = path.lstat()
        content: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (0 if path.is_symlink() else stat.S_IMODE(info.st_mode), content)
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with a bit of everything."""
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


def test_trees_go_in_and_come_out_whole(machine: Machine, guest: Path, source: Path, tmp_path: Path) -> None:
    """Modes, links, empty folders, names of any bytes; progress counts to the whole; times too."""
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


def test_a_tree_goes_into_a_folder_that_is_there(machine: Machine, guest: Path, source: Path) -> None:
    """Over files of the same names; others stay."""
    (guest / "target").mkdir()
    (guest / "target/other").write_text("stays")
    (guest / "target/tool").write_text("goes")
    machine.upload(source, guest / "target")

    assert "stays" == (guest / "target/other").read_text()
    assert tree(source) == {name: item for name, item in tree(guest / "target").items() if name != "other"}


def test_single_files(machine: Machine, guest: Path, source: Path, tmp_path: Path) -> None:
    """With their mode; an old one on the host is replaced at once."""
    seen: list[int] = []
    machine.upload(source / "tool", guest / "tool", progress=lambda done, _: seen.append(done))
    assert (0o755, "#!/bin/sh\n") == (stat.S_IMODE((guest / "tool").stat().st_mode), (guest / "tool").read_text())
    assert [10] == seen

    (tmp_path / "got").write_text("old")
    machine.download(guest / "tool", tmp_path / "got")
    assert "#!/bin/sh\n" == (tmp_path / "got").read_text()


def test_what_the_host_refuses(machine: Machine, guest: Path, source: Path, tmp_path: Path) -> None:
    """Before anything is moved: what is not there, what is no file, what would be overwritten."""
    os.mkfifo(source / "fifo")
    with pytest.raises(ValueError, match="neither a regular file, a directory nor a symlink"):
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
    """Whatever a guest sends stays in the folder, or is refused; nothing outside is touched."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(errors.UnsafeArchiveError, match=reason):
        Unpacker(str(folder), 10_000, lambda _: None).unpack(io.BytesIO(archive + b"\0" * 1024))

    assert ["folder"] == os.listdir(tmp_path)


def test_setuid_bits_do_not_arrive(tmp_path: Path) -> None:
    """Nor sticky ones: a guest's root is nobody here."""
    Unpacker(str(tmp_path), 10_000, lambda _: None).unpack(io.BytesIO(member("x", content=b"x") + b"\0" * 1024))

    assert 0o777 == stat.S_IMODE((tmp_path / "x").stat().st_mode)


def test_a_download_that_is_refused_leaves_nothing(tmp_path: Path, client: Smolvm, fake: FakeRunner) -> None:
    """Not even the folder that was to be; the guest's error wins over what it sent."""
    fake.answer(["machine", "exec"], stdout="41ed 1 0 0 1\n", times=1)
    fake.answer(["machine", "exec"], stdout=member("../x", content=b"x") + b"\0" * 1024, times=1)
    with pytest.raises(errors.UnsafeArchiveError):
        client.machine("m").download("/x", tmp_path / "new")
    assert [] == os.listdir(tmp_path)


def test_a_guest_without_the_programs(client: Smolvm, fake: FakeRunner) -> None:
    """The error names what is missing."""
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


def test_a_stat_that_says_nonsense(client: Smolvm, fake: FakeRunner) -> None:
    """Hostile guests: an error of ours, no traceback."""
    for said in ("", "zzz 1 2 3 4", "41ed 1 2", "41ed a b c d"):
        fake.answer(["machine", "exec"], stdout=said, times=1)
        with pytest.raises(errors.GuestFileError):
            client.machine("m").stat("/x")


@pytest.mark.parametrize(("target", "woken"), [("/tmp/x", True), ("/run/x", True), ("/root/x", False)])
def test_a_copy_to_what_an_image_mounts_late(
    client: Smolvm, fake: FakeRunner, tmp_path: Path, target: str, *, woken: bool
) -> None:
    """The machine's first exec comes first: what was there before is lost. Once it ran, it is not asked again."""
    (tmp_path / "f").touch()
    fake.answer(["machine"])
    machine = client.machine("m")
    machine.cp(tmp_path / "f", machine.path(target))
    machine.cp(tmp_path / "f", machine.path(target), mode=0o600, uid=1, gid=2)

    kinds = [type(command) for command in fake.commands]
    assert [*([Exec] if woken else []), Cp, Cp] == kinds
    assert ("machine", "cp", "--mode", "600", "--uid", "1", "--gid", "2") == fake.argvs[-1][:8]
    with pytest.raises(ValueError, match="only for copies into the guest"):
        machine.cp(machine.path("/x"), tmp_path / "x", mode=0o600)


def test_a_guest_that_floods_an_upload(tmp_path: Path) -> None:
    """Its programs are hostile too: they never read, and never stop to write."""
    (tmp_path / "smolvm").write_text("#!/bin/sh\nexec cat /dev/zero\n")
    (tmp_path / "smolvm").chmod(0o755)
    machine = Smolvm(runner=SubprocessRunner(tmp_path / "smolvm", version="1.32.2")).machine("m")
    (tmp_path / "large").write_bytes(b"x" * 1_000_000)

    with pytest.raises(errors.GuestFileError, match="write too many messages"):
        machine.upload(tmp_path / "large", "/x")

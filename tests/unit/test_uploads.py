"""Uploads into guests: by real shells, as root and as another user."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from smolkit import AsyncSmolvm, Machine, Smolvm, SubprocessRunner, errors
from smolkit.commands import guest_scripts
from smolkit.testing import FakeRunner, FakeSmolvm
from tests import trees
from tests.guests import CHROOTS, KINDS, USER, Guest, guest
from tests.processes import struck_after


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each shell, with its programs."""
    found: str = request.param
    return found


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory that every user of this host may read, unlike pytest's own."""
    folder = tempfile.mkdtemp(prefix="smolkit-", dir="/tmp")
    yield Path(folder)
    subprocess.run(["chmod", "-R", "u+rwx", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def there(kind: str, place: Path) -> Guest:
    """A guest whose commands run as root (or, without root, as the user)."""
    return guest(kind, place)


@pytest.fixture(params=["root", "user"])
def anybody(kind: str, place: Path, request: pytest.FixtureRequest) -> Guest:
    """A guest whose commands run as root or as another user."""
    return guest(kind, place, user=USER if request.param == "user" else 0)


def test_an_uploaded_tree_keeps_everything(anybody: Guest, tmp_path: Path) -> None:
    """An uploaded tree keeps content, modes and times, of directories and itself too, whoever the guest's user is."""
    trees.make(tmp_path / "source", many=500)
    anybody.machine.upload(tmp_path / "source", f"{anybody.inside}/new/tree")

    assert trees.held(tmp_path / "source") == trees.held(anybody.folder / "new/tree")
    assert (["new"], ["tree"]) == (os.listdir(anybody.folder), os.listdir(anybody.folder / "new"))


def test_a_tree_is_the_same_after_both_ways(anybody: Guest, tmp_path: Path) -> None:
    """A tree that is uploaded and downloaded is the same, except for special mode bits."""
    trees.make(tmp_path / "source", harmless=True)
    anybody.machine.upload(tmp_path / "source", f"{anybody.inside}/tree")
    anybody.machine.download(f"{anybody.inside}/tree", tmp_path / "back")

    assert trees.held(tmp_path / "source", 0o777) == trees.held(tmp_path / "back", 0o777)


def test_a_tree_over_an_existing_one(anybody: Guest, tmp_path: Path) -> None:
    """A tree uploaded over an existing one replaces symlinks without following them, and keeps other names."""
    trees.make(tmp_path / "source")
    (tmp_path / "there/sub").mkdir(parents=True)
    (tmp_path / "there/sub/other").write_text("stays")
    (tmp_path / "there/with space").write_text("old")
    anybody.machine.upload(tmp_path / "there", f"{anybody.inside}/target")
    (anybody.folder / "outside").write_text("untouched")
    links = {"plain": f"{anybody.inside}/outside", "sub/grün": "../../outside", "-": "nowhere", "!": "!"}
    for name, target in links.items():
        (anybody.folder / "target" / name).symlink_to(target)
    (anybody.folder / "target").chmod(0o700)
    anybody.machine.upload(tmp_path / "source", f"{anybody.inside}/target")

    expected, found = trees.held(tmp_path / "source"), trees.held(anybody.folder / "target")
    assert ("0o40700", b"stays") == (found.pop(".")[0], found.pop("sub/other")[1])
    expected.pop(".")
    assert expected == found
    assert "untouched" == (anybody.folder / "outside").read_text()


@pytest.mark.parametrize(
    ("name", "error"), [("sub", NotADirectoryError), ("plain", IsADirectoryError), ("link", NotADirectoryError)]
)
def test_a_tree_that_clashes_changes_nothing(there: Guest, tmp_path: Path, name: str, error: type[OSError]) -> None:
    """A tree with a directory where the guest has a file (or the reverse) changes nothing."""
    for folder in ("source/aaa", "source/sub", "source/link"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "source/plain").touch()
    target = there.folder / "target"
    target.mkdir()
    (there.folder / "elsewhere").mkdir()
    if name == "sub":
        (target / name).touch()
    elif name == "link":
        (target / name).symlink_to("../elsewhere")
    else:
        (target / name).mkdir()
    before = trees.held(there.folder)
    with pytest.raises(error):
        there.machine.upload(tmp_path / "source", f"{there.inside}/target")

    assert before.keys() == trees.held(there.folder).keys()


@pytest.mark.parametrize("kind", CHROOTS)
def test_a_mounted_file_is_written_to(there: Guest, tmp_path: Path) -> None:
    """A mounted file, as a container's /etc/hosts, is written to by write_text and by upload."""
    there.machine.write_text("/mounted", "written", mode=0o640)
    assert ("written", 0o640) == (there.machine.read_text("/mounted"), stat.S_IMODE(there.machine.stat("/mounted").mode))
    (tmp_path / "file").write_text("uploaded")
    there.machine.upload(tmp_path / "file", "/mounted")
    assert "uploaded" == there.machine.read_text("/mounted")
    there.machine.write_text("/mounted", "", owner="5:6")
    assert (5, 6) == ((found := there.machine.stat("/mounted")).uid, found.gid)
    assert "mounted" in there.machine.listdir("/")
    assert [] == [name for name in there.machine.listdir("/") if name.endswith(".part")]


def test_owners(there: Guest, tmp_path: Path) -> None:
    """owner= applies to all of a tree, and an existing directory keeps its owner and gets the tree's mode."""
    if os.getuid() != 0:
        pytest.skip("only root may change a file's owner")
    trees.make(tmp_path / "source")
    for number in (5, 6):
        there.machine.upload(tmp_path / "source", f"{there.inside}/tree", owner=f"{number}:7")
        found = {(os.lstat(path).st_uid, os.lstat(path).st_gid) for path in (there.folder / "tree").rglob("*")}
        folders = (there.folder / "tree").rglob("*/")
        assert {5} == {path.lstat().st_uid for path in folders if not path.is_symlink()}
        assert {(5, 7), (number, 7)} == found
        expected, held = (trees.held(path) for path in (tmp_path / "source", there.folder / "tree"))
        assert {name: item[0] for name, item in expected.items()} == {name: item[0] for name, item in held.items()}


@pytest.mark.parametrize("kind", CHROOTS)
def test_a_mount_point_is_not_renamed(there: Guest) -> None:
    """rename of a mount point raises the kernel's error, and changes nothing."""
    with pytest.raises(OSError, match="busy"):
        there.machine.rename("/proc", f"{there.inside}/new")
    assert [] == os.listdir(there.folder)


@pytest.mark.parametrize("name", ["\\0", "\\060", "-C", "new\nline\n", "*", "漢" * 80])
def test_a_tree_goes_to_the_right_place(there: Guest, tmp_path: Path, name: str) -> None:
    """Trees, files and downloads go to the right place, whatever the names of the directories above it."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("x")
    there.machine.upload(tmp_path / "source", f"{there.inside}/{name}/{name}")
    there.machine.upload(tmp_path / "source", f"{there.inside}/{name}")
    there.machine.upload(tmp_path / "source/file", f"{there.inside}/{name}/{name}/{name}")
    there.machine.download(f"{there.inside}/{name}", tmp_path / name)
    there.machine.download(f"{there.inside}/{name}/file", tmp_path / f"{name[:80]}2")

    assert [name] == os.listdir(there.folder)
    assert {".", "file", name, f"{name}/file", f"{name}/{name}"} == trees.held(there.folder / name).keys()
    assert trees.held(there.folder / name).keys() == trees.held(tmp_path / name).keys()


def test_a_tree_onto_a_file_or_a_dangling_symlink(there: Guest, tmp_path: Path) -> None:
    """An upload to a dangling symlink or onto a file raises Python's errors, on the fake too."""
    (tmp_path / "source").mkdir()
    (there.folder / "dangling").symlink_to("nowhere")
    (there.folder / "file").touch()
    with Smolvm(runner=(fake := FakeSmolvm())).machine("m") as machine:
        fake.machines["m"].files.symlink("/root/dangling", "nowhere")
        fake.machines["m"].files.write_bytes("/root/file", b"")
        for where, made in (("/root", machine), (there.inside, there.machine)):
            with pytest.raises(FileNotFoundError):
                made.upload(tmp_path / "source", f"{where}/dangling")
            with pytest.raises(FileNotFoundError):
                made.upload(tmp_path / "source", f"{where}/dangling/x")
            with pytest.raises(NotADirectoryError):
                made.upload(tmp_path / "source", f"{where}/file")
            with pytest.raises(NotADirectoryError):
                made.upload(tmp_path / "source", f"{where}/file/x/y")
    assert ["dangling", "file"] == sorted(os.listdir(there.folder))


def test_the_fake_keeps_a_tree_exactly(tmp_path: Path) -> None:
    """FakeSmolvm keeps a tree's modes, times and contents, also over an existing one."""
    trees.make(tmp_path / "source")
    with Smolvm(runner=(fake := FakeSmolvm())).machine("m") as machine:
        files = fake.machines["m"].files
        machine.upload(tmp_path / "source", "/root/tree")
        machine.mkdir("/root/there", mode=0o700)
        files.symlink("/root/there/plain", "/root/outside")
        machine.upload(tmp_path / "source", "/root/there")
        expected, own, found = trees.held(tmp_path / "source"), files.stat("/root/tree"), {}
        assert (0o40751, expected.pop(".")[2]) == (own.mode, own.mtime)
        for name, node in files.walk("/root/tree"):
            content = {stat.S_IFDIR: None, stat.S_IFLNK: os.fsdecode(node.data)}.get(stat.S_IFMT(node.mode), node.data)
            found[name] = (oct(node.mode), content, 0 if stat.S_ISLNK(node.mode) else node.mtime)
        assert expected == found
        assert (0o700, False) == (stat.S_IMODE(files.stat("/root/there").mode), machine.exists("/root/outside"))


def test_an_unreadable_directory_fails_the_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable directory of the host fails the upload before anything runs."""
    (tmp_path / "source/closed").mkdir(parents=True)
    (tmp_path / "source/closed/file").touch()
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with Smolvm(runner=(fake := FakeSmolvm())).machine("m") as machine, pytest.raises(PermissionError):
        machine.upload(tmp_path / "source", "/root/tree")
        assert not fake.machines["m"].files.exists("/root/tree")


def test_a_tree_deeper_than_the_recursion_limit(tmp_path: Path) -> None:
    """A tree deeper than Python's recursion limit is uploaded."""
    path = str(tmp_path / "source")
    depth = 1200
    os.makedirs(path)
    here = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with Smolvm(runner=(fake := FakeSmolvm())).machine("m") as machine:
        try:
            machine.upload(path, "/root/tree")
        finally:
            subprocess.run(["rm", "-rf", path], check=True)  # pytest cannot remove a tree this deep
        assert depth == sum(1 for _ in fake.machines["m"].files.walk("/root/tree"))


def test_single_files_keep_mode_and_time(anybody: Guest, tmp_path: Path) -> None:
    """Single files keep mode and time both ways, over existing ones too."""
    for mode, moment in ((0o600, 10**9), (0o755, -1000), (0o444, 2**31 + 1), (0o644, 0)):
        source, inside = tmp_path / f"source {mode}", f"{anybody.inside}/file"
        source.write_text(str(mode))
        source.chmod(mode)
        os.utime(source, (moment, moment))
        anybody.machine.upload(source, inside)
        anybody.machine.download(inside, tmp_path / "back")
        for found in (anybody.folder / "file", tmp_path / "back"):
            assert (mode, moment, str(mode)) == (
                stat.S_IMODE(found.stat().st_mode),
                found.stat().st_mtime,
                found.read_text(),
            )
        (anybody.folder / "file").chmod(0o666)


@pytest.mark.parametrize("time", [10**11, -(10**11)])
def test_an_impossible_time(client: Smolvm, fake: FakeRunner, tmp_path: Path, time: int) -> None:
    """A file with an impossible time is copied without it, and a number that is no time is refused."""
    fake.answer(["machine", "exec"], stdout=f"81a4 1 0 0 {time}\n", times=1)
    fake.answer(["machine", "exec"], stdout="x", times=1)
    fake.answer(["machine", "exec"], stdout=f"81a4 1 0 0 {time}0000\n", times=1)
    client.machine("m").download("/x", tmp_path / "new")
    assert "x" == (tmp_path / "new").read_text()
    with pytest.raises(errors.GuestFileError):
        client.machine("m").download("/x", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_arriving_file_is_private(there: Guest) -> None:
    """An arriving file is readable by the guest's user only, and is written beside the one that it replaces."""
    (there.folder / "elsewhere").mkdir()
    (there.folder / "link").symlink_to("elsewhere/new")
    part = there.folder / "elsewhere/.part"
    words = guest_scripts.words(guest_scripts.WRITE, f"{there.inside}/link", ".part", "9", "640", "", "")
    with there.machine.popen(words, stdin=True) as process:
        assert process.stdin is not None
        process.stdin.write("secret")
        until = time.monotonic() + 60
        while not part.exists() or not part.stat().st_size:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert 0o600 == stat.S_IMODE(part.stat().st_mode)
        process.stdin.write("!!!")
        process.stdin.close()
        assert 0 == process.wait()
    assert 0o640 == stat.S_IMODE((there.folder / "elsewhere/new").stat().st_mode)
    assert ["new"] == os.listdir(there.folder / "elsewhere")


def test_a_device_is_written_to(there: Guest) -> None:
    """A device is written to, and not replaced."""
    if os.getuid() != 0:
        pytest.skip("only root may create devices")
    os.mknod(there.folder / "null", 0o020666, os.makedev(1, 3))
    there.machine.write_text(f"{there.inside}/null", "gone")
    assert "" == there.machine.read_text(f"{there.inside}/null")
    assert (there.folder / "null").is_char_device()


def test_a_file_in_proc_is_written_to(there: Guest) -> None:
    """A file in /proc is written to, since none can be created beside it."""
    there.machine.write_text("/proc/self/comm", "renamed")
    with pytest.raises(OSError, match="cannot write '/proc/version' in machine"):
        there.machine.write_text("/proc/version", "x")


def test_names_of_the_greatest_length(there: Guest) -> None:
    """The longest file names are written, listed and renamed, counted in bytes, also when hidden by a leading dot."""
    name, odd = "漢" * 85, os.fsdecode(b".\xff")
    there.machine.write_text(f"{there.inside}/{name}", "x")
    there.machine.rename(f"{there.inside}/{name}", f"{there.inside}/{name[:-1]}äb")
    there.machine.write_text(f"{there.inside}/{odd}", "x")
    assert sorted([f"{name[:-1]}äb", odd]) == there.machine.listdir(there.inside)


REFUSED: list[tuple[str, Callable[[Machine, str], object]]] = [
    ("read", lambda m, w: m.read_bytes(f"{w}/unreadable")),
    ("read below", lambda m, w: m.read_bytes(f"{w}/closed/file")),
    ("write", lambda m, w: m.write_bytes(f"{w}/unwritable", b"")),
    ("write new", lambda m, w: m.write_bytes(f"{w}/closed/new", b"")),
    ("write beside", lambda m, w: m.write_bytes(f"{w}/fixed/new", b"")),
    ("write through", lambda m, w: m.write_bytes(f"{w}/link", b"")),
    ("stat", lambda m, w: m.stat(f"{w}/closed/file")),
    ("listdir", lambda m, w: m.listdir(f"{w}/closed")),
    ("mkdir", lambda m, w: m.mkdir(f"{w}/fixed/new")),
    ("mkdir all", lambda m, w: m.mkdir(f"{w}/closed/new/way", parents=True)),
    ("remove", lambda m, w: m.remove(f"{w}/fixed/file")),
    ("remove all", lambda m, w: m.remove(f"{w}/fixed", recursive=True)),
    ("remove below", lambda m, w: m.remove(f"{w}/closed/file")),
    ("rename", lambda m, w: m.rename(f"{w}/fixed/file", f"{w}/new")),
    ("rename into", lambda m, w: m.rename(f"{w}/unwritable", f"{w}/fixed/new")),
    ("rename over", lambda m, w: m.rename(f"{w}/mine", f"{w}/fixed/empty")),
    ("owner", lambda m, w: m.write_bytes(f"{w}/new", b"", owner="0")),
    ("upload", lambda m, w: m.upload(Path(__file__).parent.parent / "grammar", f"{w}/fixed/new")),
    ("upload over", lambda m, w: m.upload(Path(__file__).parent.parent / "grammar", f"{w}/fixed")),
    ("upload one", lambda m, w: m.upload(__file__, f"{w}/unwritable")),
    ("download", lambda m, w: m.download(f"{w}/closed", "/tmp/never")),
    ("download one", lambda m, w: m.download(f"{w}/unreadable", "/tmp/never")),
]


def test_permission_errors(kind: str, place: Path) -> None:
    """A guest's user who is not root gets PermissionError, and nothing is changed."""
    there = guest(kind, place, user=USER)
    for name, mode, owner in (
        *(("closed", 0o700, 0), ("fixed", 0o755, 0), ("fixed/empty", 0o755, 0), ("mine", 0o755, USER)),
        *(("closed/file", 0, 0), ("fixed/file", 0, USER), ("unreadable", 0o200, USER), ("unwritable", 0o444, USER)),
    ):
        (there.folder / name).mkdir() if mode & 0o100 else (there.folder / name).touch()
        (there.folder / name).chmod(mode)
        os.chown(there.folder / name, owner, owner)
    (there.folder / "link").symlink_to("unwritable")
    before = trees.held(there.folder)
    before.pop(".")
    wrong: dict[str, object] = {}
    for what, act in REFUSED:
        try:
            wrong[what] = act(there.machine, there.inside)
        except PermissionError as error:
            assert isinstance(error, errors.GuestPermissionError)
        except OSError as error:
            wrong[what] = error
    assert {} == wrong
    assert before == {name: item for name, item in trees.held(there.folder).items() if name != "."}


class Stopped(BaseException):
    """The exception of the signal handler."""


# An interrupt may come between the opening of a file and its `with`.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", ["tree", "file", "write"])
def test_an_interrupted_upload_leaves_nothing(what: str, tmp_path: Path) -> None:
    """An interrupt at any point of an upload leaves all of it or nothing."""
    there, source = guest("host", tmp_path), tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / f"{number}").write_bytes(os.urandom(20_000))
    acts: dict[str, Callable[[], object]] = {
        "tree": lambda: there.machine.upload(source, f"{there.inside}/new"),
        "file": lambda: there.machine.upload(source / "0", f"{there.inside}/new"),
        "write": lambda: there.machine.write_bytes(f"{there.inside}/new", b"x" * 100_000),
    }

    chance, started = random.Random(1), time.monotonic()  # noqa: S311  (no secret)
    acts[what]()
    took, struck = time.monotonic() - started, 0
    for _ in range(40):
        there.machine.remove(f"{there.inside}/new", recursive=True, missing_ok=True)
        with suppress(Stopped), struck_after(chance.uniform(0.0005, took), Stopped()):
            acts[what]()
            struck -= 1
        struck += 1
        assert os.listdir(there.folder) in ([], ["new"])
    gc.collect()  # files that an interrupt left open, while their ResourceWarnings are expected
    assert struck


def test_a_cancelled_upload_leaves_nothing(tmp_path: Path) -> None:
    """A cancelled async upload leaves nothing."""
    there = guest("host", tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/large").write_bytes(os.urandom(30_000_000))

    async def main() -> None:
        machine = AsyncSmolvm(runner=SubprocessRunner(tmp_path / "smolvm", version="1.32.2")).machine("m")
        arrived = asyncio.Event()
        task = asyncio.create_task(
            machine.upload(tmp_path / "source", f"{there.inside}/new", progress=lambda *_: arrived.set())
        )
        await asyncio.wait_for(arrived.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [] == os.listdir(there.folder)


def test_a_file_that_shrinks_while_it_is_sent(tmp_path: Path) -> None:
    """A host file that shrinks during its upload raises, and leaves nothing in the guest."""
    there, source = guest("host", tmp_path), tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(b"x" * 5_000_000)

    def shrink(done: int, total: int) -> None:
        os.truncate(source / "large", 10)

    with pytest.raises(OSError, match="unexpected end of data"):
        there.machine.upload(source, f"{there.inside}/new", progress=shrink)
    assert [] == os.listdir(there.folder)

"""Bounds of file calls: parts of files, limits, timeouts, what may never end, and as whom they run."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smolkit import Machine, Smolvm, errors
from smolkit.testing import FakeRunner, FakeSmolvm, NamespaceEngine
from tests.guests import KINDS, USER, Guest, guest


@pytest.fixture(params=KINDS)
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Guest:
    """Each shell, with its programs."""
    return guest(request.param, tmp_path)


DATA = bytes(number % 251 for number in range(20_000))
PARTS = [0, 1, 7, 4095, 4096, 4097, 8192, 19_999, 20_000, 20_001, 10**15]


@pytest.mark.parametrize("offset", PARTS)
def test_parts_of_a_file(there: Guest, offset: int) -> None:
    """A part is the slice of the content, wherever it begins and ends; past the end there is nothing."""
    (there.folder / "file").write_bytes(DATA)
    path = f"{there.inside}/file"
    assert DATA[offset:] == there.machine.read_bytes(path, offset=offset)
    for length in (0, 1, 4096, 5000, 30_000):
        assert DATA[offset : offset + length] == there.machine.read_bytes(path, offset=offset, length=length)


def test_limits(there: Guest) -> None:
    """More bytes than the limit raise, with the limit and the beginning; as many as it, or a part within it, do not."""
    (there.folder / "file").write_bytes(DATA)
    path = f"{there.inside}/file"
    assert DATA == there.machine.read_bytes(path, limit=len(DATA))
    assert DATA[5000:5010] == there.machine.read_bytes(path, offset=5000, length=10, limit=10)
    choices: list[dict[str, Any]] = [{}, {"offset": 4097}, {"length": 200}]
    for options in choices:
        with pytest.raises(errors.OutputLimitError, match="more than the limit of 100 bytes") as caught:
            there.machine.read_bytes(path, limit=100, **options)
        copy = pickle.loads(pickle.dumps(caught.value))
        start = options.get("offset", 0)
        assert (100, DATA[start : start + 100]) == (copy.limit, copy.completed.stdout)
    with pytest.raises(errors.OutputLimitError):
        there.machine.read_text(path, "latin-1", limit=5)


def test_a_part_of_a_device_and_of_a_file_of_the_kernel(there: Guest) -> None:
    """A device without end is read up to a length or a limit, and a file in /proc, whose size is 0, is read."""
    if os.getuid() == 0:
        os.mknod(there.folder / "zero", 0o020666, os.makedev(1, 5))
        zero = f"{there.inside}/zero"
        assert b"\0" * 5000 == there.machine.read_bytes(zero, length=5000)
        assert b"\0" * 10 == there.machine.read_bytes(zero, offset=10_000, length=10)
        with pytest.raises(errors.OutputLimitError):
            there.machine.read_bytes(zero, limit=10_000)
    version = Path("/proc/version").read_bytes()
    assert version == there.machine.read_bytes("/proc/version")
    assert version[3:9] == there.machine.read_bytes("/proc/version", offset=3, length=6)


@pytest.mark.parametrize("options", [{}, {"length": 1}, {"offset": 5000}])
def test_what_may_never_end_is_refused(there: Guest, options: dict[str, Any], tmp_path: Path) -> None:
    """A FIFO or a socket is neither read nor written, through a symlink neither."""
    os.mkfifo(there.folder / "fifo")
    (there.folder / "link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{os.open(there.folder, os.O_PATH)}/socket")
        for name in ("fifo", "link", "socket"):
            path = f"{there.inside}/{name}"
            acts: list[Callable[[], object]] = [
                lambda path=path: there.machine.read_bytes(path, **options),  # type: ignore[misc]
                lambda path=path: there.machine.write_bytes(path, b"x"),  # type: ignore[misc]
                lambda path=path: there.machine.upload(__file__, path),  # type: ignore[misc]
                lambda path=path: there.machine.download(path, tmp_path / "new"),  # type: ignore[misc]
            ]
            for act in acts:
                with pytest.raises(errors.GuestFileError, match="a FIFO or a socket") as caught:
                    act()
                assert errno.EINVAL == caught.value.errno
    assert stat.S_ISFIFO((there.folder / "fifo").stat().st_mode)
    assert ["fifo", "link", "socket"] == there.machine.listdir(there.inside)


@pytest.mark.parametrize("name", ["new/way/file", "file", "far", "to/sub/file"])
def test_missing_parents_are_made(there: Guest, name: str) -> None:
    """parents=True makes the missing directories of a new file, also those of a dangling symlink's target."""
    (there.folder / "far").symlink_to("no/where")
    (there.folder / "to").symlink_to("there")
    (there.folder / "there").mkdir()
    path = f"{there.inside}/{name}"
    there.machine.write_text(path, "first", parents=True, mode=0o600)
    there.machine.write_text(path, "second", parents=True)
    assert ("second", 0o600) == (there.machine.read_text(path), stat.S_IMODE(there.machine.stat(path).mode))
    there.machine.upload(__file__, f"{path}.d/uploaded", parents=True)
    assert Path(__file__).read_text() == there.machine.read_text(f"{path}.d/uploaded")
    folders = [entry for entry in there.folder.rglob("*") if entry.is_dir() and not entry.is_symlink()]
    assert {0o755} == {stat.S_IMODE(folder.stat().st_mode) for folder in folders}


def test_parents_that_cannot_be_made(there: Guest) -> None:
    """A file in the place of a parent is a NotADirectoryError, and changes nothing."""
    (there.folder / "file").write_text("old")
    acts: list[Callable[[str], object]] = [
        lambda path: there.machine.write_bytes(path, b"x", parents=True),
        lambda path: there.machine.upload(__file__, path, parents=True),
        lambda path: there.machine.mkdir(path, parents=True),
    ]
    for act in acts:
        with pytest.raises(NotADirectoryError):
            act(f"{there.inside}/file/x/y")
    assert (["file"], "old") == (os.listdir(there.folder), (there.folder / "file").read_text())


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user of this host may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="smolkit-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_another_users_file_that_may_be_written(kind: str, place: Path) -> None:
    """It gets the content and keeps owner and mode, as in pathlib; what only its owner may change is a PermissionError."""
    there = guest(kind, place, user=USER)
    shared = there.folder / "shared"
    shared.write_text("old")
    shared.chmod(0o666)
    there.machine.write_text(f"{there.inside}/shared", "new")
    assert ("new", 0, 0o666) == (shared.read_text(), shared.stat().st_uid, stat.S_IMODE(shared.stat().st_mode))
    acts: list[Callable[[str], object]] = [
        lambda path: there.machine.write_text(path, "newer", mode=0o600),
        lambda path: there.machine.upload(__file__, path),
    ]
    for act in acts:
        with pytest.raises(PermissionError):
            act(f"{there.inside}/shared")
    shared.chmod(0o644)
    with pytest.raises(PermissionError):
        there.machine.write_text(f"{there.inside}/shared", "newer")
    assert (["shared"], "new") == (os.listdir(there.folder), shared.read_text())


# The kernel's errors, each of an act on full, read-only, circular and overlong places.
LONG, README = "x" * 300, Path(__file__).parents[2] / "README.md"
KERNEL: list[tuple[int, Callable[[Machine], object]]] = [
    (errno.ENOSPC, lambda m: list(map(m.mkdir, map("/full/{}".format, range(9))))),
    (errno.ENOSPC, lambda m: m.mkdir("/full/a/b/c/d/e/f", parents=True)),
    (errno.ENOSPC, lambda m: m.write_bytes("/full/x", bytes(100_000))),
    (errno.ENOSPC, lambda m: m.write_bytes("/full/q/r/s/t/u/v", b"", parents=True)),
    (errno.ENOSPC, lambda m: m.upload(README, "/full/new")),
    (errno.EROFS, lambda m: m.mkdir("/fixed/a")),
    (errno.EROFS, lambda m: m.mkdir("/fixed/a/b", parents=True)),
    (errno.EROFS, lambda m: m.write_bytes("/fixed/a", b"")),
    (errno.EROFS, lambda m: m.write_bytes("/fixed/a/b", b"", parents=True)),
    (errno.EROFS, lambda m: m.write_bytes("/fixed/file", b"")),
    (errno.EROFS, lambda m: m.remove("/fixed/file")),
    (errno.EROFS, lambda m: m.rename("/fixed/file", "/fixed/new")),
    (errno.EROFS, lambda m: m.upload(README.parent / "tests/grammar", "/fixed/tree")),
    (errno.EBUSY, lambda m: m.rename("/fixed", "/root/new")),
    (errno.ELOOP, lambda m: m.read_bytes("/loop")),
    (errno.ELOOP, lambda m: m.write_bytes("/loop", b"")),
    (errno.ELOOP, lambda m: m.write_bytes("/loop/x/y", b"", parents=True)),
    (errno.ELOOP, lambda m: m.mkdir("/loop/x")),
    (errno.ELOOP, lambda m: m.mkdir("/loop/x/y", parents=True)),
    (errno.ELOOP, lambda m: m.listdir("/loop")),
    (errno.ELOOP, lambda m: m.stat("/loop")),
    (errno.ELOOP, lambda m: m.rename("/root", "/loop/x")),
    (errno.ENAMETOOLONG, lambda m: m.read_bytes(f"/{LONG}")),
    (errno.ENAMETOOLONG, lambda m: m.write_bytes(f"/{LONG}", b"")),
    (errno.ENAMETOOLONG, lambda m: m.write_bytes(f"/{LONG}/x", b"", parents=True)),
    (errno.ENAMETOOLONG, lambda m: m.mkdir(f"/{LONG}")),
    (errno.ENAMETOOLONG, lambda m: m.mkdir(f"/{LONG}/x", parents=True)),
    (errno.ENAMETOOLONG, lambda m: m.listdir(f"/{LONG}")),
    (errno.ENAMETOOLONG, lambda m: m.remove(f"/{LONG}")),
]
PLACES = """
mkdir /full /fixed; ln -s loop /loop
mount -t tmpfs -o size=16k,nr_inodes=5 none /full
mount -t tmpfs none /fixed; echo old >/fixed/file; mount -o remount,ro none /fixed
"""


def test_errors_of_the_kernel_keep_their_kind(local: Smolvm) -> None:
    """No space, a read-only file system, circular symlinks and overlong names are told apart, for every verb."""
    found: list[object] = []
    with local.machine("m") as machine:
        machine.sh(PLACES, check=True)
        for _, act in KERNEL:
            machine.sh("rm -rf /full/*", check=True)
            try:
                found.append(act(machine))
            except OSError as error:
                found.append(error.errno)
    assert [number for number, _ in KERNEL] == found


@pytest.fixture
def image(engine: NamespaceEngine, local: Smolvm) -> str:
    """An image: the root file system of a bare machine."""
    with local.machine("base"):
        return str((engine.folder / "data/base/lower").resolve())


@pytest.mark.parametrize("kind", ["bare", "image"])
def test_as_another_user(local: Smolvm, image: str, tmp_path: Path, kind: str) -> None:
    """With user= every file verb has that user's permissions, and what it makes is theirs."""
    if os.getuid() != 0:
        pytest.skip("only root has guests with other users")
    them = "them" if kind == "bare" else "1234:1234"
    with local.machine("m", image=None if kind == "bare" else image) as machine:
        machine.sh("echo them:x:1234:1234::/home/them:/bin/sh >>/etc/passwd; echo them:x:1234: >>/etc/group", check=True)
        machine.mkdir("/home/them", parents=True)
        machine.sh("chown 1234:1234 /home/them && echo root >/root/file && chmod 700 /root", check=True)
        machine.write_text("/home/them/new", "theirs", user=them)
        machine.mkdir("/home/them/way", user=them)
        machine.upload(__file__, "/home/them/way/up", user=them)
        machine.download("/home/them/way/up", tmp_path / "back", user=them)
        names = ["new", "way", "way/up"]
        assert {(1234, 1234)} == {((found := machine.stat(f"/home/them/{name}")).uid, found.gid) for name in names}
        assert ["new", "way"] == machine.listdir("/home/them", user=them)
        assert ["new", "way"] == [entry.name for entry in machine.scandir("/home/them", user=them)]
        assert ["/home/them/way/up"] == machine.glob("/home/them", "**/up", user=them)
        assert [] == list(machine.walk("/root", user=them))
        assert "theirs" == machine.read_text("/home/them/new", user=them)
        assert machine.exists("/home/them/new", user=them)
        acts: list[Callable[[], object]] = [
            lambda: machine.read_bytes("/root/file", user=them),
            lambda: machine.write_bytes("/etc/passwd", b"", user=them),
            lambda: machine.upload(__file__, "/etc/passwd", user=them),
            lambda: machine.download("/root/file", tmp_path / "no", user=them),
            lambda: machine.listdir("/root", user=them),
            lambda: machine.scandir("/root", user=them),
            lambda: machine.mkdir("/new", user=them),
            lambda: machine.remove("/etc/passwd", user=them),
            lambda: machine.rename("/etc/passwd", "/etc/new", user=them),
            lambda: machine.stat("/root/file", user=them),
        ]
        for act in acts:
            with pytest.raises(PermissionError):
                act()
        assert "root\n" == machine.read_text("/root/file")


def test_a_user_where_there_is_none(fake: FakeRunner) -> None:
    """An engine that cannot run programs as another user is told so before anything runs."""
    old = FakeSmolvm("1.8.3")
    with Smolvm(runner=old).machine("m", image="alpine") as machine:
        for act in (lambda: machine.read_bytes("/x", user="a"), lambda: machine.upload(__file__, "/x", user="a")):
            with pytest.raises(errors.UnsupportedByEngineError, match="machine exec --user"):
                act()
    with pytest.raises(ValueError, match="user must be left out"):
        Smolvm(runner=fake).machine("m").exists(user="a")
    assert not fake.invocations


SLOW_CAT = """#!/bin/busybox sh
for word; do :; done
[ "$word" != /root/slow ] || exec busybox sleep 100
exec busybox cat "$@"
"""


def test_a_file_call_that_takes_too_long(local: Smolvm, tmp_path: Path) -> None:
    """It is ended, also if what it reads gives nothing; what it was writing is gone, and the old file as it was."""
    with local.machine("m") as machine:
        machine.write_text("/root/slow", "old")
        machine.write_text("/cat", SLOW_CAT, mode=0o755)
        machine.sh("rm /bin/cat; mv /cat /bin/cat", check=True)
        for act in (
            lambda: machine.read_bytes("/root/slow", timeout=1),
            lambda: machine.download("/root/slow", tmp_path / "slow", timeout=1),
        ):
            with pytest.raises(errors.ExecTimeoutError):
                act()
        machine.write_text("/cat", "#!/bin/busybox sh\nbusybox head -c 3; exec busybox sleep 100\n", mode=0o755)
        machine.sh("mv /cat /bin/cat", check=True)
        writes: list[Callable[[], object]] = [
            lambda: machine.write_text("/root/slow", "new text", timeout=1),
            lambda: machine.upload(__file__, "/root/slow", timeout=1),
        ]
        for write in writes:
            with pytest.raises(errors.ExecTimeoutError):
                write()
        assert "old" == machine.sh("busybox cat /root/slow").stdout
        assert ["slow"] == machine.listdir("/root")
    assert not (tmp_path / "slow").exists()


def test_every_file_verb_is_bounded(fake: FakeRunner) -> None:
    """Without a timeout of its own a call has 15 minutes, and none with timeout=None."""
    fake.answer(["machine", "exec"], stdout="81a4 0 0 0 0\n")
    machine = Smolvm(runner=fake).machine("m")
    acts: list[Callable[..., object]] = [
        lambda **o: machine.read_bytes("/x", **o),
        lambda **o: machine.read_text("/x", **o),
        lambda **o: machine.write_bytes("/x", b"", **o),
        lambda **o: machine.write_text("/x", "", **o),
        lambda **o: machine.stat("/x", **o),
        lambda **o: machine.exists("/x", **o),
        lambda **o: machine.mkdir("/x", **o),
        lambda **o: machine.remove("/x", **o),
        lambda **o: machine.rename("/x", "/y", **o),
    ]
    for act in acts:
        act()
        assert ("900s", 930.0) == (_timeout(fake), fake.invocations[-1].timeout)
        act(timeout=2.5)
        assert ("2500ms", 32.5) == (_timeout(fake), fake.invocations[-1].timeout)
        act(timeout=None)
        assert ("", None) == (_timeout(fake), fake.invocations[-1].timeout)


def _timeout(fake: FakeRunner) -> str:
    argv = fake.invocations[-1].argv
    return argv[argv.index("--timeout") + 1] if "--timeout" in argv else ""

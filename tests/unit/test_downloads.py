"""Downloads from a guest that attacks: what it sends is refused, or stays inside; nothing is kept; memory is flat."""

from __future__ import annotations

import io
import itertools
import os
import re
import resource
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from smolkit import Machine, Smolvm, SubprocessRunner, errors
from smolkit.archive import Unpacker, fresh_folder
from smolkit.testing import FakeRunner
from tests.unit.test_archive_fuzz import put
from tests.unit.test_files import member

DIR, SYM, LNK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
END = b"\0" * 1024
MIB = 2**20
LIMIT = 2 * MIB


class Endless:
    """A guest that sends pieces for as long as it is read; counts the bytes that were taken."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest, self.taken = iter(pieces), b"", 0

    def read(self, size: int) -> bytes:
        """So many bytes, or fewer; none at the end."""
        self._rest = self._rest or next(self._pieces, b"")
        chunk, self._rest = self._rest[:size], self._rest[size:]
        self.taken += len(chunk)
        return chunk


def deep(*names: str) -> bytes:
    """Directories in each other."""
    return b"".join(member("/".join(names[:count]), DIR) for count in range(1, len(names) + 1))


def long(name: str, target: str = "") -> bytes:
    """A directory, or a symlink, with names of any length."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = SYM if target else DIR, 0o755, target
    return info.tobuf(tarfile.GNU_FORMAT)


def download(place: Path, stream: object, limit: int = 4 * 2**30) -> Path:
    """Unpacks what a guest sends, as `Machine.download` does."""
    target = place / "target"
    with fresh_folder(str(target)) as part:
        Unpacker(part, limit, lambda _: None).unpack(stream)
    return target


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose guest's files are this host's, and whose guest's programs are those in `bin`, if it has them."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/smolvm"
    script = f'PATH={tmp_path}/bin:$PATH; while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Smolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m")


def says(folder: Path, name: str, script: str) -> None:
    """Replaces one of the guest's programs."""
    (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / name).chmod(0o755)


@contextmanager
def nobody(place: Path) -> Iterator[Path]:
    """Another user than root, in a directory that is theirs; by a relative path, since those above may be root's."""
    before = Path.cwd()
    os.chdir(place)
    if os.geteuid() == 0:
        os.chown(place, 65534, 65534)
        os.seteuid(65534)
    try:
        yield Path()
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        os.chdir(before)


ESCAPES: list[tuple[str, bytes]] = [
    # `...` is a name like any other, which a strip of "./" eats.
    ("outside", deep("a", "b", "c") + member("a/b/c/...", SYM, "../../..")
     + member("a/b/c/key", SYM, ".../../../home/id_rsa")),
    ("outside", member("...", SYM, ".") + member("key", SYM, ".../../etc/passwd")),
    ("outside", deep(*"abcdefgh" * 5) + member("/".join("abcdefgh" * 5) + "/l", SYM, "../" * 40 + "../etc/passwd")),
    # A link that is fine by itself, and one through it that is not, in both orders.
    ("outside", deep("d", "e") + member("d/e/top", SYM, "../..") + member("l", SYM, "d/e/top/../x")),
    ("outside", member("l", SYM, "d/e/top/../x") + deep("d", "e") + member("d/e/top", SYM, "../..")),
    ("outside", member("one", SYM, "two/../..") + member("two", SYM, "d") + deep("d")),
    ("outside", deep("d") + b"".join(member(f"d/{n}", SYM, f"{n - 1}" if n else "..") for n in range(9))
     + member("l", SYM, "d/8/..")),
    # What is not there may be made later by the next download.
    ("outside", member("l", SYM, "later/x/../../..")),
    ("outside", member("loop", SYM, "loop") + member("l", SYM, "loop/..")),
    ("outside", member("x", content=b"x") + member("l", SYM, "x/..")),
    # Members named like a link, or through one: its target would get the mode and the time.
    ("through a link", member("l", SYM, ".") + member("l", DIR)),
    ("through a link", deep("a", "b", "c") + member("a/b/c/...", SYM, "../../..") + member("a/b/c/...", DIR)),
    ("through a link", deep("d") + member("l", SYM, "d") + member("l/x", DIR)),
    ("through a link", deep("d") + member("l", SYM, "d") + member("d/x", content=b"x") + member("h", LNK, "l/x")),
    ("through a file", member("x", content=b"x") + member("x/y", content=b"y")),
    ("through a file", member("x", content=b"x") + member("x", DIR)),
    ("twice", deep("d") + member("d", DIR)),
    ("twice", member("d/x", content=b"x") + member("d", DIR)),
    ("link to no file", deep("d") + member("h", LNK, "d")),
    ("link to no file", member("h", LNK, "h")),
    ("link to no file", member("h", LNK, "none/x")),
    ("leads outside", member("d/h", LNK, "../../etc/passwd")),
    ("name of a directory", member(".", content=b"x")),
    ("name of a directory", member("x/", content=b"x")),
    ("name of a directory", member("./", SYM, "x")),
    ("cannot be here", tarfile.TarInfo("n" * 256).tobuf(tarfile.GNU_FORMAT)),
    ("cannot be here", long("l", "n" * 256)),
    ("cannot be here", long("l", "x/" * 2500)),
    ("a name of 5000 bytes", tarfile.TarInfo("n/" * 2500).tobuf(tarfile.GNU_FORMAT)),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "archive"), ESCAPES)
def test_no_member_reaches_outside(tmp_path: Path, reason: str, archive: bytes) -> None:
    """Links are resolved as the kernel would, against what is there; nothing is left, and what is around is as it was."""
    tmp_path.chmod(0o700)
    before = tmp_path.stat()
    with pytest.raises(errors.UnsafeArchiveError, match=reason):
        download(tmp_path, io.BytesIO(archive + END))

    assert [] == os.listdir(tmp_path)
    assert before.st_mode == tmp_path.stat().st_mode


HARMLESS = {
    "here": ".",
    "d/top": "..",
    "d/e/up": "../..",
    "dots": "...",
    "around": "d/../d/e/./../e//up/d",
    "dangling": "none/such",
    "loop": "loop",
    "ahead": "later/../d",
}


def test_links_that_stay_inside_are_kept(tmp_path: Path) -> None:
    """Also such as dangle, go in circles, or go up from what comes only later."""
    links = b"".join(member(name, SYM, target) for name, target in HARMLESS.items())
    made = download(tmp_path, io.BytesIO(deep("d", "e") + links + deep("later") + deep("...") + END))

    assert HARMLESS == {name: os.readlink(made / name) for name in HARMLESS}
    assert (made / "d/e").samefile(made / "around/e")
    assert (made / "d").samefile(made / "ahead")


def test_modes_and_times_are_the_guests(tmp_path: Path) -> None:
    """Of files, directories, symlinks and of the top; hard links are links; setuid, setgid and sticky bits stay behind."""
    times = itertools.count(10**9)

    def timed(*args: str | bytes, mode: int = 0o7750) -> bytes:
        return put(put(member(*args), 136, 12, b"%011o" % next(times)), 100, 8, b"%07o" % mode)  # type: ignore[arg-type]

    archive = timed("./", DIR, mode=0o7711) + timed("d", DIR, mode=0o555) + timed("d/x", mode=0) + timed("d/e", DIR, mode=0)
    archive += timed("l", SYM, "d") + timed("d/e/y", mode=0o4755) + member("h", LNK, "d/x")
    before = -(10**9 + 1)
    old = tarfile.TarInfo("old")
    old.mtime = before
    made = download(tmp_path, io.BytesIO(archive + old.tobuf(tarfile.GNU_FORMAT) + END))

    found = {name: (made / name).lstat() for name in ("", "d", "d/x", "d/e", "l", "d/e/y", "h", "old")}
    modes = {"": 0o711, "d": 0o555, "d/x": 0, "d/e": 0, "l": 0o777, "d/e/y": 0o755, "h": 0, "old": 0o644}
    seconds = dict(
        zip(("", "d", "d/x", "d/e", "l", "d/e/y", "h", "old"), [*range(10**9, 10**9 + 6), 10**9 + 2, before], strict=True)
    )
    assert modes == {name: stat.S_IMODE(info.st_mode) for name, info in found.items()}
    assert seconds == {name: info.st_mtime_ns / 10**9 for name, info in found.items()}
    assert found["h"].st_ino == found["d/x"].st_ino


HOSTILE_TREES: list[tuple[str, bytes]] = [
    ("513 deep", b"".join(long("d/" * n) for n in range(1, 1800))),
    ("unreadable", b"".join(put(member(n, DIR), 100, 8, b"0000000") for n in ("d", "d/e", "d/e/f")) + member("../x")),
    ("cut", b"".join(put(member(n, DIR), 100, 8, b"0000555") for n in ("./", "d", "d/e")) + member("d/e/x", size=10**6)),
    ("unwritable top", put(member("./", DIR), 100, 8, b"0000000") + member("x", content=b"x") + member("/x")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "archive"), HOSTILE_TREES)
def test_nothing_is_kept_of_what_is_refused(tmp_path: Path, name: str, archive: bytes) -> None:
    """However deep it is nested and whatever the modes of its directories, also for a user who is not root."""
    with nobody(tmp_path) as place, pytest.raises(errors.UnsafeArchiveError):
        download(place, io.BytesIO(archive + END))

    assert [] == os.listdir(tmp_path)


def test_read_only_trees_arrive_for_any_user(tmp_path: Path) -> None:
    """What is in a directory of mode 0555 or 0 is made, in whatever order it comes, and the mode is right in the end."""
    order = [*(put(member(n, DIR), 100, 8, b"0000000") for n in ("d", "d/e", "f"))]
    files = [member(f"{folder}/{n}", content=b"x") for n in range(3) for folder in ("d", "f", "d/e")]
    with nobody(tmp_path) as place:
        download(place, io.BytesIO(b"".join(order + files) + END))
    made = tmp_path / "target"

    assert {0} == {stat.S_IMODE((made / name).stat().st_mode) for name in ("d", "d/e", "f")}
    if os.geteuid() == 0:
        assert 9 == sum(path.is_file() for path in made.rglob("*"))


def test_a_deep_tree_that_is_taken(tmp_path: Path) -> None:
    """512 directories in each other, with few descriptors."""
    archive = b"".join(long("d/" * n) for n in range(1, 513))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60 if os.path.isdir("/proc") else 256, hard)
    )
    try:
        made = download(tmp_path, io.BytesIO(archive + END))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (made / ("d/" * 512)).is_dir()


@pytest.mark.parametrize("name", ["文" * 80, "n" * 255, "x" * 60 + "é" * 90], ids=["CJK", "longest", "mixed"])
def test_a_target_with_a_long_name(machine: Machine, tmp_path: Path, name: str) -> None:
    """As long as the file system has it: bytes count, and what is made beside it has a name that fits."""
    (tmp_path / "folders").mkdir()
    (tmp_path / "files").mkdir()
    machine.download(tmp_path / "folders", tmp_path / "folders" / name)
    machine.download(tmp_path / "bin/smolvm", tmp_path / "files" / name)

    assert [[name], [name]] == [os.listdir(tmp_path / "folders"), os.listdir(tmp_path / "files")]


def answered(folder: Path, name: str, answer: bytes) -> None:
    """Has one of the guest's programs, or its shell, answer like this."""
    (folder / "answer").write_bytes(answer)
    says(folder, name, f"exec cat {folder}/answer")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", "a/", "/", ".", ".."])
def test_names_that_are_none(machine: Machine, tmp_path: Path, name: str) -> None:
    """A guest's listing has no dots and no slashes: a program that joins its names to a path would leave it."""
    answered(tmp_path, "sh", b"fine\0..fine\0..." + b"\0" + name.encode() + b"\0")
    with pytest.raises(errors.GuestFileError, match="the guest's list of '/d' has") as caught:
        machine.listdir("/d")

    assert "/d" == caught.value.filename
    answered(tmp_path, "sh", b"..fine\0fine\0...\0\xff\0")
    assert ["...", "..fine", "fine", "\udcff"] == machine.listdir("/d")


SIZES = [b"", b"\n", b"x", b"-1", b"1e9", b"1 2", b"\xff", b"0x10", b"1_0", b"9" * 20, b"9" * 5000]


@pytest.mark.parametrize("said", SIZES)
def test_sizes_that_are_none(client: Smolvm, fake: FakeRunner, tmp_path: Path, said: bytes) -> None:
    """A guest that is asked how much there is (for `progress`) and says nonsense: a typed error, and nothing is made."""
    fake.answer(["machine", "exec"], stdout="41ed 1 0 0 1\n", times=1)
    fake.answer(["machine", "exec"], stdout=said, times=1)
    with pytest.raises(errors.GuestFileError, match="the guest's size of '/x' has"):
        client.machine("m").download("/x", tmp_path / "new", progress=lambda done, total: None)

    assert [] == os.listdir(tmp_path)


STATS = [
    b"41ed 1 2 3",
    b"ffffffffffffffffff 1 0 0 1",
    b"-1 1 0 0 1",
    b"41ed -1 0 0 1",
    b"41ed 1 0 0 " + b"9" * 20,
    b"41ed 1 0 0 1 1",
]


@pytest.mark.parametrize("said", STATS)
def test_numbers_that_no_file_has(client: Smolvm, fake: FakeRunner, said: bytes) -> None:
    """A guest's stat has no number for which Python's own functions of files would raise an OverflowError."""
    fake.answer(["machine", "exec"], stdout=said)
    with pytest.raises(errors.GuestFileError, match="the guest's stat of '/x' has"):
        client.machine("m").stat("/x")


def test_answers_that_do_not_end(machine: Machine, tmp_path: Path) -> None:
    """A guest that is asked for a line and never stops: ended at a MiB, whatever the runner takes of others."""
    says(tmp_path, "sh", "exec cat /dev/zero")
    for ask in (machine.stat, machine.exists):
        forget()
        before = peak()
        with pytest.raises(errors.OutputLimitError):
            ask("/x")
        assert peak() - before < 16 * MIB


def test_files_that_do_not_end(machine: Machine, tmp_path: Path) -> None:
    """An endless or growing file ends at the limit, and nothing is kept; so does a guest that never stops to complain."""
    (tmp_path / "out").mkdir()
    with pytest.raises(errors.UnsafeArchiveError, match="more than was to be taken"):
        machine.download("/dev/zero", tmp_path / "out/x", limit=MIB)
    (tmp_path / "file").write_bytes(b"x" * 1000)
    says(tmp_path, "cat", "while :; do echo more; done")
    with pytest.raises(errors.UnsafeArchiveError, match="more than was to be taken"):
        machine.download(tmp_path / "file", tmp_path / "out/x", limit=1000)
    says(tmp_path, "cat", "while :; do echo more; done >&2")
    says(tmp_path, "tar", "while :; do echo more; done >&2")
    for source in (tmp_path / "file", tmp_path):
        with pytest.raises(errors.GuestFileError, match="say too much"):
            machine.download(source, tmp_path / "out/x")

    assert [] == os.listdir(tmp_path / "out")


@pytest.mark.parametrize(("limit", "seconds"), [(4 * 2**30, 7696), (0, 3600), (2**63 - 1, 1_000_000)])
def test_a_guest_that_sends_nothing_has_to_end(
    client: Smolvm, fake: FakeRunner, tmp_path: Path, limit: int, seconds: int
) -> None:
    """An hour and a second for each MiB that it may send: bounded in the guest, and here."""
    fake.answer(["machine", "exec"], stdout="81a4 1 0 0 1\n", times=1)
    fake.answer(["machine", "exec"], "")
    client.machine("m").download("/x", tmp_path / "new", limit=limit)

    argv = fake.argvs[-1]
    assert f"{seconds}s" == argv[argv.index("--timeout") + 1]


@pytest.mark.parametrize("limit", [-1, 1.5, "1", None, 2**63])
def test_limits_that_are_none(client: Smolvm, fake: FakeRunner, limit: object) -> None:
    """The caller's mistake, before anything runs."""
    with pytest.raises((TypeError, ValueError), match="limit is "):
        client.machine("m").download("/x", "/tmp/never", limit=limit)  # type: ignore[arg-type]

    assert [] == fake.argvs


def test_the_guests_own_error_says_more_than_a_cut_archive(machine: Machine, tmp_path: Path) -> None:
    """A `tar` that fails says why. One that says it did well, and sent no whole archive, is refused."""
    (tmp_path / "out").mkdir()
    says(tmp_path, "tar", "echo half; echo gone away >&2; exit 3")
    with pytest.raises(errors.GuestFileError, match="gone away"):
        machine.download(tmp_path, tmp_path / "out/x")
    says(tmp_path, "tar", "echo half")
    with pytest.raises(errors.UnsafeArchiveError, match="ends too early"):
        machine.download(tmp_path, tmp_path / "out/x")

    assert [] == os.listdir(tmp_path / "out")


def test_pieces_of_any_size(tmp_path: Path) -> None:
    """What is read a byte at a time is what is read at once."""
    archive = deep("d") + member("d/x", content=b"x" * 700) + long("y" * 150) + member("l", SYM, "d/x") + END
    made = download(tmp_path, Endless(archive[place : place + 1] for place in range(len(archive))))

    assert b"x" * 700 == (made / "l").read_bytes()
    assert {"d", "l", "y" * 150} == set(os.listdir(made))


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    """Wherever in a download it comes."""
    archive = deep("d", "e") + member("d/e/x", content=b"x" * 5000) + member("l", SYM, "d") + END

    def interrupted(at: int) -> Iterator[bytes]:
        yield from (archive[place : place + 256] for place in range(0, at, 256))
        raise KeyboardInterrupt

    for at in range(0, len(archive), 256):
        with pytest.raises(KeyboardInterrupt):
            download(tmp_path, Endless(interrupted(at)))
        assert [] == os.listdir(tmp_path)


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    """A note on the error has the name of what is left."""
    with pytest.raises(RuntimeError, match="stop") as caught, fresh_folder(str(tmp_path / "x")) as part:
        os.rename(part, f"{part}.away")
        os.symlink("nowhere", part)
        raise RuntimeError("stop")

    assert [f"left behind: {part!r}"] == [note.partition(" (")[0] for note in caught.value.__notes__]


def extension(kind: bytes, size: int) -> bytes:
    """The header of a long name or pax header, whatever follows."""
    info = tarfile.TarInfo("@")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def forever(piece: bytes) -> Iterator[bytes]:
    """The same again and again."""
    return itertools.repeat(piece * (2**16 // len(piece) + 1))


def pax_of(*records: bytes) -> bytes:
    """A pax header as large as one may be."""
    content = b"".join(records)[: MIB - 1]
    return extension(b"x", len(content)) + content + b"\0" * (-len(content) % 512)


# Streams without an end, or longer than anybody wants, and how many bytes of each may be taken.
FLOODS: dict[str, tuple[Callable[[], Iterable[bytes]], int]] = {
    "a long name": (lambda: [extension(b"L", 600 * MIB), *itertools.islice(forever(b"n"), 9600)], 2 * MIB),
    "a long target": (lambda: itertools.chain([extension(b"K", 8**11 - 1)], forever(b"n")), 2 * MIB),
    "a pax header": (lambda: itertools.chain([extension(b"x", 600 * MIB)], forever(b"9 a=bcde\n")), 2 * MIB),
    "records": (lambda: [pax_of(*(b"10 %05d=\n" % n for n in range(99_999))), END], 2 * MIB),
    "lengths": (lambda: [pax_of(b"9" * MIB), END], 2 * MIB),
    "names": (lambda: itertools.chain([extension(b"L", MIB), b"a/" * (MIB // 2)], forever(member("x"))), 2 * MIB),
    "global headers": (lambda: forever(extension(b"g", 512) + b"512 comment=" + b"x" * 499 + b"\n"), LIMIT + 2**17),
    "after the end": (lambda: itertools.chain([member("x"), END], forever(b"\0")), 2 * MIB),
    "junk after the end": (lambda: itertools.chain([END], forever(b"junk")), 2 * MIB),
    "a link's body": (lambda: itertools.chain([member("l", SYM, "x", size=8**11 - 1)], forever(b"x")), MIB),
    "a directory's body": (lambda: itertools.chain([member("d", DIR, size=8**11 - 1)], forever(b"x")), MIB),
    "a file": (lambda: itertools.chain([member("x", size=8**11 - 1)], forever(b"x")), LIMIT + 2**17),
    "directories": (lambda: (member(f"{n}", DIR) for n in itertools.count()), LIMIT + 2**17),
    "links": (lambda: (member(f"{n}", SYM, "x/" * 49) for n in itertools.count()), LIMIT + 2**17),
    "doubtful links": (lambda: (member(f"{n}", SYM, "x/" * 40 + "..") for n in itertools.count()), MIB),
    "links through links": (  # each through the one before it, and back, twelve times
        lambda: itertools.chain(
        [deep("d"), member("0", SYM, "d")],
        (member(f"{n}", SYM, "/".join([f"{n - 1}/../{n - 1}"] * 6))
         for n in itertools.count(1))), LIMIT + 2**17),
    "names far apart": (lambda: (member(f"{n % 2}" + "/d" * 45 + f"/{n}") for n in itertools.count()), LIMIT + 2**17),
}  # fmt: skip


def peak() -> int:
    """The most memory that this process has had since `forget`, in bytes."""
    if not os.path.exists("/proc/self/clear_refs"):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of macOS, where it is bytes
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def forget() -> None:
    """Lets `peak` begin anew: a child begins with its parent's on Linux, which is pytest's."""
    with suppress(FileNotFoundError):
        Path("/proc/self/clear_refs").write_text("5")


def flood(name: str, place: Path, limit: int = LIMIT) -> None:
    """Lets a flood in: it is refused, early, with nothing left; prints how much memory and time that took."""
    pieces, bound = FLOODS[name]
    stream = Endless(pieces())
    with suppress(errors.UnsafeArchiveError):
        download(place, io.BytesIO(member("x") + END))
    (place / "target/x").unlink()
    (place / "target").rmdir()
    forget()
    before, started, said = peak(), time.monotonic(), "taken"
    try:
        download(place, stream, limit)
    except errors.UnsafeArchiveError as error:
        said = str(error).partition("\n")[0][:100]
    print(
        peak() - before,
        stream.taken <= bound,
        len(os.listdir(place)),
        f"{time.monotonic() - started:.1f} s",
        said,
        sep="\t",
    )


@pytest.mark.parametrize("name", FLOODS)
def test_floods_take_no_memory(tmp_path: Path, name: str) -> None:
    """Less than 16 MiB over the start, whatever a guest sends; and it is not listened to for long."""
    code = f"from tests.unit.test_downloads import *; flood({name!r}, Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    more, in_time, left, _, said = done.stdout.rstrip("\n").split("\t")

    assert (True, "True", "0" if said != "taken" else "1") == (int(more) < 16 * MIB, in_time, left), done.stdout

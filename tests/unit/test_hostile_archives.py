"""Archives of an attacking guest are refused, or stay inside the target; what is refused leaves nothing."""

from __future__ import annotations

import io
import itertools
import os
import resource
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from smolkit import errors
from smolkit.handles.archive import Unpacker
from smolkit.handles.host_tree import fresh_directory
from tests.nasty import state
from tests.unit.test_archive_fuzz import with_field
from tests.unit.test_files import member

DIR, SYM, LNK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
END = b"\0" * 1024
MIB = 2**20


class Endless:
    """A guest that sends endlessly, and counts the bytes taken."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest, self.taken = iter(pieces), b"", 0

    def read(self, size: int) -> bytes:
        """Up to this many bytes, or none at the end."""
        self._rest = self._rest or next(self._pieces, b"")
        chunk, self._rest = self._rest[:size], self._rest[size:]
        self.taken += len(chunk)
        return chunk


def deep(*names: str) -> bytes:
    """Directories inside one another."""
    return b"".join(member("/".join(names[:count]), DIR) for count in range(1, len(names) + 1))


def long(name: str, target: str = "") -> bytes:
    """A directory, or a symlink, with names of any length."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = SYM if target else DIR, 0o755, target
    return info.tobuf(tarfile.GNU_FORMAT)


def download(place: Path, stream: object, limit: int = 4 * 2**30) -> Path:
    """Unpack an archive as `Machine.download` does."""
    target = place / "target"
    with fresh_directory(str(target)) as part:
        Unpacker(part, limit, lambda _: None).unpack(stream)
    return target


@contextmanager
def nobody(place: Path) -> Iterator[Path]:
    """Become a user other than root, in a directory of theirs: a relative path, as its parents may be root's."""
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
    # `...` is an ordinary name, which a careless lstrip("./") would remove.
    ("outside", deep("a", "b", "c") + member("a/b/c/...", SYM, "../../..")
     + member("a/b/c/key", SYM, ".../../../home/id_rsa")),
    ("outside", member("...", SYM, ".") + member("key", SYM, ".../../etc/passwd")),
    ("outside", deep(*"abcdefgh" * 5) + member("/".join("abcdefgh" * 5) + "/l", SYM, "../" * 40 + "../etc/passwd")),
    # A link that stays inside, and one through it that does not, in both orders.
    ("outside", deep("d", "e") + member("d/e/top", SYM, "../..") + member("l", SYM, "d/e/top/../x")),
    ("outside", member("l", SYM, "d/e/top/../x") + deep("d", "e") + member("d/e/top", SYM, "../..")),
    ("outside", member("one", SYM, "two/../..") + member("two", SYM, "d") + deep("d")),
    ("outside", deep("d") + b"".join(member(f"d/{n}", SYM, f"{n - 1}" if n else "..") for n in range(9))
     + member("l", SYM, "d/8/..")),
    # A dangling link may become a way out with the next download.
    ("outside", member("l", SYM, "later/x/../../..")),
    ("outside", member("loop", SYM, "loop") + member("l", SYM, "loop/..")),
    ("outside", member("x", content=b"x") + member("l", SYM, "x/..")),
    # Members named like a link, or below one: the link's target would get their mode and time.
    ("through a symlink", member("l", SYM, ".") + member("l", DIR)),
    ("through a symlink", deep("a", "b", "c") + member("a/b/c/...", SYM, "../../..") + member("a/b/c/...", DIR)),
    ("through a symlink", deep("d") + member("l", SYM, "d") + member("l/x", DIR)),
    ("through a symlink", deep("d") + member("l", SYM, "d") + member("d/x", content=b"x") + member("h", LNK, "l/x")),
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
    ("cannot be made here", tarfile.TarInfo("n" * 256).tobuf(tarfile.GNU_FORMAT)),
    ("cannot be made here", long("l", "n" * 256)),
    ("cannot be made here", long("l", "x/" * 2500)),
    ("a name of 5000 bytes", tarfile.TarInfo("n/" * 2500).tobuf(tarfile.GNU_FORMAT)),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "archive"), ESCAPES)
def test_no_member_reaches_outside(tmp_path: Path, reason: str, archive: bytes) -> None:
    """No member reaches outside: links are resolved as by the kernel, and a refused archive changes nothing."""
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
    """Symlinks that stay inside are kept, also dangling or circular ones and those that go up from later directories."""
    links = b"".join(member(name, SYM, target) for name, target in HARMLESS.items())
    made = download(tmp_path, io.BytesIO(deep("d", "e") + links + deep("later") + deep("...") + END))

    assert HARMLESS == {name: os.readlink(made / name) for name in HARMLESS}
    assert (made / "d/e").samefile(made / "around/e")
    assert (made / "d").samefile(made / "ahead")


def test_links_that_go_up_from_later_directories_are_limited(tmp_path: Path) -> None:
    """Up to 512 links that go up from later directories are kept, more are refused, and others do not count."""
    later = [member(f"{n}", SYM, "later/../d") for n in range(513)]
    others = b"".join(member(f"o{n}", SYM, "none") for n in range(9))
    made = download(tmp_path, io.BytesIO(b"".join(later[:512]) + others + deep("later") + deep("d") + END))
    assert 523 == len(os.listdir(made))

    with pytest.raises(errors.UnsafeArchiveError, match="leads outside"):
        download(tmp_path, io.BytesIO(b"".join(later) + deep("later") + deep("d") + END))


def test_modes_and_times_are_kept(tmp_path: Path) -> None:
    """Modes and times are kept for files, directories and symlinks, except setuid, setgid and sticky bits."""
    times = itertools.count(10**9)

    def timed(*args: str | bytes, mode: int = 0o7750) -> bytes:
        return with_field(with_field(member(*args), 136, 12, b"%011o" % next(times)), 100, 8, b"%07o" % mode)  # type: ignore[arg-type]

    archive = timed("./", DIR, mode=0o7711) + timed("d", DIR, mode=0o555) + timed("d/x", mode=0) + timed("d/e", DIR, mode=0)
    archive += timed("l", SYM, "d") + timed("d/e/y", mode=0o4755) + member("h", LNK, "d/x")
    before = -(10**9 + 1)
    old = tarfile.TarInfo("old")
    old.mtime = before
    made = download(tmp_path, io.BytesIO(archive + old.tobuf(tarfile.GNU_FORMAT) + END))

    first = 10**9
    expected = {
        ".": (0o711, first),
        "d": (0o555, first + 1),
        "d/x": (0, first + 2),
        "d/e": (0, first + 3),
        "l": (0o777, first + 4),
        "d/e/y": (0o755, first + 5),
        "h": (0, first + 2),
        "old": (0o644, before),
    }
    found = {name: (stat.S_IMODE(mode), mtime / 10**9) for name, (mode, mtime, _, _) in state(made).items()}
    assert expected == found
    assert (made / "h").samefile(made / "d/x")


def closed(name: str, mode: bytes = b"0000000") -> bytes:
    """A directory that nobody may enter or write to."""
    return with_field(member(name, DIR), 100, 8, mode)


LAST = member("last", content=b"x") + member(
    "../x"
)  # a member outside of all directories before it, and one that is refused
HOSTILE_TREES = {
    "513 deep": b"".join(long("d/" * n) for n in range(1, 1800)),
    "unreadable": closed("d") + closed("d/e") + closed("d/e/f") + member("d/e/f/x") + LAST,
    "read-only": closed("d", b"0000555") + member("d/x") + closed("d/e", b"0000555") + member("d/e/x") + LAST,
    "in its depth": closed("./", b"0000555") + closed("d") + closed("d/e") + member("d/e/x", size=10**6),
    "closed too late": member("d/e/f", DIR) + closed("d/e") + closed("d") + LAST,
    "unwritable top": closed("./") + member("x", content=b"x") + LAST,
    "full": b"".join(member(f"{n}/{m}") for n in range(70) for m in range(3)) + LAST,
}


@pytest.mark.parametrize("name", HOSTILE_TREES)
def test_a_refused_archive_leaves_nothing(tmp_path: Path, name: str) -> None:
    """A refused archive leaves nothing, however deep it is and whatever its modes, also for a user who is not root."""
    with nobody(tmp_path) as place, pytest.raises(errors.UnsafeArchiveError):
        download(place, io.BytesIO(HOSTILE_TREES[name] + END))

    assert [] == os.listdir(tmp_path)


def test_a_tree_that_cannot_become_the_target_is_removed(tmp_path: Path) -> None:
    """A tree that cannot become the target, since that is something else by now, is removed even if unreadable."""
    with nobody(tmp_path), pytest.raises(OSError, match="target"), fresh_directory("target") as part:
        Unpacker(part, MIB, lambda _: None).unpack(io.BytesIO(closed("./") + closed("d") + member("d/x") + END))
        (Path("target/in") / "the").mkdir(parents=True)

    assert ["target"] == os.listdir(tmp_path)


def test_read_only_trees_are_created_by_any_user(tmp_path: Path) -> None:
    """The content of read-only directories is created in any order, and their modes are right in the end."""
    order = [closed(n) for n in ("d", "d/e", "f")]
    files = [member(f"{folder}/{n}", content=b"x") for n in range(3) for folder in ("d", "f", "d/e")]
    with nobody(tmp_path) as place:
        download(place, io.BytesIO(b"".join(order + files) + END))

    found = state(tmp_path / "target")
    assert {0} == {stat.S_IMODE(found[name][0]) for name in ("d", "d/e", "f")}
    assert 9 == sum(kept == b"x" for _, _, _, kept in found.values())


def test_a_deep_tree_is_accepted(tmp_path: Path) -> None:
    """A tree of 512 nested directories is accepted with few descriptors."""
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


def test_pieces_of_any_size(tmp_path: Path) -> None:
    """An archive read one byte at a time gives the same tree as read at once."""
    archive = deep("d") + member("d/x", content=b"x" * 700) + long("y" * 150) + member("l", SYM, "d/x") + END
    made = download(tmp_path, Endless(archive[place : place + 1] for place in range(len(archive))))

    assert b"x" * 700 == (made / "l").read_bytes()
    assert {"d", "l", "y" * 150} == set(os.listdir(made))


PLACES = {"os.symlink": (1,), "os.link": (0, 1)}  # the path arguments of these audit events; other events have it first


def audited(place: Path) -> None:
    """Print the paths given to the kernel while one tree is created and another is refused and removed."""
    seen: set[str] = set()

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == "open" or event.startswith("os."):
            paths = [args[number] for number in PLACES.get(event, (0,))]
            seen.update(os.fsdecode(path) for path in paths if isinstance(path, (str, bytes)))

    honest = deep("d", "e") + member("d/e/x", content=b"x") + member("d/l", SYM, "e/../../d") + member("h", LNK, "d/e/x")
    sys.addaudithook(hook)
    download(place, io.BytesIO(honest + closed("f") + member("f/x") + END))
    with suppress(errors.UnsafeArchiveError):
        download(place, io.BytesIO(honest + closed("f") + LAST + END))
    print({"d", "x", "l", "h", ".."} <= seen, [path for path in seen if "/" in path.removeprefix(f"{place}/")])


def test_system_calls_get_one_name_at_a_time(tmp_path: Path) -> None:
    """No system call gets a path of several names (by Python's audit events), so that no symlink can be on the way."""
    code = f"from tests.unit.test_hostile_archives import *; audited(Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "True []\n" == done.stdout


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    """An interrupt at any point of a download leaves nothing."""
    archive = deep("d", "e") + member("d/e/x", content=b"x" * 5000) + member("l", SYM, "d") + END

    def interrupted(at: int) -> Iterator[bytes]:
        yield from (archive[place : place + 256] for place in range(0, at, 256))
        raise KeyboardInterrupt

    for at in range(0, len(archive), 256):
        with pytest.raises(KeyboardInterrupt):
            download(tmp_path, Endless(interrupted(at)))
        assert [] == os.listdir(tmp_path)


def test_an_interrupt_during_a_removal_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt during the removal of a refused tree comes out after the tree is gone."""
    remove, strikes = os.unlink, iter([KeyboardInterrupt])

    def struck(*args: Any, **kwargs: Any) -> None:
        remove(*args, **kwargs)
        if strike := next(strikes, None):
            raise strike

    monkeypatch.setattr("os.unlink", struck)
    with pytest.raises(KeyboardInterrupt):
        download(tmp_path, io.BytesIO(deep("d") + member("d/x") + member("d/y") + LAST + END))

    assert [] == os.listdir(tmp_path)


def test_a_tree_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    """A refused tree that cannot be removed is named in a note on the error."""
    with pytest.raises(RuntimeError, match="stop") as caught, fresh_directory(str(tmp_path / "x")) as part:
        os.rename(part, f"{part}.away")
        os.symlink("nowhere", part)
        raise RuntimeError("stop")

    assert [f"left behind: {part!r}"] == [note.partition(" (")[0] for note in caught.value.__notes__]

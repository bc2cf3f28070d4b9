"""Mutated and truncated archives: each is refused and leaves nothing, or gives exactly what the system's `tar` makes of it.

    python -m tests.unit.test_archive_fuzz 100000 [SEED]

tries more archives than the suite.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smolkit import errors
from smolkit.handles.archive import Unpacker
from smolkit.handles.host_tree import fresh_directory
from tests.nasty import state

BLOCK = 512
STARTED = time.time_ns() - 10**9
Tree = dict[str, tuple[Any, ...]]

NAMES = [
    b"a", b"b", b"d", b"d/a", b"d/e", b"d/e/f", b"./d/", b"d//e/./g", b"...", b"d/...", b"\xff\n", b"-x",
    b"n" * 101, b"n" * 255, b"n" * 256, b"x" * 5000, b"p" * 90 + b"/" + b"q" * 90, b"deep/" * 70 + b"x", b"y/" * 600 + b"y",
    b"", b".", b"..", b"../x", b"/tmp/x", b"d/../../x", b"a/..", b"l/x", b"d/l/x", b"a\0b",
]  # fmt: skip
LINKS = [
    b"a", b"d", b"d/e", b".", b"d/", b"nowhere", b"../d", b"../../x", b"..", b"d/..", b"d/e/../..", b"l", b"l/..",
    b"l/../..", b"later/..", b"later/../..", b".../..", b".../../../home", b"/etc/passwd", b"", b"d/../a", b"./../d/./a",
    b"d//..//..", b"d/l/../../x", b"x" * 300,
]  # fmt: skip
NUMBERS = [
    b"0", b"7", b"777", b"1000", b"-1", b"9", b" 12 ", b"1 2", b"", b"77777777777",
    b"\x80", b"\xff" * 8, b"\x80\0\0\0\0\0\0\1",
]  # fmt: skip
RECORDS = [
    b"path=other", b"path=../x", b"path=d/e/z", b"path=", b"path=a\0b", b"linkpath=../..", b"linkpath=a", b"comment=x",
    b"size=3", b"size=-3", b"size=1e3", b"size=99999999999999999999999", b"mtime=1.5", b"mtime=-1.25", b"mtime=x",
    b"GNU.sparse.major=1", b"no equals",
]  # fmt: skip
FIELDS = [(100, 8), (108, 8), (124, 12), (136, 12)]  # mode, uid, size, mtime: where they start, and their lengths
MAGICS = [b"ustar\x0000", b"ustar  \0", b"", b"star", b"ustar\0"]


def members(archive: bytes) -> list[bytes]:
    """The members of an archive, each a header and content; extension headers are members of their own."""
    found, place = [], 0
    while (header := archive[place : place + BLOCK]).strip(b"\0"):
        size = int(header[124:135], 8)
        end = place + BLOCK + size + -size % BLOCK
        found.append(archive[place:end])
        place = end
    return found


def with_checksum(header: bytes) -> bytes:
    """The member with its checksum corrected."""
    total = sum(header[:148]) + 8 * 32 + sum(header[156:BLOCK])
    return header[:148] + b"%06o\0 " % total + header[156:]


def with_field(member: bytes, start: int, length: int, value: bytes) -> bytes:
    """The member with one field of its header replaced."""
    return with_checksum(member[:start] + value[:length].ljust(length, b"\0") + member[start + length :])


def extension_header(kind: bytes, content: bytes) -> bytes:
    """An extension header: GNU's for a long name, or pax."""
    info = tarfile.TarInfo("@")
    info.type, info.size = kind, len(content)
    return info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % BLOCK)


def record(content: bytes) -> bytes:
    """One record of a pax header."""
    size = len(content) + 3
    while len(b"%d %s\n" % (size, content)) != size:
        size += 1
    return b"%d %s\n" % (size, content)


def seed(form: int) -> list[bytes]:
    """The members of a valid archive with members of each kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as tar:

        def add(
            name: bytes, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, content: bytes = b"", link: bytes = b""
        ) -> None:
            info = tarfile.TarInfo(os.fsdecode(name))
            info.type, info.mode, info.size, info.linkname = kind, mode, len(content), os.fsdecode(link)
            info.mtime = 1_000_000_000 + len(name)
            tar.addfile(info, io.BytesIO(content))

        add(b".", tarfile.DIRTYPE, 0o750)
        add(b"a", content=b"content of a", mode=0o4755)
        add(b"d", tarfile.DIRTYPE, 0o555)
        add(b"d/a", content=b"x" * 1000, mode=0o600)
        add(b"d/e", tarfile.DIRTYPE, 0o700)
        add(b"d/e/\xff", content=b"", mode=0)
        add(b"l", tarfile.SYMTYPE, 0o777, link=b"d/e")
        add(b"d/l", tarfile.SYMTYPE, 0o777, link=b"../a")
        add(b"h", tarfile.LNKTYPE, 0o600, link=b"d/a")
        add(b"t" * 99, content=b"y" * 513)
        if form != tarfile.USTAR_FORMAT:
            add(b"u" * 150, content=b"long")
            add(b"s", tarfile.SYMTYPE, 0o777, link=b"v" * 150)
        add(b"...", tarfile.DIRTYPE, 0o1777)
    return members(out.getvalue())


SEEDS = [seed(form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)]


def random_member(dice: random.Random, _: bytes) -> bytes:
    """A member of any kind with any name."""
    info = tarfile.TarInfo()
    info.mtime, info.mode = dice.choice([0, 1_000_000_000, -5, 2**33]), dice.choice([0, 0o644, 0o755, 0o7777, 0o200])
    member = info.tobuf(tarfile.GNU_FORMAT)
    member = with_field(member, 0, 100, dice.choice(NAMES)[:100])
    member = with_field(member, 157, 100, dice.choice(LINKS)[:100])
    return with_field(
        member, 156, 1, dice.choice([b"0", b"1", b"2", b"5", b"5", b"2", b"3", b"6", b"7", b"S", b"V", b"M", b"g", b"\0"])
    )


def with_number(dice: random.Random, member: bytes) -> bytes:
    """The member with another number in a field, or text that is not a number."""
    start, length = dice.choice(FIELDS)
    return with_field(member, start, length, dice.choice(NUMBERS).rjust(dice.choice([0, length - 1]), b"0"))


def with_byte(dice: random.Random, member: bytes) -> bytes:
    """The member with another byte, usually with a correct checksum."""
    start = dice.randrange(min(len(member), 600))
    changed = member[:start] + bytes([dice.randrange(256)]) + member[start + 1 :]
    return with_checksum(changed) if dice.random() < 0.8 else changed


def long_name(dice: random.Random, _: bytes) -> bytes:
    """GNU's header for a long name or a symlink's target."""
    return extension_header(dice.choice([b"L", b"K"]), dice.choice(NAMES + LINKS) + b"\0")


def pax(dice: random.Random, _: bytes) -> bytes:
    """A pax header."""
    return extension_header(dice.choice([b"x", b"x", b"g"]), record(dice.choice(RECORDS)))


CHANGES: list[Callable[[random.Random, bytes], bytes]] = [
    lambda dice, member: with_field(member, 0, 100, dice.choice(NAMES)),
    lambda dice, member: with_field(member, 157, 100, dice.choice(LINKS)),
    lambda dice, member: with_field(
        member, 156, 1, dice.choice([b"0", b"1", b"2", b"5", b"L", b"K", b"x", b"g", b"S", b"\0", b"4"])
    ),
    lambda dice, member: with_field(member, 257, 8, dice.choice(MAGICS)),
    with_number,
    with_byte,
]
ADDITIONS: list[Callable[[random.Random, bytes], bytes]] = [long_name, pax, random_member, lambda dice, member: member]


def mutate(dice: random.Random, archive: list[bytes]) -> None:
    """Mutate the members in place: change, add, move to the end or remove one."""
    place, kind = dice.randrange(len(archive)), dice.random()
    if kind < 0.5:
        archive[place] = dice.choice(CHANGES)(dice, archive[place])
    elif kind < 0.85:
        archive.insert(dice.randrange(len(archive) + 1), dice.choice(ADDITIONS)(dice, archive[place]))
    elif kind < 0.95 or len(archive) == 1:
        archive.append(archive.pop(place))
    else:
        del archive[place]


def sample(dice: random.Random) -> bytes:
    """A mutated archive."""
    archive = list(dice.choice(SEEDS))
    for _ in range(dice.choice([0, 1, 1, 1, 2, 3, 8])):
        mutate(dice, archive)
    whole = (
        b"".join(archive)
        + b"\0" * dice.choice([1024, 1024, 1024, 10240, 512, 0])
        + dice.choice([b"", b"", b"", b"junk" * 500])
    )
    return whole[: dice.randrange(len(whole))] if dice.random() < 0.2 else whole


def comparable_time(mtime: int) -> int:
    """A time, or 0 for one that the test itself set."""
    return 0 if STARTED <= mtime < STARTED + 10**9 * 86400 else mtime


def tree(top: Path) -> Tree:
    """Everything about a tree, except what `tar` and smolkit treat differently on purpose or what depends on the time."""
    return {
        name: (mode & ~0o7000, comparable_time(mtime), names, kept)
        for name, (mode, mtime, names, kept) in state(top).items()
    }


def outside(place: Path) -> dict[str, object]:
    """Everything that must stay untouched."""
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(place.rglob("*"))
    }


def attempt(place: Path, archive: bytes) -> str:
    """Download an archive to `place`/target: "" if it is accepted and correct, else why it was refused."""
    target = place / "target"
    try:
        with fresh_directory(str(target)) as part:
            Unpacker(part, 2**20, lambda _: None).unpack(io.BytesIO(archive))
    except errors.UnsafeArchiveError as error:
        return str(error) or "refused"
    return ""


def by_tar(place: Path, archive: bytes) -> Tree:
    """Extract with the system's tar, ignoring its exit status: it fails for owners that it cannot set."""
    (place / "plain").mkdir(0o700)
    command = ["tar", "-x", "-p", "--no-same-owner", "--delay-directory-restore", "-f", "-", "-C", str(place / "plain")]
    subprocess.run(command, input=archive, capture_output=True, check=False, timeout=60)
    return tree(place / "plain")


def judge(place: Path, archive: bytes) -> str:
    """Try one archive, check every promise, and return why it was refused."""
    before = outside(place)
    refused = attempt(place, archive)
    if refused:
        assert before == outside(place), refused
        return refused
    target = place / "target"
    assert {"kept", "target"} == set(os.listdir(place))
    made = tree(target)
    for path in target.rglob("*"):
        assert not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(target)), path
    plain = without_forgotten_times(by_tar(place, archive), made)
    assert plain == made, differences(plain, made)
    for name in ("target", "plain"):
        shutil.rmtree(place / name)
    assert before == outside(place)
    return ""


def without_forgotten_times(plain: Tree, made: Tree) -> Tree:
    """The tree without the times that GNU tar forgets, of a directory named both `d` and `./d`."""
    return {
        name: made[name] if stat.S_ISDIR(mode) and not rest[0] and made.get(name, (0,))[0] == mode else (mode, *rest)
        for name, (mode, *rest) in plain.items()
    }


def differences(plain: Tree, made: Tree) -> list[object]:
    """The differences between `tar` and smolkit."""
    return [
        (name, plain.get(name), made.get(name)) for name in sorted({*plain, *made}) if plain.get(name) != made.get(name)
    ]


def fuzz(place: Path, number: int, start: int, report: Callable[[str], object]) -> None:
    """Judge this many archives, and raise with the seed of the first that breaks a promise."""
    (place / "kept").mkdir()
    (place / "kept/file").write_text("kept")
    (place / "kept").chmod(0o700)
    for count in range(start, start + number):
        archive = sample(random.Random(count))  # noqa: S311  (no secret)
        try:
            report(judge(place, archive))
        except BaseException as error:
            error.add_note(f"the archive of seed {count}")
            raise


def no_gnu_tar() -> bool:
    """True if GNU tar, to compare with, is missing."""
    version = subprocess.run(["tar", "--version"], capture_output=True, check=False) if shutil.which("tar") else None
    return version is None or b"GNU tar" not in version.stdout


@pytest.mark.skipif(no_gnu_tar(), reason="needs GNU tar to compare with")
def test_mutated_archives(tmp_path: Path) -> None:
    """2,000 mutated archives are refused and leave nothing, or match plain `tar`, and touch nothing else."""
    reasons: list[str] = []
    fuzz(tmp_path, 2000, 0, reasons.append)

    assert 200 < reasons.count("") < 1800


def main(number: int, start: int) -> None:
    """Print how many archives were accepted, and why the others were refused."""
    reasons: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        fuzz(Path(place), number, start, reasons.append)
    for reason, times in Counter(reason.partition("\n")[0][:70] for reason in reasons).most_common(40):
        print(f"{times:8} {reason or 'the same as tar'}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)

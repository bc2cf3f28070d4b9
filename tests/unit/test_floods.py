"""Endless output of a guest is refused early and in little memory."""

from __future__ import annotations

import io
import itertools
import os
import re
import resource
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from smolkit import errors
from tests.unit.test_files import member
from tests.unit.test_hostile_archives import DIR, END, MIB, SYM, Endless, deep, download

LIMIT = 2 * MIB


def extension(kind: bytes, size: int) -> bytes:
    """The header of a long name or pax header, with this content."""
    info = tarfile.TarInfo("@")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def forever(piece: bytes) -> Iterator[bytes]:
    """The same bytes again and again."""
    return itertools.repeat(piece * (2**16 // len(piece) + 1))


def pax_of(*records: bytes) -> bytes:
    """The largest pax header."""
    content = b"".join(records)[: MIB - 1]
    return extension(b"x", len(content)) + content + b"\0" * (-len(content) % 512)


# Endless or very long streams, and how many bytes of each may be read.
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
    "links through links": (  # each through the one before it and back, twelve times
        lambda: itertools.chain(
        [deep("d"), member("0", SYM, "d")],
        (member(f"{n}", SYM, "/".join([f"{n - 1}/../{n - 1}"] * 6))
         for n in itertools.count(1))), LIMIT + 2**17),
    "names far apart": (lambda: (member(f"{n % 2}" + "/d" * 45 + f"/{n}") for n in itertools.count()), LIMIT + 2**17),
}  # fmt: skip


def peak() -> int:
    """The peak memory of this process since `forget`, in bytes."""
    if not os.path.exists("/proc/self/clear_refs"):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # on macOS the unit is bytes
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def forget() -> None:
    """Reset `peak`, since on Linux a child starts with its parent's."""
    with suppress(FileNotFoundError):
        Path("/proc/self/clear_refs").write_text("5")


def flood(name: str, place: Path, limit: int = LIMIT) -> None:
    """Download endless output: it is refused early and leaves nothing. Prints memory and time."""
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
    """Endless output of any kind takes less than 16 MiB of memory, and is cut off early."""
    code = f"from tests.unit.test_floods import *; flood({name!r}, Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    more, in_time, left, _, said = done.stdout.rstrip("\n").split("\t")

    assert (True, "True", "0" if said != "taken" else "1") == (int(more) < 16 * MIB, in_time, left), done.stdout

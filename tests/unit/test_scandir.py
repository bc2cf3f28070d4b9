"""Listings with stat, walks and globs: hostile names and answers, large directories, few calls."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smolkit import AsyncSmolvm, Smolvm, errors
from smolkit.commands.scan import ScanDirs
from smolkit.testing import FakeRunner, FakeSmolvm
from smolkit.values import Completed
from tests.guests import KINDS, Guest, guest
from tests.unit.test_files import NAMES


@pytest.fixture(params=KINDS)
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Guest:
    """Each shell, with its programs."""
    return guest(request.param, tmp_path)


NASTY = [
    *map(os.fsdecode, NAMES),
    *(
        "...",
        ".hidden",
        "*",
        "?",
        "[a]",
        "./x".replace("/", "\\"),
        "-L",
        "--help",
        "=0 ",
        "~",
        "tab\t\x01\x7f\x1b[0m",
        "x" * 255,
    ),
    "x\n81a4 1 0 0 1 .",  # as if it were a line of stat
    os.fsdecode(b"\xed\xa0\x80\n\xff"),
]


def test_any_name_is_listed_exactly(there: Guest) -> None:
    """Names of any bytes come with the stat of their files, of symlinks also with that of what they lead to."""
    for number, name in enumerate(NASTY):
        (there.folder / name).write_bytes(bytes(number))
        (there.folder / f"{name[:100]}@").symlink_to(name)
    (there.folder / "dangling").symlink_to("nowhere\n")
    (there.folder / "round").symlink_to("round")
    (there.folder / "folder").mkdir(mode=0o700)
    (there.folder / "to-folder").symlink_to("folder")
    entries = {entry.name: entry for entry in there.machine.scandir(there.inside)}
    expected = {entry.name: entry for entry in os.scandir(there.folder)}
    assert sorted(expected) == list(entries)
    for name, entry in entries.items():
        real, path = expected[name], there.folder / name
        assert f"{there.inside}/{name}" == entry.path == os.fspath(entry)
        assert (real.is_symlink(), path.is_dir(), path.is_file()) == (entry.is_symlink(), entry.is_dir(), entry.is_file())
        assert _of(path.lstat()) == _of(entry.stat(follow_symlinks=False))
        if name in {"dangling", "round"}:
            with pytest.raises(FileNotFoundError):
                entry.stat()
        else:
            assert _of(path.stat()) == _of(entry.stat())


def _of(found: Any) -> tuple[object, ...]:
    values = found if isinstance(found, os.stat_result) else None
    if values is not None:
        return values.st_mode, values.st_size, values.st_uid, values.st_gid, int(values.st_mtime)
    return found.mode, found.size, found.uid, found.gid, found.mtime


def test_directories_in_one_call(there: Guest) -> None:
    """Walks and globs pass directories of any name, and leave out those that are no more."""
    for name in NASTY:
        (there.folder / name[:200]).mkdir(exist_ok=True)
        (there.folder / name[:200] / "in").touch()
    walked = {above: files for above, _, files in there.machine.walk(there.inside)}
    expected = {f"{there.inside}/{name[:200]}": ["in"] for name in NASTY}
    assert {there.inside: [], **expected} == walked
    assert sorted(f"{path}/in" for path in expected) == there.machine.glob(there.inside, "*/in")


def test_ten_thousand_entries_by_one_call(local: Smolvm) -> None:
    """A directory of ten thousand files is listed by one call."""
    calls: list[object] = []
    client = Smolvm(runner=local.runner, on_call=calls.append)
    with client.machine("m") as machine:
        machine.sh("mkdir /many && cd /many && for n in $(seq 10000); do : >$n; done", check=True)
        before = len(calls)
        found = machine.scandir("/many")
        assert (10_000, 1) == (len(found), len(calls) - before)
        assert all(entry.is_file() for entry in found)


def counted(fill: Callable[[Any], object]) -> tuple[Any, list[object]]:
    """A fake's machine with these files, and the list of the calls from then on."""
    fake, calls = FakeSmolvm(), list[object]()
    machine = Smolvm(runner=fake, on_call=calls.append).machine("m")
    machine.create()
    machine.start()
    fill(fake.machines["m"].files)
    calls.clear()
    return machine, calls


def _tree(files: Any) -> None:
    for one in "abc":
        for other in "xyz":
            files.write_text(f"/srv/{one}/{other}/file.py", "", parents=True)


def test_a_walk_can_be_pruned() -> None:
    """Directories that are removed from dirnames are not walked, and the others in the order that is left."""
    machine, _ = counted(_tree)
    seen = []
    for above, names, files in machine.walk("/srv"):
        seen.append((above, list(names), files))
        names[:] = [name for name in reversed(names) if name not in "by"]
    expected = ["/srv", "/srv/c", "/srv/c/z", "/srv/c/x", "/srv/a", "/srv/a/z", "/srv/a/x"]
    assert expected == [above for above, _, _ in seen]
    assert ("/srv/c/z", [], ["file.py"]) == seen[2]


def test_few_calls() -> None:
    """Directories beside each other are listed by one call, and for a glob all of a level."""
    machine, calls = counted(_tree)
    assert 13 == len(list(machine.walk("/srv")))
    assert 5 == len(calls)  # /srv; a, b and c; three times x, y and z
    calls.clear()
    assert 9 == len(machine.glob("/srv", "**/*.py"))
    assert 3 == len(calls)
    calls.clear()
    assert ["/srv/a/x/file.py"] == machine.glob("/srv", "[a]/x*/*")
    assert 3 == len(calls)


def test_a_walk_asks_when_it_is_iterated() -> None:
    """A walk makes no call before its first step, and wrong arguments raise at once."""
    machine, calls = counted(_tree)
    walk = machine.walk("/srv")
    assert not calls
    assert ("/srv", ["a", "b", "c"], []) == next(walk)
    for wrong in ({"timeout": "1"}, {"user": ""}, {"on_error": 1}, {"follow_symlinks": "no"}):
        with pytest.raises((TypeError, ValueError)):
            machine.walk("/srv", **wrong)
    with pytest.raises(ValueError, match="absolute"):
        machine.walk("srv")
    for pattern in ("", ".", "/x", "a\0"):
        with pytest.raises(ValueError, match="must be a relative path"):
            machine.glob("/srv", pattern)
    with pytest.raises(TypeError, match="pattern must be a str"):
        machine.glob("/srv", b"*")


def test_directories_that_cannot_be_listed(there: Guest) -> None:
    """scandir raises for them; a walk passes the error to on_error, or leaves them out, and goes on."""
    (there.folder / "file").touch()
    wrong: list[errors.GuestFileError] = []
    assert [] == list(there.machine.walk(f"{there.inside}/none", on_error=wrong.append))
    assert [] == list(there.machine.walk(f"{there.inside}/file", on_error=wrong.append))
    assert [] == list(there.machine.walk(f"{there.inside}/none"))
    assert [errors.GuestFileNotFoundError, errors.GuestNotADirectoryError] == [type(error) for error in wrong]
    assert [f"{there.inside}/none", f"{there.inside}/file"] == [error.filename for error in wrong]
    for name, kind in (("none", FileNotFoundError), ("file", NotADirectoryError)):
        with pytest.raises(kind):
            there.machine.scandir(f"{there.inside}/{name}")


PLAIN = b"81a4 1 0 0 1 "
ANSWERS: list[tuple[bytes, object]] = [
    (b"=0 \0", []),
    (b"./a\0\0" + PLAIN + b"./a\n\0\0=0 \0", ["a"]),
    (b"./a\0./b\0\0" + PLAIN + b"./b\n\0\0=0 \0", ["b"]),  # a was gone by then
    (b"./a\0./b\0\0\0\0=0 \0", []),
    (b"=80 ls: x: No such file or directory\0", FileNotFoundError),
    (b"=82 \0", PermissionError),
    (b"=1 ls: x: Permission denied\0", PermissionError),
    (b"=87 stat\0", errors.GuestFileError),
    (b"", errors.GuestFileError),
    (b"./a\0", errors.GuestFileError),
    (b"./a\0\0" + PLAIN + b"./a\n", errors.GuestFileError),  # cut short
    (b"./..\0\0" + PLAIN + b"./..\n\0\0=0 \0", errors.GuestFileError),
    (b"../x\0\0" + PLAIN + b"../x\n\0\0=0 \0", errors.GuestFileError),
    (b"/etc\0\0" + PLAIN + b"/etc\n\0\0=0 \0", errors.GuestFileError),
    (b"./a/b\0\0" + PLAIN + b"./a/b\n\0\0=0 \0", errors.GuestFileError),
    (b"./\0\0" + PLAIN + b"./\n\0\0=0 \0", errors.GuestFileError),
    (b"./a\0\0" + PLAIN + b"./b\n\0\0=0 \0", errors.GuestFileError),
    (b"./a\0\0" + b"8" * 40 + b" 1 0 0 1 ./a\n\0\0=0 \0", errors.GuestFileError),
    (b"./a\0\0nonsense\0\0=0 \0", errors.GuestFileError),
    (b"=999999 \0", errors.GuestFileError),
    (b"\0" * 100, errors.GuestFileError),
    (b"\xff" * 100, errors.GuestFileError),
]


@pytest.mark.parametrize(("said", "expected"), ANSWERS)
def test_a_hostile_guests_listing(said: bytes, expected: Any, fake: FakeRunner, client: Smolvm) -> None:
    """A listing is right, or a GuestFileError: no name leads elsewhere, and nothing is made up."""
    fake.answer(["machine", "exec"], lambda _: Completed((), 0, said))
    if isinstance(expected, list):
        assert expected == [entry.name for entry in client.machine("m").scandir("/x")]
        return
    with pytest.raises(expected) as caught:
        client.machine("m").scandir("/x")
    assert isinstance(caught.value, errors.GuestFileError)


def test_a_guest_without_end(fake: FakeRunner, client: Smolvm) -> None:
    """A guest that claims a directory in every directory ends a glob where no path can be longer."""

    def deeper(command: Any) -> Completed:
        return Completed(
            (), 0, (b"./" + b"d" * 200 + b"\0\0" + b"41ed 1 0 0 1 ./" + b"d" * 200 + b"\n\0\0=0 \0") * len(command.paths)
        )

    fake.answer(ScanDirs, deeper)
    assert 4096 // 201 + 1 == len(client.machine("m").glob("/", "**/d*"))


def test_listings_that_are_too_large_together(fake: FakeRunner, client: Smolvm) -> None:
    """Directories whose listings are too large for one call are listed by several."""

    def answer(command: Any) -> Completed:
        if len(command.paths) > 2:
            return Completed((), -9, ended_by="output limit")
        names = [b"./%d\0\0" % number + b"41ed 1 0 0 1 ./%d\n\0\0=0 \0" % number for number in range(len(command.paths))]
        return Completed((), 0, b"".join(names))

    fake.answer(ScanDirs, answer)
    machine = client.machine("m")
    found = machine._scan([f"/{number}" for number in range(9)], None, None)
    assert {f"/{number}" for number in range(9)} == found.keys()
    assert all(isinstance(listing, list) for listing in found.values())


def test_what_fits_on_a_command_line() -> None:
    """However many directories with however long names are listed, no call has a command line over 64 KiB."""
    fake = FakeSmolvm()
    with Smolvm(runner=fake).machine("m") as machine:
        for number in range(200):
            fake.machines["m"].files.mkdir(f"/srv/{number}{'é' * 120}", parents=True)
        assert 201 == len(list(machine.walk("/srv")))
        assert 200 == len(machine.glob("/srv", "**/*"))
        assert max(len(" ".join(call.args)) for call in fake.machines["m"].calls) < 65_536


async def _walk(fake: FakeSmolvm) -> list[str]:
    client = AsyncSmolvm(runner=fake)
    async with client.machine("m") as machine:
        await machine.write_text("/srv/a/b", "x", parents=True)
        assert ["/srv/a"] == [entry.path for entry in await machine.scandir("/srv")]
        assert ["/srv/a/b"] == await machine.glob("/srv", "*/b")
        return [above async for above, _, _ in machine.walk("/srv")]


def test_the_async_walk() -> None:
    """The async side has them too: `async for ... in machine.walk(...)`."""
    assert ["/srv", "/srv/a"] == asyncio.run(_walk(FakeSmolvm()))


def test_files_that_come_and_go_meanwhile(local: Smolvm) -> None:
    """A directory that changes while it is listed is listed: what is gone by then is left out."""
    with local.machine("m") as machine:
        machine.mkdir("/busy")
        churn = machine.spawn(
            ["sh", "-c", "cd /busy; while :; do for n in 1 2 3 4 5 6 7 8 9; do : >$n; rm -f $n; done; done"]
        )
        try:
            for _ in range(30):
                assert all(stat.S_ISREG(entry.stat().mode) for entry in machine.scandir("/busy"))
        finally:
            churn.kill()

"""Downloads from machines whose guest attacks, or is only unusual."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from smolkit import Machine, Smolvm, SubprocessRunner, errors
from smolkit.testing import FakeRunner
from tests.nasty import nasty, state
from tests.unit.test_floods import forget, peak
from tests.unit.test_hostile_archives import MIB


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose guest uses this host's files, and the programs in `bin` if there are some."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/smolvm"
    script = f'PATH={tmp_path}/bin:$PATH; while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Smolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m")


def says(folder: Path, name: str, script: str) -> None:
    """Replace one of the guest's programs."""
    (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / name).chmod(0o755)


@pytest.mark.parametrize("program", ["tar", "tar --format=posix", "busybox tar", "bsdtar"])
def test_a_tree_is_downloaded_exactly(machine: Machine, tmp_path: Path, program: str) -> None:
    """A tree of 10,000 files keeps names, contents, modes, times and symlinks, whatever tar the guest has."""
    if shutil.which(program.split(maxsplit=1)[0]) is None:
        pytest.skip(f"this host has no {program}")
    guest = nasty(tmp_path / "guest", 10_000 if program == "tar" else 100)
    path = os.environ["PATH"]
    says(tmp_path, "tar", f'PATH={path}; exec {program} "$@"')
    machine.download(guest, tmp_path / "host")

    expected, found = state(guest), state(tmp_path / "host")
    assert {} == {name: (told, found.get(name)) for name, told in expected.items() if told != found.get(name)}
    assert expected.keys() == found.keys()


@pytest.mark.parametrize("name", ["文" * 80, "n" * 255, "x" * 60 + "é" * 90], ids=["CJK", "longest", "mixed"])
def test_a_target_with_a_long_name(machine: Machine, tmp_path: Path, name: str) -> None:
    """A target may have the longest name that the file system allows, in bytes, also for the temporary file beside it."""
    (tmp_path / "folders").mkdir()
    (tmp_path / "files").mkdir()
    machine.download(tmp_path / "folders", tmp_path / "folders" / name)
    machine.download(tmp_path / "bin/smolvm", tmp_path / "files" / name)

    assert [[name], [name]] == [os.listdir(tmp_path / "folders"), os.listdir(tmp_path / "files")]


def answered(folder: Path, name: str, answer: bytes) -> None:
    """Let one of the guest's programs, or its shell, answer like this."""
    (folder / "answer").write_bytes(answer)
    says(folder, name, f"exec cat {folder}/answer")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", "a/", "/", ".", ".."])
def test_invalid_names_are_refused(machine: Machine, tmp_path: Path, name: str) -> None:
    """A guest's listing with `.`, `..` or slashes is refused, since callers join names to paths."""
    answered(tmp_path, "sh", b"fine\0..fine\0..." + b"\0" + name.encode() + b"\0")
    with pytest.raises(errors.GuestFileError, match="the guest sent an invalid directory entry of '/d'") as caught:
        machine.listdir("/d")

    assert "/d" == caught.value.filename
    answered(tmp_path, "sh", b"..fine\0fine\0...\0\xff\0")
    assert ["...", "..fine", "fine", "\udcff"] == machine.listdir("/d")


SIZES = [b"", b"\n", b"x", b"-1", b"1e9", b"1 2", b"\xff", b"0x10", b"1_0", b"9" * 19, b"9" * 5000]


@pytest.mark.parametrize("said", SIZES)
def test_invalid_sizes_are_refused(client: Smolvm, fake: FakeRunner, tmp_path: Path, said: bytes) -> None:
    """A malformed total size from a guest (asked for `progress`) is a typed error, and nothing is made."""
    fake.answer(["machine", "exec"], stdout="41ed 1 0 0 1\n", times=1)
    fake.answer(["machine", "exec"], stdout=said, times=1)
    with pytest.raises(errors.GuestFileError, match="the guest sent an invalid size of '/x'"):
        client.machine("m").download("/x", tmp_path / "new", progress=lambda done, total: None)

    assert [] == os.listdir(tmp_path)


STATS = [
    b"41ed 1 2 3",
    b"ffffffffffffffffff 1 0 0 1",
    b"-1 1 0 0 1",
    b"41ed -1 0 0 1",
    b"41ed 1 0 0 " + b"9" * 13,
    b"41ed 1 0 0 1 1",
]


@pytest.mark.parametrize("said", STATS)
def test_impossible_stat_numbers_are_refused(client: Smolvm, fake: FakeRunner, said: bytes) -> None:
    """A guest's stat with numbers beyond what Python's own file functions take is refused."""
    fake.answer(["machine", "exec"], stdout=said)
    with pytest.raises(errors.GuestFileError, match="the guest sent an invalid stat of '/x'"):
        client.machine("m").stat("/x")


def test_endless_answers_are_cut_off(machine: Machine, tmp_path: Path) -> None:
    """An answer of one line or of names that never ends is cut off early, whatever limit the runner has."""
    says(tmp_path, "sh", "exec cat /dev/zero")
    with pytest.raises(errors.OutputLimitError):
        machine.listdir("/x")
    for ask in (machine.stat, machine.exists):
        forget()
        before = peak()
        with pytest.raises(errors.OutputLimitError):
            ask("/x")
        assert peak() - before < 16 * MIB


def test_endless_files_stop_at_the_limit(machine: Machine, tmp_path: Path) -> None:
    """A file that never ends or grows stops at the limit and keeps nothing, and so does an endless stderr."""
    (tmp_path / "out").mkdir()
    with pytest.raises(errors.UnsafeArchiveError, match="more bytes than the limit"):
        machine.download("/dev/zero", tmp_path / "out/x", limit=MIB)
    (tmp_path / "file").write_bytes(b"x" * 1000)
    says(tmp_path, "cat", "exec yes")
    with pytest.raises(errors.UnsafeArchiveError, match="more bytes than the limit"):
        machine.download(tmp_path / "file", tmp_path / "out/x", limit=1000)
    says(tmp_path, "cat", "exec yes >&2")
    says(tmp_path, "tar", "exec yes >&2")
    for source in (tmp_path / "file", tmp_path):
        with pytest.raises(errors.GuestFileError, match="write too many messages"):
            machine.download(source, tmp_path / "out/x")

    assert [] == os.listdir(tmp_path / "out")


@pytest.mark.parametrize(("limit", "seconds"), [(4 * 2**30, 7696), (0, 3600), (2**63 - 1, 1_000_000)])
def test_a_download_has_a_timeout(client: Smolvm, fake: FakeRunner, tmp_path: Path, limit: int, seconds: int) -> None:
    """A download's timeout is an hour and a second for each MiB, in the guest and on the host."""
    fake.answer(["machine", "exec"], stdout="81a4 1 0 0 1\n", times=1)
    fake.answer(["machine", "exec"], "")
    client.machine("m").download("/x", tmp_path / "new", limit=limit)

    argv = fake.argvs[-1]
    assert f"{seconds}s" == argv[argv.index("--timeout") + 1]


@pytest.mark.parametrize("limit", [-1, 1.5, "1", None, 2**63])
def test_invalid_limits_are_refused(client: Smolvm, fake: FakeRunner, limit: object) -> None:
    """Invalid limits are refused before anything runs."""
    with pytest.raises((TypeError, ValueError), match="limit must be "):
        client.machine("m").download("/x", "/tmp/never", limit=limit)  # type: ignore[arg-type]

    assert [] == fake.argvs


def test_the_guests_own_error_takes_precedence(machine: Machine, tmp_path: Path) -> None:
    """A failing `tar` gives the error's reason, and a truncated archive is refused also if `tar` succeeds."""
    (tmp_path / "out").mkdir()
    says(tmp_path, "tar", "echo half; echo gone away >&2; exit 3")
    with pytest.raises(errors.GuestFileError, match="gone away"):
        machine.download(tmp_path, tmp_path / "out/x")
    says(tmp_path, "tar", "echo half")
    with pytest.raises(errors.UnsafeArchiveError, match="ends too early"):
        machine.download(tmp_path, tmp_path / "out/x")

    assert [] == os.listdir(tmp_path / "out")

"""Files of real guests, bare and made from an image."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from smolkit import Machine, Smolvm, errors
from tests import trees
from tests.engine.conftest import Boot
from tests.nasty import as_tar, nasty, state
from tests.unit.test_files import NAMES, tree

pytestmark = pytest.mark.engine


@pytest.fixture(params=["shared", "image"])
def machine(real: Smolvm, request: pytest.FixtureRequest) -> Machine:
    """A bare machine, and one made from an image. (pytest needs `real` as an argument to see what else a test uses.)"""
    found: Machine = request.getfixturevalue(request.param)
    return found


def test_files_of_any_name_and_content(machine: Machine) -> None:
    """Files of any name and content can be written, listed, inspected, read, renamed and removed."""
    machine.mkdir("/root/names/deep", parents=True, mode=0o750)
    content = bytes(range(256)) * 500
    for name in map(os.fsdecode, NAMES):
        machine.write_bytes(f"/root/names/{name}", content, mode=0o640, owner="1000:1000")
    assert sorted([*map(os.fsdecode, NAMES), "deep"]) == machine.listdir("/root/names")
    weird = f"/root/names/{os.fsdecode(NAMES[-1])}"
    found = machine.stat(weird)
    assert (len(content), 0o640, 1000, 1000) == (found.size, stat.S_IMODE(found.mode), found.uid, found.gid)
    assert content == machine.read_bytes(weird)
    machine.rename(weird, "/root/names/plain")
    machine.write_text("/root/names/plain", "new")
    assert ("new", 0o640) == (machine.read_text("/root/names/plain"), stat.S_IMODE(machine.stat("/root/names/plain").mode))
    assert 0o750 == stat.S_IMODE(machine.stat("/root/names/deep").mode)
    machine.remove("/root/names", recursive=True)
    assert not machine.exists("/root/names")
    assert machine.exists()


def test_failures_are_the_builtin_ones(machine: Machine) -> None:
    """Failures of the guest's busybox are the builtin errors."""
    with pytest.raises(FileNotFoundError):
        machine.read_bytes("/no/such/file")
    with pytest.raises(IsADirectoryError):
        machine.read_bytes("/root")
    with pytest.raises(NotADirectoryError):
        machine.listdir("/etc/hostname" if machine.exists("/etc/hostname") else "/proc/version")
    with pytest.raises(FileExistsError):
        machine.mkdir("/root")
    with pytest.raises(errors.GuestDirectoryNotEmptyError):
        machine.remove("/etc")
    with pytest.raises(OSError, match=r"cannot write .*/proc/version"):
        machine.write_bytes("/proc/version", b"x")


def test_files_in_proc(machine: Machine) -> None:
    """Files in /proc can be read, although their size is reported as 0."""
    assert machine.read_text("/proc/version").startswith("Linux version")


@pytest.mark.twin
def test_trees_are_copied_both_ways(machine: Machine, tmp_path: Path) -> None:
    """Trees are copied both ways with modes, symlinks, empty directories and names of any bytes."""
    source = tmp_path / "source"
    (source / "deep/er/empty").mkdir(parents=True)
    for number, name in enumerate(map(os.fsdecode, NAMES)):
        (source / "deep" / name).write_bytes(os.urandom(number * 1000))
    (source / "tool").write_text("#!/bin/sh\necho ran\n")
    (source / "tool").chmod(0o755)
    (source / "link").symlink_to("deep/plain")
    machine.upload(source, "/root/new/tree")
    assert "ran\n" == machine.exec(["/root/new/tree/tool"]).stdout
    machine.download("/root/new/tree", tmp_path / "back")

    assert tree(source) == tree(tmp_path / "back")
    machine.upload(source / "tool", "/root/new/single")
    machine.download("/root/new/single", tmp_path / "single")
    assert "ran\n" == machine.exec(["/root/new/single"]).stdout
    assert (source / "tool").read_bytes() == (tmp_path / "single").read_bytes()
    machine.remove("/root/new", recursive=True)


# In the emulated host 10,000 files take some five minutes.
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("many", [100, pytest.param(10_000, marks=pytest.mark.night)])
def test_a_nasty_tree_goes_both_ways(machine: Machine, tmp_path: Path, many: int) -> None:
    """Root's upload and download of a tree keep difficult names, modes and times exactly, and stat shows them."""
    trees.make(tmp_path / "source", many, harmless=True)
    goes_both_ways(machine, tmp_path)


def test_a_nasty_tree_of_another_user(boot: Boot, image_folder: str, tmp_path: Path) -> None:
    """Another user's upload and download of a tree keep difficult names, modes and times exactly."""
    trees.make(tmp_path / "source", 100, harmless=True)
    with boot("owner", image=image_folder, user="1234:1234") as machine:
        assert "1234\n" == machine.exec(["id", "-u"]).stdout
        goes_both_ways(machine, tmp_path)


def goes_both_ways(machine: Machine, place: Path) -> None:
    """Upload a tree, compare it in the guest, and download it."""
    machine.upload(place / "source", "/tmp/nasty/tree")
    for name in (".", "sub", "read-only", "setgid", "[x]", "sub/!", f"sub/{chr(0x6F22) * 80}", "hard"):
        found, there = machine.stat(f"/tmp/nasty/tree/{name}"), (place / "source" / name).stat()
        assert (there.st_mode, there.st_mtime // 1) == (found.mode, found.mtime)
    machine.download("/tmp/nasty/tree", place / "back")
    assert trees.held(place / "source", 0o777) == trees.held(place / "back", 0o777)
    assert ["tree"] == machine.listdir("/tmp/nasty")
    machine.sh("chmod -R u+rwx /tmp/nasty", check=True)
    machine.remove("/tmp/nasty", recursive=True)


def test_an_interrupted_upload_leaves_nothing(machine: Machine, tmp_path: Path) -> None:
    """An interrupted upload of a tree or a file leaves what was there before."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/large").write_bytes(os.urandom(20_000_000))

    def stop(done: int, total: int) -> NoReturn:
        raise KeyboardInterrupt

    machine.mkdir("/root/kept", parents=True)
    machine.write_text("/root/kept/large", "old")
    for source, target in (("source", "/root/kept"), ("source/large", "/root/kept/large"), ("source", "/root/kept/new")):
        with pytest.raises(KeyboardInterrupt):
            machine.upload(tmp_path / source, target, progress=stop)
        assert (["large"], "old") == (machine.listdir("/root/kept"), machine.read_text("/root/kept/large"))
    machine.remove("/root/kept", recursive=True)


def test_a_hostile_guest_is_refused(machine: Machine, tmp_path: Path) -> None:
    """A download of a symlink that leads outside, or of a device, is refused and keeps nothing."""
    machine.sh("mkdir /root/evil; ln -s /etc/passwd /root/evil/x", check=True)
    with pytest.raises(errors.UnsafeArchiveError, match="leads outside"):
        machine.download("/root/evil", tmp_path / "evil")
    machine.sh("rm /root/evil/x; mknod /root/evil/z c 1 5", check=True)
    with pytest.raises(errors.UnsafeArchiveError, match="no file, directory or link"):
        machine.download("/root/evil", tmp_path / "evil")
    with pytest.raises(errors.UnsafeArchiveError, match="more bytes than the limit"):
        machine.download("/dev/zero", tmp_path / "endless", limit=100_000)

    assert [] == os.listdir(tmp_path)
    machine.remove("/root/evil", recursive=True)


def test_a_nasty_tree_is_downloaded_exactly(machine: Machine, tmp_path: Path) -> None:
    """A download keeps names, contents, modes, times and symlinks exactly, those of the tree's own directory included."""
    source = nasty(tmp_path / "source", 300)
    machine.mkdir("/root/nasty")
    machine.exec(["tar", "-x", "-p", "-f", "-", "-C", "/root/nasty"], input=as_tar(source), check=True, timeout=300)
    machine.download("/root/nasty", tmp_path / "back", progress=lambda done, total: None)

    expected, found = state(source), state(tmp_path / "back")
    assert {} == {name: (told, found.get(name)) for name, told in expected.items() if told != found.get(name)}
    assert expected.keys() == found.keys()
    machine.remove("/root/nasty", recursive=True)


@pytest.mark.night
def test_many_files_are_downloaded(machine: Machine, tmp_path: Path) -> None:
    """10,000 files in a hundred directories are downloaded, each with its own content."""
    script = "for d in $(seq 100); do mkdir -p many/$d; for f in $(seq 100); do echo $d.$f >many/$d/$f; done; done"
    machine.exec(["sh", "-c", f"cd /root && {script}"], check=True, timeout=600)
    machine.download("/root/many", tmp_path / "many")

    found = {str(path.relative_to(tmp_path / "many")): path.read_text() for path in (tmp_path / "many").rglob("*/*")}
    assert {f"{d}/{f}": f"{d}.{f}\n" for d in range(1, 101) for f in range(1, 101)} == found
    machine.remove("/root/many", recursive=True)


def test_symlinks_of_a_real_guest(machine: Machine, tmp_path: Path) -> None:
    """A symlink that leads outside by a directory called `...` is refused, and one that leads out and back is kept."""
    script = "mkdir -p /root/evil/a/b/c; cd /root/evil/a/b/c; ln -s ../../.. ...; ln -s .../../../etc key"
    machine.sh(script, check=True)
    with pytest.raises(errors.UnsafeArchiveError, match="leads outside"):
        machine.download("/root/evil", tmp_path / "evil")
    assert [] == os.listdir(tmp_path)
    assert ["...", "key"] == machine.listdir("/root/evil/a/b/c")
    machine.sh("cd /root/evil/a/b/c && rm key && ln -s .../a/b/../b/c key", check=True)
    machine.download("/root/evil", tmp_path / "fine", progress=lambda done, total: None)
    assert (tmp_path / "fine/a/b/c").samefile(tmp_path / "fine/a/b/c/key")
    machine.remove("/root/evil", recursive=True)


def test_a_copy_to_tmp_before_the_first_command(boot: Boot, image_folder: str, tmp_path: Path) -> None:
    """A file copied to /tmp before the first command is there, although an image machine mounts its /tmp late."""
    (tmp_path / "f").write_text("not lost\n")
    with boot("late", image=image_folder) as machine:
        machine.cp(tmp_path / "f", machine.path("/tmp/f"), mode=0o600)
        assert "not lost\n" == machine.exec(["cat", "/tmp/f"]).stdout
        assert 0o600 == stat.S_IMODE(machine.stat("/tmp/f").mode)

"""Files of real guests, bare and made from an image."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from smolkit import Machine, Smolvm, errors
from tests.engine.conftest import Boot
from tests.nasty import as_tar, nasty, state
from tests.unit.test_files import NAMES, tree

pytestmark = pytest.mark.engine


@pytest.fixture(params=["shared", "image"])
def machine(real: Smolvm, request: pytest.FixtureRequest) -> Machine:
    """A bare machine, and one made from an image. (With `real`: pytest sees what else a test has by its arguments only.)"""
    found: Machine = request.getfixturevalue(request.param)
    return found


def test_files_of_any_name_and_content(machine: Machine) -> None:
    """Written, listed, measured, read, renamed, removed."""
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
    """The guest's busybox says the same as other systems' programs."""
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
    with pytest.raises(OSError, match=r"in the guest, .*/proc/version"):
        machine.write_bytes("/proc/version", b"x")


def test_files_of_the_kernel(machine: Machine) -> None:
    """Their size is not told beforehand; they are read all the same."""
    assert machine.read_text("/proc/version").startswith("Linux version")


@pytest.mark.twin
def test_trees_go_in_and_come_out_whole(machine: Machine, tmp_path: Path) -> None:
    """Modes, links, empty folders, names of any bytes, both ways."""
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


def test_a_hostile_guest_is_refused(machine: Machine, tmp_path: Path) -> None:
    """A link that leads outside, a device: nothing is kept."""
    machine.sh("mkdir /root/evil; ln -s /etc/passwd /root/evil/x", check=True)
    with pytest.raises(errors.UnsafeArchiveError, match="leads outside"):
        machine.download("/root/evil", tmp_path / "evil")
    machine.sh("rm /root/evil/x; mknod /root/evil/z c 1 5", check=True)
    with pytest.raises(errors.UnsafeArchiveError, match="no file, folder or link"):
        machine.download("/root/evil", tmp_path / "evil")
    with pytest.raises(errors.UnsafeArchiveError, match="more than was to be taken"):
        machine.download("/dev/zero", tmp_path / "endless", limit=100_000)

    assert [] == os.listdir(tmp_path)
    machine.remove("/root/evil", recursive=True)


def test_a_nasty_tree_comes_out_as_it_is(machine: Machine, tmp_path: Path) -> None:
    """Names of any bytes, contents, modes, times and links, to the last bit; those of the tree's own directory, too."""
    source = nasty(tmp_path / "source", 300)
    machine.mkdir("/root/nasty")
    machine.exec(["tar", "-x", "-p", "-f", "-", "-C", "/root/nasty"], input=as_tar(source), check=True, timeout=300)
    machine.download("/root/nasty", tmp_path / "back", progress=lambda done, total: None)

    expected, found = state(source), state(tmp_path / "back")
    assert {} == {name: (told, found.get(name)) for name, told in expected.items() if told != found.get(name)}
    assert expected.keys() == found.keys()
    machine.remove("/root/nasty", recursive=True)


@pytest.mark.night
def test_many_files_come_out(machine: Machine, tmp_path: Path) -> None:
    """10,000 of them, in a hundred directories, each with what is its own."""
    script = "for d in $(seq 100); do mkdir -p many/$d; for f in $(seq 100); do echo $d.$f >many/$d/$f; done; done"
    machine.exec(["sh", "-c", f"cd /root && {script}"], check=True, timeout=600)
    machine.download("/root/many", tmp_path / "many")

    found = {str(path.relative_to(tmp_path / "many")): path.read_text() for path in (tmp_path / "many").rglob("*/*")}
    assert {f"{d}/{f}": f"{d}.{f}\n" for d in range(1, 101) for f in range(1, 101)} == found
    machine.remove("/root/many", recursive=True)


def test_links_of_a_real_guest(machine: Machine, tmp_path: Path) -> None:
    """One that leads outside by a directory called `...` is refused; one that goes there and back is kept."""
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
    """An image machine mounts its /tmp late; the file is there all the same."""
    (tmp_path / "f").write_text("not lost\n")
    with boot("late", image=image_folder) as machine:
        machine.cp(tmp_path / "f", machine.path("/tmp/f"), mode=0o600)
        assert "not lost\n" == machine.exec(["cat", "/tmp/f"]).stdout
        assert 0o600 == stat.S_IMODE(machine.stat("/tmp/f").mode)

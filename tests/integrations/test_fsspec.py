"""fsspec's own suite for file systems, on machines of NamespaceEngine, and what it does not ask."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.tests import abstract

from smolkit import Machine, Smolvm
from smolkit.integrations.fsspec import SmolvmFileSystem
from smolkit.testing import FakeSmolvm, NamespaceEngine


@pytest.fixture(scope="module", params=["fake", "local"])
def client(request: pytest.FixtureRequest) -> Iterator[Smolvm]:
    """A client of FakeSmolvm, and one of NamespaceEngine."""
    if request.param == "fake":
        yield Smolvm(runner=FakeSmolvm())
        return
    if why := NamespaceEngine.unavailable():
        pytest.skip(why)
    with NamespaceEngine() as engine:
        yield Smolvm(engine.program)


@pytest.fixture(scope="module")
def machine(client: Smolvm) -> Iterator[Machine]:
    """A running machine."""
    with client.machine("agent") as machine:
        yield machine


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]
    """The file system that fsspec's suite tests, and an empty directory in it."""

    @pytest.fixture
    def fs(self, machine: Machine) -> SmolvmFileSystem:
        """The machine's files."""
        return SmolvmFileSystem(machine, skip_instance_cache=True)

    @pytest.fixture
    def fs_path(self, machine: Machine) -> Iterator[str]:
        """A directory of the test's own."""
        machine.mkdir("/root/test")
        yield "/root/test"
        machine.remove("/root/test", recursive=True)


class TestCopy(abstract.AbstractCopyTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of copies within the machine."""


class TestGet(abstract.AbstractGetTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of downloads."""


class TestPut(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of uploads."""


class TestOpen(abstract.AbstractOpenTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of open."""


class TestPipe(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of pipe."""


@pytest.fixture
def fs(machine: Machine) -> Iterator[SmolvmFileSystem]:
    """A machine's files, with a directory /root/own."""
    machine.mkdir("/root/own")
    yield SmolvmFileSystem(machine, skip_instance_cache=True)
    machine.remove("/root/own", recursive=True)


def test_urls(client: Smolvm, machine: Machine, fs: SmolvmFileSystem) -> None:
    """fsspec finds smolkit by a URL's protocol, and the machine by its name."""
    url = "smolvm://agent/root/own/new/file"
    with fsspec.open(url, "wt", client=client) as file:
        file.write("line\n" * 3)
    with fsspec.open(url, client=client) as file:
        assert [b"line\n"] * 3 == list(file)
    found, path = fsspec.url_to_fs("smolvm://agent/root/own/", client=client)
    named = fsspec.filesystem("smolvm", machine="agent", client=client)
    assert ("/root/own", machine, named) == (path, found.machine, found)
    assert url == fs.unstrip_protocol(fs._strip_protocol(url))
    assert ["/", "/", "/x"] == fs._strip_protocol(["smolvm://agent", "smolvm://agent/", "smolvm://agent/x/"])
    assert "smolvm_agent" == fs.fsid
    SmolvmFileSystem.clear_instance_cache()


def test_files_are_described(fs: SmolvmFileSystem, machine: Machine, tmp_path: Path) -> None:
    """Entries have size, type, mode, owner and time; symlinks those of what they lead to, unless they dangle."""
    (tmp_path / "links").mkdir()
    (tmp_path / "links/link").symlink_to("../file")
    (tmp_path / "links/lost").symlink_to("nowhere")
    machine.write_text("/root/own/file", "content", mode=0o640)
    machine.upload(tmp_path / "links", "/root/own/links")
    file, links = fs.ls("/root/own")
    assert ("/root/own/file", 7, "file", 0o640) == (*(file[key] for key in ("name", "size", "type")), file["mode"] & 0o777)
    assert ("directory", "/root/own/links") == (links["type"], links["name"])
    assert [("file", 7), ("link", 7)] == [(each["type"], each["size"]) for each in fs.ls("/root/own/links")]
    assert (file, ["/root/own/file"]) == (fs.info("/root/own/file"), fs.ls("/root/own/file", detail=False))
    assert file["mtime"] == fs.modified("/root/own/file").timestamp()
    assert ["/root/own/file", "/root/own/links/link", "/root/own/links/lost"] == fs.find("/root/own")


def test_parts_of_a_file(fs: SmolvmFileSystem) -> None:
    """Slices of a file are Python's, and a file is read where one seeks."""
    data = bytes(range(256)) * 40
    fs.pipe_file("/root/own/file", data)
    for start, end in ((None, None), (5, 9), (-5, None), (None, -10_000), (-9, -3), (9, 5), (10_239, 99_999), (-99_999, 3)):
        assert data[start:end] == fs.cat_file("/root/own/file", start, end)
    with fs.open("/root/own/file", block_size=1000) as file:
        assert (data[5000:6500], 6500) == (file.seek(5000) and file.read(1500), file.tell())
    assert data[:10] == fs.head("/root/own/file", 10)


def test_writing(fs: SmolvmFileSystem) -> None:
    """Files are appended to and written in blocks, and in a transaction all at once or not at all."""
    with fs.open("/root/own/file", "wb", block_size=10) as file:
        file.write(b"one " * 20)
        file.write(b"two ")
    with fs.open("/root/own/file", "ab") as file:
        file.write(b"three")
    assert b"one " * 20 + b"two three" == fs.cat("/root/own/file")
    with fs.transaction:
        with fs.open("/root/own/late", "wb") as file:
            file.write(b"late")
        assert not fs.exists("/root/own/late")
    assert b"late" == fs.cat("/root/own/late")
    with pytest.raises(RuntimeError), fs.transaction:
        with fs.open("/root/own/never", "wb") as file:
            file.write(b"never")
        raise RuntimeError
    assert not fs.exists("/root/own/never")


def test_directories(fs: SmolvmFileSystem) -> None:
    """Directories are made, moved and removed, with the builtin errors."""
    fs.mkdir("/root/own/a/b")
    with pytest.raises(FileExistsError):
        fs.mkdir("/root/own/a/b")
    with pytest.raises(FileNotFoundError):
        fs.mkdir("/root/own/none/b", create_parents=False)
    fs.touch("/root/own/a/b/file")
    fs.mv("/root/own/a/b", "/root/own/new/c")
    assert ["/root/own/new/c/file"] == fs.find("/root/own")
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir("/root/own/new/c")
    with pytest.raises(NotADirectoryError):
        fs.rmdir("/root/own/new/c/file")
    fs.rm("/root/own/new/c/file")
    fs.rmdir("/root/own/new/c")
    fs.rm("/root/own/new", recursive=True)
    with pytest.raises(FileNotFoundError):
        fs.rm("/root/own/new", recursive=True)
    with pytest.raises(FileNotFoundError):
        fs.ls("/root/own/none")


def test_transfers_keep_mode_and_time(fs: SmolvmFileSystem, tmp_path: Path) -> None:
    """put and get keep modes and times, and tell a callback how far they are."""
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    os.utime(tmp_path / "tool", (10**9, 10**9))
    seen: list[int] = []
    callback = fsspec.Callback(hooks={"seen": lambda size, value, **_: seen.append(value)})
    fs.put_file(tmp_path / "tool", "/root/own/tool", callback=callback)
    fs.get_file("/root/own/tool", tmp_path / "new/back", callback=callback)
    found = (tmp_path / "new/back").stat()
    assert (0o755, 10**9, 10) == (stat.S_IMODE(found.st_mode), found.st_mtime, seen[-1])
    with (tmp_path / "by-file").open("wb") as file:
        fs.get_file("/root/own/tool", file)
    assert "#!/bin/sh\n" == (tmp_path / "by-file").read_text()
    with pytest.raises(FileExistsError):
        fs.put_file(tmp_path / "tool", "/root/own/tool", mode="create")


def test_it_pickles() -> None:
    """A copy in another process is the same machine's files, as dask needs it."""
    first = fsspec.filesystem("smolvm", machine="agent")
    assert first == pickle.loads(pickle.dumps(first))
    assert first.machine == pickle.loads(pickle.dumps(first)).machine

"""fsspec: the files of a machine as `smolvm://machine/path`, for pandas, pyarrow, dask and all that take such URLs.

Needs `pip install 'smolkit[fsspec]'`.

    frame = pandas.read_csv("smolvm://agent/root/results.csv")
    files = fsspec.filesystem("smolvm", machine=m)  # a handle of any client, or a name
    files.put("data", "/root/data", recursive=True)
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from smolkit.extras import missing

try:
    from fsspec import spec
    from fsspec.callbacks import DEFAULT_CALLBACK
    from fsspec.utils import isfilelike, stringify_path
except ModuleNotFoundError as _error:
    raise missing("smolkit.integrations.fsspec", "fsspec", _error) from _error

from smolkit.handles.client import Smolvm
from smolkit.handles.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.values import DirEntry, FileStat

    class _FileSystem:
        """fsspec has no types: to a type checker, what comes from its classes is there whatever it is called."""

        clear_instance_cache: Callable[[], None]

        def __init__(self, *args: Any, **options: Any) -> None: ...
        def rm(self, *args: Any, **options: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

    class _BufferedFile(_FileSystem):
        """Likewise."""

else:
    _FileSystem, _BufferedFile = spec.AbstractFileSystem, spec.AbstractBufferedFile

_PREFIX = "smolvm://"


class SmolvmFileSystem(_FileSystem):
    """The files of one machine.

    Missing parent directories of what is written are made, as most of fsspec's file systems do. A file that is opened for
    writing is held in memory, and written when it is closed.

    Args:
        machine: A handle, or the name of a machine that runs.
        client: The client of a machine that is given by name. Default: `Smolvm()`.
        user: As whom to read and write: see `smolkit.Machine.read_bytes`.
        storage_options: fsspec's own.
    """

    protocol = "smolvm"
    cachable = False  # fsspec tells instances apart by their text, and handles on machines of one name look alike
    root_marker = "/"

    def __init__(
        self, machine: str | Machine, client: Smolvm | None = None, user: str | None = None, **storage_options: Any
    ) -> None:
        if self._cached:  # fsspec calls it for each use of an instance that it keeps
            return
        super().__init__(**storage_options)
        self.machine: Machine = (client or Smolvm()).machine(machine) if isinstance(machine, str) else machine
        self.user: str | None = user

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        path = stringify_path(path)
        if path.startswith(_PREFIX):
            path = "/" + path.removeprefix(_PREFIX).partition("/")[2]
        return path.rstrip("/") or cls.root_marker

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"machine": path.removeprefix(_PREFIX).partition("/")[0]} if path.startswith(_PREFIX) else {}

    def unstrip_protocol(self, name: str) -> str:
        """The URL of a path."""
        return name if name.startswith(_PREFIX) else f"{_PREFIX}{self.machine.name}{name}"

    @property
    def fsid(self) -> str:
        """A name of this machine among all file systems."""
        return f"smolvm_{self.machine.name}"

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """The stat of a file: name, size, type (`file`, `directory` or `other`), mode, uid, gid and mtime."""
        path = self._strip_protocol(path)
        return _info(path, self.machine.stat(path, user=self.user))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The entries of a directory, or the file itself, with their `info`. A dangling symlink has the type `link`."""
        path = self._strip_protocol(path)
        try:
            entries = self.machine.scandir(path, user=self.user)
        except NotADirectoryError:
            found = [self.info(path)]
        else:
            found = [_info(each.path, _stat(each)) for each in entries]
        return found if detail else [each["name"] for each in found]

    def modified(self, path: str) -> datetime:
        """The time of a file's last change."""
        return datetime.fromtimestamp(self.info(path)["mtime"], tz=UTC)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a directory."""
        self.machine.mkdir(self._strip_protocol(path), parents=create_parents, user=self.user)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a directory and its parents."""
        self.machine.mkdir(self._strip_protocol(path), parents=True, exist_ok=exist_ok, user=self.user)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        path = self._strip_protocol(path)
        self.machine.listdir(path, user=self.user)  # NotADirectoryError: it is a file
        self.machine.remove(path, user=self.user)

    def _rm(self, path: str) -> None:
        self.machine.remove(self._strip_protocol(path), user=self.user)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files, or directories with what is in them."""
        if not recursive or maxdepth is not None:
            super().rm(path, recursive=recursive, maxdepth=maxdepth)
            return
        for each in self.expand_path(path):
            self.machine.remove(each, recursive=True, user=self.user)

    def mv(self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **_: Any) -> None:
        """Rename a file or directory."""
        old, new = self._strip_protocol(path1), self._strip_protocol(path2)
        self.machine.mkdir(self._parent(new), parents=True, exist_ok=True, user=self.user)
        self.machine.rename(old, new, user=self.user)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file, or make a directory like the one at path1."""
        if self.isdir(path1):
            self.makedirs(path2, exist_ok=True)
        else:
            self.pipe_file(path2, self.cat_file(path1))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The content of a file, or the slice from start to end."""
        path = self._strip_protocol(path)
        if (start or 0) < 0 or (end or 0) < 0:
            start, end, _step = slice(start, end).indices(self.info(path)["size"])
        length = None if end is None else max(0, end - (start or 0))
        return self.machine.read_bytes(path, offset=start or 0, length=length, user=self.user)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write a file. With mode="create" it must not exist."""
        path = self._strip_protocol(path)
        if mode == "create" and self.exists(path):
            raise FileExistsError(path)
        self.machine.write_bytes(path, value, parents=True, user=self.user)

    def get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **_: Any) -> None:
        """Download a file, with its mode and time, or make a directory like the one at rpath."""
        if outfile is not None or isfilelike(lpath):
            with self.open(rpath) as file:
                shutil.copyfileobj(file, lpath if outfile is None else outfile)
        elif self.isdir(rpath):
            os.makedirs(lpath, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(os.path.abspath(lpath)), exist_ok=True)
            self.machine.download(self._strip_protocol(rpath), lpath, progress=_telling(callback), user=self.user)

    def put_file(self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **_: Any) -> None:
        """Upload a file, with its mode and time, or make a directory like the one at lpath."""
        rpath = self._strip_protocol(rpath)
        if mode == "create" and self.exists(rpath):
            raise FileExistsError(rpath)
        if os.path.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
        else:
            self.machine.upload(lpath, rpath, parents=True, progress=_telling(callback), user=self.user)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> SmolvmFile:
        if mode == "xb" and self.exists(path):
            raise FileExistsError(path)
        return SmolvmFile(self, path, mode, block_size or "default", **options)


class SmolvmFile(_BufferedFile):
    """An open file. What is written is in the machine when the file is closed, or its transaction is committed."""

    def _upload_chunk(self, final: bool = False) -> bool:
        if final and self.autocommit:
            self.commit()
        return False  # keeps what was written so far

    def commit(self) -> None:
        """Write the file."""
        old = self.fs.cat_file(self.path) if self.mode == "ab" and self.fs.exists(self.path) else b""
        self.fs.pipe_file(self.path, old + self.buffer.getvalue())


def _stat(entry: DirEntry) -> FileStat:
    try:
        return entry.stat()
    except FileNotFoundError:  # a dangling symlink
        return entry.stat(follow_symlinks=False)


def _info(path: str, found: FileStat) -> dict[str, Any]:
    kinds = {"directory": found.is_dir, "file": found.is_file, "link": found.is_symlink}
    kind = next((kind for kind, it_is in kinds.items() if it_is), "other")
    owner = {"mode": found.mode, "uid": found.uid, "gid": found.gid, "mtime": found.mtime}
    return {"name": path, "size": found.size, "type": kind, **owner}


def _telling(callback: Any) -> Callable[[int, int], object] | None:
    """The progress function that tells a callback of fsspec; None if it listens to nothing."""
    if callback is DEFAULT_CALLBACK:
        return None

    def progress(done: int, total: int) -> None:
        callback.set_size(total)
        callback.absolute_update(done)

    return progress

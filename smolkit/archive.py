"""Trees of files as tar streams: written from this host's files, and read from a guest that may be hostile."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from smolkit.errors import UnsafeArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHOLE = ".smolkit-whole"  # the last member: one that is cut off has none
_CHUNK = 2**20
# A file where a folder has to be, and the like: in a fresh folder it is the archive that clashes with itself.
_CLASHES = (FileExistsError, NotADirectoryError, IsADirectoryError, FileNotFoundError)


def files_of(source: str) -> Iterator[tuple[str, str]]:
    """Every file and directory of a tree: its path, and its name in the tree. Symlinks are not followed.

    What a directory has comes right after it: a guest's tar that is not root's makes one read-only once it is past that.
    """
    for folder, folders, files in os.walk(source):
        folders.sort()
        if folder != source:
            yield folder, os.path.relpath(folder, source)
        for name in sorted(files) + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            path = os.path.join(folder, name)
            yield path, os.path.relpath(path, source)


def size_of(source: str) -> int:
    """Bytes of all regular files of a tree."""
    return sum(found.st_size for path, _ in files_of(source) if stat.S_ISREG((found := os.lstat(path)).st_mode))


def pack(source: str, write: Callable[[bytes], object], progress: Callable[[int], object]) -> None:
    """Writes a tree as a tar: modes, times, links and names of any bytes; owners are root's.

    Raises:
        ValueError: a file is neither regular nor a folder nor a link.
    """

    class Out:
        def write(self, data: bytes) -> int:
            write(data)
            return len(data)

    out: Any = Out()
    with tarfile.open(mode="w|", fileobj=out, format=tarfile.GNU_FORMAT, errors="surrogateescape", bufsize=_CHUNK) as tar:
        for path, name in files_of(source):
            _add(tar, path, name, progress)
        tar.addfile(tarfile.TarInfo(WHOLE))


def _add(tar: tarfile.TarFile, path: str, name: str, progress: Callable[[int], object]) -> None:
    tar.inodes.clear()  # type: ignore[attr-defined]  # hard links come as two files: a guest need not know the first
    member = tar.gettarinfo(path, name)
    if member is None or not (member.isreg() or member.isdir() or member.issym()):
        raise ValueError(f"neither a file, a folder nor a link: {path!r}")
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    if not member.isreg():
        tar.addfile(member)
        return
    with open(path, "rb") as file:
        tar.addfile(member, _Counted(file, progress))


class _Counted:
    """A file whose reading is reported."""

    def __init__(self, file: IO[bytes], progress: Callable[[int], object]) -> None:
        self._file, self._progress = file, progress

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._progress(len(data))
        return data


class Unpacker:
    """Makes the files of a tar that a guest sends, in a folder that nobody else knows.

    Args:
        folder: Fresh and empty.
        limit: Bytes of files, and 512 for each of them, that are taken.
        progress: Told of bytes that were written.
    """

    def __init__(self, folder: str, limit: int, progress: Callable[[int], object]) -> None:
        self._folder, self._room, self._progress = folder, limit, progress
        self._modes: list[tuple[str, int, int]] = []  # of folders, to be set last: one may be read-only

    def unpack(self, file: Any) -> None:
        """Makes all of it.

        Raises:
            UnsafeArchiveError: a name is absolute or has `..`, a link leads outside, something is no file, folder or link,
                or it is too much, or no tar.
        """
        try:
            with tarfile.open(mode="r|", fileobj=file, errors="surrogateescape", bufsize=_CHUNK) as tar:
                for member in tar:
                    self._take(512)
                    self._make(tar, member)
        except (tarfile.TarError, ValueError, OverflowError, EOFError, *_CLASHES) as error:
            raise UnsafeArchiveError(f"what the guest sent is no tar: {error}") from error
        for path, mode, mtime in reversed(self._modes):
            os.chmod(path, mode)
            os.utime(path, (mtime, mtime))

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._path(member.name)
        mode = member.mode & 0o777  # a guest's setuid is nobody's here
        if member.isdir():
            os.makedirs(path, exist_ok=True)
            self._modes.append((path, mode, _time(member)))
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            raise UnsafeArchiveError(f"the guest sent {member.name!r} twice")
        if member.issym():
            self._check_link(member)
            os.symlink(member.linkname, path)
        elif member.islnk():
            source = self._path(member.linkname)
            if os.path.islink(source) or not os.path.isfile(source):
                raise UnsafeArchiveError(f"the guest sent {member.name!r} as a link to no file: {member.linkname!r}")
            shutil.copy2(source, path)
            self._take(os.path.getsize(path))
        elif member.isreg():
            self._copy(tar, member, path, mode)
        else:
            raise UnsafeArchiveError(f"the guest sent {member.name!r}, which is no file, folder or link")

    def _copy(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, mode: int) -> None:
        source: Any = tar.extractfile(member)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as target:
            while chunk := source.read(_CHUNK):
                self._take(len(chunk))
                target.write(chunk)
                self._progress(len(chunk))
            if target.tell() != member.size:
                raise UnsafeArchiveError(f"the guest sent only a part of {member.name!r}")
            os.fchmod(target.fileno(), mode)
        os.utime(path, (_time(member), _time(member)))

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise too_much()

    def _path(self, name: str) -> str:
        """Where a member goes: inside the folder, and not through a link."""
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise UnsafeArchiveError(f"the guest sent a name that leads outside: {name!r}")
        path = self._folder
        for part in parts[:-1]:
            path = os.path.join(path, part)
            if os.path.islink(path):
                raise UnsafeArchiveError(f"the guest sent a name that leads through a link: {name!r}")
        return os.path.join(self._folder, *parts)

    def _check_link(self, member: tarfile.TarInfo) -> None:
        """A link may lead to anything below the folder, by a relative path."""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(posixpath.normpath(member.name)), member.linkname))
        # A ".." behind a name may go up from wherever a link of that name leads.
        behind = "/.." in member.linkname.lstrip("./")
        if member.linkname.startswith("/") or target.split("/")[0] == ".." or behind or not member.linkname:
            raise UnsafeArchiveError(f"the guest sent a link that leads outside: {member.name!r} to {member.linkname!r}")


def too_much() -> UnsafeArchiveError:
    """What it means that the guest does not stop."""
    return UnsafeArchiveError("the guest sent more than was to be taken (limit=)")


@contextmanager
def fresh_folder(path: str) -> Iterator[str]:
    """A new folder beside `path`, which becomes it if all goes well, and else is gone."""
    parent, name = os.path.split(path)
    part = tempfile.mkdtemp(prefix=f".part-{name[:100]}-", dir=parent)
    try:
        yield part
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _time(member: tarfile.TarInfo) -> int:
    return min(max(int(member.mtime), 0), 2**33)

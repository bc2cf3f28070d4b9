"""Trees of files as tar streams: written from this host's files, and read from a guest that may be hostile."""

from __future__ import annotations

import copy
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
from contextlib import contextmanager
from io import BytesIO
from itertools import groupby
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any

from smolkit.errors import UnsafeArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TREE, TIMES, MODES = "tree", "times", "modes"  # what a guest is sent; it has all, where it has the last of these
_TOGETHER = 200  # names on a line for the guest's shell
_CHUNK = 2**20
# A file where a folder has to be, and the like: in a fresh folder it is the archive that clashes with itself.
_CLASHES = (FileExistsError, NotADirectoryError, IsADirectoryError, FileNotFoundError)


def files_of(source: str) -> Iterator[tuple[str, str]]:
    """Every file and directory of a tree: its path, and its name in the tree. Symlinks are not followed.

    What a directory has comes after it.

    Raises:
        OSError: a directory of the tree cannot be read.
    """
    waiting = [(source, "")]
    while waiting:  # not os.walk, which leaves out what it cannot read, and may be too deep for the stack
        folder, inside = waiting.pop()
        found = [(os.path.join(folder, name), inside + name) for name in sorted(os.listdir(folder))]
        yield from found
        folders = [item for item in found if stat.S_ISDIR(os.lstat(item[0]).st_mode)]
        waiting += [(path, f"{name}/") for path, name in reversed(folders)]


def size_of(source: str) -> int:
    """Bytes of all regular files of a tree."""
    return sum(found.st_size for path, _ in files_of(source) if stat.S_ISREG((found := os.lstat(path)).st_mode))


def pack(source: str, write: Callable[[bytes], object], progress: Callable[[int], object]) -> None:
    """Writes a tree as a tar for UNPACK: modes, times, links and names of any bytes; owners are root's.

    Raises:
        ValueError: a file is neither regular nor a folder nor a link.
    """

    class Out:
        def write(self, data: bytes) -> int:
            write(data)
            return len(data)

    out: Any = Out()
    with _tar(out, "w|") as tar, SpooledTemporaryFile(_CHUNK) as times:
        later = [_add(tar, os.path.realpath(source), TREE, progress)]
        later += [_add(tar, path, f"{TREE}/{name}", progress) for path, name in files_of(source)]
        # What comes into a folder changes its time, and needs its mode: they are set last, those of the deepest first.
        after = [_renamed(member) for member in reversed(later[1:]) if member is not None]
        with _tar(times, "w") as late:
            for member in filter(tarfile.TarInfo.isdir, after):
                late.addfile(_filled(member))
        _add_data(tar, TIMES, times)
        _add_data(tar, MODES, BytesIO(b"".join(_modes(after))))


def _tar(file: Any, mode: Any) -> tarfile.TarFile:
    return tarfile.open(mode=mode, fileobj=file, format=tarfile.GNU_FORMAT, errors="surrogateescape", bufsize=_CHUNK)


def _add(tar: tarfile.TarFile, path: str, name: str, progress: Callable[[int], object]) -> tarfile.TarInfo | None:
    """Adds a file; what gets its mode later is given back: folders, and what loses special bits to a write or chown."""
    tar.inodes.clear()  # type: ignore[attr-defined]  # hard links come as two files: a guest need not know the first
    member = tar.gettarinfo(path, name)
    if member is None or not (member.isreg() or member.isdir() or member.issym()):
        raise ValueError(f"neither a file, a folder nor a link: {path!r}")
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = stat.S_IMODE(member.mode)
    member.mtime = os.lstat(path).st_mtime_ns // 10**9  # a float may be that of the next second
    if member.isdir():
        tar.addfile(_filled(member))
        return member
    if not member.isreg():
        tar.addfile(member)
        return None
    with open(path, "rb") as file:
        tar.addfile(member, _Counted(file, progress))
    return member if member.mode & ~0o777 else None


def _filled(folder: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member for a folder while it is filled."""
    made = copy.copy(folder)
    made.mode |= stat.S_IRWXU
    return made


def _renamed(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member as it is called in the tree."""
    made = copy.copy(member)
    made.name = f"./{member.name[len(TREE) + 1 :]}"
    return made


def _add_data(tar: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, os.SEEK_END)
    file.seek(0)
    tar.addfile(member, file)


def _modes(members: list[tarfile.TarInfo]) -> Iterator[bytes]:
    """Lines for a shell in the tree that give files their modes."""
    for mode, same in groupby(members, lambda member: member.mode):
        names = [os.fsencode(member.name.replace("'", "'\\''")) for member in same]
        for start in range(0, len(names), _TOGETHER):
            quoted = b" ".join(b"'%s'" % name for name in names[start : start + _TOGETHER])
            yield b"chmod %o -- %s || exit 86\n" % (mode, quoted)


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
    parent = os.path.dirname(path)
    part = tempfile.mkdtemp(prefix=".part-", dir=parent)
    try:
        yield part
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _time(member: tarfile.TarInfo) -> int:
    return min(max(int(member.mtime), 0), 2**33)

"""Trees of files as tar streams: written from this host's files, and read from a guest that may be hostile."""

from __future__ import annotations

import copy
import errno
import os
import stat
import tarfile
from contextlib import contextmanager
from io import BytesIO
from itertools import groupby
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any

from smolkit.errors import UnsafeArchiveError
from smolkit.handles.host_tree import Cursor
from smolkit.handles.tar_stream import DIRECTORY, FILE, HARD_LINK, SYMLINK, Member, TarReader, malformed, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TREE, TIMES, MODES = "tree", "times", "modes"  # sent in this order: a guest that has the last of them has all
_TOGETHER = 200  # names in one command for the guest's shell
_CHUNK = 2**20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_LONGEST = 4096  # bytes of a member's name: the kernel's PATH_MAX
_DEEPEST = 512  # nested directories: programs that recurse (`shutil.rmtree`, `os.walk`) can cope with that
_STEPS = 2**21  # members, directories entered, and names of symlink targets: a minute or two
_FOLLOWED = 40  # symlinks followed for one path, as in the kernel
_DOUBTFUL = 512  # symlinks that can only be judged at the end
# Errors of this host's file system that a name or a link of the guest's causes.
_GUESTS = {
    errno.EACCES, errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENAMETOOLONG,
    errno.ENOENT, errno.ENOTDIR, errno.EOVERFLOW,
}  # fmt: skip


def files_of(source: str) -> Iterator[tuple[str, str]]:
    """Every file and directory of a tree: its path, and its name in the tree. Symlinks are not followed.

    A directory comes before its content.

    Raises:
        OSError: a directory of the tree cannot be read.
    """
    waiting = [(source, "")]
    while waiting:  # not os.walk, which skips directories that it cannot read, and recurses
        directory, inside = waiting.pop()
        found = [(os.path.join(directory, name), inside + name) for name in sorted(os.listdir(directory))]
        yield from found
        directories = [item for item in found if stat.S_ISDIR(os.lstat(item[0]).st_mode)]
        waiting += [(path, f"{name}/") for path, name in reversed(directories)]


def size_of(source: str) -> int:
    """The size in bytes of all regular files of a tree."""
    return sum(found.st_size for path, _ in files_of(source) if stat.S_ISREG((found := os.lstat(path)).st_mode))


def pack(source: str, write: Callable[[bytes], object], progress: Callable[[int], object]) -> None:
    """Write a tree as a tar for `guest_scripts.UNPACK`: modes, times, symlinks and names of any bytes; root owns all.

    Raises:
        ValueError: a file is neither a regular file, a directory nor a symlink.
    """

    class Out:
        def write(self, data: bytes) -> int:
            write(data)
            return len(data)

    out: Any = Out()
    with _tar(out, "w|") as tar, SpooledTemporaryFile(_CHUNK) as times:
        later = [_add(tar, os.path.realpath(source), TREE, progress)]
        later += [_add(tar, path, f"{TREE}/{name}", progress) for path, name in files_of(source)]
        # Writing into a directory changes its time and needs its write permission: both are set last, the deepest first.
        after = [_renamed(member) for member in reversed(later[1:]) if member is not None]
        with _tar(times, "w") as late:
            for member in filter(tarfile.TarInfo.isdir, after):
                late.addfile(_filled(member))
        _add_data(tar, TIMES, times)
        _add_data(tar, MODES, BytesIO(b"".join(_modes(after))))


def _tar(file: Any, mode: Any) -> tarfile.TarFile:
    return tarfile.open(mode=mode, fileobj=file, format=tarfile.GNU_FORMAT, errors="surrogateescape", bufsize=_CHUNK)


def _add(tar: tarfile.TarFile, path: str, name: str, progress: Callable[[int], object]) -> tarfile.TarInfo | None:
    """Add a file. Returns it if its mode is to be set last: a directory, or a file whose special bits a chown clears."""
    tar.inodes.clear()  # type: ignore[attr-defined]  # hard links become files of their own: the first may be outside
    member = tar.gettarinfo(path, name)
    if member is None or not (member.isreg() or member.isdir() or member.issym()):
        raise ValueError(f"source must hold only regular files, directories and symlinks, not {path!r}")
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = stat.S_IMODE(member.mode)
    member.mtime = os.lstat(path).st_mtime_ns // 10**9  # a float may round up to the next second
    if member.isdir():
        tar.addfile(_filled(member))
        return member
    if not member.isreg():
        tar.addfile(member)
        return None
    with open(path, "rb") as file:
        tar.addfile(member, _Counted(file, progress))
    return member if member.mode & ~0o777 else None


def _filled(directory: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member for a directory that is to be filled: its user may write to it."""
    made = copy.copy(directory)
    made.mode |= stat.S_IRWXU
    return made


def _renamed(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member with its name relative to the tree."""
    made = copy.copy(member)
    made.name = f"./{member.name[len(TREE) + 1 :]}"
    return made


def _add_data(tar: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, os.SEEK_END)
    file.seek(0)
    tar.addfile(member, file)


def _modes(members: list[tarfile.TarInfo]) -> Iterator[bytes]:
    """A script that sets the modes of these members, run in the tree."""
    for mode, same in groupby(members, lambda member: member.mode):
        names = [os.fsencode(member.name.replace("'", "'\\''")) for member in same]
        for start in range(0, len(names), _TOGETHER):
            quoted = b" ".join(b"'%s'" % name for name in names[start : start + _TOGETHER])
            yield b"chmod %o -- %s || exit 86\n" % (mode, quoted)


class _Counted:
    """A file that reports what is read of it."""

    def __init__(self, file: IO[bytes], progress: Callable[[int], object]) -> None:
        self._file, self._progress = file, progress

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._progress(len(data))
        return data


class Unpacker:
    """Unpacks a tar that a guest sends into a directory that nobody else uses.

    Args:
        directory: A new, empty directory.
        limit: Maximum number of bytes of the tar: the content of files, and at least 512 bytes for each of them.
        progress: Called with the number of bytes written after each write to a file.
    """

    def __init__(self, directory: str, limit: int, progress: Callable[[int], object]) -> None:
        self._top, self._limit, self._progress = directory, limit, progress
        self._steps = _STEPS
        self._doubtful: list[tuple[bytes, bytes]] = []  # symlinks and their targets

    def unpack(self, file: Any) -> None:
        """Unpack all of it.

        Raises:
            UnsafeArchiveError: a name is absolute or has `..`, a link leads outside, a member is no file, directory or
                link, the archive is too large, or malformed.
            OSError: on the host's side.
        """
        reader = TarReader(file, self._limit)
        with Cursor(self._top) as here:
            for member in reader:
                self._make(here, member, reader)
            for name, target in self._doubtful:
                with _refusing(name):
                    self._enter(here, _names(name)[:-1])
                    if not self._stays(here, target):
                        raise _outside(name, target)
            here.finish()

    def _make(self, here: Cursor, member: Member, reader: TarReader) -> None:
        self._step()
        names = _names(member.name)
        if member.kind == DIRECTORY:
            self._directory(here, member, names)
            return
        if not names or member.name.endswith(b"/"):
            raise malformed(f"{member.shown} is a {member.kind}, with the name of a directory")
        with _refusing(member.name):
            self._enter(here, names[:-1])
            if here.look(names[-1]) is not None:
                raise UnsafeArchiveError(f"the guest sent {member.shown} twice")
        if member.kind == FILE:
            self._file(here, member, names[-1], reader)
        elif member.kind == SYMLINK:
            self._symlink(here, member, names[-1])
        elif member.kind == HARD_LINK:
            self._hard_link(here, member, names)
        else:
            raise UnsafeArchiveError(f"the guest sent {member.shown}, which is no file, directory or link")

    def _directory(self, here: Cursor, member: Member, names: list[bytes]) -> None:
        with _refusing(member.name):
            if names and self._enter(here, names, make=False):  # the top one exists
                raise UnsafeArchiveError(f"the guest sent {member.shown} twice, or after its content")
            self._enter(here, names)
        here.way[-1].mode, here.way[-1].mtime = member.mode, member.mtime

    def _file(self, here: Cursor, member: Member, name: bytes, reader: TarReader) -> None:
        with _refusing(member.name):
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=here.fd)
        with open(fd, "wb") as target:
            for chunk in reader.content():
                target.write(chunk)
                self._progress(len(chunk))
            target.flush()
            os.utime(fd, ns=(member.mtime, member.mtime))
            os.fchmod(fd, member.mode)

    def _symlink(self, here: Cursor, member: Member, name: bytes) -> None:
        if not member.target or member.target.startswith(b"/"):
            raise _outside(member.name, member.target)
        with _refusing(member.name):
            os.symlink(member.target, name, dir_fd=here.fd)
            os.utime(name, ns=(member.mtime, member.mtime), dir_fd=here.fd, follow_symlinks=False)
            stays = self._stays(here, member.target)
        if stays is None and len(self._doubtful) < _DOUBTFUL:
            self._doubtful.append((member.name, member.target))
        elif not stays:
            raise _outside(member.name, member.target)

    def _stays(self, here: Cursor, target: bytes) -> bool | None:
        """True if a symlink beside the cursor leads inside; None if that is not known yet. Moves the cursor.

        The target is resolved as the kernel would, against the members that have arrived: these do not change any more.
        Beyond a name that has not arrived, only `..` could lead outside (each symlink is checked for itself): then None.
        """
        rest, followed, lost = target.split(b"/")[::-1], 0, False
        while rest:
            self._step()
            part = rest.pop()
            if part in {b"", b"."} or (lost and part != b".."):
                continue
            if part == b"..":
                if lost or not here.names:
                    return None if lost else False
                here.up()
                continue
            mode = here.look(part) or 0
            if stat.S_ISDIR(mode):
                here.down(part)
            elif stat.S_ISLNK(mode) and followed < _FOLLOWED:
                followed += 1
                rest += os.readlink(part, dir_fd=here.fd).split(b"/")[::-1]
            else:
                lost = True
        return True

    def _hard_link(self, here: Cursor, member: Member, names: list[bytes]) -> None:
        source = _names(member.target)
        with _refusing(member.name):
            if not source or not self._enter(here, source[:-1], make=False) or not stat.S_ISREG(here.look(source[-1]) or 0):
                raise UnsafeArchiveError(f"the guest sent {member.shown} as a hard link to no file: {shown(member.target)}")
            fd = os.dup(here.fd)
            try:
                self._enter(here, names[:-1])
                os.link(source[-1], names[-1], src_dir_fd=fd, dst_dir_fd=here.fd, follow_symlinks=False)
            finally:
                os.close(fd)

    def _enter(self, here: Cursor, names: list[bytes], *, make: bool = True) -> bool:
        """Move to the directory of these names. False if it does not exist, with make=False."""
        while here.names != names[: len(here.names)]:
            here.up()
        for name in names[len(here.names) :]:
            self._step()
            mode = here.look(name)
            if mode is None and not make:
                return False
            if mode is None:
                os.mkdir(name, dir_fd=here.fd)
            elif not stat.S_ISDIR(mode):
                how = "through a symlink" if stat.S_ISLNK(mode) else "through a file"
                raise UnsafeArchiveError(f"the guest sent a name that leads {how}: {shown(b'/'.join(names))}")
            here.down(name)
        return True

    def _step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise UnsafeArchiveError(f"the guest sent too many files, directories and links (more than {_STEPS} steps)")


def _names(name: bytes) -> list[bytes]:
    """The parts of a member's name."""
    if len(name) > _LONGEST:
        raise malformed(f"a name of {len(name)} bytes")
    names = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if name.startswith(b"/") or b".." in names:
        raise UnsafeArchiveError(f"the guest sent a name that leads outside: {shown(name)}")
    if len(names) > _DEEPEST:
        raise UnsafeArchiveError(f"the guest sent directories nested more than {_DEEPEST} deep: {shown(name)}")
    return names


def _outside(name: bytes, target: bytes) -> UnsafeArchiveError:
    return UnsafeArchiveError(f"the guest sent a symlink that leads outside: {shown(name)} to {shown(target)}")


@contextmanager
def _refusing(name: bytes) -> Iterator[None]:
    """Blame the guest for errors that its name causes in this host's file system; not for a full disk, say."""
    try:
        yield
    except OSError as error:
        if error.errno not in _GUESTS:
            raise
        raise UnsafeArchiveError(f"the guest sent {shown(name)}, which cannot be made here: {error.strerror}") from error

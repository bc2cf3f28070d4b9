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

TREE, TIMES, MODES = "tree", "times", "modes"  # what a guest is sent; it has all, where it has the last of these
_TOGETHER = 200  # names on a line for the guest's shell
_CHUNK = 2**20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_LONGEST = 4096  # bytes of a member's name, as the kernel takes them
_DEEPEST = 512  # directories in each other: what programs that recurse (`shutil.rmtree`, `os.walk`) can cope with
_STEPS = 2**21  # members, directories that are entered, and names on the way of symlinks: a minute or two
_FOLLOWED = 40  # symlinks on one way, as the kernel does
_DOUBTFUL = 512  # symlinks that can be judged only in the end
_GUESTS = {
    errno.EACCES, errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENAMETOOLONG,
    errno.ENOENT, errno.ENOTDIR, errno.EOVERFLOW,
}  # fmt: skip


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
    """Makes the files of a tar that a guest sends, in a directory that nobody else knows.

    Args:
        folder: Fresh and empty.
        limit: Bytes of the tar that are taken: those of files, and at least 512 for each of them.
        progress: Told of bytes of files that were written.
    """

    def __init__(self, folder: str, limit: int, progress: Callable[[int], object]) -> None:
        self._folder, self._limit, self._progress = folder, limit, progress
        self._steps = _STEPS
        self._doubtful: list[tuple[bytes, bytes]] = []  # symlinks, and where they lead

    def unpack(self, file: Any) -> None:
        """Makes all of it.

        Raises:
            UnsafeArchiveError: a name is absolute or has `..`, a link leads outside, something is no file, directory or
                link, or it is too much, or no tar.
            OSError: of the host's side.
        """
        reader = TarReader(file, self._limit)
        with Cursor(self._folder) as here:
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
            raise UnsafeArchiveError(f"the guest sent {member.shown}, which is no file, folder or link")

    def _directory(self, here: Cursor, member: Member, names: list[bytes]) -> None:
        with _refusing(member.name):
            if names and self._enter(here, names, make=False):  # the top one is there
                raise UnsafeArchiveError(f"the guest sent {member.shown} twice, or after what is in it")
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
        """Whether a symlink where the cursor is leads to somewhere inside, followed as the kernel would; moves the cursor.

        What is there stays what it is, so that the way through it is certain. Behind what is not there (yet) anything may
        come, each symlink checked for itself, and only `..` could lead outside: then None, not known.
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
                raise UnsafeArchiveError(f"the guest sent {member.shown} as a link to no file: {shown(member.target)}")
            fd = os.dup(here.fd)
            try:
                self._enter(here, names[:-1])
                os.link(source[-1], names[-1], src_dir_fd=fd, dst_dir_fd=here.fd, follow_symlinks=False)
            finally:
                os.close(fd)

    def _enter(self, here: Cursor, names: list[bytes], *, make: bool = True) -> bool:
        """Moves to the directory of these names. False: there is none, and none was made."""
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
                how = "through a link" if stat.S_ISLNK(mode) else "through a file"
                raise UnsafeArchiveError(f"the guest sent a name that leads {how}: {shown(b'/'.join(names))}")
            here.down(name)
        return True

    def _step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise UnsafeArchiveError(f"the guest sent more files, directories and links than are taken ({_STEPS} steps)")


def _names(name: bytes) -> list[bytes]:
    """The names on a member's way from the top."""
    if len(name) > _LONGEST:
        raise malformed(f"a name of {len(name)} bytes")
    names = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if name.startswith(b"/") or b".." in names:
        raise UnsafeArchiveError(f"the guest sent a name that leads outside: {shown(name)}")
    if len(names) > _DEEPEST:
        raise UnsafeArchiveError(f"the guest sent directories in each other, more than {_DEEPEST} deep: {shown(name)}")
    return names


def _outside(name: bytes, target: bytes) -> UnsafeArchiveError:
    return UnsafeArchiveError(f"the guest sent a link that leads outside: {shown(name)} to {shown(target)}")


@contextmanager
def _refusing(name: bytes) -> Iterator[None]:
    """What this host's file system cannot have of a name is the guest's doing; that it is full, say, is not."""
    try:
        yield
    except OSError as error:
        if error.errno not in _GUESTS:
            raise
        raise UnsafeArchiveError(f"the guest sent {shown(name)}, which cannot be here: {error.strerror}") from error

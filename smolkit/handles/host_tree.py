"""A directory tree of this host that somebody untrusted describes: moved in by descriptors, one name at a time.

No path of more than one name is ever given to the kernel, and no symlink is followed: whatever the tree holds, nothing
outside of it is reached. The tree is ours alone while this works on it, so `..` of a directory is where we came from.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from attrs import define

from smolkit.errors import add_note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_OURS = stat.S_IRWXU
_BATCH = 64  # names of each directory that are kept while a tree is removed


@define
class Visit:
    """A directory on the way from the top to where the cursor is, and what it gets when it is left.

    Attributes:
        name: In the directory above.
        mode: Permissions.
        mtime: Nanoseconds since the epoch.
    """

    name: bytes
    mode: int
    mtime: int


class Cursor:
    """A place in a tree. It holds one descriptor, however deep it is.

    Directories are entered whatever their permissions, and have those, and their time, again once they are left: so what
    they are to be is kept by the file system, not in memory.

    Args:
        top: The tree's directory, which has to be readable.

    Attributes:
        fd: The directory where it is.
        way: The directories from the top to it, the top included.
    """

    def __init__(self, top: str) -> None:
        self.fd: int = os.open(top, _DIRECTORY)
        self.way: list[Visit] = [self._visit(b"", os.fstat(self.fd))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self.fd)

    @staticmethod
    def _visit(name: bytes, found: os.stat_result) -> Visit:
        return Visit(name, stat.S_IMODE(found.st_mode), found.st_mtime_ns)

    @property
    def names(self) -> list[bytes]:
        """The names from the top to where it is."""
        return [visit.name for visit in self.way[1:]]

    def look(self, name: bytes) -> int | None:
        """The mode of what has this name here, symlinks not followed; None if nothing has."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

    def down(self, name: bytes) -> None:
        """Into the directory of this name, which has to be one."""
        found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode) and found.st_mode & _OURS != _OURS:
            os.chmod(name, _OURS, dir_fd=self.fd)  # which would follow a symlink: it is none
        below = os.open(name, _DIRECTORY, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = below
        self.way.append(self._visit(name, found))

    def up(self) -> None:
        """To the directory above, which has to be one of the tree."""
        above = os.open(b"..", _DIRECTORY, dir_fd=self.fd)
        self._leave(self.way.pop())
        os.close(self.fd)
        self.fd = above

    def _leave(self, visit: Visit) -> None:
        os.utime(self.fd, ns=(visit.mtime, visit.mtime))
        os.fchmod(self.fd, visit.mode)

    def finish(self) -> None:
        """Leaves all directories, the top too."""
        while len(self.way) > 1:
            self.up()
        self._leave(self.way.pop())


@contextmanager
def fresh_folder(path: str) -> Iterator[str]:
    """A new directory beside `path`, which becomes it if all goes well, and else is gone."""
    parent, name = os.path.split(path)
    # Named before it is made: an interrupt in between leaves nothing. A name is 255 bytes at the most.
    part = os.path.join(parent, f".part-{os.urandom(8).hex()}-{os.fsdecode(os.fsencode(name)[:200])}")
    try:
        os.mkdir(part, 0o700)
        yield part
        os.rename(part, path)
    except BaseException as error:
        if os.path.lexists(part):
            _remove(part, error)
        raise


def _remove(part: str, error: BaseException) -> None:
    try:
        remove(part)
    except OSError as failure:
        add_note(error, f"left behind: {part!r} ({failure})")
    except BaseException:  # an interrupt meanwhile: it waits; a second one does not
        with suppress(OSError):
            remove(part)
        raise


def remove(top: str) -> None:
    """Removes a tree, however deep and whatever its permissions; `shutil.rmtree` recurses, and stops at read-only ones.

    Raises:
        OSError: something would not go.
    """
    os.chmod(top, _OURS)
    with Cursor(top) as place:
        full: list[list[bytes]] = [[]]  # directories that are not empty, some of each directory on the way
        while full:
            full[-1] = full[-1] or _clear(place.fd)
            if full[-1]:
                place.down(full[-1].pop())
                full.append([])
            elif not full.pop() and full:
                empty = place.names[-1]
                place.up()
                os.rmdir(empty, dir_fd=place.fd)
    os.rmdir(top)


def _clear(fd: int) -> list[bytes]:
    """Removes what is not a directory that has something in it; the names of some that have. None: all is removed."""
    full: list[bytes] = []
    found = True
    while found and not full:  # again: what is removed meanwhile may hide others from a scan
        found = False
        with os.scandir(fd) as entries:
            for entry in entries:
                found = True
                if not _removed(entry, fd):
                    full.append(os.fsencode(entry.name))
                if len(full) == _BATCH:
                    break
    return full


def _removed(entry: os.DirEntry[str], fd: int) -> bool:
    try:
        (os.rmdir if entry.is_dir(follow_symlinks=False) else os.unlink)(entry.name, dir_fd=fd)
    except OSError:
        if not entry.is_dir(follow_symlinks=False):
            raise
        return False
    return True

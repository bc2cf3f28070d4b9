"""Work on a directory tree of this host whose names come from somebody untrusted: by descriptors, one name at a time.

The kernel is never given a path of more than one name, and no symlink is followed: whatever the tree holds, nothing outside
of it is reached. Nobody else changes the tree meanwhile, so that `..` of a directory is the one that we came from.
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
_BATCH = 64  # names kept in memory for each directory while a tree is removed


@define
class Visit:
    """A directory between the top and the cursor, and the mode and time that it gets when the cursor leaves it.

    Attributes:
        name: Its name in the directory above.
        mode: Its permissions.
        mtime: Its modification time, in nanoseconds since the epoch.
    """

    name: bytes
    mode: int
    mtime: int


class Cursor:
    """A current directory in a tree. It holds one descriptor, at any depth.

    It enters directories whatever their permissions, and restores these, and the time, when it leaves. So the file system
    keeps them, not memory.

    Args:
        top: The tree's top directory. It must be readable.

    Attributes:
        fd: A descriptor of the current directory.
        way: The directories from the top to the current one, both included.
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
        """The names of the directories from the top to the current one."""
        return [visit.name for visit in self.way[1:]]

    def look(self, name: bytes) -> int | None:
        """The mode of the file with this name, symlinks not followed; None if there is none."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

    def down(self, name: bytes) -> None:
        """Enter the directory of this name."""
        found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode) and found.st_mode & _OURS != _OURS:
            os.chmod(name, _OURS, dir_fd=self.fd)  # it would follow a symlink, which this is not
        below = os.open(name, _DIRECTORY, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = below
        self.way.append(self._visit(name, found))

    def up(self) -> None:
        """Return to the directory above. It must not be called at the top."""
        above = os.open(b"..", _DIRECTORY, dir_fd=self.fd)
        self._leave(self.way.pop())
        os.close(self.fd)
        self.fd = above

    def _leave(self, visit: Visit) -> None:
        os.utime(self.fd, ns=(visit.mtime, visit.mtime))
        os.fchmod(self.fd, visit.mode)

    def finish(self) -> None:
        """Leave all directories, including the top."""
        while len(self.way) > 1:
            self.up()
        self._leave(self.way.pop())


@contextmanager
def fresh_directory(path: str) -> Iterator[str]:
    """A new directory beside `path`. It is renamed to `path` at the end of the block, or removed after an exception."""
    parent, name = os.path.split(path)
    # Named before it is made, so that an interrupt in between leaves nothing. A name has at most 255 bytes.
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
    except BaseException:  # an interrupt waits for a second try; a second interrupt does not
        with suppress(OSError):
            remove(part)
        raise


def remove(top: str) -> None:
    """Remove a tree of any depth and permissions. (`shutil.rmtree` recurses, and fails at read-only directories.)

    Raises:
        OSError: something could not be removed.
    """
    os.chmod(top, _OURS)
    with Cursor(top) as place:
        full: list[list[bytes]] = [[]]  # for each directory down to the current one, some that are not empty
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
    """Remove everything but directories that are not empty. Returns the names of some of these, none if all is gone."""
    full: list[bytes] = []
    found = True
    while found and not full:  # again: removing during a scan may hide entries from it
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

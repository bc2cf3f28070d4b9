"""The files of a machine in memory."""

from __future__ import annotations

import errno
import posixpath
import stat
from typing import TYPE_CHECKING, final

from attrs import evolve, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT_ONLY, _OPEN, _STICKY, _FILE, _LINK = 0o700, 0o755, 0o1777, 0o644, 0o777
_LINKS = 40  # followed in one path, at the most


@final
@frozen
class Node:
    """A file, folder or link.

    Attributes:
        mode: Kind and permissions, as `os.stat` has them.
        data: The content, or where a link leads.
    """

    mode: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0
    mtime: int = 0


@final
class Files:
    """A machine's files. Paths are absolute; names that are no UTF-8 are as `os.fsdecode` has them.

    Attributes:
        held: The files that a shell's command is writing.
    """

    def __init__(self, nodes: dict[str, Node] | None = None) -> None:
        folders = {"/": _OPEN, "/root": _ROOT_ONLY, "/tmp": _STICKY, "/etc": _OPEN, "/proc": _OPEN}  # noqa: S108
        self.held: set[str] = set()
        self._nodes = nodes or {path: Node(stat.S_IFDIR | mode) for path, mode in folders.items()}

    def copy(self) -> Files:
        """The same files, for a branch."""
        return Files(dict(self._nodes))

    def find(self, path: str, *, follow: bool = True) -> tuple[str, Node | None]:
        """Where a path leads, and what is there.

        Raises:
            OSError: a part of it is no folder, or its links go round in circles.
        """
        parts, found, links = _parts(path), "/", 0
        while parts:
            node = self._nodes[found]
            if not stat.S_ISDIR(node.mode):
                raise error(errno.ENOTDIR, found)
            part = parts.pop(0)
            if part == "..":
                found = posixpath.dirname(found)
                continue
            here = posixpath.join(found, part)
            node_here = self._nodes.get(here)
            if node_here is None:
                if parts:
                    raise error(errno.ENOENT, here)
                return here, None
            if stat.S_ISLNK(node_here.mode) and (follow or parts):
                links += 1
                if links > _LINKS:
                    raise error(errno.ELOOP, path)
                target = node_here.data.decode("utf-8", "surrogateescape")
                parts = _parts(target) + parts
                found = "/" if target.startswith("/") else found
                continue
            found = here
        return found, self._nodes[found]

    def exists(self, path: str) -> bool:
        """Whether there is something, be it a link that leads nowhere."""
        try:
            return self.find(path, follow=False)[1] is not None
        except OSError:
            return False

    def is_dir(self, path: str) -> bool:
        """Whether there is a folder."""
        try:
            node = self.find(path)[1]
        except OSError:
            return False
        return node is not None and stat.S_ISDIR(node.mode)

    def stat(self, path: str, *, follow: bool = True) -> Node:
        """What is there."""
        node = self.find(path, follow=follow)[1]
        if node is None:
            raise error(errno.ENOENT, path)
        return node

    def read(self, path: str) -> bytes:
        """A file's content."""
        node = self.stat(path)
        if stat.S_ISDIR(node.mode):
            raise error(errno.EISDIR, path)
        return node.data

    def write(
        self, path: str, data: bytes, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """Makes a file, or gives one another content: what is not given it keeps."""
        found, node = self.find(path)
        if node is not None and stat.S_ISDIR(node.mode):
            raise error(errno.EISDIR, path)
        node = node or Node(stat.S_IFREG | _FILE)
        mode = node.mode if mode is None else stat.S_IFREG | mode
        self.put(found, evolve(node, data=data, mode=mode, uid=either(uid, node.uid), gid=either(gid, node.gid)))

    def link(self, path: str, target: str) -> None:
        """Makes a symbolic link."""
        found, node = self.find(path, follow=False)
        if node is not None:
            raise error(errno.EEXIST, path)
        self.put(found, Node(stat.S_IFLNK | _LINK, target.encode("utf-8", "surrogateescape")))

    def mkdir(self, path: str, *, mode: int | None = None, parents: bool = False) -> None:
        """Makes a folder."""
        if parents:
            self._make_way(posixpath.dirname(path))
        found, node = self.find(path, follow=False)
        if node is not None:
            raise error(errno.EEXIST, path)
        self.put(found, Node(stat.S_IFDIR | either(mode, _OPEN)))

    def _make_way(self, path: str) -> None:
        """Makes the folders on the way to one, and it; what is there has to be one, or to lead to one."""
        if not self.exists(path):
            self._make_way(posixpath.dirname(path))
        if not self.exists(path):
            self.mkdir(path)
        elif not stat.S_ISDIR(self.stat(path).mode):
            raise error(errno.ENOTDIR, path)

    def chmod(self, path: str, mode: int) -> None:
        """Gives it other permissions."""
        found = self.find(path)[0]
        self.put(found, evolve(self._nodes[found], mode=stat.S_IFMT(self._nodes[found].mode) | mode))

    def listdir(self, path: str) -> list[str]:
        """The names in a folder."""
        found, node = self.find(path)
        if node is None or not stat.S_ISDIR(node.mode):
            raise error(errno.ENOENT if node is None else errno.ENOTDIR, path)
        return sorted(posixpath.basename(name) for name in self._nodes if name != "/" and posixpath.dirname(name) == found)

    def remove(self, path: str) -> None:
        """Removes what is there, a folder with all that is in it."""
        found, _ = self.find(path, follow=False)
        for name in self._below(found):
            del self._nodes[name]

    def rename(self, path: str, target: str) -> None:
        """Gives it another name. As the kernel does: a file is replaced, and an empty folder by a folder.

        Raises:
            OSError: there is something of another kind, or a folder that is not empty; or it is to go into itself.
        """
        (old, node), (new, there) = self.find(path, follow=False), self.find(target, follow=False)
        if node is None:
            raise error(errno.ENOENT, path)
        if {posixpath.basename(path), posixpath.basename(target)} & {"", ".."}:
            raise error(errno.EBUSY, path)
        if old == new:
            return
        if new.startswith(f"{old}/"):
            raise error(errno.EINVAL, target)
        if old.startswith(f"{new}/"):
            raise error(errno.ENOTEMPTY, target)
        if there is not None:
            self._check_replacing(target, node, there)
        moved = {new + name[len(old) :]: self._nodes.pop(name) for name in self._below(old)}
        self._nodes.update(moved)

    def _check_replacing(self, path: str, node: Node, there: Node) -> None:
        was_folder, is_folder = stat.S_ISDIR(there.mode), stat.S_ISDIR(node.mode)
        if was_folder != is_folder:
            raise error(errno.EISDIR if was_folder else errno.ENOTDIR, path)
        if was_folder and self.listdir(path):
            raise error(errno.ENOTEMPTY, path)

    def walk(self, path: str) -> Iterator[tuple[str, Node]]:
        """All below a folder: the name in it, and what it is."""
        found = self.find(path)[0]
        for name in self._below(found):
            if name != found:
                yield name[len(found.rstrip("/")) + 1 :], self._nodes[name]

    def _below(self, path: str) -> list[str]:
        return sorted(name for name in self._nodes if name == path or name.startswith(path.rstrip("/") + "/"))

    def put(self, path: str, node: Node) -> None:
        """Makes it what is there. `path` is what `find` gave."""
        parent = self._nodes.get(posixpath.dirname(path))
        if parent is None or not stat.S_ISDIR(parent.mode):
            raise error(errno.ENOENT if parent is None else errno.ENOTDIR, path)
        self._nodes[path] = node


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def either(value: int | None, default: int) -> int:
    """The value, or the default where there is none."""
    return default if value is None else value


def error(number: int, path: str) -> OSError:
    """The builtin error of this number."""
    import os  # late: only on the way to an error

    return OSError(number, os.strerror(number), path)

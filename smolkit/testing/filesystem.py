"""An in-memory file system for the guests of FakeSmolvm."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from typing import final

from attrs import evolve, frozen

from smolkit.values import validate
from smolkit.values.modes import octal

AnyPath = str | os.PathLike[str]

_ROOT_ONLY, _OPEN, _STICKY, _FILE, _SYMLINK = 0o700, 0o755, 0o1777, 0o644, 0o777  # default modes
_MAX_SYMLINKS = 40  # in one path, as in Linux


@final
@frozen
class Node:
    """A file, directory or symlink.

    Attributes:
        mode: File type and permissions, as `st_mode` of `os.stat`.
        data: The content of a file, or the target of a symlink.
        uid, gid: The owner.
        mtime: The time of the last change, in whole seconds since the epoch.
    """

    mode: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0
    mtime: int = 0

    @property
    def size(self) -> int:
        """The length of `data` in bytes."""
        return len(self.data)


@final
class Files:
    """A machine's file system, with Machine's methods: `call.files.read_text(call.path("config"))`.

    Paths are absolute (`call.path` makes them so), and decoded as by `os.fsdecode`. All methods raise the OSError that the
    kernel would: FileNotFoundError, IsADirectoryError and so on. Everybody may read and write every file.

    Attributes:
        being_written: Resolved paths of the files that a command of the small shell is writing just now.
    """

    def __init__(self, nodes: dict[str, Node] | None = None) -> None:
        # /bin stands for the guest's programs: without it none starts.
        modes = {"/": _OPEN, "/bin": _OPEN, "/etc": _OPEN, "/proc": _OPEN, "/root": _ROOT_ONLY, "/tmp": _STICKY}  # noqa: S108
        self.being_written: set[str] = set()
        self._nodes = nodes or {path: Node(stat.S_IFDIR | mode) for path, mode in modes.items()}

    def copy(self) -> Files:
        """An independent copy, for a branch."""
        return Files(dict(self._nodes))

    def find(self, path: AnyPath, *, follow: bool = True) -> tuple[str, Node | None]:
        """Resolve the symlinks in a path.

        Args:
            path: The path. Its last part need not exist.
            follow: False to leave a symlink at the path itself unresolved.

        Returns:
            The resolved path, and its node or None.

        Raises:
            OSError: A parent does not exist or is not a directory, or there are too many symlinks.
            ValueError: The path is not absolute.
        """
        path = validate.guest_path("a path in the guest", path)
        # Part by part, and not by normpath: `..` after a symlink leads to the parent of its target.
        parts, found, symlinks = _parts(path), "/", 0
        while parts:
            node = self._nodes[found]
            if not stat.S_ISDIR(node.mode):
                raise error(errno.ENOTDIR, path)
            part = parts.pop(0)
            if part == "..":
                found = posixpath.dirname(found)
                continue
            here = posixpath.join(found, part)
            node_here = self._nodes.get(here)
            if node_here is None:
                if parts:
                    raise error(errno.ENOENT, path)
                return here, None
            if stat.S_ISLNK(node_here.mode) and (follow or parts):
                symlinks += 1
                if symlinks > _MAX_SYMLINKS:
                    raise error(errno.ELOOP, path)
                target = node_here.data.decode("utf-8", "surrogateescape")
                parts = _parts(target) + parts
                found = "/" if target.startswith("/") else found
                continue
            found = here
        return found, self._nodes[found]

    def exists(self, path: AnyPath) -> bool:
        """True if the path exists, also as a dangling symlink."""
        try:
            return self.find(path, follow=False)[1] is not None
        except OSError:
            return False

    def is_dir(self, path: AnyPath) -> bool:
        """True if the path is a directory or a symlink to one."""
        try:
            node = self.find(path)[1]
        except OSError:
            return False
        return node is not None and stat.S_ISDIR(node.mode)

    def stat(self, path: AnyPath, *, follow_symlinks: bool = True) -> Node:
        """The node at a path."""
        node = self.find(path, follow=follow_symlinks)[1]
        if node is None:
            raise error(errno.ENOENT, path)
        return node

    def read_bytes(self, path: AnyPath) -> bytes:
        """The content of a file."""
        node = self.stat(path)
        if stat.S_ISDIR(node.mode):
            raise error(errno.EISDIR, path)
        return node.data

    def read_text(self, path: AnyPath, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The content of a file as text."""
        return self.read_bytes(path).decode(encoding, errors)

    def write_bytes(self, path: AnyPath, data: bytes, *, mode: int | None = None, parents: bool = False) -> None:
        """Write a file. An existing one keeps its owner and, without `mode`, its permissions.

        Args:
            path: The file.
            data: Its content.
            mode: Its permissions.
            parents: Make missing parent directories.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data must be bytes, not {type(data).__name__}: write_text is for text")
        if parents:
            self._make_parents(posixpath.dirname(self._last_target(os.fspath(path))))
        found, node = self.find(path)
        if node is not None and stat.S_ISDIR(node.mode):
            raise error(errno.EISDIR, path)
        node = node or Node(stat.S_IFREG | _FILE)
        self.put(found, evolve(node, data=bytes(data), mode=_with_permissions(node.mode, mode)))

    def _last_target(self, path: str) -> str:
        """Where the symlinks at the path itself lead. The parents of that may be missing."""
        for _ in range(_MAX_SYMLINKS):
            try:
                found, node = self.find(path, follow=False)
            except FileNotFoundError:
                return path
            if node is None or not stat.S_ISLNK(node.mode):
                return path
            path = posixpath.join(posixpath.dirname(found), node.data.decode("utf-8", "surrogateescape"))
        raise error(errno.ELOOP, path)

    def write_text(
        self, path: AnyPath, text: str, encoding: str = "utf-8", *, mode: int | None = None, parents: bool = False
    ) -> None:
        """Write a file of text. Otherwise as write_bytes."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}; for bytes there is write_bytes")
        self.write_bytes(path, text.encode(encoding), mode=mode, parents=parents)

    def symlink(self, path: AnyPath, target: str) -> None:
        """Create a symlink at `path` that points to `target`."""
        found, node = self.find(path, follow=False)
        if node is not None:
            raise error(errno.EEXIST, path)
        self.put(found, Node(stat.S_IFLNK | _SYMLINK, target.encode("utf-8", "surrogateescape")))

    def mkdir(self, path: AnyPath, *, mode: int | None = None, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a directory, with `parents` also missing parents. With `exist_ok`, no-op if it exists."""
        if exist_ok and self.is_dir(path):
            return
        if parents and not self.exists(path):
            self._make_parents(posixpath.dirname(os.fspath(path).rstrip("/")))
        found, node = self.find(path, follow=False)
        if node is not None:
            raise error(errno.EEXIST, path)
        self.put(found, Node(_with_permissions(stat.S_IFDIR | _OPEN, mode)))

    def _make_parents(self, path: str) -> None:
        """Create a directory and its parents. What exists must be a directory or a symlink to one."""
        if not self.exists(path):
            self._make_parents(posixpath.dirname(path))
        if not self.exists(path):
            self.mkdir(path)
        elif not stat.S_ISDIR(self.stat(path).mode):
            raise error(errno.ENOTDIR, path)

    def chmod(self, path: AnyPath, mode: int) -> None:
        """Change the permissions of a file or directory."""
        node = self.stat(path)
        self.put(self.find(path)[0], evolve(node, mode=_with_permissions(node.mode, mode)))

    def chown(self, path: AnyPath, uid: int | None = None, gid: int | None = None) -> None:
        """Change the owner, the group or both."""
        node = self.stat(path)
        self.put(self.find(path)[0], evolve(node, uid=either(uid, node.uid), gid=either(gid, node.gid)))

    def listdir(self, path: AnyPath) -> list[str]:
        """The names in a directory, sorted."""
        found, node = self.find(path)
        if node is None or not stat.S_ISDIR(node.mode):
            raise error(errno.ENOENT if node is None else errno.ENOTDIR, path)
        return sorted(posixpath.basename(name) for name in self._nodes if name != "/" and posixpath.dirname(name) == found)

    def remove(self, path: AnyPath, *, recursive: bool = False, missing_ok: bool = False) -> None:
        """Remove a file, a symlink or an empty directory, or with `recursive` a directory with everything in it."""
        if missing_ok and not self.exists(path):
            return
        is_dir = stat.S_ISDIR(self.stat(path, follow_symlinks=False).mode)
        if posixpath.basename(path) in {"", ".."}:
            raise error(errno.EBUSY, path)
        if is_dir and not recursive and self.listdir(path):
            raise error(errno.ENOTEMPTY, path)
        for name in self._below(self.find(path, follow=False)[0]):
            del self._nodes[name]

    def rename(self, path: AnyPath, target: AnyPath) -> None:
        """Rename a file, or a directory with everything in it. Replaces a file, or an empty directory by a directory.

        Raises:
            OSError: The target is of another kind, is a directory that is not empty, or lies in the directory itself.
        """
        (old, node), (new, replaced) = self.find(path, follow=False), self.find(target, follow=False)
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
        if replaced is not None:
            self._check_replacing(target, node, replaced)
        moved = {new + name[len(old) :]: self._nodes.pop(name) for name in self._below(old)}
        self._nodes.update(moved)

    def _check_replacing(self, path: AnyPath, node: Node, replaced: Node) -> None:
        was_dir, is_dir = stat.S_ISDIR(replaced.mode), stat.S_ISDIR(node.mode)
        if was_dir != is_dir:
            raise error(errno.EISDIR if was_dir else errno.ENOTDIR, path)
        if was_dir and self.listdir(path):
            raise error(errno.ENOTEMPTY, path)

    def walk(self, path: AnyPath) -> Iterator[tuple[str, Node]]:
        """Everything below a directory: each relative path, and its node."""
        found = self.find(path)[0]
        for name in self._below(found):
            if name != found:
                yield name[len(found.rstrip("/")) + 1 :], self._nodes[name]

    def _below(self, path: str) -> list[str]:
        return sorted(name for name in self._nodes if name == path or name.startswith(path.rstrip("/") + "/"))

    def put(self, path: str, node: Node) -> None:
        """Set the node at a resolved path (as `find` returns it)."""
        parent = self._nodes.get(posixpath.dirname(path))
        if parent is None or not stat.S_ISDIR(parent.mode):
            raise error(errno.ENOENT if parent is None else errno.ENOTDIR, path)
        self._nodes[path] = node


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def either(value: int | None, default: int) -> int:
    """The value, or the default if it is None."""
    return default if value is None else value


def error(number: int, path: AnyPath) -> OSError:
    """The OSError of an errno, of the fitting subclass."""
    return OSError(number, os.strerror(number), os.fspath(path))


def _with_permissions(st_mode: int, permissions: int | None) -> int:
    return st_mode if permissions is None else stat.S_IFMT(st_mode) | int(octal("mode", permissions), 8)

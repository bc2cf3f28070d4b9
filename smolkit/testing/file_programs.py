"""The programs mkdir, ls and rm of a fake machine, as busybox has them."""

from __future__ import annotations

import errno
import posixpath
import stat
from collections.abc import Iterator, Sequence

from smolkit.testing.filesystem import error
from smolkit.testing.guest import GuestCall
from smolkit.testing.guest_io import Pieces
from smolkit.testing.program_args import NULL, checked_path, options, unsupported


def mkdir(call: GuestCall) -> Pieces:
    """`mkdir [-p] DIR...`."""
    flags, names = options(call, "p")
    status = 0
    if not names:
        raise unsupported(call)
    for name in names:
        try:
            _make(call, name, parents="p" in flags)
        except OSError as failure:
            yield _stderr(f"mkdir: can't create directory '{failure.filename}': {failure.strerror}")
            status = 1
    return status


def _make(call: GuestCall, name: str, *, parents: bool) -> None:
    if (name.endswith("/") and call.files.exists(call.path(name))) or name in {".", "/"}:
        raise unsupported(call)  # an error for some, none for others
    path = checked_path(call, name)
    if path == NULL:
        raise error(errno.EEXIST, name)
    try:
        call.files.mkdir(path, parents=parents, exist_ok=parents)
    except OSError as failure:
        if parents and failure.errno != errno.EEXIST:
            raise unsupported(call) from None  # the message has the parent that is in the way, spelled in its own way
        raise error(failure.errno or errno.EIO, name) from None


def ls(call: GuestCall) -> Pieces:
    """`ls [-1aA] [PATH...]`, one name a line: its output is no terminal."""
    flags, names = options(call, "1aA")
    found: list[tuple[str, str]] = []  # name and path
    status = 0
    for name in names or ["."]:
        try:
            found.append((name, _listed_path(call, name)))
        except OSError as failure:
            yield _stderr(f"ls: {name}: {failure.strerror}")
            status = 1
    yield from _listing(call, found, flags, titles=len(names) > 1)
    return status


def _listed_path(call: GuestCall, name: str) -> str:
    path = checked_path(call, name)
    if path != NULL and call.files.find(path)[1] is None:
        if call.files.exists(path):  # a dangling symlink: some show it, some do not
            raise unsupported(call)
        raise error(errno.ENOENT, name)
    return path


def _listing(
    call: GuestCall, found: Sequence[tuple[str, str]], flags: set[str], *, titles: bool
) -> Iterator[tuple[str, bytes]]:
    """The names of files, then the content of directories, both sorted by their bytes."""
    groups = []
    if files := sorted(name for name, path in found if not call.files.is_dir(path)):
        groups.append(files)
    for name, path in sorted(item for item in found if call.files.is_dir(item[1])):
        groups.append([*([f"{name}:"] if titles else []), *_entries(call, path, flags)])
    text = "\n".join("".join(f"{line}\n" for line in group) for group in groups)
    if not text.replace("\n", "").isprintable() or not text.isascii():  # busybox writes ? for some characters
        raise unsupported(call)
    if text:
        yield "stdout", text.encode()


def _entries(call: GuestCall, path: str, flags: set[str]) -> list[str]:
    names = [name for name in call.files.listdir(path) if not name.startswith(".") or flags & {"a", "A"}]
    return sorted([*names, *([".", ".."] if "a" in flags else [])])


def rm(call: GuestCall) -> Pieces:
    """`rm [-rRf] PATH...`."""
    flags, names = options(call, "rRf")
    status = 0
    if not names and "f" not in flags:
        raise unsupported(call)
    for name in names:
        try:
            _remove(call, name, recursive=bool(flags & {"r", "R"}))
        except FileNotFoundError as failure:
            if "f" not in flags:
                yield _stderr(f"rm: can't remove '{name}': {failure.strerror}")
                status = 1
        except OSError as failure:
            if failure.errno == errno.ENOTDIR and "f" in flags:
                raise unsupported(call) from None  # an error for some, none for others
            why = {errno.EISDIR: f"'{name}' is a directory", errno.EBUSY: f"can't remove '{name}': Resource busy"}
            other = f"can't stat '{name}': {failure.strerror}"
            yield _stderr(f"rm: {why.get(failure.errno or 0, other)}")
            status = 1
    return status


def _remove(call: GuestCall, name: str, *, recursive: bool) -> None:
    if name and not name.strip("/"):
        return _remove_root(call, name, recursive=recursive)
    if name.endswith("/") or posixpath.basename(name) in {".", ".."}:
        raise unsupported(call)
    if (path := checked_path(call, name)) == NULL:
        raise unsupported(call)
    is_dir = stat.S_ISDIR(call.files.stat(path, follow_symlinks=False).mode)
    if is_dir and not recursive:
        raise error(errno.EISDIR, name)
    _refuse_in_use(call, call.files.find(path, follow=False)[0])
    return call.files.remove(path, recursive=recursive)


def _remove_root(call: GuestCall, name: str, *, recursive: bool) -> None:
    """Remove all that can be removed. The kernel's files, and the root itself, stay."""
    if not recursive:
        raise error(errno.EISDIR, name)
    if call.files.being_written:
        raise unsupported(call)
    for entry in set(call.files.listdir("/")) - {"proc"}:
        call.files.remove(f"/{entry}", recursive=True)
    raise error(errno.EBUSY, name)


def _refuse_in_use(call: GuestCall, path: str) -> None:
    """Refuse to remove what goes on without a name: a working directory, a file that is being written. And /proc."""
    used = {call.files.find(call.workdir)[0], *call.files.being_written}
    if f"{path}/".startswith("/proc/") or any(f"{each}/".startswith(f"{path}/") for each in used):
        raise unsupported(call)


def _stderr(line: str) -> tuple[str, bytes]:
    return "stderr", f"{line}\n".encode("utf-8", "surrogateescape")

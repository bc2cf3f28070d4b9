"""smolkit's file scripts (`commands.guest_scripts`) on an in-memory file system: same arguments, output and statuses."""

from __future__ import annotations

import errno
import io
import os
import posixpath
import shlex
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress

from attrs import evolve, frozen

from smolkit.commands import guest_scripts as scripts
from smolkit.commands.script import CODES
from smolkit.testing.filesystem import Files, Node, either, error
from smolkit.testing.guest_io import GuestStdin

_CODES = {number: code for code, number in CODES.items()}


@frozen
class _Task:
    files: Files
    path: str
    other: str
    args: tuple[str, ...]
    stdin: bytes
    now: int


class Exit(Exception):  # noqa: N818  (control flow: the `exit` of a script)
    """Ends a script with a status other than 0."""

    def __init__(self, status: int, stderr: str = "") -> None:
        super().__init__(status, stderr)
        self.status: int = status
        self.stderr: str = stderr


def run(files: Files, command: tuple[str, ...], stdin: GuestStdin, now: int) -> bytes | None:
    """Run one of smolkit's scripts on these files.

    Args:
        files: The machine's files.
        command: The guest's command.
        stdin: The script's input.
        now: The time for new files, in seconds since the epoch.

    Returns:
        The script's output; None if the command is not one of smolkit's scripts.

    Raises:
        Exit: The script ends with another status than 0.
    """
    if command[:2] != ("sh", "-c") or command[2] not in _BY_TEXT:
        return None
    path, other = (_decode(word) for word in command[4:6])
    try:
        return _BY_TEXT[command[2]](_Task(files, path, other, command[6:], stdin.read(), now))
    except OSError as failure:
        message = f"sh: {failure.filename}: {failure.strerror}\n"
        raise Exit(_CODES.get(failure.errno or 0, _CODES[errno.EIO]), message) from None


def _read(task: _Task) -> bytes:
    skipped, count = (*task.args, "", "")[:2]
    data = task.files.read_bytes(task.path)[int(skipped or 0) * scripts.BLOCK :]
    return data[: int(count)] if count else data


def _write(task: _Task) -> bytes:
    size, mode, owner, time, parents = (*task.args, "")[:5]
    if len(task.stdin) != int(size):
        raise Exit(_CODES[errno.EIO])
    uid, gid = _owner(owner)
    task.files.write_bytes(task.path, task.stdin, mode=int(mode, 8) if mode else None, parents=bool(parents))
    task.files.chown(task.path, uid, gid)
    task.files.put(task.files.find(task.path)[0], evolve(task.files.stat(task.path), mtime=int(time[1:] or task.now)))
    return b""


def _exists(task: _Task) -> bytes:
    return b"yes\n" if task.files.exists(task.path) else b""


def _stat(task: _Task) -> bytes:
    return _stat_line(task.files.stat(task.path, follow_symlinks=bool(task.args[0]))) + b"\n"


def _stat_line(node: Node) -> bytes:
    return f"{node.mode:x} {node.size} {node.uid} {node.gid} {node.mtime}".encode()


def _listdir(task: _Task) -> bytes:
    return b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in task.files.listdir(task.path))


def _scan(task: _Task) -> bytes:
    paths = [task.path, *filter(None, [task.other, *map(_decode, task.args)])]
    return b"".join(_scanned(task.files, path) for path in paths)


def _scanned(files: Files, path: str) -> bytes:
    try:
        names = [os.fsencode(name) for name in files.listdir(path)]
    except OSError as failure:
        return f"={_CODES.get(failure.errno or 0, _CODES[errno.EIO])} ls: {path}: {failure.strerror}\0".encode()
    lines, targets = (_stat_lines(files, path, names, follow=follow) for follow in (False, True))
    batch = b"".join(b"./%s\0" % name for name in names) + b"\0%s\0%s\0" % (lines, targets) if names else b""
    return batch + b"=0 \0"


def _stat_lines(files: Files, path: str, names: list[bytes], *, follow: bool) -> bytes:
    """Lines of stat for these files or, to follow symlinks, for what those of them that are one lead to."""
    lines = []
    for name in names:
        place = posixpath.join(path, os.fsdecode(name))
        if not follow or stat.S_ISLNK(files.stat(place, follow_symlinks=False).mode):
            with suppress(OSError):
                lines.append(b"%s ./%s\n" % (_stat_line(files.stat(place, follow_symlinks=follow)), name))
    return b"".join(lines)


def _mkdir(task: _Task) -> bytes:
    parents, mode, exist_ok = task.args
    permissions = int(mode, 8) if mode else None
    task.files.mkdir(task.path, mode=permissions, parents=bool(parents), exist_ok=bool(exist_ok))
    return b""


def _remove(task: _Task) -> bytes:
    task.files.remove(task.path, recursive=bool(task.args[0]))
    return b""


def _rename(task: _Task) -> bytes:
    task.files.rename(task.path, task.other)
    return b""


def _unpack(task: _Task) -> bytes:
    files, (owner, mode, _) = task.files, task.args
    if files.exists(task.path) and not stat.S_ISDIR(files.stat(task.path).mode):
        raise error(errno.ENOTDIR, task.path)
    uid, gid = _owner(owner)
    sent = {name: evolve(node, uid=either(uid, 0), gid=either(gid, 0)) for name, node in _members(task.stdin)}
    own = sent.pop("")
    if files.is_dir(task.path):
        _check_clashes(files, task.path, sent)  # before anything is written: a refused upload changes nothing
    else:
        files.mkdir(task.path, parents=True)
        files.put(files.find(task.path)[0], evolve(own, mode=stat.S_IFDIR | int(mode, 8)))
    for name, node in sent.items():
        files.put(files.find(posixpath.join(task.path, name), follow=False)[0], node)
    return b""


def _members(archive: bytes) -> Iterator[tuple[str, Node]]:
    """The files of an uploaded tree: the relative path, "" for the tree itself, and the node."""
    from smolkit.handles.archive import MODES, TREE  # late: 13 ms, a tenth of `from smolkit.testing import FakeSmolvm`

    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as tar:
        members = tar.getmembers()
        # An upload ends with the members TIMES and MODES. Without them it was cut short, and nothing is written.
        if [member.name for member in members[-1:]] != [MODES]:
            raise Exit(_CODES[errno.EIO])
        modes = _modes((tar.extractfile(members[-1]) or io.BytesIO()).read())
        for member in members[:-2]:
            name = member.name[len(TREE) + 1 :]
            if member.isdir():
                node = Node(stat.S_IFDIR | modes.get(name, member.mode))
            elif member.issym():
                node = Node(stat.S_IFLNK | 0o777, member.linkname.encode("utf-8", "surrogateescape"))
            else:
                content = tar.extractfile(member)
                node = Node(stat.S_IFREG | modes.get(name, member.mode), content.read() if content else b"")
            yield name, evolve(node, mtime=int(member.mtime))


def _modes(script: bytes) -> dict[str, int]:
    """The modes of directories, from the `chmod` lines that an upload ends with."""
    found, mode, last = {}, "", ""
    for word in shlex.split(script.decode("utf-8", "surrogateescape")):
        mode, last = (word if last == "chmod" else mode), word
        if word.startswith("./"):
            found[word[2:]] = int(mode, 8)
    return found


def _check_clashes(files: Files, path: str, sent: dict[str, Node]) -> None:
    for name, node in sent.items():
        place = posixpath.join(path, name)
        existing = files.find(place, follow=False)[1] if files.exists(place) else None
        if existing is not None and stat.S_ISDIR(existing.mode) != stat.S_ISDIR(node.mode):
            raise error(errno.EISDIR if stat.S_ISDIR(existing.mode) else errno.ENOTDIR, place)


def _pack(task: _Task) -> bytes:
    if not task.files.is_dir(task.path):
        raise error(errno.ENOTDIR if task.files.exists(task.path) else errno.ENOENT, task.path)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        for name, node in [(".", task.files.stat(task.path)), *task.files.walk(task.path)]:
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid, member.mtime = stat.S_IMODE(node.mode), node.uid, node.gid, node.mtime
            if stat.S_ISDIR(node.mode):
                member.type = tarfile.DIRTYPE
            elif stat.S_ISLNK(node.mode):
                member.type, member.linkname = tarfile.SYMTYPE, node.data.decode("utf-8", "surrogateescape")
            else:
                member.size = len(node.data)
            tar.addfile(member, io.BytesIO(node.data))
    return out.getvalue()


def _size(task: _Task) -> bytes:
    if not task.files.is_dir(task.path):
        return b"%d\n" % len(task.files.read_bytes(task.path))
    return b"%d\n" % sum(len(node.data) for _, node in task.files.walk(task.path) if stat.S_ISREG(node.mode))


_SCRIPTS: dict[str, Callable[[_Task], bytes]] = {
    scripts.READ: _read,
    scripts.WRITE: _write,
    scripts.EXISTS: _exists,
    scripts.STAT: _stat,
    scripts.LISTDIR: _listdir,
    scripts.SCAN: _scan,
    scripts.MKDIR: _mkdir,
    scripts.REMOVE: _remove,
    scripts.RENAME: _rename,
    scripts.UNPACK: _unpack,
    scripts.DISCARD: lambda _: b"",
    scripts.PACK: _pack,
    scripts.SIZE: _size,
}
_BY_TEXT = {scripts.words(text, "/")[2]: function for text, function in _SCRIPTS.items()}


def _owner(text: str) -> tuple[int | None, int | None]:
    """The uid and gid of `user[:group]`: numbers or `root`, the only user that a fake machine has."""
    user, _, group = text.partition(":")
    return _number(user), _number(group)


def _number(name: str) -> int | None:
    if not name:
        return None
    if name != "root" and not name.isdigit():
        raise Exit(_CODES[errno.EACCES], f"chown: unknown user/group {name}")
    return 0 if name == "root" else int(name)


def _decode(word: str) -> str:
    """Undo `guest_scripts.encode`, as `printf %b` does in the guest."""
    data = bytearray()
    parts = word.split("\\0")
    data += parts[0].encode()
    for part in parts[1:]:
        data.append(int(part[:3], 8))
        data += part[3:].encode()
    return data.decode("utf-8", "surrogateescape")

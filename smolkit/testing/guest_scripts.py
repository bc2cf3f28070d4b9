"""What smolkit's scripts (`smolkit.commands.script`) do, done to files in memory: same words in, same statuses out."""

from __future__ import annotations

import errno
import io
import posixpath
import stat
from collections.abc import Callable

from attrs import evolve, frozen

from smolkit.commands import script as scripts
from smolkit.testing.guest_input import GuestInput
from smolkit.testing.memory import Files, Node, either, error

_CODES = {number: code for code, number in scripts.CODES.items()}


@frozen
class _Task:
    files: Files
    path: str
    other: str
    args: tuple[str, ...]
    stdin: bytes
    now: int


class Exit(Exception):  # noqa: N818  (no error: how a script ends)
    """A script ends with this status."""

    def __init__(self, status: int, stderr: str = "") -> None:
        super().__init__(status, stderr)
        self.status, self.stderr = status, stderr


def run(files: Files, command: tuple[str, ...], stdin: GuestInput, now: int) -> bytes | None:
    """What one of smolkit's scripts writes when it is run on these files; None, if the command is none of them.

    Raises:
        Exit: it ends with another status than 0.
    """
    if command[:2] != ("sh", "-c") or command[2] not in _BY_TEXT:
        return None
    path, other = (_decode(word) for word in command[4:6])
    if _BY_TEXT[command[2]] in _NEEDS and not files.exists(path):
        raise Exit(_CODES[errno.ENOENT])
    try:
        return _BY_TEXT[command[2]](_Task(files, path, other, command[6:], stdin.read(), now))
    except OSError as failure:
        raise Exit(_CODES.get(failure.errno or 0, _CODES[errno.EIO]), str(failure)) from None


def _read(task: _Task) -> bytes:
    return task.files.read(task.path)


def _write(task: _Task) -> bytes:
    size, mode, owner = task.args
    if len(task.stdin) != int(size):
        raise Exit(_CODES[errno.EIO])
    _check_folder_of(task.files, task.path)
    uid, gid = _owner(owner)
    task.files.write(task.path, task.stdin, mode=int(mode, 8) if mode else None, uid=uid, gid=gid)
    task.files.put(task.files.find(task.path)[0], evolve(task.files.stat(task.path), mtime=task.now))
    return b""


def _exists(task: _Task) -> bytes:
    return b"yes\n" if task.files.exists(task.path) else b""


def _stat(task: _Task) -> bytes:
    node = task.files.stat(task.path, follow=bool(task.args[0]))
    return f"{node.mode:x} {len(node.data)} {node.uid} {node.gid} {node.mtime}\n".encode()


def _listdir(task: _Task) -> bytes:
    return b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in task.files.listdir(task.path))


def _mkdir(task: _Task) -> bytes:
    parents, mode, exist_ok = task.args
    if exist_ok and task.files.is_dir(task.path):
        return b""
    if task.files.exists(task.path):
        raise error(errno.EEXIST, task.path)
    task.files.mkdir(task.path, mode=int(mode, 8) if mode else None, parents=bool(parents))
    return b""


def _remove(task: _Task) -> bytes:
    recursive, missing_ok = task.args
    if not task.files.exists(task.path):
        if missing_ok:
            return b""
        raise error(errno.ENOENT, task.path)
    is_folder = stat.S_ISDIR(task.files.stat(task.path, follow=False).mode)
    if is_folder and not recursive and task.files.listdir(task.path):
        raise error(errno.ENOTEMPTY, task.path)
    task.files.remove(task.path)
    return b""


def _rename(task: _Task) -> bytes:
    if not task.files.exists(task.path) or not task.files.is_dir(posixpath.dirname(task.other)):
        raise error(errno.ENOENT, task.path)
    if task.path == task.other:
        return b""
    if task.files.is_dir(task.other):
        if not task.files.is_dir(task.path):
            raise error(errno.EISDIR, task.other)
        if task.files.listdir(task.other):
            raise error(errno.ENOTEMPTY, task.other)
    if task.files.exists(task.other):
        task.files.remove(task.other)
    task.files.rename(task.path, task.other)
    return b""


def _unpack(task: _Task) -> bytes:
    import tarfile  # late: programs that copy no trees need no tar

    from smolkit.archive import WHOLE

    if task.files.exists(task.path) and not task.files.is_dir(task.path):
        raise error(errno.ENOTDIR, task.path)
    if not task.files.is_dir(task.path):
        task.files.mkdir(task.path, parents=True)
    uid, gid = _owner(task.args[0])
    with tarfile.open(fileobj=io.BytesIO(task.stdin), errors="surrogateescape") as tar:
        members = tar.getmembers()
        if WHOLE not in {member.name for member in members}:
            raise Exit(_CODES[errno.EIO])
        for member in members:
            place = posixpath.join(task.path, member.name)
            if member.name == WHOLE:
                continue
            if not member.isdir() and task.files.exists(place):
                task.files.remove(place)
            if member.isdir():
                if not task.files.is_dir(place):
                    task.files.mkdir(place, parents=True)
                node = Node(stat.S_IFDIR | member.mode)
            elif member.issym():
                node = Node(stat.S_IFLNK | 0o777, member.linkname.encode("utf-8", "surrogateescape"))
            else:
                content = tar.extractfile(member)
                node = Node(stat.S_IFREG | member.mode, content.read() if content else b"")
            task.files.put(place, evolve(node, uid=either(uid, 0), gid=either(gid, 0), mtime=int(member.mtime)))
    return b""


def _pack(task: _Task) -> bytes:
    import tarfile  # late: as above

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
        return b"%d\n" % len(task.files.read(task.path))
    return b"%d\n" % sum(len(node.data) for _, node in task.files.walk(task.path) if stat.S_ISREG(node.mode))


_SCRIPTS: dict[str, Callable[[_Task], bytes]] = {
    scripts.READ: _read,
    scripts.WRITE: _write,
    scripts.EXISTS: _exists,
    scripts.STAT: _stat,
    scripts.LISTDIR: _listdir,
    scripts.MKDIR: _mkdir,
    scripts.REMOVE: _remove,
    scripts.RENAME: _rename,
    scripts.UNPACK: _unpack,
    scripts.PACK: _pack,
    scripts.SIZE: _size,
}
_NEEDS = (_read, _stat, _listdir, _rename, _pack, _size)  # something has to be there
_BY_TEXT = {scripts.words(text, "/")[2]: function for text, function in _SCRIPTS.items()}


def _check_folder_of(files: Files, path: str) -> None:
    folder = posixpath.dirname(path)
    if not files.exists(folder):
        raise error(errno.ENOENT, folder)
    if not files.is_dir(folder):
        raise error(errno.ENOTDIR, folder)


def _owner(text: str) -> tuple[int | None, int | None]:
    """`user[:group]`: numbers, or root; the fake's guest has no other users."""
    user, _, group = text.partition(":")
    return _number(user), _number(group)


def _number(name: str) -> int | None:
    if not name:
        return None
    if name != "root" and not name.isdigit():
        raise Exit(_CODES[errno.EACCES], f"chown: unknown user/group {name}")
    return 0 if name == "root" else int(name)


def _decode(word: str) -> str:
    """What `printf %b` makes of the words of `script.encode`."""
    data = bytearray()
    parts = word.split("\\0")
    data += parts[0].encode()
    for part in parts[1:]:
        data.append(int(part[:3], 8))
        data += part[3:].encode()
    return data.decode("utf-8", "surrogateescape")

"""Files and folders into the guest and out of it."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from smolkit.commands.exec import Exec
from smolkit.commands.lifecycle import Cp
from smolkit.errors import GuestFileError, ProgramNotExecutableError, ProgramNotFoundError, UnsafeArchiveError
from smolkit.handles.files import MachineFiles
from smolkit.values import validate
from smolkit.values.results import GuestPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    _Guest = str | os.PathLike[str] | GuestPath

_MOUNTED_LATE = ("/tmp/", "/run/", "/var/run/", "/dev/shm/")  # noqa: S108  (the guest's)


_TALK = 2**26  # bytes that the guest's programs may say while they take files: GNU tar warns of each that is of the future
# Seconds that a guest has for a download, however large, and how many bytes it may send in one more of them.
_PATIENCE, _PACE, _LONGEST = 3600, 2**20, 10**6


class _Meter:
    """Counts bytes for a progress callback."""

    def __init__(self, total: int, progress: Callable[[int, int], object] | None) -> None:
        self.total, self._progress, self._done = total, progress, 0

    def add(self, number: int) -> None:
        """So many more."""
        self._done += number
        if self._progress is not None and number:
            self._progress(self._done, max(self.total, self._done))


class _Stream:
    """The standard output of a process as a file to read; the end of what it says on stderr is kept.

    Attributes:
        said: That end.
        ended: Whether all was read.

    Raises:
        GuestFileError: it says too much on stderr.
    """

    def __init__(self, pieces: Iterator[tuple[str, bytes]], inside: str) -> None:
        self._pieces, self._inside = pieces, inside
        self._piece, self._at, self._total = b"", 0, 0
        self.said, self.ended = b"", False

    def read(self, size: int) -> bytes:
        """So many bytes, or fewer; none at the end."""
        while self._at == len(self._piece) and not self.ended:
            self._next()
        chunk = self._piece[self._at : self._at + size]
        self._at += len(chunk)
        return chunk

    def _next(self) -> None:
        stream, chunk = next(self._pieces, ("", b""))
        if stream == "stderr":
            self.said, self._total = (self.said + chunk)[-1000:], self._total + len(chunk)
            if self._total > _TALK:
                raise _says_too_much(self._inside)
            return
        self._piece, self._at, self.ended = chunk, 0, not stream


def _says_too_much(inside: str) -> GuestFileError:
    return GuestFileError.of(errno.EIO, inside, "the guest's programs say too much", None)


def _copy(file: IO[bytes], write: Callable[[bytes], object], meter: _Meter) -> None:
    while chunk := file.read(2**16):
        write(chunk)
        meter.add(len(chunk))


def _mode_and_time(found: os.stat_result) -> tuple[str, str]:
    return f"{found.st_mode & 0o7777:o}", f"@{found.st_mtime_ns // 10**9}"


def _private(path: str) -> IO[bytes]:
    """A new file that nobody else may read: it may be a secret."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


class MachineTransfers(MachineFiles):
    """The part of Machine that copies."""

    __slots__ = ()

    def upload(
        self,
        source: str | os.PathLike[str],
        target: _Guest,
        *,
        owner: str | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Copies a file, or a folder with all that is in it, into the guest.

        Modes, times (to the second), links, empty folders and names of any bytes are kept; owners are not. Nothing is at
        `target` until all has arrived. Into a folder that is there, which keeps its own mode, the tree's files are copied
        then, over files and links of the same names; if a folder and something else have the same name, nothing is copied.

        Args:
            source: On this host. A folder's hard links come as files of their own.
            target: The full path of the new file or folder. For a folder, those on the way are made.
            owner: `user[:group]`, as the guest knows them, of everything. Default: the guest's user.
            progress: Called with the bytes that were sent and the bytes in all.

        Raises:
            FileNotFoundError, PermissionError, ValueError: of the host's side.
            ProgramNotFoundError: the guest has no `sh`, or (for a folder) no `tar`.
            GuestFileError, GuestNotADirectoryError, GuestPermissionError: of the guest's.
        """
        from smolkit.commands import guest_scripts
        from smolkit.handles import archive  # late: programs that copy no trees need no tar

        validate.function("progress", progress)
        path, inside = validate.path("source", source), self._guest(target)
        user = "" if owner is None else validate.operand("owner", owner)
        meter = _Meter(archive.size_of(path) if os.path.isdir(path) else os.path.getsize(path), progress)
        name = self._fresh()
        if os.path.isdir(path):
            words = guest_scripts.words(guest_scripts.UNPACK, inside, name, user, *_mode_and_time(os.stat(path)))
            with self._staged(inside, name):
                self._send(words, inside, lambda write: archive.pack(path, write, meter.add))
            return
        with open(path, "rb") as file, self._staged(inside, name):
            mode, time = _mode_and_time(os.fstat(file.fileno()))
            words = guest_scripts.words(guest_scripts.WRITE, inside, name, str(meter.total), mode, user, time)
            self._send(words, inside, lambda write: _copy(file, write, meter))

    def _send(self, words: tuple[str, ...], inside: str, feed: Callable[[Callable[[bytes], object]], None]) -> None:
        from smolkit.commands import guest_scripts  # late: as above

        said, total = b"", 0
        with self.popen(words, stdin=True) as process:
            assert process.stdin is not None  # noqa: S101  (for the type checker: it was asked for)
            with suppress(BrokenPipeError):  # it ended before its input did: its status says why
                feed(process.stdin.write)
            process.stdin.close()
            for _, chunk in process:
                said, total = (said + chunk)[-1000:], total + len(chunk)
                if total > _TALK:
                    raise _says_too_much(inside)
        if process.returncode != 0:
            raise guest_scripts.failure(inside, process.returncode or 0, said.decode("utf-8", "replace"), None)

    def download(
        self,
        source: _Guest,
        target: str | os.PathLike[str],
        *,
        limit: int = 4 * 2**30,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Copies a file, or a folder with all that is in it, out of the guest.

        The guest is not trusted: a name or a link that leads outside, a device, more than `limit`, two million files and
        directories, or directories more than 512 deep are refused, and then nothing is kept. There is nothing at `target`
        until all has arrived. It takes little memory, whatever the guest sends.

        Modes (but for setuid, setgid and sticky bits) and times, of the directory itself too, are the guest's; owners are
        yours. Hard links are hard links again.

        Args:
            source: In the guest.
            target: The full path of the new file, or of the new folder, on this host. A file there is replaced.
            limit: Bytes that are taken at the most (default 4 GiB). For a directory they are a tar's, which has 512 to some
                2,500 for each file besides its content. The guest has an hour, and a second more for each MiB.
            progress: Called with the bytes that have arrived and the bytes in all.

        Raises:
            FileExistsError: there is such a folder on this host, or a file where a folder is to be.
            FileNotFoundError, PermissionError: of the host's side.
            UnsafeArchiveError: the guest sent what must not be taken.
            ExecTimeoutError: the guest did not come to an end.
            GuestFileNotFoundError, GuestPermissionError, ProgramNotFoundError: of the guest's side.
        """
        from smolkit.handles import archive  # late: programs that copy no trees need no tar
        from smolkit.handles.host_tree import fresh_folder
        from smolkit.handles.tar_stream import too_much

        validate.function("progress", progress)
        validate.integer("limit", limit, 0, 2**63 - 1)
        inside, path = self._guest(source), validate.absolute("target", target)
        found = self.stat(inside)
        is_folder = found.is_dir
        if os.path.isdir(path) or (is_folder and os.path.lexists(path)):
            raise FileExistsError(f"download makes a new {'folder' if is_folder else 'file'}, and this is there: {path!r}")
        meter = _Meter(self._size(inside) if progress else 0, progress)
        if is_folder:
            with fresh_folder(path) as part, self._reading("PACK", inside, limit) as stream:
                archive.Unpacker(part, limit, meter.add).unpack(stream)
            return
        with (
            self._runner.target(path) as part,
            self._reading("READ", inside, limit) as stream,
            _private(part) as file,
        ):
            while chunk := stream.read(2**16):
                if file.tell() + len(chunk) > limit:
                    raise too_much()
                file.write(chunk)
                meter.add(len(chunk))
            file.flush()
            os.fchmod(file.fileno(), found.mode & 0o777)  # a guest's setuid is nobody's here
            time = max(-(2**34), min(found.mtime, 2**34))  # it may say anything
            os.utime(file.fileno(), (time, time))

    @contextmanager
    def _reading(self, which: str, inside: str, limit: int) -> Iterator[_Stream]:
        from smolkit.commands import guest_scripts  # late: as above

        refused, bound = None, min(_PATIENCE + limit // _PACE, _LONGEST)
        with self.popen(guest_scripts.words(getattr(guest_scripts, which), inside), timeout=bound) as process:
            stream = _Stream(iter(process), inside)
            try:
                yield stream
            except UnsafeArchiveError as error:
                if not stream.ended:
                    raise
                refused = error  # it may be cut, or empty: then the exit status says why
        if process.returncode != 0:
            raise guest_scripts.failure(inside, process.returncode or 0, stream.said.decode("utf-8", "replace"), None)
        if refused is not None:
            raise refused

    def cp(
        self,
        source: str | os.PathLike[str] | GuestPath,
        target: str | os.PathLike[str] | GuestPath,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """Copies one regular file into or out of the machine, which must run. If either path is empty, nothing happens.

        One side is in the guest: `machine.path("/root/x")`, or as the engine writes it, `"NAME:/root/x"`. Both sides are
        full names of files. Folders on the way are made in the guest. It needs no program in the guest, and keeps neither
        mode nor time: upload() and download() do.

        Args:
            source: What is copied.
            target: What it becomes.
            mode: Its permissions in the guest, for uploads (engine >= 1.9.0). Default: 0644.
            uid: Its owner's number there, likewise. Default: root's.
            gid: Its group's number there, likewise.

        Raises:
            ValueError: both sides, or neither, are in the guest, or the guest's side is another machine's.
            FileNotFoundError, IsADirectoryError, PermissionError: of the host's side, before anything runs.
            SmolvmError: the engine could not copy; a file that was there on the host is untouched.
        """
        if source == "" or target == "":
            return
        into, out_of = self._guest_side(target), self._guest_side(source)
        if (into is None) == (out_of is None):
            which = "neither" if into is None else "both"
            raise ValueError(
                f"cp has {which} of its sides in the guest: write machine.cp('file', machine.path('/root/file')), "
                f"or the other way round"
            )
        if into is not None:
            with self._runner.source(validate.path("source", source)) as file:
                command = Cp(file, into, mode=mode, uid=uid, gid=gid)
                self._wake(into.partition(":")[2])
                self._runner.run(command)
        elif out_of is not None:
            if (mode, uid, gid) != (None, None, None):
                raise ValueError("mode, uid and gid are for files that go into the guest")
            with self._runner.target(validate.path("target", target)) as file:
                self._runner.run(Cp(out_of, file))

    def _wake(self, path: str) -> None:
        """An image machine mounts these at its first exec: what was copied there before is lost (1.32.2)."""
        if not self._known.warm and path.startswith(_MOUNTED_LATE):
            with suppress(ProgramNotFoundError, ProgramNotExecutableError):
                self._runner.run(Exec(self.name, ["true"], machine_secrets=self._spec.secrets))
            self._woke()

    def _guest_side(self, side: str | os.PathLike[str] | GuestPath) -> str | None:
        """The side as the engine writes it, if it is in the guest."""
        if isinstance(side, GuestPath):
            if (side.machine, side.host) != (self.name, self._runner.host):
                raise ValueError(f"{side!r} is a path in another machine than {self!r}")
            return f"{side.machine}:{validate.guest_path('a path in the guest', side.path)}"
        own = f"{self.name}:"
        if isinstance(side, str) and side.startswith(f"{own}/"):
            return own + validate.guest_path("a path in the guest", side.removeprefix(own))
        return None

    def path(self, path: str | os.PathLike[str]) -> GuestPath:
        """A path in this machine, for `cp`. A pure value: nothing is asked.

        Raises:
            ValueError: it is not absolute.
        """
        return GuestPath(self.name, validate.guest_path("a path in the guest", path), self._runner.host)

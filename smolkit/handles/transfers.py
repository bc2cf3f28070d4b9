"""Files and directories sent into the guest and out of it, by programs of the guest."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Any

from smolkit import values
from smolkit.commands import guest_scripts
from smolkit.commands.base import LONG
from smolkit.commands.converters import optional_seconds, optional_user
from smolkit.commands.script import script_failure
from smolkit.errors import GuestFileError, UnsafeArchiveError
from smolkit.handles.files import AnyGuestPath, FileMethods
from smolkit.handles.tar_stream import too_much
from smolkit.runners.acting import is_planning
from smolkit.runners.host import part_of, replacing
from smolkit.values import validate
from smolkit.values.keywords import suggests_keywords

Progress = Callable[[int, int], object]  # called with the bytes so far, and the bytes in total


_TALK = 2**26  # bytes of messages that the guest's programs may write: GNU tar warns of each file from the future
# The time that a guest has for a download is _PATIENCE seconds, and one more for each _PACE bytes, up to _LONGEST.
_PATIENCE, _PACE, _LONGEST = 3600, 2**20, 10**6


class _Meter:
    """Counts bytes for a progress callback."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self._progress, self._done = total, progress, 0

    def add(self, number: int) -> None:
        """Count `number` more bytes."""
        self._done += number
        if self._progress is not None and number:
            self._progress(self._done, max(self.total, self._done))


class _Stream:
    """The stdout of a process as a file to read. Keeps the end of its stderr.

    Attributes:
        said: The end of its stderr.
        ended: True once all of stdout was read.

    Raises:
        GuestFileError: it writes too much to stderr.
    """

    def __init__(self, pieces: Iterator[tuple[str, bytes]], inside: str) -> None:
        self._pieces, self._inside = pieces, inside
        self._piece, self._at, self._total = b"", 0, 0
        self.said, self.ended = b"", False

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; none at the end."""
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
    return GuestFileError.of(errno.EIO, inside, "the guest's programs write too many messages", None)


def _copy(file: IO[bytes], write: Callable[[bytes], object], meter: _Meter) -> None:
    while chunk := file.read(2**16):
        write(chunk)
        meter.add(len(chunk))


def _bounded(options: dict[str, Any], size: int) -> dict[str, Any]:
    """The options of a call that moves so many bytes, with a timeout if they have none."""
    bound = min(_PATIENCE + size // _PACE, _LONGEST)
    return options if options["timeout"] is not None else {**options, "timeout": bound}


def _mode_and_time(found: os.stat_result) -> tuple[str, str]:
    return f"{found.st_mode & 0o7777:o}", f"@{found.st_mtime_ns // 10**9}"


def _private(path: str) -> IO[bytes]:
    """A new file that only its owner may read: it may be a secret."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


@suggests_keywords
class TransferMethods(FileMethods):
    """Copying files and directories between the host and the guest."""

    __slots__ = ()

    def _bounds(self, timeout: float | None, user: str | None) -> dict[str, Any]:
        seconds = self._defaults.timeout if timeout is None else optional_seconds(timeout)
        return self._defaults.of_files({"timeout": seconds, "user": optional_user(user)})

    def upload(
        self,
        source: str | os.PathLike[str],
        target: AnyGuestPath,
        *,
        owner: str | None = None,
        parents: bool = False,
        progress: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
        user: str | None = None,
    ) -> None:
        """Copy a file, or a directory with all that is in it, into the guest.

        Modes, times (to the second), symlinks, empty directories and names of any bytes are kept; owners are not. Nothing
        appears at `target` until all has arrived. An existing directory keeps its mode and takes in the files of `source`,
        which replace files and symlinks of the same names. If a directory would replace something else, or something else
        a directory, nothing is copied.

        Args:
            source: The file or directory on this host. Hard links in a directory become files of their own.
            target: The full path of the new file or directory.
            owner: `user[:group]`, as the guest knows them, of everything. Default: the guest's user.
            parents: Make missing parent directories. Those of a directory are always made.
            progress: Called with the bytes sent so far and the bytes in total.
            timeout: Seconds to wait. Default: an hour, and a second more for each MiB.
            user: As whom to write: see `FileMethods`.

        Raises:
            FileNotFoundError, PermissionError, ValueError: on the host's side.
            ProgramNotFoundError: the guest has no `sh`, or (for a directory) no `tar`.
            GuestFileError, GuestNotADirectoryError, GuestPermissionError: on the guest's side.
            ExecTimeoutError: it took longer than the timeout.
        """
        validate.function("progress", progress)
        path, inside = validate.path("source", source), self._guest(target)
        owned = "" if owner is None else validate.operand("owner", owner)
        with_parents = "yes" if validate.flag("parents", parents) else ""
        options, mode = self._bounds(timeout, user), os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            self._upload_tree(path, inside, owned, progress, options)
        elif stat.S_ISREG(mode):
            self._upload_file(path, inside, (owned, with_parents), progress, options)
        else:
            raise ValueError(f"source must be a regular file or a directory, which {path!r} is not")

    def _upload_tree(self, path: str, inside: str, owner: str, progress: Progress | None, options: dict[str, Any]) -> None:
        from smolkit.handles import archive  # late: 7 ms with tarfile, a tenth of a program's imports; few copy trees

        meter, name = _Meter(archive.size_of(path), progress), self._fresh()
        args = (name, owner, *_mode_and_time(os.stat(path)))
        with self._staged(inside, name, options["user"]):
            feed = partial(archive.pack, path, progress=meter.add)
            self._send(guest_scripts.UNPACK, inside, args, feed, _bounded(options, meter.total))

    def _upload_file(
        self, path: str, inside: str, chosen: tuple[str, str], progress: Progress | None, options: dict[str, Any]
    ) -> None:
        meter, name, (owner, parents) = _Meter(os.path.getsize(path), progress), self._fresh(), chosen
        with open(path, "rb") as file, self._staged(inside, name, options["user"]):
            mode, time = _mode_and_time(os.fstat(file.fileno()))
            args = (name, str(meter.total), mode, owner, time, parents)
            feed = partial(_copy, file, meter=meter)
            self._send(guest_scripts.WRITE, inside, args, feed, _bounded(options, meter.total))

    def _send(
        self,
        script: str,
        inside: str,
        args: tuple[str, ...],
        feed: Callable[[Callable[[bytes], object]], None],
        options: dict[str, Any],
    ) -> None:
        """Run a script and feed its stdin."""
        said, total = b"", 0
        with self._popen(guest_scripts.words(script, inside, *args), stdin=True, **options) as process:
            assert process.stdin is not None  # noqa: S101  (for the type checker: it was asked for)
            with suppress(BrokenPipeError):  # the script ended early: its exit status says why
                feed(process.stdin.write)
            process.stdin.close()
            for _, chunk in process:
                said, total = (said + chunk)[-1000:], total + len(chunk)
                if total > _TALK:
                    raise _says_too_much(inside)
        if process.returncode != 0:
            text = said.decode("utf-8", "replace")
            raise script_failure(self.name, script, inside, process.returncode or 0, text)

    def download(
        self,
        source: AnyGuestPath,
        target: str | os.PathLike[str],
        *,
        limit: int = 4 * 2**30,
        progress: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
        user: str | None = None,
    ) -> None:
        """Copy a file, or a directory with all that is in it, out of the guest.

        The guest is not trusted. Refused are names and symlinks that lead outside, devices, more than `limit` bytes, two
        million files and directories, and directories nested more than 512 deep; then nothing is kept. Nothing appears at
        `target` until all has arrived. Memory use is small, whatever the guest sends.

        Modes (except setuid, setgid and sticky bits) and times are the guest's, also those of the directory itself; owners
        are yours. Hard links stay hard links.

        Args:
            source: The file or directory in the guest.
            target: The full path of the new file or directory on this host. An existing file is replaced by a file.
            limit: Maximum number of bytes (default 4 GiB). For a directory it bounds the tar, which has 512 to some 2,500
                bytes for each file besides its content.
            progress: Called with the bytes received so far and the bytes in total.
            timeout: Seconds to wait. Default: an hour, and a second more for each MiB of the limit.
            user: As whom to read: see `FileMethods`.

        Raises:
            FileExistsError: `target` is a directory, or exists and `source` is a directory.
            FileNotFoundError, PermissionError: on the host's side.
            UnsafeArchiveError: the guest sent something that is refused.
            ExecTimeoutError: it took longer than the timeout.
            GuestFileNotFoundError, GuestPermissionError, ProgramNotFoundError: on the guest's side.
        """
        validate.function("progress", progress)
        validate.integer("limit", limit, 0, 2**63 - 1)
        inside, path = self._guest(source), validate.absolute("target", target)
        options = self._bounds(timeout, user)
        found = self.stat(inside, user=user, timeout=timeout or LONG)
        if os.path.isdir(path) or (found.is_dir and os.path.lexists(path)):
            raise FileExistsError(f"download makes a new {'directory' if found.is_dir else 'file'}, but {path!r} exists")
        meter = _Meter(self._size(inside, timeout or LONG, user) if progress else 0, progress)
        if found.is_dir:
            self._download_tree(inside, path, limit, meter, options)
        else:
            self._download_file(inside, path, found, limit, meter, options)

    # In both, the file or directory gets its name only after the guest's exit status was checked: in this order of blocks.
    def _download_tree(self, inside: str, path: str, limit: int, meter: _Meter, options: dict[str, Any]) -> None:
        from smolkit.handles import archive, host_tree  # late: as in _upload_tree

        with host_tree.fresh_directory(path) as part, self._reading(guest_scripts.PACK, inside, limit, options) as stream:
            archive.Unpacker(part, limit, meter.add).unpack(stream)

    def _download_file(  # noqa: PLR0917  (all that download has found out)
        self, inside: str, path: str, found: values.FileStat, limit: int, meter: _Meter, options: dict[str, Any]
    ) -> None:
        reading = self._reading(guest_scripts.READ, inside, limit, options)
        # Not the runner's `target`, which is for what the engine writes: this file is written here, wherever that is.
        target = part_of(path, None) if is_planning(self._runner) else replacing(path)
        with target as part, reading as stream, _private(part) as file:
            while chunk := stream.read(2**16):
                if file.tell() + len(chunk) > limit:
                    raise too_much()
                file.write(chunk)
                meter.add(len(chunk))
            file.flush()
            os.fchmod(file.fileno(), found.mode & 0o777)  # without setuid: the owner is another one here
            time = max(-(2**34), min(found.mtime, 2**34))  # the guest may send any number
            os.utime(file.fileno(), (time, time))

    @contextmanager
    def _reading(self, script: str, inside: str, limit: int, options: dict[str, Any]) -> Iterator[_Stream]:
        """Run a script and read its stdout."""
        refused = None
        with self._popen(guest_scripts.words(script, inside), **_bounded(options, limit)) as process:
            stream = _Stream(iter(process), inside)
            try:
                yield stream
            except UnsafeArchiveError as error:
                if not stream.ended:
                    raise
                refused = error  # the tar may be cut or empty since the script failed: its exit status says why
        if process.returncode != 0:
            text = stream.said.decode("utf-8", "replace")
            raise script_failure(self.name, script, inside, process.returncode or 0, text)
        if refused is not None:
            raise refused

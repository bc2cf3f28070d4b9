"""Files of the guest. A path there is a str, absolute, or a GuestPath of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from attrs import evolve

from smolkit import values
from smolkit.commands import guest_scripts
from smolkit.commands.base import LONG, QUICK
from smolkit.commands.scan import file_stat, nonsense
from smolkit.commands.script import Script
from smolkit.errors import ExecTimeoutError, SmolvmError, add_note
from smolkit.flows.steps import Steps, perform
from smolkit.handles.base import Handle
from smolkit.values import validate
from smolkit.values.hidden import Hidden, hide_value
from smolkit.values.keywords import suggests_keywords
from smolkit.values.modes import octal
from smolkit.values.results import GuestPath

AnyGuestPath = str | os.PathLike[str] | GuestPath

_SIZE = re.compile(rb"[0-9]{1,18}")


@suggests_keywords
class FileMethods(Handle):
    """Reading and writing the guest's files.

    Methods take `timeout`, the seconds that a call may take, in the guest and waiting for its turn; None for no bound. And
    `user`, as whom the guest's programs run, as for `Machine.exec`. Default: the machine's own user.
    """

    __slots__ = ()

    def _run_script(self, script: str, path: AnyGuestPath, *args: str, other: str = "", **options: Any) -> bytes:
        """Run one of `guest_scripts`, with the options of a Script. Returns its output."""
        return self._run_made(self._script(script, path, *args, other=other, **options))

    def _script(self, script: str, path: AnyGuestPath, *args: str, other: str = "", **options: Any) -> Script:
        given = self._defaults.of_files(options)
        made = Script(self.name, script, self._guest(path), other, args, machine_secrets=self._spec.secrets, **given)
        return evolve(made, **self._for_user(made.user))

    def _run_made(self, script: Script) -> bytes:
        said = self._runner.run(script)
        self._known.warm = True
        return said

    def _guest(self, path: AnyGuestPath) -> str:
        """The path as a str, checked: absolute (in a view, relative to its workdir), and in this machine."""
        if isinstance(path, GuestPath):
            self._check_machine(path)
        named = path.path if isinstance(path, GuestPath) else self._defaults.resolve(path)
        given = validate.guest_path("a path in the guest", named)
        # As in pathlib, ".." stays: before it there may be a symlink, and only the guest's kernel knows where that leads.
        return "/" + "/".join(part for part in given.split("/") if part not in {"", "."})

    def _check_machine(self, path: GuestPath) -> None:
        if (path.machine, path.host) != (self.name, self._runner.host):
            raise ValueError(f"a path must be in this machine, {self!r}, not in another machine: {path!r}")

    @staticmethod
    def _fresh() -> str:
        """A new name for a temporary file beside the target."""
        return f".smolkit.{os.urandom(6).hex()}.part"

    @contextmanager
    def _staged(self, inside: str, name: str, user: str | None) -> Iterator[None]:
        """Remove the fresh name from the guest if the block, which writes there first, is cut short.

        After other SmolvmErrors there is nothing to do: a failed script has removed it, a failed engine cannot be asked.
        """
        try:
            yield
        except BaseException as error:
            if isinstance(error, SmolvmError) and not isinstance(error, ExecTimeoutError):
                raise
            try:
                perform(self._runner, self._discarding(inside, name, user))
            except SmolvmError as failure:
                add_note(error, f"in the guest something may be left as {name!r}: {failure.message}")
            raise

    def _discarding(self, inside: str, name: str, user: str | None) -> Steps[None]:
        yield self._script(guest_scripts.DISCARD, inside, other=name, timeout=QUICK, user=user)

    def _file_exists(self, path: AnyGuestPath, timeout: float | None, user: str | None) -> bool:
        """See `Machine.exists`."""
        return bool(self._run_script(guest_scripts.EXISTS, path, timeout=timeout, user=user))

    def read_bytes(
        self,
        path: AnyGuestPath,
        *,
        offset: int = 0,
        length: int | None = None,
        limit: int | None = None,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> bytes:
        """Read a file, or a part of it. The guest needs `sh` and `cat`, for a part `dd` and `head`.

        Args:
            path: The file. A device is read, too, until its end, the limit or the timeout.
            offset: Bytes to skip at its beginning.
            length: Bytes to read at most; None reads to its end.
            limit: Raise OutputLimitError if there are more bytes to read than these. No more of them are transferred.
            timeout: Seconds to wait (default 900).
            user: As whom to read: see `FileMethods`.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestPermissionError: each is also the builtin error of its
                name (FileNotFoundError and so on).
            GuestFileError: it is a FIFO or a socket, from which no data may ever come.
            OutputLimitError: it is larger than `limit`, or than the runner's limit (256 MiB), which download() does not
                have. `stdout_bytes` of the error's `completed` has the beginning.
            ExecTimeoutError: it took longer than `timeout`.
        """
        blocks, skip = divmod(validate.integer("offset", offset, 0, 2**63 - 1), guest_scripts.BLOCK)
        bounds = [validate.integer("length", length, 0, 2**62)] if length is not None else []
        bounds += [validate.integer("limit", limit, 0, 2**62) + 1] if limit is not None else []
        count = str(skip + min(bounds)) if bounds else ""
        options: dict[str, Any] = {"timeout": timeout, "user": user, "skip": skip, "limit": limit}
        return self._run_script(guest_scripts.READ, path, str(blocks) if blocks else "", count, **options)

    def read_text(
        self,
        path: AnyGuestPath,
        encoding: str = "utf-8",
        errors: str = "strict",
        *,
        limit: int | None = None,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> str:
        """Read a file as text. Arguments and errors are those of read_bytes; also raises UnicodeDecodeError."""
        validate.encoding("encoding", encoding, errors)
        return self.read_bytes(path, limit=limit, timeout=timeout, user=user).decode(encoding, errors)

    def write_bytes(
        self,
        path: AnyGuestPath,
        data: bytes,
        *,
        mode: int | None = None,
        owner: str | None = None,
        parents: bool = False,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> None:
        """Write a file, atomically: readers see the old content or all of the new.

        Files that cannot be replaced are written in place: devices, files of /proc and /sys and, once all of the data has
        arrived, mount points, and files of another user that this one may write.

        Args:
            path: The file. A symlink is followed.
            data: The content.
            mode: Permissions, for example 0o600. Default: those of the old file, or the guest's own for new files.
            owner: `user[:group]`, as the guest knows them. Default: the old file's, or the guest's user.
            parents: Make missing parent directories, as `mkdir(parents=True)` does.
            timeout: Seconds to wait (default 900). A file whose time is over is as it was.
            user: As whom to write: see `FileMethods`.

        Raises:
            GuestFileNotFoundError: the parent directory does not exist.
            GuestPermissionError: the guest's user may not write to the file, or not create one in the directory. (root may
                write to any, whatever its mode.)
            GuestIsADirectoryError, GuestNotADirectoryError, ExecTimeoutError
            GuestFileError: another error of the guest's kernel: `errno` says which.
        """
        data = hide_value(data)  # it may be a key, and tracebacks may show the locals of frames
        if isinstance(data, Hidden) and isinstance(data.reveal(), str):
            raise TypeError("data must be bytes, not str: write_text is for text")
        content = Hidden(validate.data("data", data) or b"")
        inside = self._guest(path)
        args = (
            str(len(content.reveal())),
            octal("mode", mode),
            "" if owner is None else validate.operand("owner", owner),
            "",
            "yes" if validate.flag("parents", parents) else "",
        )
        name = self._fresh()
        options: dict[str, Any] = {"input": content, "timeout": timeout, "user": user}
        script = self._script(guest_scripts.WRITE, inside, *args, other=name, **options)
        with self._staged(inside, name, user):
            self._run_made(script)

    def write_text(
        self,
        path: AnyGuestPath,
        text: str,
        encoding: str = "utf-8",
        *,
        mode: int | None = None,
        owner: str | None = None,
        parents: bool = False,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> None:
        """Write a file of text. Otherwise as write_bytes."""
        validate.encoding("encoding", encoding)
        content = text = hide_value(text)  # as in write_bytes
        if not isinstance(content.reveal(), str):
            raise TypeError(f"text must be a str, not {type(content.reveal()).__name__}; for bytes there is write_bytes")
        data = cast("bytes", Hidden(content.reveal().encode(encoding)))
        self.write_bytes(path, data, mode=mode, owner=owner, parents=parents, timeout=timeout, user=user)

    def stat(
        self,
        path: AnyGuestPath,
        *,
        follow_symlinks: bool = True,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> values.FileStat:
        """A file's mode, size, owner and modification time. The guest needs `stat`.

        Args:
            path: The file.
            follow_symlinks: False for a symlink's own.
            timeout: Seconds to wait (default 900).
            user: As whom to look: see `FileMethods`.

        Raises:
            GuestFileNotFoundError: there is no such file.
            GuestPermissionError, ExecTimeoutError
        """
        follow = "-L" if validate.flag("follow_symlinks", follow_symlinks) else ""
        said = self._run_script(guest_scripts.STAT, path, follow, timeout=timeout, user=user).strip()
        return file_stat(str(path), said)

    def _size(self, path: str, timeout: float | None, user: str | None) -> int:
        """The size in bytes of a file, or of all files below a directory."""
        said = self._run_script(guest_scripts.SIZE, path, timeout=timeout, user=user).strip()
        if not _SIZE.fullmatch(said):
            raise nonsense("size", path, said)
        return int(said)

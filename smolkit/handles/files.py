"""Files of the guest. A path there is a str, absolute, or a GuestPath of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from smolkit import values
from smolkit.commands import guest_scripts
from smolkit.commands.script import Script
from smolkit.errors import GuestFileError, SmolvmError, add_note
from smolkit.flows.steps import Steps, perform
from smolkit.handles.base import Handle
from smolkit.values import validate
from smolkit.values.hidden import Hidden, hide_value
from smolkit.values.keywords import suggests_keywords
from smolkit.values.modes import octal
from smolkit.values.results import GuestPath

AnyGuestPath = str | os.PathLike[str] | GuestPath

# The output of `stat -c '%f %s %u %g %Y'`. A hostile guest may send numbers of any length: these bounds keep them fit for
# the functions of `stat` and `os`. A time has 12 digits in the year 33658.
_STAT = re.compile(rb"([0-9a-f]{1,8}) ([0-9]{1,18}) ([0-9]{1,10}) ([0-9]{1,10}) (-?[0-9]{1,12})")
_SIZE = re.compile(rb"[0-9]{1,18}")


def nonsense(what: str, path: str, said: bytes) -> GuestFileError:
    """The error for an answer that no honest guest gives."""
    return GuestFileError(f"the guest sent an invalid {what} of {path!r}: {said[:80]!r}", None, path)


@suggests_keywords
class FileMethods(Handle):
    """Reading and writing the guest's files."""

    __slots__ = ()

    def _run_script(
        self,
        script: str,
        path: AnyGuestPath,
        other: str = "",
        *args: str,
        input: Hidden | None = None,  # noqa: A002  (subprocess's word)
    ) -> bytes:
        """Run one of `guest_scripts`. Returns its output."""
        inside, secrets = self._guest(path), self._spec.secrets
        said = self._runner.run(Script(self.name, script, inside, other, args, input, machine_secrets=secrets))
        self._known.warm = True
        return said

    def _guest(self, path: AnyGuestPath) -> str:
        """The path as a str, checked: absolute, and in this machine."""
        if isinstance(path, GuestPath):
            self._check_machine(path)
        given = validate.guest_path("a path in the guest", path.path if isinstance(path, GuestPath) else path)
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
    def _staged(self, inside: str, name: str) -> Iterator[None]:
        """Remove the fresh name from the guest if the block, which writes there first, is cut short by an interrupt.

        After a SmolvmError there is nothing to do: a failed script has removed it, and a failed engine cannot be asked.
        """
        try:
            yield
        except SmolvmError:
            raise
        except BaseException as error:
            try:
                perform(self._runner, self._discarding(inside, name))
            except SmolvmError as failure:
                add_note(error, f"in the guest something may be left as {name!r}: {failure.message}")
            raise

    def _discarding(self, inside: str, name: str) -> Steps[None]:
        yield Script(self.name, guest_scripts.DISCARD, inside, name, machine_secrets=self._spec.secrets)

    def _file_exists(self, path: AnyGuestPath) -> bool:
        """See `Machine.exists`."""
        return bool(self._run_script(guest_scripts.EXISTS, path))

    def read_bytes(self, path: AnyGuestPath) -> bytes:
        """Read a file. The guest needs `sh` and `cat`.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestPermissionError: each is also the builtin error of its
                name (FileNotFoundError and so on).
            OutputLimitError: it is larger than the runner's limit (256 MiB), which download() does not have.
        """
        return self._run_script(guest_scripts.READ, path)

    def read_text(self, path: AnyGuestPath, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Read a file as text. Raises as read_bytes does, and UnicodeDecodeError."""
        validate.encoding("encoding", encoding, errors)
        return self.read_bytes(path).decode(encoding, errors)

    def write_bytes(self, path: AnyGuestPath, data: bytes, *, mode: int | None = None, owner: str | None = None) -> None:
        """Write a file, atomically: readers see the old content or all of the new.

        Files that cannot be replaced are written in place: devices, files of /proc and /sys and, once all of the data has
        arrived, mount points.

        Args:
            path: Its parent directory must exist.
            data: The content.
            mode: Permissions, for example 0o600. Default: those of the old file, or the guest's own for new files.
            owner: `user[:group]`, as the guest knows them. Default: the old file's, or the guest's user.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError: the parent directory does not exist.
            GuestIsADirectoryError, GuestPermissionError, GuestFileError
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
        )
        name = self._fresh()
        with self._staged(inside, name):
            self._run_script(guest_scripts.WRITE, inside, name, *args, input=content)

    def write_text(
        self, path: AnyGuestPath, text: str, encoding: str = "utf-8", *, mode: int | None = None, owner: str | None = None
    ) -> None:
        """Write a file of text. Otherwise as write_bytes."""
        validate.encoding("encoding", encoding)
        content = text = hide_value(text)  # as in write_bytes
        if not isinstance(content.reveal(), str):
            raise TypeError(f"text must be a str, not {type(content.reveal()).__name__}; for bytes there is write_bytes")
        self.write_bytes(path, cast("bytes", Hidden(content.reveal().encode(encoding))), mode=mode, owner=owner)

    def stat(self, path: AnyGuestPath, *, follow_symlinks: bool = True) -> values.FileStat:
        """A file's mode, size, owner and modification time. The guest needs `stat`.

        Raises:
            GuestFileNotFoundError: there is no such file.
        """
        follow = validate.flag("follow_symlinks", follow_symlinks)
        said = self._run_script(guest_scripts.STAT, path, "", "-L" if follow else "").strip()
        if not (found := _STAT.fullmatch(said)):
            raise nonsense("stat", str(path), said)
        return values.FileStat(int(found[1], 16), *map(int, found.groups()[1:]))

    def _size(self, path: str) -> int:
        """The size in bytes of a file, or of all files below a directory."""
        said = self._run_script(guest_scripts.SIZE, path).strip()
        if not _SIZE.fullmatch(said):
            raise nonsense("size", path, said)
        return int(said)

"""Files of the guest. A path there is a str, absolute, or a GuestPath of this machine."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, cast

from smolkit.errors import GuestFileError, GuestFileNotFoundError, SmolvmError, add_note
from smolkit.flows.steps import perform
from smolkit.handles.commands import MachineCommands
from smolkit.values import validate
from smolkit.values.hidden import Hidden, hide_value
from smolkit.values.results import GuestPath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smolkit.flows.steps import Steps
    from smolkit.values.observed import FileStat

    _Guest = str | os.PathLike[str] | GuestPath

# What numbers of files there are, as `stat -c '%f %s %u %g %Y'` has them: a hostile guest's are of any length. These are
# fine for the functions of `stat` and `os`; a time has 12 digits in the year 33658.
_STAT = re.compile(rb"([0-9a-f]{1,8}) ([0-9]{1,18}) ([0-9]{1,10}) ([0-9]{1,10}) (-?[0-9]{1,12})")
_SIZE = re.compile(rb"[0-9]{1,18}")


def _nonsense(what: str, path: str, said: bytes) -> GuestFileError:
    return GuestFileError(f"the guest's {what} of {path!r} has {said[:80]!r}", None, path)


class MachineFiles(MachineCommands):
    """The part of Machine that is about files."""

    __slots__ = ()

    def _run_script(self, script: str, path: _Guest, other: str = "", *args: str, input: Hidden | None = None) -> bytes:  # noqa: A002
        from smolkit.commands import guest_scripts as scripts  # late: programs that only run commands have no use for it

        text: str = getattr(scripts, script)
        found = self._runner.run(
            scripts.Script(self.name, text, self._guest(path), other, args, input, machine_secrets=self._spec.secrets)
        )
        self._woke()
        return found

    def _guest(self, path: _Guest) -> str:
        """A path in this machine, checked, as text."""
        if isinstance(path, GuestPath) and (path.machine, path.host) != (self.name, self._runner.host):
            raise ValueError(f"{path!r} is a path in another machine than {self!r}")
        given = validate.guest_path("a path in the guest", path.path if isinstance(path, GuestPath) else path)
        # As pathlib has it: what stands before a ".." may be a symlink, and only the guest's kernel knows where that leads.
        return "/" + "/".join(part for part in given.split("/") if part not in {"", "."})

    @staticmethod
    def _fresh() -> str:
        """A name that nobody else has."""
        return f".smolkit.{os.urandom(6).hex()}.part"

    @contextmanager
    def _staged(self, inside: str, name: str) -> Iterator[None]:
        """Around what makes a file or a tree under a fresh name first: cut short here, that is removed from the guest.

        Where the guest's own scripts fail they remove it, and where the engine does there is nobody to ask.
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
        from smolkit.commands import guest_scripts as scripts  # late: as above

        yield scripts.Script(self.name, scripts.DISCARD, inside, name, machine_secrets=self._spec.secrets)

    def read_bytes(self, path: _Guest) -> bytes:
        """A file's content. The guest needs `sh` and `cat`.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestPermissionError: also the builtin errors of these names.
            OutputLimitError: it is larger than the runner takes (256 MiB): download() has no such bound.
        """
        return self._run_script("READ", path)

    def read_text(self, path: _Guest, encoding: str = "utf-8", errors: str = "strict") -> str:
        """A file's content as text."""
        validate.encoding("encoding", encoding, errors)
        return self.read_bytes(path).decode(encoding, errors)

    def write_bytes(self, path: _Guest, data: bytes, *, mode: int | None = None, owner: str | None = None) -> None:
        """Makes a file with this content, or gives one another content; at no moment is there half of it.

        What cannot be replaced is written to instead: a device, a file of /proc or /sys and, once all has arrived, a mount.

        Args:
            path: Its folder must be there.
            data: The content.
            mode: Its permissions, for example 0o600. Default: those it had, or the guest's own for new files.
            owner: `user[:group]`, as the guest knows them. Default: the one it had, or the guest's user.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError: there is no such folder.
            GuestIsADirectoryError, GuestPermissionError, GuestFileError
        """
        data = hide_value(data)  # it may be a key, and what fails here shows the locals of its frames
        content = Hidden(validate.data("data", data) or b"")
        inside = self._guest(path)
        words = (
            str(len(content.reveal())),
            validate.octal("mode", mode),
            "" if owner is None else validate.operand("owner", owner),
            "",
        )
        name = self._fresh()
        with self._staged(inside, name):
            self._run_script("WRITE", inside, name, *words, input=content)

    def write_text(
        self, path: _Guest, text: str, encoding: str = "utf-8", *, mode: int | None = None, owner: str | None = None
    ) -> None:
        """As write_bytes, with text."""
        validate.encoding("encoding", encoding)
        content = text = hide_value(text)  # likewise
        if not isinstance(content.reveal(), str):
            raise TypeError(f"text is a str, not {type(content.reveal()).__name__}: write_bytes takes bytes")
        self.write_bytes(path, cast("bytes", Hidden(content.reveal().encode(encoding))), mode=mode, owner=owner)

    def stat(self, path: _Guest, *, follow_symlinks: bool = True) -> FileStat:
        """A file's mode, size, owner and time. The guest needs `stat`.

        Raises:
            GuestFileNotFoundError: there is none.
        """
        from smolkit.values.observed import FileStat  # late: few programs ask

        follow = validate.flag("follow_symlinks", follow_symlinks)
        said = self._run_script("STAT", path, "", "-L" if follow else "").strip()
        if not (found := _STAT.fullmatch(said)):
            raise _nonsense("stat", str(path), said)
        return FileStat(int(found[1], 16), *map(int, found.groups()[1:]))

    def listdir(self, path: _Guest) -> list[str]:
        """The names in a folder, sorted. Names that are no UTF-8 are as `os.listdir` has them.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
            GuestFileError: the guest sent what is no name in a directory: `..`, or one with a slash.
            OutputLimitError: there are more names than 16 MiB.
        """
        names = [name for name in self._run_script("LISTDIR", path).split(b"\0") if name]
        for name in names:
            if b"/" in name or name in {b".", b".."}:  # joined to a path by the caller, it would lead elsewhere
                raise _nonsense("list", str(path), name)
        return sorted(map(os.fsdecode, names))

    def _size(self, path: str) -> int:
        """Bytes of a file, or of all the files below a directory."""
        said = self._run_script("SIZE", path).strip()
        if not _SIZE.fullmatch(said):
            raise _nonsense("size", path, said)
        return int(said)

    def mkdir(self, path: _Guest, *, mode: int | None = None, parents: bool = False, exist_ok: bool = False) -> None:
        """Makes a folder.

        Args:
            path: What is to be.
            mode: Its permissions.
            parents: Whether the folders on the way are made, too.
            exist_ok: Whether it is fine that it is there.

        Raises:
            GuestFileExistsError, GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
        """
        on_the_way, is_fine = validate.flag("parents", parents), validate.flag("exist_ok", exist_ok)
        words = ("-p" if on_the_way else "", validate.octal("mode", mode), "yes" if is_fine else "")
        self._run_script("MKDIR", path, "", *words)

    def remove(self, path: _Guest, *, recursive: bool = False, missing_ok: bool = False) -> None:
        """Removes a file, a link or a folder.

        Args:
            path: What goes.
            recursive: Whether a folder goes with all that is in it. Else it must be empty.
            missing_ok: Whether it is fine that there is none.

        Raises:
            GuestDirectoryNotEmptyError, GuestFileNotFoundError, GuestPermissionError
        """
        with_all = "yes" if validate.flag("recursive", recursive) else ""
        with suppress(GuestFileNotFoundError) if validate.flag("missing_ok", missing_ok) else nullcontext():
            self._run_script("REMOVE", path, "", with_all)

    def rename(self, path: _Guest, target: _Guest) -> None:
        """Gives a file or folder another name, as `os.rename`.

        A file of that name is replaced, and an empty folder by a folder. To another file system it is copied, unless it is
        a mount.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestDirectoryNotEmptyError, GuestPermissionError
        """
        self._run_script("RENAME", path, self._guest(target), self._fresh())

"""Directories of the guest: what they hold, and changes of it."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress

from smolkit.commands import guest_scripts
from smolkit.commands.base import LONG
from smolkit.errors import GuestFileNotFoundError
from smolkit.handles.files import AnyGuestPath, FileMethods, nonsense
from smolkit.values import validate
from smolkit.values.keywords import suggests_keywords
from smolkit.values.modes import octal


@suggests_keywords
class DirectoryMethods(FileMethods):
    """Listing, making, renaming and removing."""

    __slots__ = ()

    def listdir(self, path: AnyGuestPath, *, timeout: float | None = LONG, user: str | None = None) -> list[str]:
        """The names in a directory, sorted. Names that are not UTF-8 are decoded as by `os.listdir`.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
            GuestFileError: the guest sent an invalid name: `..`, or one with a slash.
            OutputLimitError: the names take more than 16 MiB.
        """
        names = [
            name for name in self._run_script(guest_scripts.LISTDIR, path, timeout=timeout, user=user).split(b"\0") if name
        ]
        for name in names:
            if b"/" in name or name in {b".", b".."}:  # a caller who joins it to a path would get elsewhere
                raise nonsense("directory entry", str(path), name)
        return sorted(map(os.fsdecode, names))

    def mkdir(
        self,
        path: AnyGuestPath,
        *,
        mode: int | None = None,
        parents: bool = False,
        exist_ok: bool = False,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> None:
        """Make a directory.

        Args:
            path: The new directory.
            mode: Its permissions.
            parents: Also make missing parent directories.
            exist_ok: No-op if the directory exists.
            timeout: Seconds to wait (default 900).
            user: As whom to do it: see `FileMethods`.

        Raises:
            GuestFileExistsError, GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
        """
        with_parents, may_exist = validate.flag("parents", parents), validate.flag("exist_ok", exist_ok)
        args = ("-p" if with_parents else "", octal("mode", mode), "yes" if may_exist else "")
        self._run_script(guest_scripts.MKDIR, path, *args, timeout=timeout, user=user)

    def remove(
        self,
        path: AnyGuestPath,
        *,
        recursive: bool = False,
        missing_ok: bool = False,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> None:
        """Remove a file, a symlink or a directory.

        Args:
            path: The file or directory.
            recursive: Remove a directory with all that is in it. Otherwise it must be empty.
            missing_ok: No-op if there is no such file.
            timeout: Seconds to wait (default 900).
            user: As whom to do it: see `FileMethods`.

        Raises:
            GuestDirectoryNotEmptyError, GuestFileNotFoundError, GuestPermissionError
        """
        with_all = "yes" if validate.flag("recursive", recursive) else ""
        with suppress(GuestFileNotFoundError) if validate.flag("missing_ok", missing_ok) else nullcontext():
            self._run_script(guest_scripts.REMOVE, path, with_all, timeout=timeout, user=user)

    def rename(
        self, path: AnyGuestPath, target: AnyGuestPath, *, timeout: float | None = LONG, user: str | None = None
    ) -> None:
        """Rename a file or directory, as `os.rename`.

        A file at `target` is replaced by a file, and an empty directory by a directory. It is copied to another file system
        if need be, unless it is a mount point.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestDirectoryNotEmptyError, GuestPermissionError
        """
        to, name = self._guest(target), self._fresh()
        self._run_script(guest_scripts.RENAME, path, name, other=to, timeout=timeout, user=user)

"""Directories of the guest: what they hold, and changes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from functools import partial

from attrs import evolve

from smolkit import values
from smolkit.commands import guest_scripts
from smolkit.commands.base import LONG
from smolkit.commands.converters import optional_seconds, optional_user
from smolkit.commands.scan import Listing, ScanDirs, nonsense
from smolkit.errors import GuestFileError, GuestFileNotFoundError, OutputLimitError
from smolkit.handles import globbing, walking
from smolkit.handles.files import AnyGuestPath, FileMethods
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

    def scandir(
        self, path: AnyGuestPath, *, timeout: float | None = LONG, user: str | None = None
    ) -> list[values.DirEntry]:
        """The entries of a directory with what `stat` says of each, by one call, sorted by name. The guest needs `stat`.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
            GuestFileError: the guest sent an invalid name: `..`, or one with a slash.
            OutputLimitError: the entries take more than 64 MiB.
        """
        inside = self._guest(path)
        found = self._scan([inside], timeout, user)[inside]
        if isinstance(found, GuestFileError):
            raise found
        return found

    def walk(
        self,
        path: AnyGuestPath,
        *,
        on_error: Callable[[GuestFileError], object] | None = None,
        follow_symlinks: bool = False,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        """Walk a directory tree from the top, as `pathlib.Path.walk`: yields `(dirpath, dirnames, filenames)`.

        What is removed from `dirnames` is not walked. Directories beside each other are listed by one call, before the
        first of them is yielded.

        Args:
            path: The top directory.
            on_error: Called with the error of a directory that cannot be listed. By default it is left out.
            follow_symlinks: Walk directories that symlinks lead to, too. Otherwise these are in `filenames`.
            timeout: Seconds that each call may take (default 900).
            user: As whom to look: see `FileMethods`.
        """
        validate.function("on_error", on_error)
        follow = validate.flag("follow_symlinks", follow_symlinks)
        return walking.walk(self._scanner(timeout, user), self._guest(path), on_error, follow=follow)

    def glob(
        self,
        path: AnyGuestPath,
        pattern: str,
        *,
        case_sensitive: bool = True,
        recurse_symlinks: bool = False,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> list[str]:
        """The paths below a directory that match a pattern, sorted: `m.glob("/root", "**/*.py")`.

        As `pathlib.Path.glob` of Python 3.13: `*` matches hidden files too, and `**` any number of directories. A pattern
        that ends with a slash matches directories only. Directories that cannot be listed are left out. It takes a call for
        each level of directories.

        Args:
            path: The top directory.
            pattern: Relative, with `*`, `?`, `[seq]`, `[!seq]` and `**`.
            case_sensitive: False to match whatever the case.
            recurse_symlinks: Let `**` follow symlinks.
            timeout: Seconds that each call may take (default 900).
            user: As whom to look: see `FileMethods`.

        Raises:
            ValueError: the pattern is empty or absolute.
            GuestFileError: there are more than two million files to look at.
        """
        parts = globbing.parse(pattern, case_sensitive=validate.flag("case_sensitive", case_sensitive))
        recurse = validate.flag("recurse_symlinks", recurse_symlinks)
        return globbing.glob(self._scanner(timeout, user), self._guest(path), parts, recurse=recurse)

    def _scanner(self, timeout: float | None, user: str | None) -> walking.Scan:
        optional_seconds(timeout), optional_user(user)  # before the first call is made
        return partial(self._scan, timeout=timeout, user=user)

    def _scan(self, paths: Sequence[str], timeout: float | None, user: str | None) -> dict[str, Listing]:
        """List directories, by as few calls as there may be."""
        found, inside = dict[str, Listing](), {path: self._guest(path) for path in paths}
        for some in walking.batches(inside.values()):
            found |= self._scan_at_once(some, timeout, user)
        return {path: found[place] for path, place in inside.items()}

    def _scan_at_once(self, paths: Sequence[str], timeout: float | None, user: str | None) -> dict[str, Listing]:
        secrets = self._spec.secrets
        given = self._defaults.of_files({"timeout": timeout, "user": user})
        command = ScanDirs(self.name, tuple(paths), machine_secrets=secrets, **given)
        command = evolve(command, **self._for_user(command.user))
        try:
            found = self._runner.run(command)
        except OutputLimitError:
            if len(paths) == 1:
                raise
            halves = paths[: len(paths) // 2], paths[len(paths) // 2 :]
            first, second = (self._scan_at_once(half, timeout, user) for half in halves)
            return first | second
        self._known.warm = True
        return found

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

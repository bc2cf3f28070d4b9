"""Errors of files in the guest: each is a SmolvmError and also the builtin exception that `os` would raise."""

from __future__ import annotations

import errno
import os
from typing import ClassVar

from smolkit import values
from smolkit.values.base_error import SmolvmError


class GuestFileError(SmolvmError, OSError):
    """An operation on a file in the guest failed.

    Attributes:
        filename: The file's path in the guest.
        errno: The error number, as for any OSError.
    """

    ERRNO: ClassVar[int] = errno.EIO

    def __init__(
        self, message: str, completed: values.Completed | None = None, filename: str = "", number: int | None = None
    ) -> None:
        super().__init__(message, completed)
        self.filename: str = filename
        self.errno: int = number or self.ERRNO
        self.strerror: str = os.strerror(self.errno)
        self.args: tuple[object, ...] = (self.message, self.completed, filename, self.errno)

    # OSError's own __reduce__ would leave arguments out: it knows those of OSError only.
    def __reduce__(self) -> tuple[type[GuestFileError], tuple[object, ...], dict[str, object]]:
        return type(self), self.args, self.__dict__

    @staticmethod
    def of(number: int, path: str, said: str, completed: values.Completed | None) -> GuestFileError:
        """Return the error for an errno.

        Args:
            number: The errno.
            path: The file's path in the guest.
            said: The message of the guest's program; may be empty.
            completed: The engine call that failed.
        """
        like = errno.EACCES if number == errno.EPERM else number  # both are a PermissionError in Python
        kind = next((kind for kind in GuestFileError.__subclasses__() if like == kind.ERRNO), GuestFileError)
        reason = os.strerror(number) + (f" ({said})" if said else "")
        return kind(f"in the guest, {path!r}: {reason}", completed, path, number)


class GuestFileNotFoundError(GuestFileError, FileNotFoundError):
    """The guest has no such file or directory."""

    ERRNO = errno.ENOENT


class GuestFileExistsError(GuestFileError, FileExistsError):
    """The file exists already in the guest."""

    ERRNO = errno.EEXIST


class GuestIsADirectoryError(GuestFileError, IsADirectoryError):
    """The path is a directory in the guest, not a file."""

    ERRNO = errno.EISDIR


class GuestNotADirectoryError(GuestFileError, NotADirectoryError):
    """The path is not a directory in the guest."""

    ERRNO = errno.ENOTDIR


class GuestPermissionError(GuestFileError, PermissionError):
    """The guest's user lacks the permission."""

    ERRNO = errno.EACCES


class GuestDirectoryNotEmptyError(GuestFileError):
    """The guest's directory is not empty."""

    ERRNO = errno.ENOTEMPTY
    hint = "remove(path, recursive=True) also removes what is in it"


class CopyError(SmolvmError):
    """cp could not read its source or write its target. An existing file on the host is left as it was."""

    hint = "cp copies one regular file to a full file name; for directories use upload() and download()"


class CopyNotFoundError(CopyError, GuestFileNotFoundError):
    """cp: the guest has no such file, or no such directory."""


class CopyIsADirectoryError(CopyError, GuestIsADirectoryError):
    """cp: the path is a directory in the guest, not a file."""


class UnsafeArchiveError(SmolvmError):
    """A download would write outside its directory, or the archive from the guest is malformed. Nothing was kept."""

    hint = "exec(['tar', ...]) returns the archive's bytes, if you want to look at them"

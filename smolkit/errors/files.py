"""What goes wrong with a guest's file: each is a SmolvmError, and the builtin error that Python people expect."""

from __future__ import annotations

import errno
import os
from typing import ClassVar

from smolkit.values.base_error import SmolvmError
from smolkit.values.results import Completed


class GuestFileError(SmolvmError, OSError):
    """A file of the guest is not as it has to be.

    Attributes:
        filename: Its path in the guest.
        errno: As for any OSError.
    """

    ERRNO: ClassVar[int] = errno.EIO

    def __init__(
        self, message: str, completed: Completed | None = None, filename: str = "", number: int | None = None
    ) -> None:
        super().__init__(message, completed)
        self.filename: str = filename
        self.errno: int = number or self.ERRNO
        self.strerror: str = os.strerror(self.errno)
        self.args: tuple[object, ...] = (self.message, self.completed, filename, self.errno)

    def __reduce__(
        self,
    ) -> tuple[type[GuestFileError], tuple[object, ...], dict[str, object]]:  # OSError's own knows other arguments
        return type(self), self.args, self.__dict__

    @staticmethod
    def of(number: int, path: str, said: str, completed: Completed | None) -> GuestFileError:
        """The error of this number."""
        like = errno.EACCES if number == errno.EPERM else number  # as Python has it
        kind = next((kind for kind in GuestFileError.__subclasses__() if like == kind.ERRNO), GuestFileError)
        reason = os.strerror(number) + (f" ({said})" if said else "")
        return kind(f"in the guest, {path!r}: {reason}", completed, path, number)


class GuestFileNotFoundError(GuestFileError, FileNotFoundError):
    """There is no such file or folder in the guest."""

    ERRNO = errno.ENOENT


class GuestFileExistsError(GuestFileError, FileExistsError):
    """It is there already in the guest."""

    ERRNO = errno.EEXIST


class GuestIsADirectoryError(GuestFileError, IsADirectoryError):
    """It is a folder in the guest, and no file."""

    ERRNO = errno.EISDIR


class GuestNotADirectoryError(GuestFileError, NotADirectoryError):
    """It is no folder in the guest."""

    ERRNO = errno.ENOTDIR


class GuestPermissionError(GuestFileError, PermissionError):
    """The guest's user may not do that."""

    ERRNO = errno.EACCES


class GuestDirectoryNotEmptyError(GuestFileError):
    """The guest's folder is not empty."""

    ERRNO = errno.ENOTEMPTY
    hint = "remove(path, recursive=True) removes all of it"


class CopyError(SmolvmError):
    """cp could not read its source or write its target. A file that was there on the host is untouched."""

    hint = "cp copies one regular file to a full file name; directories go through tar and exec"


class CopyNotFoundError(CopyError, GuestFileNotFoundError):
    """cp: there is no such file in the guest, or no such folder."""


class CopyIsADirectoryError(CopyError, GuestIsADirectoryError):
    """cp: in the guest it is a folder, and no file."""


class UnsafeArchiveError(SmolvmError):
    """What the guest sent for a download would leave its folder, or is no honest archive. Nothing of it was kept."""

    hint = "exec(['tar', ...]) gives the bytes, to look at them"

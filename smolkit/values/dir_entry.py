"""An entry of a directory in the guest."""

from __future__ import annotations

import errno
import os
from typing import final

from attrs import field, frozen

from smolkit import values


@final
@frozen
class DirEntry:
    """An entry of a directory in the guest, as `os.DirEntry`: what was found when the directory was listed.

    It is an os.PathLike of the guest: pass it to the file methods.

    Attributes:
        name: Its name, decoded as by `os.fsdecode`.
        path: The path of the directory, and the name.
    """

    name: str
    path: str
    _stat: values.FileStat = field(repr=False)
    _target: values.FileStat | None = field(default=None, repr=False)

    def __fspath__(self) -> str:
        return self.path

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """True for a directory, and for a symlink to one unless `follow_symlinks` is False."""
        found = self._target if follow_symlinks else self._stat
        return found is not None and found.is_dir

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """True for a regular file, and for a symlink to one unless `follow_symlinks` is False."""
        found = self._target if follow_symlinks else self._stat
        return found is not None and found.is_file

    def is_symlink(self) -> bool:
        """True for a symlink, also a dangling one."""
        return self._stat.is_symlink

    def stat(self, *, follow_symlinks: bool = True) -> values.FileStat:
        """Its mode, size, owner and modification time, or those of what it leads to. Asks nobody.

        Raises:
            FileNotFoundError: it is a symlink that leads nowhere, and `follow_symlinks` is True.
        """
        found = self._target if follow_symlinks else self._stat
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        return found

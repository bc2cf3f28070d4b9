"""The files of the engine's host, which for most runners is this machine."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smolkit.calls import Plan

_READ_BYTES = 2**20  # of a log at a time


class HostFiles:
    """The part of a runner that touches files. To be replaced by a runner whose engine is on another machine."""

    if TYPE_CHECKING:
        plan: Plan | None

    @contextmanager
    def source(self, path: str) -> Iterator[str]:
        """A regular file of this machine, under a name that the engine reads as a host path.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: there is no such file to read.
        """
        if os.path.isdir(path):
            raise IsADirectoryError(f"cp copies one file, and this is a directory: {path!r}")
        with open(path, "rb"):  # says what is wrong with it, before any process starts
            pass
        if ":" not in path:
            yield path
            return
        # The engine takes what stands before any colon for a machine's name, and has no escape for it.
        from tempfile import TemporaryDirectory  # late: slow to import, rarely needed

        with TemporaryDirectory(prefix="smolkit-", dir="/tmp") as folder:
            link = os.path.join(folder, "source")
            os.symlink(os.path.abspath(path), link)
            yield link

    @contextmanager
    def target(self, path: str, part: str | None = None) -> Iterator[str]:
        """A name beside `path` for the engine to write to; it becomes `path` once all is well.

        The engine truncates its target at once and deletes it where the copy fails: an old file would be lost.

        Args:
            path: What is to be.
            part: The name, where it is not free to choose. Nothing may be there in the end: then nothing becomes of it.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: no file can be made there.
        """
        if os.path.isdir(path):
            raise IsADirectoryError(f"cp needs the full name of the new file, and this is a directory: {path!r}")
        path = os.path.realpath(path)
        folder, name = os.path.split(path)
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"no such directory: {folder!r}")
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"not writable: {folder!r}")
        # With the name's suffix, which the engine wants to see of a checkpoint.
        end = os.fsencode(name)[-200:].decode("utf-8", "ignore")  # a name has 255 bytes, and the engine takes only UTF-8
        made = part or os.path.join(folder, f".part-{os.urandom(4).hex()}-{end}")
        try:
            yield made
            if (part is None and self.plan is None) or os.path.lexists(made):
                os.replace(made, path)
        finally:
            if os.path.isdir(made):  # a checkpoint with a store
                from shutil import rmtree  # late: only where something went wrong

                rmtree(made, ignore_errors=True)
            elif os.path.lexists(made):
                os.unlink(made)

    def read_log(self, path: str, start: int) -> bytes:
        """What a file on the engine's host holds from `start` on (from its end, if negative), a MiB at the most.

        Empty where there is nothing, or where it cannot be read.
        """
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size + start) if start < 0 else start)
                return file.read(_READ_BYTES)
        except OSError:
            return b""

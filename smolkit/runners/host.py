"""The engine's host, which for most runners is this one: its files, processes and clocks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from smolkit import values
from smolkit.runners.blocking import interruptible, sleep
from smolkit.values import validate
from smolkit.values.hidden import Hidden

_READ_BYTES = 2**20  # of a log at a time


class Host:
    """The part of a runner that one whose engine is on another host replaces."""

    def given(self) -> dict[str, Hidden]:
        """The variables that the runner itself gives the engine's process in each call; they may be secrets. (override)"""
        return {}

    @contextmanager
    def provide_source(self, path: str) -> Iterator[str]:
        """A regular file of this host, under a path by which the engine can read it. (override)

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: there is no such file to read.
        """
        check_source(path)
        if ":" not in path and validate.is_utf8(path):
            yield path
            return
        # The engine takes what stands before any colon for a machine's name, and has no escape for it; and only UTF-8.
        from tempfile import TemporaryDirectory  # late: slow to import, rarely needed

        with TemporaryDirectory(prefix="smolkit-", dir="/tmp") as folder:
            link = os.path.join(folder, "source")
            os.symlink(os.path.abspath(path), link)
            yield link

    @contextmanager
    def provide_target(self, path: str, part: str | None = None) -> Iterator[str]:
        """A path beside `path` for the engine to write to; it becomes `path` when the block succeeds. (override)

        The engine truncates its target at once and deletes it if the copy fails: an old file would be lost.

        Args:
            path: The file to be made or replaced.
            part: The path to write to, where the caller has to know it; there may be no such file at the end.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: no file can be made there.
        """
        with replacing(path, part) as made:
            yield made

    def read_log(self, path: str, start: int) -> bytes:
        """A file of the engine's host from byte `start` (from its end, if negative), at most a MiB. (override)

        Empty if there is nothing, or if it cannot be read.
        """
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size + start) if start < 0 else start)
                return file.read(_READ_BYTES)
        except OSError:
            return b""

    def here(self) -> values.Here:
        """Who this process is and which others are alive, on the host whose processes own the machines. (override)"""
        from smolkit.runners.local.identity import here  # late: only where a machine is made or reaped

        return here()

    def owner(self) -> values.Owner | None:
        """The owner of machines that are made now, as far as it is known without a call. (override)"""
        return self.here().me

    def free_port(self) -> int:
        """A TCP port of the engine's host that nobody listens on, and that no other program with smolkit gets. (override)

        Raises:
            OSError: all are taken.
        """
        from smolkit.runners.local.ports import free_port  # late: likewise

        return free_port()

    def reach(self, machine: str, port: int) -> int:  # noqa: ARG002  (for subclasses)
        """A port of this host that leads to a port of the engine's host, on which the machine publishes. (override)"""
        return port

    @final
    def named(self, name: str | None, keep: object) -> str:
        """The name, or a fresh one, which has the owner in it unless the machine is to be kept. (call)"""
        from smolkit.values.ownership import fresh_name  # late: likewise

        return fresh_name(None if keep else self.owner()) if name is None else name

    def now(self) -> float:
        """The time, in seconds since the epoch. (override)"""
        return time.time()

    def clock(self) -> float:
        """Monotonic clock, in seconds. (override)"""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Wait about so many seconds between two tries: those that collided once should not do so again. (override)"""
        seconds *= 0.75 + os.urandom(1)[0] / 510  # not `random`, which cannot be imported any more while Python exits
        interruptible(lambda: sleep(seconds))


def check_source(path: str) -> None:
    """Raise what is wrong with a file to be read, before any process is started.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: there is no such file to read.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"cp copies one file, and this is a directory: {path!r}")
    os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))  # without a wait for the writer of a FIFO


@contextmanager
def replacing(path: str, part: str | None = None) -> Iterator[str]:
    """A path beside `path` of this host, to be written to; it becomes `path` when the block succeeds.

    Args:
        path: The file to be made or replaced.
        part: The path, if the caller chose it; there may be no such file at the end.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: no file can be made there.
    """
    with part_of(path, part) as made:
        yield made
        if part is None or os.path.lexists(made):
            os.replace(made, os.path.realpath(path))


@contextmanager
def part_of(path: str, part: str | None) -> Iterator[str]:
    """A path for what is to become the file `path`; what is left there at the end is removed.

    Args:
        path: The file to be made or replaced.
        part: The path, if the caller chose it.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: no file can be made there.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"cp needs the full name of the new file, and this is a directory: {path!r}")
    folder, name = os.path.split(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"no such directory: {folder!r}")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"not writable: {folder!r}")
    # With the name's suffix, which the engine wants to see of a checkpoint.
    end = os.fsencode(name)[-200:].decode("utf-8", "ignore")  # a name has 255 bytes, and the engine takes only UTF-8
    made = part or os.path.join(folder, f".part-{os.urandom(4).hex()}-{end}")
    try:
        yield made
    finally:
        _remove(made)


def _remove(path: str) -> None:
    if os.path.isdir(path):  # a checkpoint with a store
        from shutil import rmtree  # late: only where something went wrong

        rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)

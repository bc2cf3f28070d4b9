"""Copies of single files by the engine itself."""

from __future__ import annotations

import os
from contextlib import suppress

from smolkit import commands
from smolkit.errors import ProgramNotExecutableError, ProgramNotFoundError, WorkdirNotFoundError
from smolkit.handles.files import FileMethods
from smolkit.values import validate
from smolkit.values.keywords import suggests_keywords
from smolkit.values.results import GuestPath

_MOUNTED_LATE = ("/tmp/", "/run/", "/var/run/", "/dev/shm/")  # noqa: S108  (the guest's)


@suggests_keywords
class CopyMethods(FileMethods):
    """`cp`, and the paths that it takes."""

    __slots__ = ()

    def cp(
        self,
        source: str | os.PathLike[str] | GuestPath,
        target: str | os.PathLike[str] | GuestPath,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """Copy one regular file into or out of the machine, which must be running. No-op if either path is empty.

        One side is in the guest: `machine.path("/root/x")`, or as the engine writes it, `"NAME:/root/x"`. Both sides are
        full paths of files. Missing parent directories are made in the guest. It needs no program in the guest, and keeps
        neither mode nor time: upload() and download() do.

        Args:
            source: The file to copy.
            target: The path of the copy.
            mode: Permissions in the guest, for uploads (engine >= 1.9.0). Default: 0644.
            uid: The owner's number in the guest, likewise. Default: root's.
            gid: The group's number in the guest, likewise. Default: root's.

        Raises:
            ValueError: both sides, or neither, are in the guest, or the guest's side is another machine's.
            FileNotFoundError, IsADirectoryError, PermissionError: on the host's side, before anything runs.
            SmolvmError: the engine could not copy; an old file on the host is untouched.
        """
        if source == "" or target == "":
            return
        into, out_of = self._guest_side(target), self._guest_side(source)
        if (into is None) == (out_of is None):
            which = "neither" if into is None else "both"
            raise ValueError(
                f"one side of cp must be in the guest, not {which}: machine.cp('file', machine.path('/root/file')), "
                f"or the other way round"
            )
        if into is not None:
            with self._runner.source(validate.path("source", source)) as file:
                command = commands.Cp(file, into, mode=mode, uid=uid, gid=gid)
                self._wake(into.partition(":")[2])
                self._runner.run(command)
        elif out_of is not None:
            if (mode, uid, gid) != (None, None, None):
                raise ValueError("mode, uid and gid must be left out for a copy out of the guest")
            with self._runner.target(validate.path("target", target)) as file:
                self._runner.run(commands.Cp(out_of, file))

    def _wake(self, path: str) -> None:
        """Run a first command if the path needs one: an image machine mounts these then, over what was copied (1.32.2)."""
        if not self._known.warm and path.startswith(_MOUNTED_LATE):
            with suppress(ProgramNotFoundError, ProgramNotExecutableError, WorkdirNotFoundError):
                self._runner.run(commands.Exec(self.name, ["true"], machine_secrets=self._spec.secrets))
            self._known.warm = True

    def _guest_side(self, side: str | os.PathLike[str] | GuestPath) -> str | None:
        """The path as the engine writes it; None for a path of the host."""
        if isinstance(side, GuestPath):
            self._check_machine(side)
            return f"{side.machine}:{validate.guest_path('a path in the guest', side.path)}"
        own = f"{self.name}:"
        if isinstance(side, str) and side.startswith(f"{own}/"):
            return own + validate.guest_path("a path in the guest", side.removeprefix(own))
        return None

    def path(self, path: str | os.PathLike[str]) -> GuestPath:
        """A path in this machine, for `cp`. It is a plain value: the engine is not called.

        Raises:
            ValueError: the path is not absolute, and this is no view with a workdir.
        """
        named = validate.guest_path("a path in the guest", self._defaults.resolve(path))
        return GuestPath(self.name, named, self._runner.host)

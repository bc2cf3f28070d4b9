"""Files of the guest."""

from __future__ import annotations

import os

from smolkit import checks
from smolkit.commands.machine import Cp
from smolkit.handle import Handle
from smolkit.values import GuestPath


class MachineFiles(Handle):
    """The part of Machine that copies files."""

    __slots__ = ()

    def cp(self, source: str | os.PathLike[str] | GuestPath, target: str | os.PathLike[str] | GuestPath) -> None:
        """Copies one regular file into or out of the machine, which must run. If either path is empty, nothing happens.

        One side is in the guest: `machine.path("/root/x")`, or as the engine writes it, `"NAME:/root/x"`. Both sides are
        full names of files. Folders on the way are made in the guest; owner and mode there are root's and 0644.

        Raises:
            ValueError: both sides, or neither, are in the guest, or the guest's side is another machine's.
            FileNotFoundError, IsADirectoryError, PermissionError: of the host's side, before anything runs.
            SmolvmError: the engine could not copy; a file that was there on the host is untouched.
        """
        if source == "" or target == "":
            return
        into, out_of = self._guest_side(target), self._guest_side(source)
        if (into is None) == (out_of is None):
            which = "neither" if into is None else "both"
            raise ValueError(
                f"cp has {which} of its sides in the guest: write machine.cp('file', machine.path('/root/file')), "
                f"or the other way round"
            )
        if into is not None:
            with self._runner.source(checks.path("source", source)) as file:
                self._runner.run(Cp(file, into))
        elif out_of is not None:
            with self._runner.target(checks.path("target", target)) as file:
                self._runner.run(Cp(out_of, file))

    def _guest_side(self, side: str | os.PathLike[str] | GuestPath) -> str | None:
        """The side as the engine writes it, if it is in the guest."""
        if isinstance(side, GuestPath):
            if (side.machine, side.host) != (self.name, self._runner.host):
                raise ValueError(f"{side!r} is a path in another machine than {self!r}")
            return f"{side.machine}:{checks.guest_path('a path in the guest', side.path)}"
        own = f"{self.name}:"
        if isinstance(side, str) and side.startswith(f"{own}/"):
            return own + checks.guest_path("a path in the guest", side.removeprefix(own))
        return None

    def path(self, path: str | os.PathLike[str]) -> GuestPath:
        """A path in this machine, for `cp`. A pure value: nothing is asked.

        Raises:
            ValueError: it is not absolute.
        """
        return GuestPath(self.name, checks.guest_path("a path in the guest", path), self._runner.host)

"""`machine cp`: one file into or out of a machine."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from smolkit import values
from smolkit.commands.base import Silent
from smolkit.commands.dialect import Dialect
from smolkit.errors import GuestFileError, SmolvmError
from smolkit.values import validate
from smolkit.values.modes import octal

_LAST_ID = 2**32 - 2  # 2**32 - 1 means "no change" to chown


def _side(value: str) -> str:
    return validate.text("a side of cp", value)


def _mode(value: int | None) -> str | None:
    return None if value is None else octal("mode", value)


def _uid(value: int | None) -> int | None:
    return None if value is None else validate.integer("uid", value, 0, _LAST_ID)


def _gid(value: int | None) -> int | None:
    return None if value is None else validate.integer("gid", value, 0, _LAST_ID)


@frozen
class Cp(Silent):
    """`machine cp`: copies one regular file. One side is in the guest, as `NAME:/path` (split at the first colon).

    Attributes:
        source, target: The sides, as the engine reads them.
        mode: The permissions of an uploaded file, in octal; default 0644.
        uid, gid: The owner of an uploaded file; default root.
    """

    BOUND: ClassVar[float | None] = None

    source: str = field(converter=_side)
    target: str = field(converter=_side)
    mode: str | None = field(default=None, converter=_mode, kw_only=True)
    uid: int | None = field(default=None, converter=_uid, kw_only=True)
    gid: int | None = field(default=None, converter=_gid, kw_only=True)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        flags: list[str] = []
        for flag, value in (("--mode", self.mode), ("--uid", self.uid), ("--gid", self.gid)):
            if value is not None:
                flags += (flag, str(value))
        # A side that begins with a dash would be read as a flag.
        sides = (f"./{side}" if side.startswith("-") else side for side in (self.source, self.target))
        return dialect.argv("machine cp", *flags, *sides)

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        """As for any command; an error about the guest's file gets its path."""
        found = super().failure(completed)
        if isinstance(found, GuestFileError):
            guests = self.source if ":" in self.source else self.target
            return type(found)(found.message, completed, guests.partition(":")[2])
        return found

"""The commands that are about no machine: what the program is, and packs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen

from smolkit.commands import option_tables, options
from smolkit.commands.base import Command, Silent, option
from smolkit.errors import ForeignProgramError
from smolkit.values import validate
from smolkit.values.hidden import hide_options

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.values.results import Completed


@frozen
class Version(Command[str]):
    """`smolvm --version`: the same in every version, so it needs no dialect."""

    BOUND: ClassVar[float | None] = 30.0
    PROVES: ClassVar[bool] = True

    def argv(self, dialect: Dialect | None = None) -> tuple[str, ...]:
        return ("--version",)

    def answer(self, completed: Completed) -> str:
        """The version.

        Raises:
            ForeignProgramError: the program does not answer as the engine does. PyPI's `smolvm` answers in the same
                form, with versions that the engine never had (0.0.36).
        """
        found = re.search(rb"(?m)^smolvm (\d{1,9}\.\d{1,9}\.\d{1,9}[\w.+-]*)$", completed.stdout)
        if not found or found[1].startswith(b"0.0."):
            said = completed.stdout.decode("utf-8", "replace").strip()[:80]
            raise ForeignProgramError(f"not the smolvm that boots microVMs: --version says {said!r}", completed)
        return found[1].decode()


@frozen
class PackCreate(Silent):
    """`pack create`. Unbounded: it may pull an image of any size. Made by `PackCreate.of`."""

    BOUND: ClassVar[float | None] = None

    output: str
    chosen: options.Chosen = field(repr=False)

    @classmethod
    def of(cls, output: str | PathLike[str], given: Mapping[str, Any]) -> PackCreate:
        """The command for these options.

        Raises:
            TypeError, ValueError: an option is unknown, its value cannot be right, or nothing is named to pack.
        """
        given = hide_options(given)
        chosen = options.choose("a pack", option_tables.PACK, given)
        if len({"image", "from_machine"} & dict(chosen).keys()) != 1:
            raise ValueError("a pack is made from an image or from a machine: name one of them")
        return cls(validate.path("output", output), chosen)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        words: Sequence[str] = options.argv("pack create", option_tables.PACK, self.chosen, dialect)
        return dialect.words("pack", "create", *words, *option("-o", self.output))

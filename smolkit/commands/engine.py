"""`smolvm --version`: checks that the program is the engine, and which version of it."""

from __future__ import annotations

import re
from typing import ClassVar

from attrs import frozen

from smolkit import values
from smolkit.commands.base import Command
from smolkit.commands.dialect import Dialect
from smolkit.errors import ForeignProgramError


@frozen
class Version(Command[str]):
    """`smolvm --version`. It is the same in every version, so its argv needs no dialect."""

    BOUND: ClassVar[float | None] = 30.0
    PROVES: ClassVar[bool] = True

    def argv(self, dialect: Dialect | None = None) -> tuple[str, ...]:
        return ("--version",)

    def answer(self, completed: values.Completed) -> str:
        """The version.

        Raises:
            ForeignProgramError: the program is not the engine. PyPI's `smolvm` answers in the same form, but with versions
                that the engine never had (0.0.36).
        """
        found = re.search(rb"(?m)^smolvm (\d{1,9}\.\d{1,9}\.\d{1,9}[\w.+-]*)$", completed.stdout)
        if not found or found[1].startswith(b"0.0."):
            said = completed.stdout.decode("utf-8", "replace").strip()[:80]
            raise ForeignProgramError(f"not the smolvm that boots microVMs: --version says {said!r}", completed)
        return found[1].decode()

"""Finished calls of the engine, as `Smolvm(on_call=...)` gets them."""

from __future__ import annotations

from typing import Any, final

from attrs import field, frozen

from smolkit.commands.base import Command
from smolkit.commands.dialect import verb_of
from smolkit.values.shown import redact


def _redacted(argv: tuple[str, ...]) -> tuple[str, ...]:
    return redact(argv)


@final
@frozen
class Call:
    """One call of the engine that has ended.

    Attributes:
        command: The command; `type(call.command).__name__` is its kind. It may hold secrets, which its repr masks.
        argv: The engine's arguments, with secrets, values of env and proxies masked.
        duration: Seconds.
        returncode: The engine's exit status; None if it was not started or the call was interrupted.
        error: The exception that the caller gets, or None.
    """

    command: Command[Any]
    argv: tuple[str, ...] = field(converter=_redacted)
    duration: float
    returncode: int | None = None
    error: BaseException | None = field(default=None, eq=False)

    @property
    def verb(self) -> str:
        """The engine's verb: `machine exec`."""
        return verb_of(self.argv)

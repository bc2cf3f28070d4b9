"""Finished calls of the engine, as `Smolvm(on_call=...)` gets them."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: F401  (of `redact`'s annotation, which is that of __init__'s argv)
from typing import Any, final

from attrs import field, frozen

from smolkit import values
from smolkit.commands.base import Command
from smolkit.commands.dialect import verb_of
from smolkit.values.shown import redact, shell_line


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
    argv: tuple[str, ...] = field(converter=redact)
    duration: float
    returncode: int | None = None
    error: BaseException | None = field(default=None, eq=False)

    @property
    def verb(self) -> str:
        """The engine's verb: `machine exec`."""
        return verb_of(self.argv)


@final
class Plan:
    """What would be run: see `Smolvm.dry_run`.

    Attributes:
        commands: As values.
        lines: As shell lines, values of env hidden.
    """

    def __init__(self, program: str, *, echo: bool) -> None:
        self.commands: list[Command[Any]] = []
        self.lines: list[str] = []
        self._program, self._echo = program, echo

    def add(self, command: Command[Any], invocation: values.Invocation) -> None:
        """Notes it, and prints its line."""
        variables = [f"{key}=***" for key, _ in invocation.env]
        given = " <<< ..." if invocation.stdin else ""
        self.commands.append(command)
        self.lines.append(" ".join([*variables, shell_line((self._program, *redact(invocation.argv)))]) + given)
        if self._echo:
            print(self.lines[-1])  # noqa: T201  (what it is for)

    def __str__(self) -> str:
        return "\n".join(self.lines)

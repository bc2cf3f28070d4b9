"""What is told of each call of the engine (`Smolvm(on_call=...)`), and what stands for one that is not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from attrs import field, frozen

from smolkit.commands.dialect import verb_of
from smolkit.values.shown import redact, shell_line

if TYPE_CHECKING:
    from smolkit.commands.base import Command
    from smolkit.values.results import Invocation


@final
@frozen
class Call:
    """One call of the engine that has ended.

    Attributes:
        command: What was to be done, as a value: `type(call.command).__name__` is its kind. It may hold secrets, which its
            repr does not show.
        argv: The engine's arguments, without secrets, values of env and proxies.
        duration: Seconds.
        returncode: The engine's exit status; None where it was not started, or interrupted.
        error: What the caller is going to see, or None.
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

    def add(self, command: Command[Any], invocation: Invocation) -> None:
        """Notes it, and prints its line."""
        variables = [f"{key}=***" for key, _ in invocation.env]
        given = " <<< ..." if invocation.stdin else ""
        self.commands.append(command)
        self.lines.append(" ".join([*variables, shell_line((self._program, *redact(invocation.argv)))]) + given)
        if self._echo:
            print(self.lines[-1])  # noqa: T201  (what it is for)

    def __str__(self) -> str:
        return "\n".join(self.lines)

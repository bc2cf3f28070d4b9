"""What is told of each call of the engine (`Smolvm(on_call=...)`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from attrs import field, frozen

from smolkit.values.shown import redact

if TYPE_CHECKING:
    from smolkit.commands.base import Command


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
        words = self.argv[2:] if self.argv[:1] == ("--error-format",) else self.argv
        return " ".join(words[: 2 if words[:1] in {("machine",), ("pack",), ("config",)} else 1])

"""What a command is: the words for one subcommand of the engine, and the meaning of its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from smolkit.commands.failures import verdict
from smolkit.errors import SmolvmError, StatusLostError
from smolkit.values.hidden import Word
from smolkit.values.results import Invocation

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.values.results import Completed

T_co = TypeVar("T_co", covariant=True)

# Seconds. An engine that hangs must not hang its caller for ever; a loaded host must not be taken for one.
QUICK = 120.0
LONG = 900.0


class Command(ABC, Generic[T_co]):
    """One call of the engine, as a frozen value: equal commands are equal, and hash.

    A new subcommand supplies `argv` and `answer`; both are pure.

    Attributes:
        BOUND: The host's limit in seconds, None for none.
        BOOTS: Whether it boots a VM: runners let only so many of these run at once.
        FINISH: Whether an interrupt waits for the call's end (see Invocation).
        PROVES: Whether an answer that can be read shows that the call succeeded, where its exit status was lost.
    """

    __slots__ = ()
    BOUND: ClassVar[float | None] = QUICK
    BOOTS: ClassVar[bool] = False
    FINISH: ClassVar[bool] = False
    PROVES: ClassVar[bool] = False

    @property
    def patience(self) -> float | None:
        """Seconds for which the call may wait for its turn: those that its caller gave the command. None is no bound."""
        return None

    @abstractmethod
    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        """The engine's arguments, without the program.

        Raises:
            UnsupportedByEngineError: this engine has no words for it.
        """

    @abstractmethod
    def answer(self, completed: Completed) -> T_co:
        """What the answer of a call that succeeded means."""

    def read(self, completed: Completed) -> T_co:
        """What the answer means.

        Raises:
            SmolvmError: the call failed; which one is decided by `smolkit.commands.failures`.
        """
        if failure := verdict(completed):
            if self.PROVES and isinstance(failure, StatusLostError):
                with suppress(SmolvmError):
                    return self.answer(completed)
            raise failure
        return self.answer(completed)

    def invocation(self, dialect: Dialect) -> Invocation:
        """The call as a runner gets it."""
        return Invocation(self.argv(dialect), timeout=self.BOUND, finish=self.FINISH)


class Silent(Command[None]):
    """A command whose success is all it has to say."""

    __slots__ = ()

    def answer(self, completed: Completed) -> None:
        return None


def option(flag: str, value: str) -> tuple[str, ...]:
    """A flag with its value: two words, or one where the value could be taken for a flag."""
    if not value.startswith("-"):
        return flag, value
    return (Word(f"{flag}={value}", f"{flag}={value.shown}") if isinstance(value, Word) else f"{flag}={value}",)

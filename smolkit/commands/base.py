"""The base classes of commands: a command makes the arguments of one call of the engine, and reads its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import ClassVar, Generic, TypeVar

from smolkit import values
from smolkit.commands.dialect import Dialect
from smolkit.commands.failures import verdict
from smolkit.errors import SmolvmError, StatusLostError
from smolkit.values.hidden import Word
from smolkit.values.results import Invocation

T_co = TypeVar("T_co", covariant=True)

# Seconds. Long enough that a loaded host is not mistaken for an engine that hangs, which is ended after them.
QUICK = 120.0
LONG = 900.0
# Seconds that the engine gets, after the timeout of the guest's program, to report it before the host ends the engine.
GRACE = 30.0
SHELL = ("/bin/sh",)  # what the engine runs in the guest where no program is named


class Command(ABC, Generic[T_co]):
    """One call of the engine, as an immutable value: commands compare and hash by their fields.

    A subclass implements `argv` and `answer`. Both are pure.

    Attributes:
        BOUND: The host's limit in seconds, None for none; the default of `bound`.
        BOOTS: True if the call boots a VM. Runners limit how many of these run at a time.
        FINISH: True if an interrupt waits for the end of the call (see `Invocation.finish`).
        PROVES: True if a readable answer shows that the call succeeded, even where its exit status was lost.
    """

    __slots__ = ()
    BOUND: ClassVar[float | None] = QUICK
    BOOTS: ClassVar[bool] = False
    FINISH: ClassVar[bool] = False
    PROVES: ClassVar[bool] = False

    @property
    def bound(self) -> float | None:
        """The host's limit for this call, in seconds; None for no limit."""
        return self.BOUND

    @property
    def patience(self) -> float | None:
        """Seconds that the call may wait for its turn, from the caller's own timeout; None for no limit."""
        return None

    @abstractmethod
    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        """The engine's arguments, without the program.

        Raises:
            UnsupportedByEngineError: this version of the engine lacks the verb or a flag.
        """

    @abstractmethod
    def answer(self, completed: values.Completed) -> T_co:
        """Parse the output of a call that succeeded.

        Raises:
            UnknownEngineError: the output is not of the expected form.
        """

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        """The failure that a finished call amounts to, or None. `smolkit.commands.failures` decides."""
        return verdict(completed)

    def read(self, completed: values.Completed) -> T_co:
        """Return the answer of a finished call, or raise its failure.

        Raises:
            SmolvmError: the call failed; `smolkit.commands.failures` decides which error it is.
        """
        if failure := self.failure(completed):
            # Other code of the program took the exit status. A failed call prints no answer, so one that parses is proof.
            if self.PROVES and isinstance(failure, StatusLostError):
                with suppress(SmolvmError):
                    return self.answer(completed)
            raise failure
        return self.answer(completed)

    def invocation(self, dialect: Dialect) -> Invocation:
        """The call as a runner gets it."""
        return Invocation(self.argv(dialect), timeout=self.bound, finish=self.FINISH)


class GuestCommand(Command[T_co]):
    """A command that runs a program in the guest, whose exit status is part of the answer.

    `read` returns the answer whatever that status, and raises only if the engine failed. A subclass implements `guest`
    besides `argv` and `answer`.

    Attributes:
        timeout: Seconds after which the engine ends the program; None for no limit.
    """

    __slots__ = ()
    timeout: float | None = None

    @property
    @abstractmethod
    def guest(self) -> tuple[str, ...]:
        """The program and its arguments. `failure` tells the program's failures from the engine's by them."""

    @property
    def bound(self) -> float | None:
        return None if self.timeout is None else self.timeout + GRACE

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        return verdict(completed, self.guest, self.timeout)


class Silent(Command[None]):
    """A command without an answer: it succeeds or raises."""

    __slots__ = ()

    def answer(self, completed: values.Completed) -> None:
        return None


def option(flag: str, value: str) -> tuple[str, ...]:
    """A flag and its value as two arguments, or as one (`--flag=-value`) where the value could be taken for a flag."""
    # The engine's parser reads `--flag -value` as two flags.
    if not value.startswith("-"):
        return flag, value
    return (Word(f"{flag}={value}", f"{flag}={value.shown}") if isinstance(value, Word) else f"{flag}={value}",)

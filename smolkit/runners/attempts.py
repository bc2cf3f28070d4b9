"""Outcomes of one call of the engine, for callers who have something to do before a failure or an interrupt is raised."""

from __future__ import annotations

import errno
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from attrs import evolve, frozen

from smolkit.commands.dialect import without_json
from smolkit.errors import HostLimitError, HostLostError, OutcomeUnknownError, SmolvmError, add_note
from smolkit.runners.blocking import struck
from smolkit.values.results import Completed, Invocation

T = TypeVar("T")

USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})  # what a host may have run out of
_ENDS = ("", "timeout", "output limit", "reaped elsewhere")  # of Completed.ended_by: others would be read as one of these


class InterruptedCall(BaseException):
    """Raised by `execute` for a call that was interrupted, and that it let come to its end (`Invocation.finish`).

    A BaseException, so that no `except Exception` of a runner takes it for a failure: the call has succeeded or not as
    `completed` says, and the interrupt is still to be raised.

    Attributes:
        completed: How the call ended.
        interrupt: The exception that interrupted it.
    """

    def __init__(self, completed: Completed, interrupt: BaseException) -> None:
        super().__init__(completed, interrupt)
        self.completed: Completed = completed
        self.interrupt: BaseException = interrupt


@frozen
class Attempt(Generic[T]):
    """The outcome of a call: its failure and its interrupt are not raised, but returned. There may be both.

    Attributes:
        answer: The command's answer, if there is no failure.
        failure: The reason that there is none.
        interrupt: The exception that interrupted the call, and is still to be raised.
        returncode: The engine's exit status; None if the call was cut short.
    """

    answer: T | None
    failure: SmolvmError | None = None
    interrupt: BaseException | None = None
    returncode: int | None = None

    def result(self) -> T:
        """The answer.

        Raises:
            BaseException: the interrupt, from the failure if both came.
            SmolvmError: the failure.
        """
        if self.interrupt is not None and self.failure is not None and self.failure.__cause__ is not self.interrupt:
            raise self.interrupt from self.failure
        if self.interrupt is not None:
            raise self.interrupt
        if self.failure is not None:
            raise_as_it_was(self.failure)
        return self.answer  # type: ignore[return-value]  # there is one, as there is no failure

    def raise_failure(self) -> None:
        """Raise the failure, if there is one."""
        if self.failure is not None:
            raise self.failure


def cut_short(invocation: Invocation, error: BaseException, *, is_interrupt: bool) -> Attempt[Any]:
    """The outcome of a call from which an exception came instead of an answer: nobody knows what the engine has done.

    Args:
        invocation: The call.
        error: An interrupt that the runner let out, or a fault of the runner.
        is_interrupt: Whether it is the former, which the caller is to see as it is.
    """
    words = without_json(invocation.argv)
    by = "" if is_interrupt else f" by {error!r}"
    failure = OutcomeUnknownError(f"{' '.join(words[:2])} was cut short{by}: what it had done by then is not known")
    failure.__cause__ = error
    return Attempt(None, failure, error if is_interrupt else None)


def raise_as_it_was(error: BaseException) -> NoReturn:
    """Raise the exception of a call or a procedure; a fault of the runner as itself, with the notes made meanwhile.

    Flows see "outcome not known" and undo what they can; a user is helped only by the exception behind it.
    """
    fault = error.__cause__
    if type(error) is not OutcomeUnknownError or not isinstance(fault, Exception) or isinstance(fault, SmolvmError):
        raise error
    for text in getattr(error, "__notes__", ()):
        add_note(fault, text)
    raise fault


def stamped(completed: Completed, invocation: Invocation, seconds: float) -> Completed:
    """The end of a call, with what the mapping of errors depends on: argv as it was given, and how long the call took.

    A runner that leaves the duration out would turn a guest's timeout into an ordinary 124, and one that returns an argv of
    its own (`ssh host smolvm ...`) would turn an engine's failure into a guest's exit status.

    Raises:
        TypeError, ValueError: this is not what `execute` must return.
    """
    checked(completed)
    return evolve(completed, argv=invocation.argv, duration=completed.duration or seconds)


def checked(completed: Completed) -> Completed:
    """The same, if it is what `execute` must return.

    Raises:
        TypeError, ValueError: it is not.
    """
    if not isinstance(completed, Completed):
        raise TypeError(f"execute must return a smolkit.Completed, not {type(completed).__name__}{_hint(completed)}")
    for name, kind in (("returncode", int), ("stdout", bytes), ("stderr", bytes)):
        if not isinstance(given := getattr(completed, name), kind):
            raise TypeError(f"{name} of a smolkit.Completed must be {kind.__name__}, not {type(given).__name__}")
    if completed.ended_by not in _ENDS:
        raise ValueError(f"ended_by of a smolkit.Completed must be one of {_ENDS}, not {completed.ended_by!r}")
    return completed


def _hint(given: object) -> str:
    if not isinstance(given, Coroutine):
        return ""
    given.close()
    return ": a runner whose execute is async is a smolkit.AsyncRunner"


class Interruptible(Protocol):
    """A call whose `run_to_end` may be called again after an interrupt, and goes on where it was."""

    @property
    def is_started(self) -> bool:
        """True if the engine was started for it."""

    def run_to_end(self) -> Completed:
        """Start it, unless it is started, and wait for its end."""

    def terminate(self) -> None:
        """End it, unless it has ended."""


def run_to_end(call: Interruptible, *, finish: bool) -> Completed:
    """Run a call, with `execute`'s part of the interrupt protocol (`smolkit.flows.steps`)."""
    before = struck()
    try:
        return call.run_to_end()
    except HostLostError:
        raise
    except BaseException as interrupt:  # noqa: BLE001  (raised in any case)
        try:
            # Not `isinstance(interrupt, KeyboardInterrupt)`: a handler may raise anything. What came out of a running call
            # is an interrupt, as smolkit's own lines there raise nothing; before its start it is one if a handler has
            # raised since. Otherwise it is a failure to start, and there is nothing to finish.
            if not (finish and (call.is_started or struck() > before)):
                raise
            # The call goes on where it was, and is started even now if it was not: the caller was promised an outcome (a
            # delete of a teardown, say). A second interrupt strikes in here, and goes out through `terminate`.
            try:
                completed = call.run_to_end()
            except HostLostError:
                raise interrupt from None
            raise InterruptedCall(completed, interrupt) from interrupt
        finally:
            call.terminate()


@contextmanager
def host_limits() -> Iterator[None]:
    """Turn an OSError about what the host has run out of (descriptors, processes, memory) into a HostLimitError."""
    try:
        yield
    except OSError as error:
        if error.errno not in USED_UP:
            raise
        raise HostLimitError(f"this host has nothing left to run the engine with: {error.strerror}") from error


def boot_is_over(turn: ExitStack, *, up: bool) -> None:
    """Let others boot, although the call goes on.

    The first start on a host counts as done only if the VM is known to be up: else the next one has to be alone, too.
    """
    if up:
        turn.close()
    else:
        turn.__exit__(TimeoutError, TimeoutError(), None)  # as if the call had failed in this turn

"""What a procedure of several engine calls is made of: a generator yields steps and is sent their answers.

The generators are pure, so that sync and async share every decision; `perform` drives one with a runner, sync.
"""

from __future__ import annotations

from collections.abc import Generator
from inspect import GEN_CLOSED, getgeneratorstate
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from smolkit.commands.base import Command

if TYPE_CHECKING:
    from smolkit.runners.base import Runner

T = TypeVar("T")


@frozen
class Pause:
    """A step: wait so many seconds."""

    seconds: float


class Now:
    """A step: the time, in seconds since the epoch."""


class Clock:
    """A step: seconds by a clock that only goes on, whose zero is anywhere."""


@frozen
class ReadLog:
    """A step: what a file on the engine's host holds from a place on (counted from its end, if negative), as bytes."""

    path: str
    start: int


class Settle:
    """A step: here an interrupt that came during an earlier step may be raised, for the procedure to undo what it did."""


Step = Command[Any] | Pause | Now | Clock | ReadLog | Settle
Steps = Generator[Step, Any, T]


_LEAST = 1.0  # seconds that a call gets in any case: no engine answers in less


def perform(runner: Runner, steps: Steps[T], *, within: float | None = None) -> T:
    """The procedure's result, its steps done by the runner one after the other.

    Within so many seconds, if that is given: each call has what is left of them, and a second at least.

    An interrupt that a step outlived is kept for the next Settle, or for the end.
    """
    interrupt: BaseException | None = None
    deadline = None if within is None else runner.clock() + within
    resume, given = steps.send, None
    while True:
        try:
            step = resume(given)
            resume, given = steps.send, None
            if isinstance(step, Settle):
                late, interrupt = interrupt, None
                _settle(late)
            else:
                given, late = _do(runner, step, deadline)
                interrupt = interrupt or late
        except BaseException as error:
            # While it is not over the procedure decides, also about an interrupt that struck in these very lines.
            if getgeneratorstate(steps) != GEN_CLOSED:
                resume, given = steps.throw, error
            elif not isinstance(error, StopIteration):
                raise
            elif interrupt is not None:
                raise interrupt from None
            else:
                result: T = error.value
                return result


def _settle(interrupt: BaseException | None) -> None:
    if interrupt is not None:
        raise interrupt


def _do(
    runner: Runner, step: Command[Any] | Pause | Now | Clock | ReadLog, deadline: float | None
) -> tuple[object, BaseException | None]:
    if isinstance(step, Command):
        return runner.attempt(step, within=None if deadline is None else max(_LEAST, deadline - runner.clock()))
    if isinstance(step, ReadLog):
        return runner.read_log(step.path, step.start), None
    if isinstance(step, (Now, Clock)):
        return (runner.now() if isinstance(step, Now) else runner.clock()), None
    runner.pause(step.seconds)
    return None, None

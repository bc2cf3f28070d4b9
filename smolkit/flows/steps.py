"""What a procedure of several engine calls is made of: a generator yields steps and is sent their answers.

The generators are pure, so that sync and async share every decision; `perform` drives one with a runner, sync.

How interrupts are handled, by whom:
- `smolkit.runners.interrupts` keeps what signal handlers raise between any two lines of a procedure.
- A runner lets a call come to its end that may not be cut short, and says InterruptedCall; its second interrupt ends it.
- `Runner.attempt` gives back the call's failure *and* its interrupt. Of a call that an interrupt, or whatever else came out
  of `execute`, has cut short, the failure is that its outcome is not known.
- `perform` throws failures into the procedure at once, and keeps interrupts until it asks for them (Settle) or ends.
- The procedure undoes what it did, by `try` as any code.
- An event loop's cancellations reach all this as exceptions of what waits (`smolkit.aio.greenlets`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from inspect import GEN_CLOSED, getgeneratorstate
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from smolkit.commands.base import Command
from smolkit.errors import SmolvmError, add_note
from smolkit.runners.acting import acting, is_planning
from smolkit.runners.attempts import raise_as_it_was
from smolkit.runners.blocking import hold

if TYPE_CHECKING:
    from smolkit.runners.base import AnyRunner
    from smolkit.runners.interrupts import Held

T = TypeVar("T")


@frozen
class Pause:
    """A step: wait so many seconds. An interrupt ends the wait at once, and is kept."""

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


class Planning:
    """A step: whether the steps are only planned, by a dry run: there is nothing to check or to wait for then."""


Step = Command[Any] | Pause | Now | Clock | ReadLog | Settle | Planning
Steps = Generator[Step, Any, T]


_LEAST = 1.0  # seconds that a call gets in any case: no engine answers in less


def perform(
    runner: AnyRunner,
    steps: Steps[T],
    undo: Callable[[BaseException], Steps[None]] | None = None,
    *,
    within: float | None = None,
) -> T:
    """Do the steps one after the other, and give the procedure's result.

    Interrupts (what a signal handler raises, and what a runner says that a call outlived) are kept for the next Settle, or
    for the end. There the first one is raised, from the procedure's own failure if there is one.

    Args:
        runner: What does the steps.
        steps: The procedure.
        undo: Take back what the procedure did, where an interrupt keeps its result from the caller: this one.
        within: Seconds for all of it: each call has what is left of them, and a second at least.
    """
    held, done, runner = hold(), False, acting(runner)
    deadline = None if within is None else runner.clock() + within
    try:
        result = _run(runner, steps, held, deadline)
        done = True
        held.settle()
        return result  # noqa: TRY300  (an interrupt in this very line undoes it, too)
    except BaseException as error:  # noqa: BLE001  (raised below)
        if done and undo is not None:
            _run(runner, undo(error), held)
        held.release()
        if held.kept and held.kept[0] is not error:
            _take_its_place(held.kept[0], error)
        raise_as_it_was(error)


def _run(runner: AnyRunner, steps: Steps[T], held: Held, deadline: float | None = None) -> T:
    resume, given = steps.send, None
    while True:
        try:
            step = resume(given)
            resume, given = steps.send, None
            given = _do(runner, step, held, deadline)
        except BaseException as error:
            # While it is not over the procedure decides, also about an interrupt that struck in these very lines.
            if getgeneratorstate(steps) != GEN_CLOSED:
                resume, given = steps.throw, error
            elif isinstance(error, StopIteration):
                result: T = error.value
                return result
            else:
                raise


def _do(runner: AnyRunner, step: Step, held: Held, deadline: float | None) -> object:
    if isinstance(step, Command):
        return _call(runner, step, held, None if deadline is None else max(_LEAST, deadline - runner.clock()))
    if isinstance(step, ReadLog):
        return runner.read_log(step.path, step.start)
    if isinstance(step, (Now, Clock)):
        return runner.now() if isinstance(step, Now) else runner.clock()
    if isinstance(step, Planning):
        return is_planning(runner)
    if isinstance(step, Pause):
        try:
            runner.pause(step.seconds)
        except BaseException as interrupt:  # noqa: BLE001  (it ends the pause, and is raised later)
            held.kept.append(interrupt)
    elif held.kept:
        raise held.kept.pop(0)
    return None


def _call(runner: AnyRunner, command: Command[Any], held: Held, within: float | None) -> object:
    before = held.count
    done = runner.attempt(command, within=within)
    if done.interrupt is not None:
        if done.returncode is None and held.count > before + 1:
            raise done.interrupt  # a second one ended the call: who insists is let go
        held.kept.append(done.interrupt)
    if done.failure is not None:
        raise done.failure
    return done.answer


def _take_its_place(interrupt: BaseException, error: BaseException) -> None:
    """Raise the interrupt instead of a failure, all of whose words it has."""
    for text in getattr(error, "__notes__", ()):
        add_note(interrupt, text)
    if error.__cause__ is interrupt:  # the failure is nothing but that there was an interrupt
        raise interrupt
    if isinstance(error, SmolvmError):
        add_note(interrupt, f"and before it came out: {error.message}")
    raise interrupt from error

"""The steps of a workflow, and `perform`, which runs one. Here is how interrupts work.

A workflow takes several engine calls. It is a pure generator: it yields steps and is sent their answers, so that the sync
and the async side share every decision.

How interrupts work
===================

An interrupt is an exception that does not come from the code that it strikes in: what a signal handler raises (a Ctrl-C,
but a program's handlers may raise anything), or a cancellation by an event loop. It may strike between any two lines. It
must leave no machine that no code knows of, and must not end an undo half-way. Five parties see to that:

- `Held` (runners/interrupts.py) wraps the program's signal handlers while a workflow runs. No signal is blocked: another
  thread would get it, and Python would call the handler in the main thread all the same. A handler is called at once, as
  ever; what it raises is kept. Only where smolkit waits for the engine (`let_out`) it is raised there and then.
- `Runner.execute` waits for the engine. A call with `Invocation.finish` (create, start, stop, delete, ...) is worse half
  done than done: an interrupt does not end it. The runner waits on, and then raises InterruptedCall, which carries how the
  call ended and the interrupt. A second interrupt ends the call. Other calls (exec, ls) are ended by the first one.
- `Runner.attempt` returns an Attempt: the answer or the failure of the call, and its interrupt beside it. If a call with
  `finish` was ended after all, the failure is an OutcomeUnknownError.
- `perform` sends the answer (or throws the failure) into the workflow as if nothing had happened, and keeps the interrupt.
- The workflow yields an InterruptPoint where it can be interrupted: there `perform` throws the interrupt into it. It undoes
  what it did in `except BaseException`, like any code. While it undoes, it yields no InterruptPoint.

A `with client.machine("m")`, and a Ctrl-C that comes in each line of it:

    perform                   enter (flows/provision.py)      execute                     Ctrl-C
    -------------------------------------------------------------------------------------------------------------------
                                                                                          raised: nothing was done yet
    hold()                                                                                kept by Held
    send(None) ------------>  yield Create("m")                                           kept by Held; create runs
    attempt -------------------------------------------->  . child process is started     raised, but it is started
                                                           . machine create runs          raised, but execute waits on
                                                           .                              the 2nd: child is killed (1)
    keep interrupt  <-------- InterruptedCall -----------  '  exit status 0               kept by Held
    send(answer) ---------->  is_there = True                                             kept by Held
                              yield InterruptPoint()
    throw(interrupt) ------>  except BaseException:                                       kept by Held
    attempt -------------------- yield Delete("m") ----->  . machine delete -f runs       raised, but execute waits on
                                                           .                              the 2nd: child is killed (2)
                                                           '  exit status 0
    release()  <------------     raise                                                    raised as usual from here on
    raise KeyboardInterrupt

(1) The interrupt is thrown into the workflow at its `yield`: whoever insists is let go. The workflow looks the name up, and
    deletes the machine if it has this handle's marks.
(2) The rest of the undo is dropped, and a note on the interrupt says what may be left.

An interrupt that is still kept when the workflow returns is raised by `perform`. The caller then never sees the result, so
`undo` takes it back. An interrupt during a Pause ends the pause and is kept. If a failure comes out while an interrupt is
kept, the interrupt is raised from the failure.

The async side (aio/greenlets.py) uses the same protocol. A call of the sync library runs in a greenlet, and only a wait
leaves it, so that a cancellation can strike only there: inside of `execute` and in a Pause, where a Ctrl-C is raised too.
`drive` throws it into the greenlet, and shields all further waits of the call: there is no second interrupt. `Held` does
nothing there; what signal handlers raise in a greenlet is kept by `drive`, and thrown at the next wait. The end of an
`async with` keeps all cancellations until it is over. In threads other than the main one nothing strikes at all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from inspect import GEN_CLOSED, getgeneratorstate
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from smolkit.commands.base import Command
from smolkit.errors import OutcomeUnknownError, SmolvmError, add_note
from smolkit.runners.acting import acting, is_planning
from smolkit.runners.attempts import raise_as_it_was
from smolkit.runners.blocking import hold

if TYPE_CHECKING:
    from smolkit.runners.base import AnyRunner
    from smolkit.runners.interrupts import Held

T = TypeVar("T")


@frozen
class Pause:
    """A step: wait `seconds`. An interrupt ends the wait, and is kept."""

    seconds: float


class Now:
    """A step: the time, in seconds since the epoch."""


class Clock:
    """A step: the runner's monotonic clock, in seconds."""


@frozen
class ReadLog:
    """A step: read a file on the engine's host from offset `start`; negative counts from the end. The answer is bytes."""

    path: str
    start: int


class InterruptPoint:
    """A step: raise the interrupt that came during an earlier step, if one did. The workflow may undo what it did then."""


class Planning:
    """A step: whether the steps are only planned, by a dry run: there is nothing to check or to wait for then."""


Step = Command[Any] | Pause | Now | Clock | ReadLog | InterruptPoint | Planning
Steps = Generator[Step, Any, T]


_LEAST = 1.0  # seconds that each call gets, whatever is left: no engine answers in less


def perform(
    runner: AnyRunner,
    steps: Steps[T],
    undo: Callable[[BaseException], Steps[None]] | None = None,
    *,
    within: float | None = None,
) -> T:
    """Run a workflow, and return its result.

    Interrupts are kept until its next InterruptPoint, or until its end (see "How interrupts work" above).

    Args:
        runner: Does the steps.
        steps: The workflow.
        undo: Makes the workflow that takes the result back, given the interrupt that keeps it from the caller.
        within: Seconds for the whole workflow: each call has what is left of them, and one second at least.

    Raises:
        BaseException: the first interrupt that was kept, from the workflow's failure if it failed too.
        SmolvmError: the workflow failed.
    """
    # First: from the next line on, an interrupt can only strike in a wait. One that strikes before ends this, and nothing
    # was done.
    held, done, runner = hold(), False, acting(runner)
    deadline = None if within is None else runner.clock() + within
    try:
        result = _perform_steps(runner, steps, held, deadline)
        done = True
        held.settle()  # the handlers are the program's again, and what was kept is raised
        # Inside of the try, not in an else: an interrupt that strikes in this very line keeps the result from the caller.
        return result  # noqa: TRY300
    except BaseException as error:
        if done and undo is not None:
            _perform_steps(runner, undo(error), held)  # still held: settle goes on holding if it raises
        held.release()
        if held.kept and held.kept[0] is not error:
            _raise_interrupt_instead(held.kept[0], error)
        if isinstance(error, OutcomeUnknownError):
            raise_as_it_was(error)
        raise


def _perform_steps(runner: AnyRunner, steps: Steps[T], held: Held, deadline: float | None = None) -> T:
    resume, given = steps.send, None
    while True:
        # One try around all lines: wherever an interrupt strikes that Held does not keep (in `let_out`, or where it is not
        # active), the workflow must get it, to undo what it did. Only what comes out of a workflow that has ended goes on.
        try:
            step = resume(given)
            resume, given = steps.send, None  # what was thrown is thrown once
            given = _do_step(runner, step, held, deadline)
        except BaseException as error:
            if getgeneratorstate(steps) != GEN_CLOSED:
                resume, given = steps.throw, error
            elif isinstance(error, StopIteration):
                result: T = error.value
                return result
            else:
                raise


def _do_step(runner: AnyRunner, step: Step, held: Held, deadline: float | None) -> object:
    if isinstance(step, Command):
        return _run_command(runner, step, held, None if deadline is None else max(_LEAST, deadline - runner.clock()))
    if isinstance(step, ReadLog):
        return runner.read_log(step.path, step.start)
    if isinstance(step, (Now, Clock)):
        return runner.now() if isinstance(step, Now) else runner.clock()
    if isinstance(step, Planning):
        return is_planning(runner)
    if isinstance(step, Pause):
        try:
            runner.pause(step.seconds)
        except BaseException as interrupt:  # noqa: BLE001  (it ends the pause, and is raised at the next InterruptPoint)
            held.kept.append(interrupt)
    elif held.kept:
        raise held.kept.pop(0)  # the interrupt that struck during an earlier step, in the frames below
    return None


def _run_command(runner: AnyRunner, command: Command[Any], held: Held, within: float | None) -> object:
    before = held.count
    done = runner.attempt(command, within=within)
    if done.interrupt is not None:
        # Without an exit status the call was ended before its end. The workflow goes on after one interrupt (the runner
        # did not bear it) to undo or repeat the call; a second one is somebody who insists, and is let go.
        if done.returncode is None and held.count > before + 1:
            raise done.interrupt
        # Before the failure is raised: it is kept also if the workflow handles that.
        held.kept.append(done.interrupt)
    if done.failure is not None:
        raise done.failure
    return done.answer


def _raise_interrupt_instead(interrupt: BaseException, error: BaseException) -> None:
    """Raise the interrupt instead of a failure; it gets the failure's message and notes."""
    for text in getattr(error, "__notes__", ()):
        add_note(interrupt, text)
    if error.__cause__ is interrupt:  # the failure says only that the call was interrupted
        raise interrupt
    if isinstance(error, SmolvmError):
        add_note(interrupt, f"and before it came out: {error.message}")
    raise interrupt from error

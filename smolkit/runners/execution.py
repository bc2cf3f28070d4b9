"""One call of the engine: from a command to what became of it. The hops of `Runner.attempt`, outermost first."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, TypeVar

from attrs import evolve

from smolkit import runners
from smolkit.commands.base import Command
from smolkit.errors import SmolvmError
from smolkit.runners.attempts import Attempt, InterruptedCall, boot_is_over, cut_short, host_limits, stamped
from smolkit.runners.blocking import interruptible, struck
from smolkit.runners.bounds import least, left, shortened
from smolkit.values.results import Completed, Invocation

T = TypeVar("T")


def execute_and_tell(runner: runners.AnyRunner, command: Command[T], within: float | None) -> Attempt[T]:
    """Run a command, and tell the observers how that went. As `Runner.attempt`."""
    started = runner.clock()
    invocation = prepare(runner, command, within)
    try:
        done = execute_admitted(runner, command, invocation, started)
    except BaseException as error:
        tell(runner, command, invocation, started, getattr(error, "returncode", None), error)
        raise
    try:
        tell(runner, command, invocation, started, done.returncode, done.interrupt or done.failure)
    except BaseException as error:  # noqa: BLE001  (an observer's, or it struck in one: what was done is known)
        done = evolve(done, interrupt=done.interrupt or error)
    return done


def prepare(runner: runners.AnyRunner, command: Command[Any], within: float | None = None) -> Invocation:
    """The call for this engine's version, bounded by the command's own timeout and by `within` for all of it."""
    patience = least(command.patience, within)
    dialect = runner._find_engine(patience).dialect  # noqa: SLF001  (a runner's)
    invocation = evolve(command.invocation(dialect), command=command)
    if patience is None:
        return invocation
    return evolve(invocation, timeout=least(invocation.timeout, within), patience=patience)


def execute_admitted(runner: runners.AnyRunner, command: Command[T], invocation: Invocation, since: float) -> Attempt[T]:
    """Execute a call inside the boot gate and the watchdog, which must see its failure."""
    done: list[Attempt[T]] = []
    try:
        with ExitStack() as turn:
            if command.BOOTS:
                turn.enter_context(runner.admission(left(invocation.patience, runner.clock() - since)))
            invocation = shortened(invocation, runner.clock() - since)
            if invocation.goes_on:
                invocation = evolve(invocation, booted=lambda up: boot_is_over(turn, up=up))
            with runner.watching(command):
                done.append(execute_and_read(runner, command, invocation))
                # Only for these context managers to see: after a first start that failed, the next one is alone, too.
                done[0].raise_failure()
    except SmolvmError:
        if not done:
            raise
    return done[0]


def execute_and_read(runner: runners.AnyRunner, command: Command[T], invocation: Invocation) -> Attempt[T]:
    """Execute a call, and have the command read its answer.

    Classifies the outcome of `execute`: an answer, with or without an interrupt that it outlived; a failure; or
    something else, after which nobody knows the outcome of a call that had to come to its end. See "How interrupts work" in
    `smolkit.flows.steps`.
    """
    interrupt, before, began = None, struck(), runner.clock()
    try:
        try:
            completed = interruptible(lambda: execute_in_limits(runner, invocation))
        except InterruptedCall as late:
            completed, interrupt = late.completed, late.interrupt
        completed = stamped(completed, invocation, runner.clock() - began)
    except SmolvmError:
        raise  # nothing was run: no engine, no place in time
    except BaseException as error:
        if not invocation.finish:
            raise
        # A handler may raise an ordinary Exception (a TimeoutError, say), which its type does not tell from a fault of the
        # runner. Only the count of what handlers raised does.
        return cut_short(invocation, error, is_interrupt=struck() > before or not isinstance(error, Exception))
    try:
        return Attempt(command.read(completed), None, interrupt, completed.returncode)
    except SmolvmError as failure:
        return Attempt(None, failure, interrupt, completed.returncode)


def execute_in_limits(runner: runners.AnyRunner, invocation: Invocation) -> Completed:
    """Execute a call; if the host has run out of what that takes, raise a HostLimitError."""
    with host_limits():
        return runner.execute_sync(invocation)


def tell(  # noqa: PLR0917  (as Call has them)
    runner: runners.AnyRunner,
    command: Command[Any],
    invocation: Invocation,
    started: float,
    returncode: int | None,
    error: BaseException | None,
) -> None:
    """Call the observers after a call. Their exceptions are logged, not raised."""
    observers = runner._smolkit.observers  # noqa: SLF001  (a runner's)
    if not observers:
        return
    try:
        from smolkit.commands.call import Call  # late: few programs observe

        call = Call(command, invocation.argv, runner.clock() - started, returncode, error)
    except ImportError:  # the interpreter exits
        return
    for observer in observers:
        try:
            observer(call)
        except Exception:
            import logging  # late: only where something went wrong

            logging.getLogger("smolkit").exception("on_call raised")

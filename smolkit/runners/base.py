"""The runner: what stands between commands and the engine's program. The extension point of smolkit."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from smolkit.commands.dialect import Dialect, Engine
from smolkit.commands.engine import Version
from smolkit.commands.versions import NEWEST
from smolkit.errors import EngineNotFoundError, ForeignProgramError, SmolvmError
from smolkit.runners.attempts import Attempt, InterruptedCall, boot_is_over, cut_short, host_limits, stamped
from smolkit.runners.blocking import Gate, holding_interrupts, interruptible, struck
from smolkit.runners.bounds import least, left, shortened
from smolkit.runners.host import Host
from smolkit.values import validate
from smolkit.values.results import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from smolkit.commands.base import Command
    from smolkit.commands.call import Call, Plan
    from smolkit.commands.run import RunTerminal
    from smolkit.commands.spawn import Shell, Terminal
    from smolkit.runners.live import Live
    from smolkit.values.observed import Check
    from smolkit.values.results import Invocation

T = TypeVar("T")


class AnyRunner(Host, ABC):
    """What a Runner and an AsyncRunner have in common: argv for the engine's version, and the mapping of its errors."""

    def __init__(self, *, version: str | None = None, max_starts: int = 4) -> None:
        if version is not None:
            Dialect.of(version)
        self._version = version
        self._max_starts = validate.integer("max_starts", max_starts, 1, 2**31 - 1)
        self._starts = Gate(max_starts)
        self._engine: Engine | None = None
        self._observers: tuple[Callable[[Call], object], ...] = ()
        self.plan: Plan | None = None  # while there is one, nothing is run
        self._probing = Gate(1)

    def __getstate__(self) -> dict[str, Any]:
        # Where it is unpickled another engine may be: it is asked again.
        return {**vars(self), "_engine": None, "_probing": None, "_starts": None, "_observers": (), "plan": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._probing = Gate(1)
        self._starts = Gate(self._max_starts)

    @property
    def host(self) -> str:
        """Which engine this is: runners with equal hosts drive the same machines. Default: only this very runner."""
        return f"{type(self).__name__} {id(self):x}"

    @property
    def program(self) -> str:
        """What is run, for people to read."""
        return "smolvm"

    @property
    def engine(self) -> Engine:
        """The engine: its version (asked once per runner), path and dialect.

        Raises:
            EngineNotFoundError, ForeignProgramError, UnsupportedByEngineError: there is none to drive.
        """
        return self._find_engine(None)

    def _find_engine(self, within: float | None) -> Engine:
        if self._engine is None:
            with self._probing.turn(within):
                try:
                    self._engine = self._engine or self._probe(within)
                except EngineNotFoundError:
                    if self.plan is None:
                        raise
                    return Engine(NEWEST, "smolvm", Dialect.of(NEWEST))
        return self._engine

    def _probe(self, within: float | None) -> Engine:
        version = self._version or self._ask_version(within)
        return Engine(version, self.program, Dialect.of(version))

    def _ask_version(self, within: float | None) -> str:
        command = Version()
        asked = command.invocation(_ANY)
        try:
            return command.read(self._called(evolve(asked, timeout=least(asked.timeout, within), patience=within)))
        except ForeignProgramError as error:
            raise ForeignProgramError(f"{self.program} is {error.message}", error.completed) from None

    def run(self, command: Command[T], *, within: float | None = None) -> T:
        """What the command's answer means.

        Args:
            command: It.
            within: Seconds for all of it: the waits for its turn, the engine's version if it is not known yet, the call.

        Raises:
            SmolvmError: it failed, or the engine is too old for it, or there is no engine.
        """
        if command.BOOTS:  # it waits for a place at a gate
            return holding_interrupts(lambda _: self.attempt(command, within=within)).result()
        return self.attempt(command, within=within).result()

    def attempt(self, command: Command[T], *, within: float | None = None) -> Attempt[T]:
        """One call to its end, for a caller who has something to do before a failure or an interrupt is raised.

        Raises:
            UnsupportedByEngineError, EngineNotFoundError: nothing was run.
            BaseException: the call was interrupted, and does not wait for its end (`Command.FINISH`).
        """
        started = self.clock()
        invocation = self._prepare(command, within)
        if self.plan is not None:
            self.plan.add(command, invocation)
            return Attempt(command.answer(Completed(invocation.argv, 0, command.nothing())))
        try:
            done = self._surrounded(command, invocation, started)
        except BaseException as error:
            self.tell(command, invocation, started, getattr(error, "returncode", None), error)
            raise
        try:
            self.tell(command, invocation, started, done.returncode, done.interrupt or done.failure)
        except BaseException as error:  # noqa: BLE001  (an observer's, or it struck in one: what was done is known)
            done = evolve(done, interrupt=done.interrupt or error)
        return done

    def _prepare(self, command: Command[Any], within: float | None = None) -> Invocation:
        """The call for this engine, bounded by the caller's own times: those of the command, and for all of it."""
        patience = least(command.patience, within)
        invocation = command.invocation(self._find_engine(patience).dialect)
        if patience is None:
            return invocation
        return evolve(invocation, timeout=least(invocation.timeout, within), patience=patience)

    def _surrounded(self, command: Command[T], invocation: Invocation, since: float) -> Attempt[T]:
        """A call, in what is around it and has to see its failure: the first start of a host, and the watchdog."""
        done: list[Attempt[T]] = []
        try:
            with ExitStack() as turn:
                if command.BOOTS:
                    turn.enter_context(self.admission(left(invocation.patience, self.clock() - since)))
                invocation = shortened(invocation, self.clock() - since)
                if invocation.goes_on:
                    invocation = evolve(invocation, booted=lambda up: boot_is_over(turn, up=up))
                with self.watching(command):
                    done.append(self._attempt(command, invocation))
                    done[0].raise_failure()
        except SmolvmError:
            if not done:
                raise
        return done[0]

    def _attempt(self, command: Command[T], invocation: Invocation) -> Attempt[T]:
        interrupt, before, began = None, struck(), self.clock()
        try:
            completed = interruptible(lambda: self._called(invocation))
        except InterruptedCall as late:
            completed, interrupt = late.completed, late.interrupt
        except SmolvmError:
            raise
        except BaseException as error:
            if not invocation.finish:
                raise
            return cut_short(invocation, error, is_interrupt=struck() > before or not isinstance(error, Exception))
        completed = stamped(completed, invocation, self.clock() - began)
        try:
            return Attempt(command.read(completed), None, interrupt, completed.returncode)
        except SmolvmError as failure:
            return Attempt(None, failure, interrupt, completed.returncode)

    def tell(
        self,
        command: Command[Any],
        invocation: Invocation,
        started: float,
        returncode: int | None,
        error: BaseException | None,
    ) -> None:
        """Tells the observers of a call that has ended. What they raise is logged, and harms nobody."""
        if not self._observers:
            return
        try:
            from smolkit.commands.call import Call  # late: few programs observe

            call = Call(command, invocation.argv, self.clock() - started, returncode, error)
        except ImportError:  # the interpreter exits
            return
        for observer in self._observers:
            try:
                observer(call)
            except Exception:
                import logging  # late: only where something went wrong

                logging.getLogger("smolkit").exception("on_call raised")

    def watch(self) -> None:
        """From now on a watchdog removes the machines that this process leaves behind: `Smolvm(watchdog=True)`.

        Raises:
            NotImplementedError: nothing but this process can reach the engine.
        """
        raise NotImplementedError(f"{type(self).__name__} has no watchdog: it is for engines that a SubprocessRunner runs")

    def watching(self, command: Command[Any]) -> AbstractContextManager[None]:  # noqa: ARG002  (for subclasses)
        """Around each call of the engine: keeps the watchdog up to date, if there is one."""
        return nullcontext()

    def observe(self, observer: Callable[[Call], object]) -> None:
        """From now on the observer is told of each call, once it has ended."""
        self._observers = (*self._observers, observer)

    @contextmanager
    def admission(self, timeout: float | None = None) -> Iterator[None]:
        """Waits until a machine may boot; around each command that boots one.

        Raises:
            QueueTimeoutError: it may not within so many seconds.
        """
        with self._starts.turn(timeout):
            yield

    @abstractmethod
    def call(self, invocation: Invocation) -> Completed:
        """One call of the engine to its end, for sync code: by `execute`."""

    def _called(self, invocation: Invocation) -> Completed:
        with host_limits():
            return self.call(invocation)

    def follow(self, command: Command[Any], *, stdin: bool) -> Live:
        """Starts a command, for its output to be read as it comes."""
        began = self.clock()
        invocation = self._prepare(command)
        if self.plan is not None:
            from smolkit.runners.live import Replayed  # late: few calls are followed live

            self.plan.add(command, invocation)
            return Replayed(lambda done: Completed(done.argv, 0, command.nothing()), invocation, stdin=stdin)
        with host_limits():
            return self.open(shortened(invocation, self.clock() - began), stdin=stdin)

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """Starts a call of the engine, for its output to be read as it comes; with a stdin to write to, or /dev/null.

        This one runs it to its end by `execute` when it is first read: right, but not live. `invocation.stdin` and
        `invocation.timeout` are the caller's to see to.
        """
        from smolkit.runners.live import Replayed  # late: few calls are followed live

        return Replayed(self.call, invocation, stdin=stdin)

    def hand_over(self, command: Shell | Terminal | RunTerminal) -> Completed:
        """Runs a command in the foreground of this program's terminal, and says how it ended.

        Raises:
            SmolvmError: it was the engine that failed.
        """
        invocation, started = command.invocation(self.engine.dialect), self.clock()
        if self.plan is not None:
            self.plan.add(command, invocation)
            return Completed(invocation.argv, 0)
        completed = self.interact(invocation)
        failure = command.failure(completed)
        self.tell(command, invocation, started, completed.returncode, failure)
        if failure is not None:
            raise failure
        sys.stderr.write(completed.stderr.decode("utf-8", "replace"))
        return completed

    def interact(self, invocation: Invocation) -> Completed:
        """Runs the engine in the foreground of this program's terminal. What it says on stderr is kept, and is its own."""
        raise NotImplementedError(f"{type(self).__name__} hands no terminal over ({invocation!r})")

    def is_available(self) -> bool:
        """Whether there is a program to run. Runs nothing."""
        return True

    def doctor(self) -> list[Check]:
        """What can be told about the engine, each with a hint where it is not well. Never raises.

        A subclass that has more to look at overrides `look`.
        """
        try:
            return self.look()
        except Exception as error:  # noqa: BLE001  (it never raises)
            from smolkit.values.observed import Check  # late: few programs ask

            return [Check("program", ok=False, detail=f"{type(error).__name__}: {error}", hint="can it be run by hand?")]

    def look(self) -> list[Check]:
        """What `doctor` finds."""
        from smolkit.values.observed import Check  # late: few programs ask

        try:
            engine = self.engine
        except EngineNotFoundError as error:
            return [Check("program", ok=False, detail=error.message, hint=error.hint)]
        except SmolvmError as error:
            return [
                Check("program", ok=True, detail=self.program),
                Check("version", ok=False, detail=error.message, hint=error.hint),
            ]
        return [Check("program", ok=True, detail=engine.path), Check("version", ok=True, detail=engine.version)]


class Runner(AnyRunner):
    """Runs commands on one engine. The extension point: a subclass supplies `execute`, and may supply `open`.

    Runners are safe to share between threads if their `execute` is.

    Args:
        version: The engine's version, if it is known: it is then not asked for.
        max_starts: How many machines may boot at once; further ones wait. Many at once thrash the host's disk until they
            time out (#282).
    """

    @abstractmethod
    def execute(self, invocation: Invocation) -> Completed:
        """One call of the engine to its end.

        It gives back whatever happened, bytes exact; the base class sees to `argv`, and to a `duration` that is left out. A
        call that it ended itself (at `invocation.timeout` at the latest) has `ended_by` set, and what there was of output.
        Interrupted by an exception, it ends the call and lets the exception out; or, with `invocation.finish`, it lets the
        call come to its end and raises InterruptedCall.
        """

    def call(self, invocation: Invocation) -> Completed:
        """As in AnyRunner."""
        return self.execute(invocation)


_ANY = Dialect((0, 7, 2))  # for --version, which every engine understands

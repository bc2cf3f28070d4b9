"""The runner: what stands between commands and the engine's program. The extension point of smolkit."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from smolkit import checks
from smolkit.commands.engine import Version
from smolkit.dialect import Dialect, Engine
from smolkit.errors import EngineNotFoundError, ForeignProgramError, SmolvmError
from smolkit.runners.bounds import least, left, shortened
from smolkit.runners.files import HostFiles
from smolkit.runners.waiting import Gate, sleep
from smolkit.values import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smolkit.calls import Call, Plan
    from smolkit.commands.base import Command
    from smolkit.observed import Check
    from smolkit.ownership import Here
    from smolkit.runners.live import Live
    from smolkit.values import Invocation

T = TypeVar("T")


class InterruptedCall(BaseException):
    """Raised by `execute` for a call that was interrupted and that it let come to its end (`Invocation.finish`).

    Attributes:
        completed: How it ended.
        interrupt: What is still to be raised.
    """

    def __init__(self, completed: Completed, interrupt: BaseException) -> None:
        super().__init__(completed, interrupt)
        self.completed, self.interrupt = completed, interrupt


class AnyRunner(HostFiles, ABC):
    """What a Runner and an AsyncRunner have in common: argv for the engine's version, and the mapping of its errors.

    What touches the files of the engine's host (`source`, `target`, `read_log`) is for this machine's own, and is to be
    replaced by a runner whose engine is on another.

    Args:
        version: The engine's version, if it is known: it is then not asked for.
        max_starts: How many machines may boot at once; further ones wait. Many at once thrash the host's disk until they
            time out (#282).
    """

    def __init__(self, *, version: str | None = None, max_starts: int = 4) -> None:
        if version is not None:
            Dialect.of(version)
        self._version = version
        self._max_starts = checks.integer("max_starts", max_starts, 1, 2**31 - 1)
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
                    return Engine(_NEWEST, "smolvm", Dialect.of(_NEWEST))
        return self._engine

    def _probe(self, within: float | None) -> Engine:
        version = self._version or self._ask_version(within)
        return Engine(version, self.program, Dialect.of(version))

    def _ask_version(self, within: float | None) -> str:
        command = Version()
        asked = command.invocation(_ANY)
        try:
            return command.read(self.call(evolve(asked, timeout=least(asked.timeout, within), patience=within)))
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
        answer, interrupt = self.attempt(command, within=within)
        if interrupt is not None:
            raise interrupt
        return answer

    def attempt(self, command: Command[T], *, within: float | None = None) -> tuple[T, BaseException | None]:
        """What the command's answer means, and an interrupt that came meanwhile, for a caller who has to undo it first.

        Raises:
            SmolvmError: it failed. If an interrupt came meanwhile, that is raised, from the failure.
        """
        began = self.clock()
        invocation = self._prepare(command, within)
        if self.plan is not None:
            self.plan.add(command, invocation)
            return command.answer(Completed(invocation.argv, 0, command.nothing())), None
        with ExitStack() as turn:
            if command.BOOTS:
                turn.enter_context(self.admission(left(invocation.patience, self.clock() - began)))
            invocation = shortened(invocation, self.clock() - began)
            if invocation.goes_on:
                invocation = evolve(invocation, booted=lambda up: _is_booted(turn, up))
            if not self._observers:
                return self._attempt(command, invocation)[:2]
            return self._observed(command, invocation)

    def _prepare(self, command: Command[Any], within: float | None = None) -> Invocation:
        """The call for this engine, bounded by the caller's own times: those of the command, and for all of it."""
        patience = least(command.patience, within)
        invocation = command.invocation(self._find_engine(patience).dialect)
        if patience is None:
            return invocation
        return evolve(invocation, timeout=least(invocation.timeout, within), patience=patience)

    def _attempt(self, command: Command[T], invocation: Invocation) -> tuple[T, BaseException | None, int]:
        interrupt = None
        try:
            completed = self.call(invocation)
        except InterruptedCall as late:
            completed, interrupt = late.completed, late.interrupt
        try:
            return command.read(completed), interrupt, completed.returncode
        except SmolvmError as failure:
            if interrupt is not None:
                raise interrupt from failure
            raise

    def _observed(self, command: Command[T], invocation: Invocation) -> tuple[T, BaseException | None]:
        started = self.clock()
        try:
            answer, interrupt, code = self._attempt(command, invocation)
        except BaseException as error:
            self.tell(command, invocation, started, getattr(error, "returncode", None), error)
            raise
        self.tell(command, invocation, started, code, interrupt)
        return answer, interrupt

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
        from smolkit.calls import Call  # late: few programs observe
        from smolkit.values import redact

        call = Call(command, redact(invocation.argv), self.clock() - started, returncode, error)
        for observer in self._observers:
            try:
                observer(call)
            except Exception:
                import logging  # late: only where something went wrong

                logging.getLogger("smolkit").exception("on_call raised")

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

    def follow(self, command: Command[Any], *, stdin: bool) -> Live:
        """Starts a command, for its output to be read as it comes."""
        began = self.clock()
        invocation = self._prepare(command)
        if self.plan is not None:
            from smolkit.runners.live import Replayed  # late: few calls are followed live

            self.plan.add(command, invocation)
            return Replayed(lambda done: Completed(done.argv, 0, command.nothing()), invocation, stdin=stdin)
        return self.open(shortened(invocation, self.clock() - began), stdin=stdin)

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """Starts a call of the engine, for its output to be read as it comes; with a stdin to write to, or /dev/null.

        This one runs it to its end by `execute` when it is first read: right, but not live. `invocation.stdin` and
        `invocation.timeout` are the caller's to see to.
        """
        from smolkit.runners.live import Replayed  # late: few calls are followed live

        return Replayed(self.call, invocation, stdin=stdin)

    def hand_over(self, command: Command[Any]) -> int:
        """Runs a command in the foreground of this program's terminal; its exit status."""
        invocation = command.invocation(self.engine.dialect)
        if self.plan is None:
            return self.interact(invocation)
        self.plan.add(command, invocation)
        return 0

    def interact(self, invocation: Invocation) -> int:
        """Runs the engine in the foreground of this program's terminal; its exit status."""
        raise NotImplementedError(f"{type(self).__name__} hands no terminal over ({invocation.argv[-3:]})")

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
            from smolkit.observed import Check  # late: few programs ask

            return [Check("program", ok=False, detail=f"{type(error).__name__}: {error}", hint="can it be run by hand?")]

    def look(self) -> list[Check]:
        """What `doctor` finds."""
        from smolkit.observed import Check  # late: few programs ask

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

    def here(self) -> Here:
        """Who this process is and which others are alive, on the host whose processes make machines through this runner."""
        from smolkit.runners.here import here  # late: only where a machine is made or reaped

        return here()

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return time.time()

    def clock(self) -> float:
        """Seconds by a clock that only goes on."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Waits between two tries: about so long, so that those who met once do not meet again."""
        from random import uniform  # late: slow to import, rarely needed

        sleep(seconds * uniform(0.75, 1.25))  # noqa: S311  (no secret)


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

        It gives back whatever happened, bytes exact; a call that it ended itself (at `invocation.timeout` at the latest)
        has `ended_by` set, and what there was of output. Interrupted by an exception, it ends the call and lets the
        exception out; or, with `invocation.finish`, it lets the call come to its end and raises InterruptedCall.
        """

    def call(self, invocation: Invocation) -> Completed:
        """As in AnyRunner."""
        return self.execute(invocation)


def _is_booted(turn: ExitStack, up: bool) -> None:
    """Others may boot now. That a host's first start has succeeded is remembered only where the VM is known to be up."""
    if up:
        turn.close()
    else:
        turn.__exit__(TimeoutError, TimeoutError(), None)


_NEWEST = "1.32.2"  # that smolkit was tested with
_ANY = Dialect((0, 7, 2))  # for --version, which every engine understands

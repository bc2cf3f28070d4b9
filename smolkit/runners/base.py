"""Runners, which carry commands to the engine: the extension point of smolkit. See Runner."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self, TypeVar, final

from attrs import evolve

from smolkit import commands, runners, values
from smolkit.commands.base import Command
from smolkit.commands.dialect import Dialect, Engine
from smolkit.commands.engine import Version
from smolkit.errors import EngineNotFoundError, ForeignProgramError, SmolvmError
from smolkit.runners.acting import acting
from smolkit.runners.attempts import Attempt, host_limits, stamped
from smolkit.runners.blocking import Gate, holding_interrupts
from smolkit.runners.bounds import least, shortened
from smolkit.runners.execution import execute_and_tell, execute_in_limits, prepare, tell
from smolkit.runners.host import Host
from smolkit.values import validate
from smolkit.values.results import Completed, Invocation

T = TypeVar("T")

_ANY = Dialect((0, 7, 2))  # for --version, which every engine understands


class _State:
    """State that the clients of a runner share. It is one attribute, so that a subclass has all other names to itself."""

    def __init__(self, version: str | None = None, max_starts: int = 4) -> None:
        self.version, self.max_starts = version, max_starts
        self.engine: Engine | None = None
        self.observers: tuple[Callable[[commands.Call], object], ...] = ()
        self.starts = Gate(max_starts)
        self.probing = Gate(1)


class AnyRunner(Host, ABC):
    """Base of Runner and AsyncRunner: argv for the engine's version, and the mapping of its errors."""

    _smolkit: _State

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: ARG004, D102  (they are of __init__)
        # Not in __init__, which a subclass may leave out: the one that attrs or dataclasses make does.
        self = super().__new__(cls)
        object.__setattr__(self, "_smolkit", _State())
        return self

    def __init__(self, *, version: str | None = None, max_starts: int = 4) -> None:
        if version is not None:
            Dialect.of(version)
        self._smolkit = _State(version, validate.integer("max_starts", max_starts, 1, 2**31 - 1))

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in _replaced(cls):
            raise TypeError(
                f"{cls.__name__}.{name} replaces what a runner does by itself: override execute, open or another of the "
                f"members that help(smolkit.Runner) marks with (override), or choose another name"
            )

    def __getstate__(self) -> dict[str, Any]:
        # Where it is unpickled another engine may be: it is asked again.
        return {**vars(self), "_smolkit": (self._smolkit.version, self._smolkit.max_starts)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({**state, "_smolkit": _State(*state["_smolkit"])})

    @property
    def host(self) -> str:
        """The engine's identity: runners with equal hosts drive the same machines. (override)

        Default: this very runner, and no other.
        """
        return f"{type(self).__name__} {id(self):x}"

    @property
    def program(self) -> str:
        """The program, for people to read. (override)"""
        return "smolvm"

    @property
    @final
    def engine(self) -> Engine:
        """The engine: its version (asked once per runner), path and dialect. (call)

        Raises:
            EngineNotFoundError, ForeignProgramError, UnsupportedByEngineError: there is none to drive.
        """
        return acting(self)._find_engine(None)  # noqa: SLF001  (another one's of this class)

    def _find_engine(self, within: float | None) -> Engine:
        state = self._smolkit
        if state.engine is None:
            with state.probing.turn(within):
                state.engine = state.engine or self._probe_engine(within)
        return state.engine

    def _probe_engine(self, within: float | None) -> Engine:
        version = self._smolkit.version or self._ask_version(within)
        return Engine(version, self.program, Dialect.of(version))

    @final
    def _ask_version(self, within: float | None) -> str:
        command = Version()
        asked = evolve(command.invocation(_ANY), command=command)
        asked = evolve(asked, timeout=least(asked.timeout, within), patience=within)
        try:
            return command.read(stamped(execute_in_limits(self, asked), asked, 0.0))
        except ForeignProgramError as error:
            raise ForeignProgramError(f"{self.program} is {error.message}", error.completed) from None

    @final
    def run(self, command: Command[T], *, within: float | None = None) -> T:
        """Run a command, and return its answer. (call)

        Args:
            command: What to run.
            within: Seconds for all of it: the waits for its turn, the engine's version if it is not known yet, the call.

        Raises:
            SmolvmError: it failed, or the engine is too old for it, or there is no engine.
        """
        if command.BOOTS:  # it waits for a place at a gate
            return holding_interrupts(lambda _: self.attempt(command, within=within)).result()
        return self.attempt(command, within=within).result()

    @final
    def attempt(self, command: Command[T], *, within: float | None = None) -> Attempt[T]:
        """Run a command, and return how that went, for a caller who has something to do before it is raised. (call)

        Raises:
            UnsupportedByEngineError, EngineNotFoundError: nothing was run.
            BaseException: the call was interrupted, and does not wait for its end (`Command.FINISH`).
        """
        return execute_and_tell(acting(self), command, within)

    @abstractmethod
    def execute_sync(self, invocation: Invocation) -> Completed:
        """Run one call of the engine to its end by `execute`, for sync code: a runner that wraps this one, say. (call)"""

    @final
    def follow(self, command: Command[Any], *, stdin: bool) -> runners.Live:
        """Start a command, for its output to be read as it comes. (call)"""
        runner = acting(self)
        began = runner.clock()
        invocation = prepare(runner, command)
        with host_limits():
            return runner.open(shortened(invocation, runner.clock() - began), stdin=stdin)

    def open(self, invocation: Invocation, *, stdin: bool) -> runners.Live:
        """Start a call of the engine, for its output to be read as it comes. (override)

        Its stdin is a pipe to be written to, or /dev/null. `invocation.stdin` and `invocation.timeout` are the caller's to
        see to. This default runs the call to its end by `execute` when it is first read: right, but not live.
        """
        from smolkit.runners.live import Replayed  # late: few calls are followed live

        return Replayed(self.execute_sync, invocation, stdin=stdin)

    @final
    def run_in_terminal(self, command: commands.Shell | commands.Terminal | commands.RunTerminal) -> Completed:
        """Run a command in the foreground of this program's terminal, and return how it ended. (call)

        Raises:
            SmolvmError: it was the engine that failed.
        """
        runner = acting(self)
        invocation, started = prepare(runner, command), runner.clock()
        completed = stamped(runner.interact(invocation), invocation, runner.clock() - started)
        failure = command.failure(completed)
        tell(runner, command, invocation, started, completed.returncode, failure)
        if failure is not None:
            raise failure
        sys.stderr.write(completed.stderr.decode("utf-8", "replace"))
        return completed

    def interact(self, invocation: Invocation) -> Completed:
        """Run the engine in the foreground of this program's terminal. (override)

        Its stdout and stdin are the terminal's. What it writes to its stderr is kept, and is its own, not the guest's.
        Default: there is no terminal to hand over.
        """
        raise NotImplementedError(f"{type(self).__name__} hands no terminal over ({invocation!r})")

    @final
    def source(self, path: str) -> AbstractContextManager[str]:
        """A file of this host, under a name by which the engine can read it: see `provide_source`. (call)"""
        return acting(self).provide_source(path)

    @final
    def target(self, path: str, part: str | None = None) -> AbstractContextManager[str]:
        """A name for the engine to write to, which becomes a file of this host: see `provide_target`. (call)"""
        return acting(self).provide_target(path, part)

    @contextmanager
    def admission(self, timeout: float | None = None) -> Iterator[None]:
        """Wait until a machine may boot; around each command that boots one. (override)

        Raises:
            QueueTimeoutError: it may not within so many seconds.
        """
        with self._smolkit.starts.turn(timeout):
            yield

    @final
    def observe(self, observer: Callable[[commands.Call], object]) -> None:
        """Call the observer after each call of the engine from now on. (call)"""
        self._smolkit.observers = (*self._smolkit.observers, observer)

    def watch(self) -> None:
        """Have the machines removed that this process leaves behind: `Smolvm(watchdog=True)`. (override)

        Raises:
            NotImplementedError: nothing but this process can reach the engine.
        """
        raise NotImplementedError(f"{type(self).__name__} has no watchdog: it is for engines that a SubprocessRunner runs")

    def watching(self, command: Command[Any]) -> AbstractContextManager[None]:  # noqa: ARG002  (for subclasses)
        """Keep the watchdog up to date, if there is one; around each call of the engine. (override)"""
        return nullcontext()

    def is_available(self) -> bool:
        """Look for a program to run, without running it. (override)"""
        return True

    @final
    def doctor(self) -> list[values.Check]:
        """Check the engine: findings, with a hint for each that is not well. Never raises. (call)"""
        try:
            return self.look()
        except Exception as error:  # noqa: BLE001  (it never raises)
            return [
                values.Check("program", ok=False, detail=f"{type(error).__name__}: {error}", hint="can it be run by hand?")
            ]

    def look(self) -> list[values.Check]:
        """The findings of `doctor`: here program and version; a subclass adds what else it can look at. (override)"""
        try:
            engine = self._find_engine(None)
        except EngineNotFoundError as error:
            return [values.Check("program", ok=False, detail=error.message, hint=error.hint)]
        except SmolvmError as error:
            return [
                values.Check("program", ok=True, detail=self.program),
                values.Check("version", ok=False, detail=error.message, hint=error.hint),
            ]
        return [
            values.Check("program", ok=True, detail=engine.path),
            values.Check("version", ok=True, detail=engine.version),
        ]


def _replaced(kind: type) -> Iterator[str]:
    """The final members of its bases that a class, or a mixin before them, has others for."""
    found: dict[str, object] = {}
    for base in kind.__mro__:
        for name, member in vars(base).items():
            if found.setdefault(name, member) is not member and _is_final(member):
                yield name


def _is_final(member: object) -> bool:
    return getattr(getattr(member, "fget", member), "__final__", False) is True


class Runner(AnyRunner):
    """A way to run commands on one engine, and the extension point: a subclass supplies `execute`, and may supply `open`.

    smolkit does the rest by itself: argv for the engine's version, the mapping of errors, retries, teardown. The first line
    of each public member says what a subclass does with it:

    - (override): replace it where its default does not fit, and call it as you like. `execute`, `open` and `interact` reach
      the engine. `host`, `program`, `is_available` and `look` tell about it. If it is on another host, `provide_source`,
      `provide_target` and `read_log` are for its files, `here` and `owner` for its processes, `free_port` and `reach` for
      its ports. `now`, `clock` and `pause` are for tests.
    - (call): call it, as clients and machines do. A class that replaces it is refused with a TypeError as it is made.

    A subclass need not call `__init__`, and may have any other attributes. Runners are safe to share between threads if
    their `execute` is. The README has a complete one: "Write your own runner".

    Args:
        version: The engine's version, if it is known: it is then not asked for.
        max_starts: The number of machines that may boot at once; further ones wait. Many at once thrash the host's disk
            until they time out (#282).
    """

    @abstractmethod
    def execute(self, invocation: Invocation) -> Completed:
        """Run one call of the engine to its end, and return how it ended, with the exact bytes of its output. (override)

        `argv` of the result is set by the base class, and `duration` if it is left out. A call that the runner ended itself
        (at `invocation.timeout` at the latest) has `ended_by` set, and the output until then.

        Interrupted by an exception, it must end the call and let the exception out; or, with `invocation.finish`, it may
        let the call come to its end and raise InterruptedCall. See "How interrupts work" in `smolkit.flows.steps`.
        """

    @final
    def execute_sync(self, invocation: Invocation) -> Completed:
        """As in AnyRunner. (call)"""
        return self.execute(invocation)

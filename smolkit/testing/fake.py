"""FakeSmolvm: an in-memory engine with machines, files and a clock of its own."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Literal, TypeVar, final, overload

from attrs import NOTHING, define, evolve

from smolkit.commands.base import Command
from smolkit.commands.dialect import verb_of
from smolkit.commands.versions import NEWEST
from smolkit.runners.base import Runner
from smolkit.runners.live import Live
from smolkit.testing import argv_parser, engine_failures, subcommands
from smolkit.testing.argv_parser import ParsedArgs
from smolkit.testing.clock import FakeClock
from smolkit.testing.engine_failures import EngineFailure
from smolkit.testing.fake_live import FakeLive
from smolkit.testing.guest import FakeMachine, Handler, HandlerResult
from smolkit.testing.guest_io import GuestStdin, Pieces
from smolkit.testing.handlers import RegisteredHandler, first_words
from smolkit.testing.scripted import FakeRunner, UnexpectedCommandError, command_of
from smolkit.values.cut import KeptOutput
from smolkit.values.hidden import Hidden, hide
from smolkit.values.ownership import Here
from smolkit.values.results import Completed, Invocation
from smolkit.values.validate import hidden_pairs

T = TypeVar("T")

Fault = Literal[
    "boot failed",
    "boot timeout",
    "no hypervisor",
    "port in use",
    "start in progress",
    "locked",
    "not empty",
    "output cap",
    "dies",
    "killed",
    "hangs",
]

_REFUSALS = ("locked", "not empty", "start in progress")  # the engine answers with an error, and does nothing
_ANY_FAULTS = (*_REFUSALS, "killed", "hangs")
_BOOT_FAULTS = ("boot failed", "boot timeout", "no hypervisor", "port in use")
_COMMAND_FAULTS = ("output cap", "dies")
_BOOTING = {"start", "run", "branch", "fork"}


@define
class _InjectedFault:
    verb: str
    fault: str
    first: int
    last: int
    seen: int = 0


@final
class FakeSmolvm(FakeRunner):
    """An in-memory engine: `Smolvm(runner=FakeSmolvm())`, or AsyncSmolvm.

    It creates, starts, branches and deletes machines, and copies files in and out. Commands are answered by handlers (`on`)
    or by a few built-in programs: true, false, echo, printf, cat, ls, mkdir, rm, test, pwd, sleep, and a small `sh -c` of
    these, with `cd` and `exit`. Any other command raises an AssertionError that names the handler to register. Answers have
    the real engine's messages and exit statuses for the chosen version, so that smolkit's real command lines and error
    mapping run. Time is the fake's own: nobody waits.

    What a real engine does and this one does not:

    - A machine has no files of its image, pack or volumes: at first only empty directories. Programs are no files.
    - Users have no permissions: every command may read and write every file.
    - There is no network. Ports and policies are only recorded; `fake.machines[name].listen(port)` opens a port.
    - `init` and the workload do not run; memory and disks have no limits; `stats` invents its numbers.
    - A command runs only while its output is read. One that was spawned runs at once, to its end.
    - A signal or `kill` does not reach a handler: its command is abandoned where it is.
    - Only these subcommands exist: branch, cp, create, data-dir, delete, exec, fork, logs, ls, run, start, stats, status,
      stop and update. Others are scripted with `answer`.
    - It is in this process: it cannot be pickled, and other processes have machines of their own.

    `answer`, inherited from FakeRunner, takes precedence, and scripts what the fake does not implement. Threads and tasks
    may share one fake. Other tasks run during each call, and handlers wait with `smolkit.aio.wait_for`.

    A command of `popen(stdin=True)` that reads its stdin waits until another thread or task writes to it or closes it. This
    takes real time: up to the command's or the reader's timeout, and at most `patience`. Then the fake's clock jumps to the
    end of that timeout. Without a timeout, where a real guest would wait for ever, an AssertionError is raised.

    Args:
        version: The engine version to speak as.
        patience: The most seconds of real time to wait for input. 0 suits a test whose one thread both writes and reads.
        env: Environment variables of the engine's process, as for SubprocessRunner: sources of `secret_env`.
    """

    def __init__(self, version: str = NEWEST, *, patience: float = 30.0, env: Mapping[str, str] | None = None) -> None:
        env = hide(env)
        super().__init__(version)
        self._env = dict(hidden_pairs("env", env))
        self.patience: float = patience
        self._clock = FakeClock()
        self._subcommands = subcommands.Subcommands(self.engine.dialect, self._clock)
        self._faults: list[_InjectedFault] = []

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            "a FakeSmolvm, or a handle on it, cannot be pickled or copied: its machines are in the memory of this process. "
            "Share it between threads or tasks, or make a FakeSmolvm in each process"
        )

    @property
    def machines(self) -> dict[str, FakeMachine]:
        """The machines that exist, by name."""
        return self._subcommands.machines

    @property
    def leaked(self) -> list[str]:
        """Names of the machines whose half-booted VM was left behind: deleted without a stop after a failed start."""
        return self._subcommands.leaked

    @overload
    def on(self, command: str | Sequence[str]) -> Callable[[T], T]: ...

    @overload
    def on(self, command: str | Sequence[str], handler: Handler | HandlerResult | type[OSError]) -> None: ...

    def on(self, command: str | Sequence[str], handler: Any = NOTHING) -> Any:
        """Register a handler for a command in every machine. The handler registered last takes precedence.

        Args:
            command: The program, or the first words of the command. A program without a directory is that in any directory:
                "python3" also answers /usr/bin/python3. "*" answers every command that nothing else does.
            handler: The answer: its stdout (str or bytes), its exit status (an int), a GuestResult, or FileNotFoundError or
                PermissionError for a program that cannot be started. Or a function that takes the GuestCall and returns one
                of these, or None for no output. Or a generator function: it yields stdout (str or bytes) or
                `("stderr", text)`, piece by piece, and returns the exit status or None.

        Returns:
            A decorator, if `handler` is left out.

        Raises:
            TypeError, ValueError: The handler or, in the call that gets it, its answer is none of these.
        """
        words = first_words(command)
        if handler is NOTHING:
            return lambda function: self.on(words, function) or function
        self._subcommands.handlers.append(RegisteredHandler.of(words, handler))
        return None

    def fail(self, verb: str, fault: Fault, *, nth: int = 1, times: int = 1) -> None:
        """Let calls of one of the engine's subcommands fail.

        Args:
            verb: The subcommand: `start`, `exec` and so on.
            fault: For start, run and branch: "boot failed", "boot timeout" (takes 30 s, and leaves a VM that only a stop
                ends), "no hypervisor", "port in use". For exec and run: "output cap", "dies" (the VM dies after the
                command's first output). For all: "locked", "not empty", "start in progress" (an error, nothing is done),
                "killed" (the engine's process is killed after its work), "hangs" (nothing is done until smolkit's own
                timeout).
            nth: The first call to fail, counted from now; 1 is the next one.
            times: The number of calls that fail.

        Raises:
            ValueError: The fake has no such subcommand, or the subcommand has no such fault.
        """
        known = {*_ANY_FAULTS, *(_BOOT_FAULTS if verb in _BOOTING else ())}
        known |= set(_COMMAND_FAULTS if verb in subcommands.STREAMED else ())
        _check_choice("verb", verb, {*subcommands.ANSWERED, *subcommands.STREAMED})
        _check_choice(f"the fault of {verb!r}", fault, known)
        self._faults.append(_InjectedFault(f"machine {verb}", fault, nth, nth + times - 1))

    def given(self) -> dict[str, Hidden]:
        """The environment variables of the engine's process."""
        return self._env

    def sleep(self, seconds: float) -> None:
        """Advance the fake's clock."""
        self._clock.sleep(seconds)

    def pause(self, seconds: float) -> None:
        """Record the wait, and advance the fake's clock."""
        super().pause(seconds)
        self._clock.sleep(seconds)

    def clock(self) -> float:
        """Seconds since the fake was made, by its clock."""
        return self._clock.seconds

    def now(self) -> float:
        """Seconds since the epoch, by the fake's clock. A new fake reads 2026-01-01 UTC."""
        return self._clock.now

    def here(self) -> Here:
        """This process as an owner of machines, at the fake's time."""
        return evolve(super().here(), now=self.now())

    @contextmanager
    def provide_target(self, path: str, part: str | None = None) -> Iterator[str]:
        """A real file of this host, as in Runner: the fake's `cp` writes to it."""
        with Runner.provide_target(self, path, part) as partial:
            yield partial

    def read_log(self, path: str, start: int) -> bytes:
        """The content of a machine's log or console from an offset."""
        found = re.fullmatch(r"/fake/([\w-]+)/(agent-console|workload)\.log", path)
        if found is None or found[1] not in self.machines:
            return b""
        machine = self.machines[found[1]]
        return (machine.console if found[2] == "agent-console" else machine.log)[start:]

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """Follow a call, by the fake's clock."""
        if self._scripted(command_of(invocation), invocation) is not None:
            return super().open(invocation, stdin=stdin)
        self.commands.append(command_of(invocation))
        self.invocations.append(invocation)
        return FakeLive(invocation, self._pieces, self._clock, patience=self.patience, stdin=stdin)

    def _answer_unscripted(self, command: Command[Any], invocation: Invocation) -> Completed:  # noqa: ARG002
        started = self.clock()
        keep, room = (invocation.output_limit, None) if invocation.truncate else (None, invocation.output_limit)
        out = {stream: KeptOutput(keep) for stream in ("stdout", "stderr")}
        with closing(self._pieces(invocation, GuestStdin(invocation.stdin or b""))) as pieces:
            status, ended_by = _collect(pieces, out, room)
        stdout, stderr, took = out["stdout"], out["stderr"], self.clock() - started
        texts, cuts = (stdout.data, stderr.data), (stdout.cut, stderr.cut)
        return Completed(invocation.argv, status, *texts, took, ended_by, *cuts)

    def _pieces(self, invocation: Invocation, stdin: GuestStdin) -> Pieces:
        """The engine's output in pieces, and its exit status, or None if it hangs until it is ended."""
        verb, args = verb_of(invocation.argv), None
        machine, _, name = verb.partition(" ")
        if machine != "machine" or name not in {*subcommands.ANSWERED, *subcommands.STREAMED}:
            raise UnexpectedCommandError(
                f"FakeSmolvm does not implement `smolvm {verb}`\n  script an answer: fake.answer({verb.split()!r}, ...)"
            )
        try:
            args = argv_parser.parse(invocation.argv, self.engine.dialect)
            with self._subcommands.lock:
                args = evolve(args, fault=self._next_fault(args.verb), env={**self._env, **dict(invocation.env)})
            if args.fault == "hangs":
                # No status: it is smolkit's own timeout that ends this call.
                self.sleep(invocation.timeout or 0)
                return None  # type: ignore[return-value]
            if args.fault in _REFUSALS:
                raise engine_failures.injected(args.fault)
            status = yield from self._perform(args, stdin)
        except EngineFailure as failure:
            yield "stderr", failure.stderr(as_json=args is not None and args.as_json)
            return failure.status
        # Killed after its work: the caller cannot know whether that was done.
        return -signal.SIGKILL if args.fault == "killed" else status

    def _next_fault(self, verb: str) -> str:
        """The fault to inject into this call, or "". Counts the call."""
        for injected in self._faults:
            if injected.verb == verb:
                injected.seen += 1
                if injected.first <= injected.seen <= injected.last:
                    return injected.fault
        return ""

    def _perform(self, args: ParsedArgs, stdin: GuestStdin) -> Pieces:
        name = args.verb.partition(" ")[2]
        # A command runs without the lock: its handler may wait for another thread, or use this very fake.
        if name in subcommands.STREAMED:
            return (yield from subcommands.STREAMED[name](self._subcommands, args, stdin))
        with self._subcommands.lock:
            text = subcommands.ANSWERED[name](self._subcommands, args)
        if text:
            yield "stdout", text.encode()
        return 0


def _collect(pieces: Pieces, out: Mapping[str, KeptOutput], room: int | None) -> tuple[int, str]:
    """Collect the output of a call, `room` bytes at most. Returns its exit status, and by what it was ended."""
    written = 0
    while room is None or written <= room:
        try:
            stream, data = next(pieces)
        except StopIteration as end:
            return end.value or 0, "timeout" if end.value is None else ""
        out[stream].add(data)
        written += len(data)
    return -signal.SIGTERM, "output limit"


def _check_choice(name: str, value: str, choices: set[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, sorted(choices)))}, not {value!r}")

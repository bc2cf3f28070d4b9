"""An engine in memory, with machines, files and time of its own."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final, overload

from attrs import define, evolve

from smolkit.runners.base import Runner
from smolkit.runners.live import Live
from smolkit.testing import verbs, words
from smolkit.testing.executing import Clock
from smolkit.testing.guest_input import GuestInput
from smolkit.testing.live import LiveCall
from smolkit.testing.scripted import FakeRunner, UnexpectedCommandError, command_of
from smolkit.values.hidden import hide
from smolkit.values.results import Completed
from smolkit.values.validate import hidden_pairs

if TYPE_CHECKING:
    from contextlib import _GeneratorContextManager

    from smolkit.commands.base import Command
    from smolkit.testing.guest import FakeMachine, Handler, Said
    from smolkit.testing.shell import Pieces
    from smolkit.testing.words import Words
    from smolkit.values.hidden import Hidden
    from smolkit.values.ownership import Here
    from smolkit.values.results import Invocation

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


_NOTHING_DONE = ("locked", "not empty", "start in progress")
_OF_ANY = (*_NOTHING_DONE, "killed", "hangs")
_OF_BOOTS = ("boot failed", "boot timeout", "no hypervisor", "port in use")
_OF_COMMANDS = ("output cap", "dies")


@define
class _Injected:
    verb: str
    fault: str
    first: int
    last: int
    seen: int = 0


@final
class FakeSmolvm(FakeRunner):
    """An engine in memory: `Smolvm(runner=FakeSmolvm())`, or AsyncSmolvm.

    Machines are created, run, branch and end; files go in and out; commands are answered by handlers (`on`), by a few
    programs of its own (true, false, echo, cat, sleep, pwd, test, and `sh -c` of these), or refused with an AssertionError
    that says what to register. Answers come in the engine's own words and statuses, for the version chosen, so that
    smolkit's real argv and its real error mapping run. Time is its own: nothing waits.

    `answer`, from FakeRunner, still scripts what the fake itself does not do, and wins. Several threads may share one, and
    tasks: to them each call is a moment in which others go on, and handlers wait by `smolkit.aio.wait_for`.

    A command of `popen(stdin=True)` that reads its stdin waits until another thread or task writes to it or closes it. This
    does take time: up to its timeout, or the reader's, but never more than `patience`. After that the fake's clock goes on
    to that timeout; where there is none, an AssertionError says what a real guest would wait for, for ever.

    Args:
        version: The engine's version that it speaks as.
        patience: Seconds of this host. With 0 nobody is waited for: right where one thread both writes and reads.
        env: Variables of the engine's process, as of SubprocessRunner: what `secret_env` names.
    """

    def __init__(self, version: str = "1.32.2", *, patience: float = 30.0, env: Mapping[str, str] | None = None) -> None:
        env = hide(env)
        super().__init__(version)
        self._env = dict(hidden_pairs("env", env))
        self.patience = patience
        self._clock = Clock()
        self._verbs = verbs.Verbs(self.engine.dialect, self._clock)
        self._faults: list[_Injected] = []

    @property
    def machines(self) -> dict[str, FakeMachine]:
        """What there is, by name."""
        return self._verbs.machines

    @property
    def leaked(self) -> list[str]:
        """The machines whose half-booted VM was left behind: deleted, but not stopped after a start that failed."""
        return self._verbs.leaked

    @overload
    def on(self, command: str | Sequence[str]) -> Callable[[T], T]: ...

    @overload
    def on(self, command: str | Sequence[str], handler: Handler | Said | type[OSError]) -> None: ...

    def on(self, command: str | Sequence[str], handler: Any = None) -> Any:
        """Says what a command does in every guest. The one that was registered last counts.

        Args:
            command: The program, or the first words of the command.
            handler: What it writes (text or bytes), its exit status (an int), a GuestResult, `FileNotFoundError` or
                `PermissionError` for a program that cannot be started; or a function of the GuestCall that gives one of
                these, or that is a generator of pieces of output and returns the status. Left out, `on` is a decorator.
        """
        first = (command,) if isinstance(command, str) else tuple(command)
        if handler is None:
            return lambda function: self.on(first, function) or function
        self._verbs.handlers.append((first, handler))
        return None

    def fail(self, verb: str, fault: Fault, *, nth: int = 1, times: int = 1) -> None:
        """Lets calls of a verb of the engine go wrong.

        Args:
            verb: `start`, `exec`, `delete` and so on.
            fault: Of start, run and branch: "boot failed", "boot timeout" (it takes 30 s, and leaves a VM that only a stop
                ends), "no hypervisor", "port in use". Of exec and run: "output cap", "dies" (the VM does, once the command
                has written something). Of any: "locked", "not empty", "start in progress" (nothing is done), "killed" (the
                engine's process is, its work done), "hangs" (it does nothing, until smolkit's own bound).
            nth: Which call, from now on, is the first to fail.
            times: How many do.

        Raises:
            ValueError: there is no such fault of this verb.
        """
        known = {*_OF_ANY, *(_OF_BOOTS if verb in {"start", "run", "branch", "fork"} else ())}
        known |= set(_OF_COMMANDS if verb in verbs.RUN else ())
        if fault not in known or verb not in {*verbs.DONE, *verbs.RUN}:
            raise ValueError(f"no such fault of {verb!r}: {fault!r}; there are {', '.join(map(repr, sorted(known)))}")
        self._faults.append(_Injected(f"machine {verb}", fault, nth, nth + times - 1))

    def given(self) -> dict[str, Hidden]:
        """As in Runner."""
        return self._env

    def sleep(self, seconds: float) -> None:
        """Lets time pass, by the fake's clock."""
        self._clock.sleep(seconds)

    def pause(self, seconds: float) -> None:
        """Records the wait, and lets the time pass."""
        super().pause(seconds)
        self._clock.sleep(seconds)

    def clock(self) -> float:
        """The seconds that passed, by the fake's clock."""
        return self._clock.seconds

    def now(self) -> float:
        """The time, by the fake's clock, which began with 2026."""
        return self._clock.now

    def here(self) -> Here:
        """This process, at the fake's time."""
        return evolve(super().here(), now=self.now())

    def provide_target(self, path: str, part: str | None = None) -> _GeneratorContextManager[str]:
        """A real file of this host: the fake copies into it."""
        return Runner.provide_target(self, path, part)

    def read_log(self, path: str, start: int) -> bytes:
        """What a machine's log or console holds."""
        found = re.fullmatch(r"/fake/([\w-]+)/(agent-console|workload)\.log", path)
        if found is None or found[1] not in self.machines:
            return b""
        machine = self.machines[found[1]]
        return (machine.console if found[2] == "agent-console" else machine.log)[start:]

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """The command's output as it comes, by the fake's clock."""
        if self._scripted(command_of(invocation), invocation) is not None:
            return super().open(invocation, stdin=stdin)
        self.commands.append(command_of(invocation))
        self.invocations.append(invocation)
        return LiveCall(self, invocation, stdin=stdin)

    def _otherwise(self, command: Command[Any], invocation: Invocation) -> Completed:  # noqa: ARG002
        started = self.clock()
        out: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        pieces = self.pieces(invocation, GuestInput(invocation.stdin or b""))
        while True:
            try:
                stream, data = next(pieces)
            except StopIteration as end:
                stdout, stderr = (b"".join(out[stream]) for stream in ("stdout", "stderr"))
                ended_by = "timeout" if end.value is None else ""
                return Completed(invocation.argv, end.value or 0, stdout, stderr, self.clock() - started, ended_by)
            out[stream].append(data)

    def pieces(self, invocation: Invocation, stdin: GuestInput) -> Pieces:
        """What the engine writes, and its exit status (None, where it hangs until it is ended)."""
        verb, said = words.verb_of(invocation.argv), None
        machine, _, name = verb.partition(" ")
        if machine != "machine" or name not in {*verbs.DONE, *verbs.RUN}:
            raise UnexpectedCommandError(
                f"FakeSmolvm does not do `smolvm {verb}`\n  script its answer: fake.answer({verb.split()!r}, ...)"
            )
        try:
            said = words.parse(invocation.argv, self.engine.dialect)
            with self._verbs.lock:
                said = evolve(said, fault=self._fault(said.verb), given={**self._env, **dict(invocation.env)})
            if said.fault == "hangs":
                self.sleep(invocation.timeout or 0)
                return None  # type: ignore[return-value]
            if said.fault in _NOTHING_DONE:
                raise words.fault(said.fault)
            status = yield from self._do(said, stdin)
        except words.Refusal as refusal:
            yield "stderr", refusal.stderr(as_json=said is not None and said.as_json)
            return refusal.status
        return -signal.SIGKILL if said.fault == "killed" else status

    def _fault(self, verb: str) -> str:
        for injected in self._faults:
            if injected.verb == verb:
                injected.seen += 1
                if injected.first <= injected.seen <= injected.last:
                    return injected.fault
        return ""

    def _do(self, said: Words, stdin: GuestInput) -> Pieces:
        verb = said.verb.partition(" ")[2]
        if verb in verbs.RUN:
            return (yield from verbs.RUN[verb](self._verbs, said, stdin))
        with self._verbs.lock:
            text = verbs.DONE[verb](self._verbs, said)
        if text:
            yield "stdout", text.encode()
        return 0

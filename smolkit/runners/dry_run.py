"""Dry runs: a runner that plans calls instead of making them acts for the real one within a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar, final

from smolkit import values
from smolkit.commands.base import Command
from smolkit.commands.dialect import Dialect, Engine
from smolkit.commands.engine import Version
from smolkit.commands.guest_scripts import SIZE, STAT
from smolkit.commands.lifecycle import DataDir, Ls, Status
from smolkit.commands.scan import ScanDirs
from smolkit.commands.script import Script
from smolkit.commands.spawn import Spawn
from smolkit.commands.verb import Verb
from smolkit.commands.versions import NEWEST
from smolkit.errors import EngineNotFoundError
from smolkit.runners.acting import acting, dry_runs
from smolkit.runners.base import AnyRunner, Runner
from smolkit.runners.host import check_source, part_of
from smolkit.runners.live import Live, Replayed
from smolkit.values.results import Completed, Invocation
from smolkit.values.shown import redact, shell_line, without_users

S = TypeVar("S")


@contextmanager
def dry_run(runner: AnyRunner, *, echo: bool) -> Iterator[Plan]:
    """Plan what the block runs through this runner, instead of running it.

    That holds for the block's own code, and for what runs in a copy of its context: tasks that it begins (to their end,
    also after the block), `asyncio.to_thread`, `contextvars.copy_context().run`. Other threads are not in the dry run, not
    even those that the block starts: Python starts them in a context of their own.
    """
    planning = DryRun(acting(runner), echo=echo)
    try:
        dry_runs.set((planning, *dry_runs.get()))
        yield planning.plan
    finally:
        # Not by the token of `set`: two generators may end their blocks in another order, or in another context.
        dry_runs.set(tuple(other for other in dry_runs.get() if other is not planning))


@final
class Plan:
    """The calls that would be made: see `Smolvm.dry_run`.

    Attributes:
        commands: The commands, as values.
        lines: Their shell lines, without secrets and values of env.
    """

    def __init__(self, program: str, *, echo: bool) -> None:
        self.commands: list[Command[Any]] = []
        self.lines: list[str] = []
        self._program, self._echo = without_users(program), echo

    def add(self, invocation: Invocation) -> None:
        """Note a call, and print its line."""
        variables = [f"{key}=***" for key, _ in invocation.env]
        given = " <<< ..." if invocation.stdin else ""
        self.commands.append(invocation.command)
        self.lines.append(" ".join([*variables, shell_line((self._program, *redact(invocation.argv)))]) + given)
        if self._echo:
            print(self.lines[-1])  # noqa: T201  (what it is for)

    def __str__(self) -> str:
        return "\n".join(self.lines)


@final
class DryRun(Runner):
    """A runner that plans: every call succeeds at once, and finds nothing.

    It asks the real runner for the engine's version, the process's identity and the time, and calls none of the hooks that
    reach the engine or the files of its host. Waits take no time, but its clocks go on by them.

    Args:
        around: The runner that it acts for: the real one or, in the block of another dry run, that one's.
        echo: Whether the plan's lines are printed.

    Attributes:
        plan: The calls that it was asked to make.
        real: The real runner.
    """

    def __init__(self, around: AnyRunner, *, echo: bool) -> None:
        super().__init__()
        self._around, self._waited = around, 0.0
        self._copies: dict[int, tuple[object, Any]] = {}
        self.real: AnyRunner = around.real if isinstance(around, DryRun) else around
        self.plan: Plan = Plan(around.program if around.is_available() else "smolvm", echo=echo)

    def copy_of(self, state: S) -> S:
        """The copy of a handle's state that is this dry run's to change: always the same one."""
        # With the state itself, so that no other one gets its id.
        found: S = self._copies.setdefault(id(state), (state, copy(state)))[1]
        return found

    @property
    def host(self) -> str:
        """The real runner's."""
        return self._around.host

    @property
    def program(self) -> str:
        """The real runner's."""
        return self._around.program

    def _find_engine(self, within: float | None) -> Engine:
        try:
            return self._around._find_engine(within)  # noqa: SLF001  (a runner's)
        except EngineNotFoundError:
            return Engine(NEWEST, "smolvm", Dialect.of(NEWEST))

    def execute(self, invocation: Invocation) -> Completed:
        """Plan the call."""
        self.plan.add(invocation)
        return Completed(invocation.argv, 0, said(invocation.command))

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """Plan the call. Its output is empty, and what is written to it is dropped."""
        done = self.execute(invocation)
        return _Planned(lambda _: done, invocation, stdin=stdin)

    def interact(self, invocation: Invocation) -> Completed:
        """Plan the call, and leave the terminal alone."""
        return self.execute(invocation)

    @contextmanager
    def provide_source(self, path: str) -> Iterator[str]:
        """The path itself, if there is such a file."""
        check_source(path)
        yield path

    @contextmanager
    def provide_target(self, path: str, part: str | None = None) -> Iterator[str]:
        """The name that the real engine would write to, if it could. What is written there is removed."""
        with part_of(path, part) as made:
            yield made

    def read_log(self, path: str, start: int) -> bytes:  # noqa: ARG002
        """Empty: nothing was logged."""
        return b""

    def here(self) -> values.Here:
        """The real runner's."""
        return self._around.here()

    def free_port(self) -> int:
        """The real runner's."""
        return self._around.free_port()

    def now(self) -> float:
        """The real runner's time, and what would have been waited."""
        return self._around.now() + self._waited

    def clock(self) -> float:
        """Likewise."""
        return self._around.clock() + self._waited

    def pause(self, seconds: float) -> None:
        """Let time go on, and do not wait."""
        self._waited += seconds

    def is_available(self) -> bool:
        """The real runner's."""
        return self._around.is_available()

    def look(self) -> list[values.Check]:
        """The real runner's."""
        return self._around.look()


class _Planned(Replayed):
    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Drop the data: an upload may be larger than this host's memory."""


def said(command: Command[Any]) -> bytes:  # noqa: PLR0911  (a table)
    """The shortest output from which a command reads an answer: there are no machines, files are empty, all is well."""
    match command:
        case Ls() | Verb(JSON="list"):
            return b"[]"
        case Status(name=name):
            return b'{"name":"%s"}' % name.encode()
        case Verb(JSON="object"):
            return b"{}"
        case DataDir():
            return b"/nonexistent\n"
        case Spawn():
            return b"0"
        case Version():
            return b"smolvm 0.7.2\n"
        case Script(script=script) if script == STAT:
            return b"81a4 0 0 0 0\n"  # a regular file, 0644
        case ScanDirs(paths=paths):
            return b"=0 \0" * len(paths)
        case Script(script=script) if script == SIZE:
            return b"0\n"
        case _:
            return b""

"""FakeRunner: a runner that answers from a script and records its calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from typing import Any, TypeVar

from attrs import define, evolve, field

from smolkit.commands.admin import Cli
from smolkit.commands.base import Command
from smolkit.commands.dialect import without_json
from smolkit.commands.versions import NEWEST
from smolkit.runners.attempts import InterruptedCall
from smolkit.runners.base import Runner
from smolkit.runners.blocking import breathe
from smolkit.runners.live import Live, Replayed
from smolkit.values.results import Completed, Invocation
from smolkit.values.shown import redact, shell_line
from smolkit.values.validate import data

T = TypeVar("T")

Pattern = Command[Any] | type[Command[Any]] | Sequence[str] | Callable[[Command[Any]], bool]


class UnexpectedCommandError(AssertionError):
    """The program under test ran a command that the fake has no answer for."""


class UnusedAnswerError(AssertionError):
    """The program under test did not run a command that the fake has an answer for."""


# Stdout, an exit status, an exception to raise, a whole Completed, or a function of the command that returns one of these.
Reply = str | bytes | int | BaseException | Completed | Callable[[Command[Any]], Any]


@define
class _Answer:
    pattern: Pattern
    replies: list[Reply]
    left: int | None = field(default=None)
    used: int = field(default=0)

    def matches(self, command: Command[Any], argv: tuple[str, ...]) -> bool:
        if self.left == 0:
            return False
        if isinstance(self.pattern, Command):
            return self.pattern == command
        if isinstance(self.pattern, type):
            return isinstance(command, self.pattern)
        if callable(self.pattern):
            return self.pattern(command)
        words = tuple(self.pattern)
        return argv[: len(words)] == words

    def take(self) -> Reply:
        """The next reply. The last one is repeated."""
        self.used += 1
        if self.left is not None:
            self.left -= 1
        return self.replies[min(self.used, len(self.replies)) - 1]

    @property
    def missing(self) -> int:
        """The number of uses that are still required."""
        return self.left if self.left is not None else max(0, 1 - self.used)


class FakeRunner(Runner):
    """A runner that answers from a script, and records its calls.

    An unpickled copy has its own script and records: calls that another process makes are not recorded here.

    Args:
        version: The engine version to speak as.

    Attributes:
        commands: The commands that were run, in order: `assert fake.commands == [Create("a"), Start("a")]`.
        invocations: The invocation of each: argv, stdin, host timeout.
        pauses: The seconds of each wait between attempts. No real time passes.
    """

    def __init__(self, version: str = NEWEST) -> None:
        super().__init__(version=version)
        self.commands: list[Command[Any]] = []
        self.invocations: list[Invocation] = []
        self.pauses: list[float] = []
        self._answers: list[_Answer] = []

    def watch(self) -> None:
        """No-op: its machines end with this process."""

    @property
    def argvs(self) -> list[tuple[str, ...]]:
        """The engine's arguments of each call, in order, without the `--error-format json` of newer engines."""
        return [without_json(invocation.argv) for invocation in self.invocations]

    def answer(
        self,
        pattern: Pattern,
        reply: Reply | Sequence[Reply] | None = None,
        *,
        stdout: bytes | str = b"",
        stderr: bytes | str = b"",
        returncode: int = 0,
        duration: float = 0.0,
        ended_by: str = "",
        error: BaseException | None = None,
        times: int | None = None,
    ) -> None:
        """Script the answer to matching commands. The first matching answer that is not used up is given.

        Args:
            pattern: A command (matches an equal one), a command class, the first words of an argv, or a predicate.
            reply: Short for the other arguments: str or bytes are stdout, an int is the exit status, an exception is
                raised, and a function of the command returns one of these. The items of a list are given in order, once
                each.
            stdout: The engine's stdout; for an exec that ran, the guest command's.
            stderr: The same for stderr.
            returncode: The same for the exit status.
            duration: The duration of the call in seconds.
            ended_by: "timeout" or "output limit", as if the runner had ended the call.
            error: An exception to raise instead, as if the runner had failed.
            times: How many times the answer may be given; None for no limit.
        """
        if isinstance(reply, Sequence) and not isinstance(reply, str | bytes):
            self._answers.append(_Answer(pattern, list(reply), len(reply) if times is None else times))
            return
        whole = Completed((), returncode, data("stdout", stdout) or b"", data("stderr", stderr) or b"", duration, ended_by)
        self._answers.append(_Answer(pattern, [error or (whole if reply is None else reply)], times))

    def assert_done(self) -> None:
        """Raise unless every answer was used: those with `times` or a list that many times, the others at least once.

        Raises:
            UnusedAnswerError: An answer was not used, or not often enough.
        """
        if missing := [f"  {answer.pattern!r}: {answer.missing} more" for answer in self._answers if answer.missing]:
            raise UnusedAnswerError("the program did not run these commands:\n" + "\n".join(missing))

    def execute(self, invocation: Invocation) -> Completed:
        """Give the scripted answer.

        Raises:
            UnexpectedCommandError: No answer matches.
        """
        completed = self._answer(invocation)
        try:
            breathe()  # a call takes a moment, in which a task may be cancelled
        except BaseException as interrupt:
            if not invocation.finish:
                raise
            raise InterruptedCall(completed, interrupt) from interrupt
        return completed

    def interact(self, invocation: Invocation) -> Completed:
        """Give the scripted answer, and write its stdout to this program's."""
        completed = self.execute(invocation)
        sys.stdout.write(completed.stdout.decode("utf-8", "replace"))
        return completed

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """Follow a scripted answer. It is given at the first read; the input written by then is its stdin."""
        return Replayed(self._answer, invocation, stdin=stdin)

    def _answer(self, invocation: Invocation) -> Completed:
        command = command_of(invocation)
        self.commands.append(command)
        self.invocations.append(invocation)
        answer = self._scripted(command, invocation)
        return self._answer_unscripted(command, invocation) if answer is None else self._give(answer, command, invocation)

    def _scripted(self, command: Command[Any], invocation: Invocation) -> _Answer | None:
        """The first answer that matches and is not used up."""
        argv = without_json(invocation.argv)
        return next((answer for answer in self._answers if answer.matches(command, argv)), None)

    def _answer_unscripted(self, command: Command[Any], invocation: Invocation) -> Completed:
        """Answer a command that no scripted answer matches."""
        argv = without_json(invocation.argv)
        raise UnexpectedCommandError(
            f"no answer for {command!r}\n  argv: smolvm {shell_line(redact(argv))}\n{self._nearest(command, argv)}"
        )

    def _nearest(self, command: Command[Any], argv: tuple[str, ...]) -> str:
        """The scripted answers, most similar first; marks those that are used up."""

        def likeness(answer: _Answer) -> float:
            words = answer.pattern if isinstance(answer.pattern, list | tuple) else ()
            other, own = (shell_line(words), shell_line(argv)) if words else (repr(answer.pattern), repr(command))
            return SequenceMatcher(None, other, own).ratio()

        lines = [
            f"    {answer.pattern!r}" + (" (used up)" if answer.left == 0 else "")
            for answer in sorted(self._answers, key=likeness, reverse=True)[:5]
        ]
        return "  answers, most similar first:\n" + "\n".join(lines or ["    none"])

    def _give(self, answer: _Answer, command: Command[Any], invocation: Invocation) -> Completed:
        reply = answer.take()
        while callable(reply) and not isinstance(reply, BaseException):
            reply = reply(command)
        if isinstance(reply, BaseException):
            raise reply
        if isinstance(reply, int):
            return Completed(invocation.argv, reply)
        if isinstance(reply, Completed):
            return evolve(reply, argv=invocation.argv)
        return Completed(invocation.argv, 0, data("a reply", reply) or b"")

    def clock(self) -> float:
        """The sum of all pauses so far, so that waits time out without taking real time."""
        return sum(self.pauses)

    def pause(self, seconds: float) -> None:
        """Record a wait, without waiting."""
        self.pauses.append(seconds)

    @contextmanager
    def provide_target(self, path: str, part: str | None = None) -> Iterator[str]:  # noqa: ARG002
        """The path itself, since no file is written."""
        yield path


def command_of(invocation: Invocation) -> Command[Any]:
    """The command of a call, or a Cli of its arguments for an Invocation that a test made by hand."""
    command: Command[Any] | None = invocation.command
    return command or Cli(None, without_json(invocation.argv))

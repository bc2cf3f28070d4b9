"""`machine run` and `pack run`: a machine for one command, gone at its end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from attrs import evolve, field, frozen

from smolkit.commands import option_tables, options, secret_args
from smolkit.commands.base import LONG, SHELL, GuestCommand
from smolkit.commands.converters import optional_input, optional_seconds
from smolkit.commands.exec import duration, interactive
from smolkit.commands.verb import Done, Verb
from smolkit.values.exec_result import ExecResult
from smolkit.values.hidden import hide_options
from smolkit.values.results import shown_size

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.commands.options import Option
    from smolkit.errors import SmolvmError
    from smolkit.values.results import Completed, Invocation


@frozen
class Run(Verb[tuple[str, ExecResult]], GuestCommand[tuple[str, ExecResult]]):
    """`machine run`: an ephemeral machine. The engine removes it at its own end, also at an early one (>= 1.8.0).

    The answer is the machine's name ("" if the engine did not say) and the result.

    Attributes:
        timeout: Seconds for the command; the machine's boot comes on top.
        input: For its standard input.
    """

    WORDS: ClassVar[str] = "machine run"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.RUN
    SECRETS: ClassVar[str] = secret_args.OWN
    BOOTS: ClassVar[bool] = True

    timeout: float | None = field(default=None, converter=optional_seconds, kw_only=True)
    input: bytes | None = field(default=None, converter=optional_input, kw_only=True, repr=shown_size)

    @classmethod
    def of(
        cls,
        name: str | None = None,
        given: Mapping[str, Any] | None = None,
        *,
        operands: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> Self:
        """As for any Verb, with `timeout` and `input` among the options."""
        rest = dict(hide_options(given or {}))
        timeout, data = rest.pop("timeout", None), rest.pop("input", None)
        return evolve(super().of(name, rest, operands=operands, command=command), timeout=timeout, input=data)

    @property
    def patience(self) -> float | None:
        return None if self.timeout is None else self.timeout + LONG

    @property
    def bound(self) -> float | None:
        bound = super().bound
        return None if bound is None else bound + LONG

    @property
    def guest(self) -> tuple[str, ...]:
        return self.command

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        more = [*self._mode(dialect)]
        if self.timeout is not None:
            more += ["--timeout", duration(self.timeout)]
        words = options.argv(self.WORDS, self.OPTIONS, self.chosen, dialect)
        tail = ("--", *self.command) if self.command else ()
        return dialect.argv(self.WORDS, *words, *self._variables(dialect), *more, *tail)

    def _mode(self, dialect: Dialect) -> tuple[str, ...]:
        return interactive(dialect, self.input)

    def invocation(self, dialect: Dialect) -> Invocation:
        # Older engines write what is not the guest's to stdout (0.7.2), or give all output at the end.
        goes_on = dialect.supports("--error-format")
        return evolve(super().invocation(dialect), stdin=self.input, goes_on=goes_on)

    def failure(self, completed: Completed) -> SmolvmError | None:
        found = super().failure(evolve(completed, stderr=self.machine(completed)[1]))
        if found is not None:
            found.completed = completed.redacted()  # with the line that names the machine
        return found

    def answer(self, completed: Completed) -> tuple[str, ExecResult]:
        name, stderr = self.machine(completed)
        return name, ExecResult(self.command, completed.returncode, completed.stdout, stderr, completed.duration)

    @staticmethod
    def machine(completed: Completed) -> tuple[str, bytes]:
        """The machine's name, by the first line, and what came after it: that may be the guest's.

        The first line is the engine's own where it boots the machine itself (>= 0.8.0). Of a pack, or an image with `init`
        or from a cache, it writes none (1.9.3), and the first line may be the guest's, too: the name is good to look at,
        and for nothing else.
        """
        found = re.match(rb"Starting ephemeral machine \((vm-[0-9a-f]+)\)\.\.\.\r?\n", completed.stderr)
        return (found[1].decode(), completed.stderr[found.end() :]) if found else ("", completed.stderr)


@frozen
class RunDetached(Done):
    """`machine run --detach`: a machine that is made, started and left, with a command for its workload."""

    WORDS: ClassVar[str] = "machine run"
    FIXED: ClassVar[tuple[str, ...]] = ("--detach",)
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.RUN
    SECRETS: ClassVar[str] = secret_args.MACHINES
    BOUND: ClassVar[float | None] = LONG
    BOOTS: ClassVar[bool] = True
    FINISH: ClassVar[bool] = True


@frozen
class RunTerminal(Run):
    """`machine run -i -t`: a command in the foreground of a terminal. The answer is the machine's name, and the status."""

    def _mode(self, dialect: Dialect) -> tuple[str, ...]:
        return ("-i", "-t")

    @property
    def guest(self) -> tuple[str, ...]:
        return self.command or SHELL  # or the image's own: its status is no failure either


@frozen
class PackRun(Run):
    """`pack run`: the same from a pack file."""

    WORDS: ClassVar[str] = "pack run"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.PACK_RUN
    SECRETS: ClassVar[str] = ""

    @staticmethod
    def machine(completed: Completed) -> tuple[str, bytes]:
        """It has no name, and is in no record."""
        return "", completed.stderr

"""`machine run` and `pack run`: a machine for one command, which the engine removes afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from attrs import evolve, field, frozen

from smolkit import values
from smolkit.commands import option_tables, secret_args
from smolkit.commands.base import LONG, SHELL, GuestCommand
from smolkit.commands.converters import optional_input, optional_seconds
from smolkit.commands.create import MachineSpec
from smolkit.commands.dialect import Dialect
from smolkit.commands.exec import duration, interactive
from smolkit.commands.options import Option
from smolkit.commands.verb import SilentVerb, Verb
from smolkit.errors import SmolvmError
from smolkit.values.hidden import hide_options
from smolkit.values.results import shown_size


@frozen
class Run(Verb[tuple[str, values.ExecResult]], GuestCommand[tuple[str, values.ExecResult]]):
    """`machine run`: runs a command in an ephemeral machine.

    The engine removes the machine when it exits, even if it is ended early (>= 1.8.0). The answer is the machine's name (""
    if the engine did not print it) and the command's result.

    Attributes:
        timeout: Seconds for the command; the boot of the machine is not counted. None for no limit.
        input: Bytes for the command's stdin, which is otherwise /dev/null.
    """

    VERB: ClassVar[str] = "machine run"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.RUN
    SECRETS: ClassVar[str] = secret_args.OWN
    ALSO: ClassVar[tuple[str, ...]] = ("env", "secrets", "timeout", "input")
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
        command: Sequence[str | os.PathLike[str]] = (),
    ) -> Self:
        """As `Verb.of`, with `timeout` and `input` among the options."""
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

    def _further(self, dialect: Dialect) -> Iterator[str]:
        yield from super()._further(dialect)
        yield from self._mode(dialect)
        if self.timeout is not None:
            yield from ("--timeout", duration(self.timeout))

    def _mode(self, dialect: Dialect) -> tuple[str, ...]:
        return interactive(dialect, self.input)

    def invocation(self, dialect: Dialect) -> values.Invocation:
        # Older engines write lines of their own to stdout (0.7.2), or all output at the end: its first byte tells nothing.
        goes_on = dialect.supports("--error-format")
        return evolve(super().invocation(dialect), stdin=self.input, goes_on=goes_on)

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        # Without the engine's own first line: some rules of `verdict` look at how stderr begins.
        found = super().failure(evolve(completed, stderr=self.machine(completed)[1]))
        if found is not None:
            found.completed = completed.redacted()  # the whole stderr, with the engine's own first line
        return found

    def answer(self, completed: values.Completed) -> tuple[str, values.ExecResult]:
        name, stderr = self.machine(completed)
        return name, values.ExecResult(self.command, completed.returncode, completed.stdout, stderr, completed.duration)

    @staticmethod
    def machine(completed: values.Completed) -> tuple[str, bytes]:
        """The machine's name from the first line of stderr, and the rest of stderr, which may be the guest's.

        The engine writes that line where it boots the machine itself (>= 0.8.0), but not for a pack, or for an image with
        `init` or from a cache (1.9.3). There the first line may be the guest's: show the name to people, and use it for
        nothing else.
        """
        found = re.match(rb"Starting ephemeral machine \((vm-[0-9a-f]+)\)\.\.\.\r?\n", completed.stderr)
        return (found[1].decode(), completed.stderr[found.end() :]) if found else ("", completed.stderr)


@frozen
class RunDetached(SilentVerb):
    """`machine run --detach`: creates and starts a machine, with a command as its workload, and leaves it running."""

    VERB: ClassVar[str] = "machine run"
    FIXED: ClassVar[tuple[str, ...]] = ("--detach",)
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.RUN
    SECRETS: ClassVar[str] = secret_args.MACHINES
    BOUND: ClassVar[float | None] = LONG
    BOOTS: ClassVar[bool] = True
    FINISH: ClassVar[bool] = True

    @property
    def spec(self) -> MachineSpec:
        """The machine that it makes."""
        return MachineSpec(tuple(row for row in self.chosen if row[0] in option_tables.CREATE), secrets=self.secrets)


@frozen
class RunTerminal(Run):
    """`machine run -i -t`: runs a command in the foreground of a terminal. Its output is not part of the answer."""

    def _mode(self, dialect: Dialect) -> tuple[str, ...]:
        return ("-i", "-t")

    @property
    def guest(self) -> tuple[str, ...]:
        return self.command or SHELL  # or the image's own command, whose status is no failure either


@frozen
class PackRun(Run):
    """`pack run`: runs a command in an ephemeral machine from a pack file."""

    VERB: ClassVar[str] = "pack run"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.PACK_RUN
    SECRETS: ClassVar[str] = ""

    @staticmethod
    def machine(completed: values.Completed) -> tuple[str, bytes]:
        """No name: the engine keeps no record of the machine. All of stderr may be the guest's."""
        return "", completed.stderr

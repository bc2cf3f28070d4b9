"""`machine exec --detach`, `machine exec --tty` and `machine shell`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from smolkit.commands.base import Command
from smolkit.commands.exec import Exec
from smolkit.commands.failures import verdict
from smolkit.commands.names import machine_name
from smolkit.errors import UnknownEngineError
from smolkit.values.results import Invocation

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.errors import SmolvmError
    from smolkit.values.results import Completed

_SHELL = ("/bin/sh",)  # what `machine shell` runs


@frozen
class Spawn(Exec):
    """`machine exec --detach`: starts a command and leaves it. The answer is its number in the VM.

    In an image machine that is the number outside of its container (1.32.2): of no use to a command inside.
    """

    def _mode(self, dialect: Dialect) -> tuple[str, ...]:
        dialect.require("machine exec --detach")
        return ("-d",)

    def answer(self, completed: Completed) -> int:  # type: ignore[override]
        return int(completed.stdout)

    def read(self, completed: Completed) -> int:  # type: ignore[override]
        """The number.

        Raises:
            SmolvmError: it was not started.
        """
        if failure := verdict(completed):
            raise failure
        found = completed.stdout.split()
        if not found or not re.fullmatch(rb"[0-9]{1,10}", found[-1]):
            raise UnknownEngineError("the engine gave no number of the process that it started", completed)
        return self.answer(evolve(completed, stdout=found[-1]))


@frozen
class Terminal(Exec):
    """`machine exec -i -t`: a command in the foreground of a terminal. The answer is its exit status.

    Its stdout and stderr are one there, the terminal: what comes on the engine's stderr is the engine's.
    """

    def _mode(self, dialect: Dialect) -> tuple[str, ...]:
        return ("-i", "-t")

    def answer(self, completed: Completed) -> int:  # type: ignore[override]
        return completed.returncode


@frozen
class Shell(Command[int]):
    """`machine shell`: the guest's shell, with a terminal. The answer is its exit status."""

    name: str = field(converter=machine_name)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words("machine", "shell", *dialect.name("shell", self.name))

    def invocation(self, dialect: Dialect) -> Invocation:
        return Invocation(self.argv(dialect))

    def failure(self, completed: Completed) -> SmolvmError | None:
        """What went wrong with the engine, if it did; whatever the shell's exit status."""
        return verdict(completed, _SHELL)

    def read(self, completed: Completed) -> int:
        """The shell's exit status.

        Raises:
            SmolvmError: it was the engine that failed.
        """
        if failure := self.failure(completed):
            raise failure
        return self.answer(completed)

    def answer(self, completed: Completed) -> int:
        return completed.returncode

"""`machine exec --detach` and `machine shell`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from smolkit import checks
from smolkit.commands.base import Silent
from smolkit.commands.execute import Exec
from smolkit.errors import UnknownEngineError
from smolkit.verdict import verdict

if TYPE_CHECKING:
    from smolkit.dialect import Dialect
    from smolkit.values import Completed


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

    def nothing(self) -> bytes:
        return b"0"

    def read(self, completed: Completed) -> int:  # type: ignore[override]
        """The number.

        Raises:
            SmolvmError: it was not started.
        """
        if failure := verdict(completed):
            raise failure
        found = completed.stdout.split()
        if not found or not found[-1].isdigit():
            raise UnknownEngineError("the engine gave no number of the process that it started", completed)
        return self.answer(evolve(completed, stdout=found[-1]))


@frozen
class Shell(Silent):
    """`machine shell`: the guest's shell, with a terminal."""

    name: str = field(converter=checks.name)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return ("machine", "shell", *dialect.name("shell", self.name))

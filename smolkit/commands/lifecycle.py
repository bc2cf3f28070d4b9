"""The life of a machine: `machine start`, `stop`, `delete`, and what tells of it: `data-dir`, `status`, `ls`."""

from __future__ import annotations

from typing import ClassVar

from attrs import evolve, field, frozen

from smolkit import values
from smolkit.commands import option_tables, options
from smolkit.commands.base import LONG, QUICK, Command, Silent
from smolkit.commands.converters import machine_name, optional_seconds
from smolkit.commands.dialect import Dialect
from smolkit.commands.option_values import LONGEST_STOP
from smolkit.commands.parse import json_of, list_of, machine_info
from smolkit.commands.secret_args import Secrets, carried
from smolkit.errors import UnknownEngineError
from smolkit.values import validate
from smolkit.values.results import MachineInfo


def _whole_seconds(value: int | None) -> int | None:
    return None if value is None else validate.integer("timeout", value, 0, LONGEST_STOP)


@frozen
class Start(Silent):
    """`machine start`: returns when the machine's agent answers, so that an exec would succeed. Idempotent.

    Attributes:
        name: The machine.
        timeout: Seconds after which the host ends the call. The engine has a limit of its own: 30 s without progress.
        chosen: StartOptions, as `options.choose` returns them.
        machine_secrets: The machine's secrets, which the engine resolves at each start.
    """

    BOOTS: ClassVar[bool] = True
    FINISH: ClassVar[bool] = True

    name: str = field(converter=machine_name)
    timeout: float | None = field(default=LONG, converter=optional_seconds)
    chosen: options.Chosen = field(default=(), kw_only=True, repr=False)
    machine_secrets: Secrets = field(default=(), kw_only=True, eq=False, repr=False)

    @property
    def bound(self) -> float | None:
        return self.timeout

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        flags = options.argv("machine start", option_tables.START, self.chosen, dialect)
        return dialect.argv("machine start", *flags, *dialect.name("start", self.name))

    def invocation(self, dialect: Dialect) -> values.Invocation:
        return evolve(super().invocation(dialect), env=carried(self.machine_secrets))


@frozen
class Stop(Silent):
    """`machine stop`. Idempotent. A missing machine is an error (engine >= 0.8.1).

    Attributes:
        name: The machine.
        timeout: Whole seconds, 0 to 300, that the workload gets to exit; then it is killed. None for the engine's default.
    """

    FINISH: ClassVar[bool] = True

    name: str = field(converter=machine_name)
    timeout: int | None = field(default=None, converter=_whole_seconds)

    @property
    def bound(self) -> float | None:
        return QUICK + (self.timeout or 0)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        flags: tuple[str, ...] = ()
        if self.timeout is not None:
            flags = ("--timeout", str(self.timeout))
        return dialect.argv("machine stop", *flags, *dialect.name("stop", self.name))


@frozen
class Delete(Silent):
    """`machine delete -f`. Without `-f` the engine asks, and at end of file it exits 0 without deleting (< 1.17).

    Attributes:
        name: The machine.
        cascade: True to delete the machines that were branched from it, too.
    """

    FINISH: ClassVar[bool] = True

    name: str = field(converter=machine_name)
    cascade: bool = False

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        flags = ("-f", "--cascade") if self.cascade else ("-f",)
        return dialect.argv("machine delete", *flags, *dialect.name("delete", self.name))


@frozen
class DataDir(Command[str]):
    """`machine data-dir`: the directory on the engine's host that holds the machine's disks and logs."""

    name: str = field(converter=machine_name)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.argv("machine data-dir", *dialect.name("data-dir", self.name))

    def answer(self, completed: values.Completed) -> str:
        found = completed.stdout.decode("utf-8", "surrogateescape").rstrip("\r\n").rpartition("\n")[2]
        if not found.startswith("/") or "\0" in found:
            raise UnknownEngineError("the engine named no data directory", completed)
        return found


@frozen
class Status(Command[MachineInfo]):
    """`machine status --json`: one machine's record (engine >= 0.8.0; without side effects from 1.15.0 on)."""

    FINISH: ClassVar[bool] = True  # a teardown may hang on it
    PROVES: ClassVar[bool] = True

    name: str = field(converter=machine_name)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.argv("machine status", *dialect.name("status", self.name), "--json")

    def answer(self, completed: values.Completed) -> MachineInfo:
        return machine_info(json_of(completed, "{"), completed)


@frozen
class Ls(Command[tuple[MachineInfo, ...]]):
    """`machine ls --json`: the records of all machines of the host, sorted by name (the engine's order is random).

    The engine asks the agent of each running machine, so the call takes as long as the slowest of them, up to 3 s each.
    """

    FINISH: ClassVar[bool] = True
    PROVES: ClassVar[bool] = True

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.argv("machine ls", "--json")

    def answer(self, completed: values.Completed) -> tuple[MachineInfo, ...]:
        return tuple(sorted((machine_info(item, completed) for item in list_of(completed)), key=lambda info: info.name))

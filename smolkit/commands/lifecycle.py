"""The verbs of `smolvm machine` that need no file of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen

from smolkit.commands import option_tables, options
from smolkit.commands.base import LONG, QUICK, Command, Silent
from smolkit.commands.names import machine_name
from smolkit.commands.records import json_of, list_of, machine_info
from smolkit.commands.secret_args import carried
from smolkit.errors import GuestFileError, UnknownEngineError
from smolkit.values import validate
from smolkit.values.results import Invocation, MachineInfo

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.commands.secret_args import Secrets
    from smolkit.values.results import Completed


_LAST_ID = 2**32 - 2  # one more says "no change" to chown


def _timeout(value: float | None) -> float | None:
    return None if value is None else validate.seconds("timeout", value)


def _whole_seconds(value: int | None) -> int | None:
    return None if value is None else validate.integer("timeout", value, 0, 300)


def _side(value: str) -> str:
    return validate.text("a side of cp", value)


def _mode(value: int | None) -> str | None:
    return None if value is None else validate.octal("mode", value)


def _uid(value: int | None) -> int | None:
    return None if value is None else validate.integer("uid", value, 0, _LAST_ID)


def _gid(value: int | None) -> int | None:
    return None if value is None else validate.integer("gid", value, 0, _LAST_ID)


@frozen
class Start(Silent):
    """`machine start`: returns when the machine's agent answers, that is, when an exec would. Idempotent.

    Attributes:
        name: The machine.
        timeout: Seconds until the host gives up; the engine has its own bound (30 s without progress) besides.
        chosen: StartOptions, as `options.choose` gives them.
    """

    BOOTS: ClassVar[bool] = True
    FINISH: ClassVar[bool] = True

    name: str = field(converter=machine_name)
    timeout: float | None = field(default=LONG, converter=_timeout)
    chosen: options.Chosen = field(default=(), kw_only=True, repr=False)
    machine_secrets: Secrets = field(default=(), kw_only=True, eq=False, repr=False)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        words = options.argv("machine start", option_tables.START, self.chosen, dialect)
        return dialect.words("machine", "start", *words, *dialect.name("start", self.name))

    def invocation(self, dialect: Dialect) -> Invocation:
        return Invocation(self.argv(dialect), carried(self.machine_secrets), timeout=self.timeout, finish=self.FINISH)


@frozen
class Stop(Silent):
    """`machine stop`. Idempotent; a missing machine is an error (from 0.8.1 on).

    Attributes:
        name: The machine.
        timeout: Whole seconds for its workload to end by itself, up to 300; 0 kills it at once.
    """

    FINISH: ClassVar[bool] = True

    name: str = field(converter=machine_name)
    timeout: int | None = field(default=None, converter=_whole_seconds)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        words: tuple[str, ...] = ()
        if self.timeout is not None:
            dialect.require("machine stop --timeout")
            words = ("--timeout", str(self.timeout))
        return dialect.words("machine", "stop", *words, *dialect.name("stop", self.name))

    def invocation(self, dialect: Dialect) -> Invocation:
        return Invocation(self.argv(dialect), timeout=QUICK + (self.timeout or 0), finish=self.FINISH)


@frozen
class Delete(Silent):
    """`machine delete -f`: without `-f` it asks, and on end of input exits 0 with the machine still there (< 1.17).

    Attributes:
        name: The machine.
        cascade: Whether the machines that were branched from it go too.
    """

    FINISH: ClassVar[bool] = True

    name: str = field(converter=machine_name)
    cascade: bool = False

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        if self.cascade:
            dialect.require("machine delete --cascade")
        words = ("-f", "--cascade") if self.cascade else ("-f",)
        return dialect.words("machine", "delete", *words, *dialect.name("delete", self.name))


@frozen
class Cp(Silent):
    """`machine cp`: one regular file, one side written `NAME:/path`. The engine splits at the first colon it sees.

    Attributes:
        source, target: As the engine writes them.
        mode: Of the file in the guest, for uploads, written octal; 0644 by default.
        uid, gid: Its owner there; root by default.
    """

    BOUND: ClassVar[float | None] = None

    source: str = field(converter=_side)
    target: str = field(converter=_side)
    mode: str | None = field(default=None, converter=_mode, kw_only=True)
    uid: int | None = field(default=None, converter=_uid, kw_only=True)
    gid: int | None = field(default=None, converter=_gid, kw_only=True)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        words: list[str] = []
        for flag, value in (("--mode", self.mode), ("--uid", self.uid), ("--gid", self.gid)):
            if value is not None:
                dialect.require(f"machine cp {flag}")
                words += (flag, str(value))
        sides = (f"./{side}" if side.startswith("-") else side for side in (self.source, self.target))
        return dialect.words("machine", "cp", *words, *sides)

    def read(self, completed: Completed) -> None:
        """Nothing.

        Raises:
            SmolvmError: as for any command; one about the guest's file has its path.
        """
        try:
            super().read(completed)
        except GuestFileError as error:
            guests = self.source if ":" in self.source else self.target
            raise type(error)(error.message, completed, guests.partition(":")[2]) from None


@frozen
class DataDir(Command[str]):
    """`machine data-dir`: the folder on the engine's host with the machine's disks and logs."""

    name: str = field(converter=machine_name)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words("machine", "data-dir", *dialect.name("data-dir", self.name))

    def answer(self, completed: Completed) -> str:
        found = completed.stdout.decode("utf-8", "surrogateescape").rstrip("\r\n").rpartition("\n")[2]
        if not found.startswith("/") or "\0" in found:
            raise UnknownEngineError("the engine named no data directory", completed)
        return found


@frozen
class Status(Command[MachineInfo]):
    """`machine status --json` (engine >= 0.8.0; free of side effects from 1.15.0 on)."""

    FINISH: ClassVar[bool] = True  # a teardown may hang on it
    PROVES: ClassVar[bool] = True

    name: str = field(converter=machine_name)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words("machine", "status", *dialect.name("status", self.name), "--json")

    def answer(self, completed: Completed) -> MachineInfo:
        return machine_info(json_of(completed, "{"), completed)


@frozen
class Ls(Command[tuple[MachineInfo, ...]]):
    """`machine ls --json`: every machine of the host, sorted by name (the engine's order changes from run to run).

    The engine asks each running machine's agent: the call takes as long as the slowest one, up to 3 s each.
    """

    FINISH: ClassVar[bool] = True
    PROVES: ClassVar[bool] = True

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words("machine", "ls", "--json")

    def answer(self, completed: Completed) -> tuple[MachineInfo, ...]:
        return tuple(sorted((machine_info(item, completed) for item in list_of(completed)), key=lambda info: info.name))

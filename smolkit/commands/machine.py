"""The verbs of `smolvm machine` that need no file of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen

from smolkit import checks
from smolkit.commands.base import LONG, Command, Silent
from smolkit.errors import UnknownEngineError
from smolkit.values import Invocation, MachineInfo

if TYPE_CHECKING:
    from smolkit.dialect import Dialect
    from smolkit.values import Completed


def _timeout(value: float | None) -> float | None:
    return None if value is None else checks.seconds("timeout", value)


@frozen
class Start(Silent):
    """`machine start`: returns when the machine's agent answers, that is, when an exec would. Idempotent.

    Attributes:
        name: The machine.
        timeout: Seconds until the host gives up; the engine has its own bound (30 s without progress) besides.
    """

    BOOTS: ClassVar[bool] = True
    FINISH: ClassVar[bool] = True

    name: str = field(converter=checks.name)
    timeout: float | None = field(default=LONG, converter=_timeout)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words("machine", "start", *dialect.name("start", self.name))

    def invocation(self, dialect: Dialect) -> Invocation:
        return Invocation(self.argv(dialect), timeout=self.timeout, finish=self.FINISH)


@frozen
class Stop(Silent):
    """`machine stop`. Idempotent; a missing machine is an error (from 0.8.1 on)."""

    FINISH: ClassVar[bool] = True

    name: str = field(converter=checks.name)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words("machine", "stop", *dialect.name("stop", self.name))


@frozen
class Delete(Silent):
    """`machine delete -f`: without `-f` it asks, and on end of input exits 0 with the machine still there (< 1.17).

    Attributes:
        name: The machine.
        cascade: Whether the machines that were branched from it go too.
    """

    FINISH: ClassVar[bool] = True

    name: str = field(converter=checks.name)
    cascade: bool = False

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        if self.cascade:
            dialect.require("machine delete --cascade")
        words = ("-f", "--cascade") if self.cascade else ("-f",)
        return dialect.words("machine", "delete", *words, *dialect.name("delete", self.name))


@frozen
class Cp(Silent):
    """`machine cp`: one regular file, one side written `NAME:/path`. The engine splits at the first colon it sees."""

    BOUND: ClassVar[float | None] = None

    source: str
    target: str

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        sides = (f"./{side}" if side.startswith("-") else side for side in (self.source, self.target))
        return dialect.words("machine", "cp", *sides)


@frozen
class DataDir(Command[str]):
    """`machine data-dir`: the folder on the engine's host with the machine's disks and logs."""

    name: str = field(converter=checks.name)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words("machine", "data-dir", *dialect.name("data-dir", self.name))

    def answer(self, completed: Completed) -> str:
        lines = completed.stdout.decode("utf-8", "surrogateescape").splitlines()
        if not lines:
            raise UnknownEngineError("the engine named no data directory", completed)
        return lines[-1]


@frozen
class Status(Command[MachineInfo]):
    """`machine status --json` (engine >= 0.8.0; free of side effects from 1.15.0 on)."""

    FINISH: ClassVar[bool] = True  # a teardown may hang on it

    name: str = field(converter=checks.name)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words("machine", "status", *dialect.name("status", self.name), "--json")

    def answer(self, completed: Completed) -> MachineInfo:
        return _info(_json(completed, "{"), completed)


@frozen
class Ls(Command[tuple[MachineInfo, ...]]):
    """`machine ls --json`: every machine of the host, sorted by name (the engine's order changes from run to run).

    The engine asks each running machine's agent: the call takes as long as the slowest one, up to 3 s each.
    """

    FINISH: ClassVar[bool] = True

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words("machine", "ls", "--json")

    def answer(self, completed: Completed) -> tuple[MachineInfo, ...]:
        found = _json(completed, "[")
        if not isinstance(found, list):
            raise UnknownEngineError("the engine's list of machines is no list", completed)
        return tuple(sorted((_info(item, completed) for item in found), key=lambda info: info.name))


def _json(completed: Completed, opening: str) -> Any:
    import json  # late: exec does not need it

    text = completed.stdout.decode("utf-8", "replace")
    # Up to 0.7.2 log lines stood on stdout too: the answer begins at the first line that opens it.
    start = 0 if text.startswith(opening) else text.find(f"\n{opening}") + 1
    try:
        return json.loads(text[start:])
    except (ValueError, RecursionError) as error:
        raise UnknownEngineError(f"the engine's answer is not JSON: {error}", completed) from None


def _info(item: Any, completed: Completed) -> MachineInfo:
    """One machine, leniently: nearly every version adds keys, and up to 0.7.2 created_at was a string."""
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise UnknownEngineError("the engine's record of a machine has no name", completed)
    created = item.get("created_at")
    return MachineInfo(
        name=item["name"],
        state=str(item.get("state", "")),
        cpus=_typed(item, "cpus", int),
        memory=_typed(item, "memory_mib", int),
        created_at=int(created) if isinstance(created, int) or (isinstance(created, str) and created.isdecimal()) else None,
        pid=_typed(item, "pid", int),
        image=_typed(item, "image", str),
        network=_typed(item, "network", bool),
        labels={str(key): str(value) for key, value in (_typed(item, "labels", dict) or {}).items()},
        parent=_typed(item, "parent_machine", str),
        allowed_cidrs=_tuple(item.get("allowed_cidrs")),
        allowed_hosts=_tuple(item.get("allowed_hosts")),
        raw=item,
    )


def _typed(item: dict[str, Any], key: str, kind: type) -> Any:
    value = item.get(key)
    return value if isinstance(value, kind) else None


def _tuple(value: object) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list) else None

"""Any answer of the engine, and of a guest through it, is a value or a SmolvmError, never another exception."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from smolkit import Completed, Invocation, Machine, Smolvm, errors
from smolkit.commands import DataDir
from smolkit.commands.failures import verdict
from smolkit.commands.observing import monitor_event
from smolkit.testing import FakeRunner

SEED, TRIES = 13, 1500  # per reader; by hand, 100,000 were tried

RECORD: dict[str, Any] = {
    "name": "m",
    "state": "running",
    "created_at": 1795344446,
    "labels": {"a": "b", "smolkit.machine": "m"},
    "cmd": ["sleep", "1"],
    "parent_machine": "g",
    "allowed_cidrs": ["10.0.0.0/8"],
    **dict.fromkeys(("cpus", "memory_mib", "storage_gb", "overlay_gb", "pid"), 64),
    **dict.fromkeys(("network", "ephemeral"), True),
    "allowed_hosts": ["localhost"],
    "published_ports": [{"host": 8080, "guest": 80}],
    "last_exit": {"cause": "exited", "exit_code": 1, "signal": None, "exited_at_unix_ms": 1795344446000},
}
STATS = {"cpu_percent": 1.5, "cpus": 2, "memory": {"total_bytes": 1, "used_bytes": 2, "free_bytes": 3}}
EVENT = {"timestamp": "2026-01-01T00:00:00Z", "operation": "connect", "dest": "1.2.3.4:5"}


def reader(read: Callable[[Smolvm], object]) -> Callable[[FakeRunner], object]:
    """A reader that calls this function with a client of the fake."""
    return lambda fake: read(Smolvm(runner=fake))


READERS: dict[str, tuple[Any, Callable[[FakeRunner], object]]] = {
    "ls": (
        [RECORD, {**RECORD, "name": "n"}],
        reader(lambda client: [repr(info) + str(hash(info)) for info in client.ls()]),
    ),
    "owned": ([RECORD], reader(lambda client: client.owned())),
    "reap": ([RECORD], reader(lambda client: client.reap(dry_run=True))),
    "status": (RECORD, reader(lambda client: repr(client.machine("m").status()))),
    "exists": (RECORD, reader(lambda client: client.machine("m").exists())),
    "url": (RECORD, reader(lambda client: client.machine("m", ports=[80]).url(80))),
    "stats": (STATS, reader(lambda client: repr(client.machine("m").stats()))),
    "mounts": ([{"source": "/a", "target": "/b"}], reader(lambda client: client.machine("m").mounts())),
    "images": ({"images": []}, reader(lambda client: client.machine("m").images())),
    "egress_events": ([EVENT], reader(lambda client: repr(client.machine("m").egress_events()))),
    "pack_list": ([{"path": "/x"}], reader(lambda client: client.pack_list())),
    "pack_inspect": ({"layers": []}, reader(lambda client: client.pack_inspect("x"))),
    "data_dir": ("/state/vms/1\n", reader(lambda client: client.machine("m").data_dir())),
    "console": ("/state/vms/1\n", reader(lambda client: client.machine("m").console())),
    "spawn": ("4711\n", reader(lambda client: client.machine("m").spawn(["true"]))),
    "stat": ("81a4 5 0 0 1795344446\n", reader(lambda client: client.machine("m").stat("/x"))),
    "policy": ([RECORD], reader(lambda client: client.machine("m", allow_cidrs=["10.0.0.0/8"]).create())),
}

_DEEP = json.loads("[" * 300 + "]" * 300)
NASTY: list[Any] = [
    *(None, True, False, 0, -1, 2**31, 2**63, 2**64, 10**400, -(10**400), 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "\ud800", "\0", "9" * 5000, "é", "1e999", [], [[]], [None], {}, {"": ""}, {"a": 1}, _DEEP, "x" * 100_000),
]
PIECES = [
    b"",
    b"\xff",
    b"\0",
    b"[",
    b"{",
    b'"',
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b"\\ud800",
    b"\n",
    b",",
    b"\xc3",
]


def mutated(random: Random, value: Any) -> Any:
    """The value with something in it replaced, dropped or added."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        return rest if random.random() < 0.1 else {**rest, key: mutated(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        return [*value[:place], mutated(random, value[place]), *value[place + random.randrange(2) :]]
    return random.choice(NASTY)


def mutated_answer(random: Random, model: Any) -> bytes:
    """A random mutation of an answer."""
    while random.random() < 0.6:
        model = mutated(random, model)
    data = model.encode("utf-8", "surrogatepass") if isinstance(model, str) else json.dumps(model).encode()
    while random.random() < 0.3:
        place = random.randrange(len(data) + 1)
        data = data[:place] + random.choice(PIECES) + data[place + random.choice([0, 1, 1, 100_000]) :]
    return data


@pytest.mark.parametrize("name", READERS)
def test_an_answer_is_a_value_or_a_typed_error(name: str) -> None:
    """JSON that is malformed, truncated, deeply nested, not UTF-8 or of wrong types is a value or a typed error."""
    random = Random(f"{SEED} {name}")  # noqa: S311  (no secret)
    model, read = READERS[name]
    for _ in range(TRIES):
        fake, data = FakeRunner(), mutated_answer(random, model)
        fake.answer([], stdout=data)
        with suppress(errors.SmolvmError):
            read(fake)


@pytest.mark.parametrize(
    ("stdout", "read"),
    [
        (b"\xff", lambda client: client.ls()),
        (b"", lambda client: client.ls()),
        (b"[NaN]", lambda client: client.pack_list()),
        (b"[1]", lambda client: client.machine("m").mounts()),
        (b'[{"name": "\xff"}]', lambda client: client.ls()),
        (b'{"name": ' + b"9" * 5000 + b"}", lambda client: client.machine("m").status()),
        (b"[" * 100_000, lambda client: client.ls()),
        (b'{"cpu_percent": -Infinity}', lambda client: client.machine("m").stats()),
        (b"\n", lambda client: client.machine("m").data_dir()),
        (b"relative\n", lambda client: client.machine("m").data_dir()),
        (b"/a\0b\n", lambda client: client.machine("m").console()),
        (b"9" * 5000, lambda client: client.machine("m").spawn(["true"])),
    ],
)
def test_a_malformed_answer_is_an_error(
    client: Smolvm, fake: FakeRunner, stdout: bytes, read: Callable[[Smolvm], object]
) -> None:
    """An answer without meaning is not mistaken for another one."""
    fake.answer([], stdout=stdout)
    with pytest.raises(errors.UnknownEngineError) as caught:
        read(client)
    assert stdout == caught.value.completed.stdout if caught.value.completed else None


def test_huge_numbers_are_none(client: Smolvm, fake: FakeRunner) -> None:
    """Numbers too large to use are None, and the raw record keeps them."""
    last = {"exited_at_unix_ms": 10**400}
    fake.answer(["machine", "status"], json.dumps({"name": "m", "cpus": 10**400, "last_exit": last}))
    fake.answer(["machine", "stats"], json.dumps({"cpu_percent": 10**400}))
    info = client.machine("m").status()

    assert info.last_exit is not None
    assert (None, None) == (info.cpus, info.last_exit.exited_at)
    assert (10**400, 10**400) == (info.raw["cpus"], info.last_exit.raw["exited_at_unix_ms"])
    assert client.machine("m").stats().cpu_percent is None


@pytest.mark.parametrize(
    "line",
    [
        b'{"error":{},"error":5}',
        b'{"error":{},"error":[["code"],["message"]]}',
        b'{"error":{},"error":null}',
        b'{"error":{"code":"X","message":7}}',
        b'{"error":{"code":[],"message":"x"}}',
        b'{"error":{' + b'"a":{' * 50_000,
        b'{"error":{"code":"X","message":"\\ud800"}}',
        b'{"error":{"code":"X","message":"' + b"9" * 70_000 + b'"}}',
        b'{"error":{"code":"X","message":' + b"9" * 5000 + b"}}",
    ],
    ids=range(9),
)
def test_a_forged_error_line(line: bytes) -> None:
    """A line that a guest forges is its result, or the failure that it imitates."""
    argv = ("--error-format", "json", "machine", "exec", "--name", "m", "-i", "--", "prog")
    found = verdict(Completed(argv, 1, stderr=line), ("prog",))
    assert found is None or isinstance(found, errors.UnknownEngineError)
    assert isinstance(verdict(Completed(("machine", "ls"), 1, stderr=line)), errors.SmolvmError)


@pytest.mark.parametrize("number", ["9" * 5000, "-", "\u0663", "1" * 10])
def test_a_monitor_line_without_a_number(number: str) -> None:
    """A health command's message is kept when its monitor event has no number."""
    assert monitor_event(f"  health check failed (exit {number}, 1/3): x").kind in {"other", "check failed"}
    assert "other" == monitor_event(f"  restarting (attempt {number},").kind


class Versioned(FakeRunner):
    """An engine that answers `--version` with this text."""

    def __init__(self, version: bytes) -> None:
        super().__init__()
        self._smolkit.version, self._said = None, version

    def execute(self, invocation: Invocation) -> Completed:
        """Answer with the version."""
        return Completed(invocation.argv, 0, self._said)


@pytest.mark.parametrize(
    "said", [b"smolvm 1." + b"9" * 5000 + b".0\n", b"\xff", b"", b"smolvm 1.2\n", "smolvm \u0661.\u0662.\u0663\n".encode()]
)
def test_an_invalid_version(said: bytes) -> None:
    """A program whose version cannot be parsed is refused as a foreign one."""
    with pytest.raises(errors.ForeignProgramError):
        Smolvm(runner=Versioned(said)).engine  # noqa: B018


def test_a_data_directory_of_any_name(client: Smolvm, fake: FakeRunner) -> None:
    """A data directory's name may contain characters that str.splitlines takes for line ends."""
    fake.answer(DataDir, "WARN something\n/state/a\u2028b/vms/1\n")
    assert "/state/a\u2028b/vms/1" == Machine(fake, "m").data_dir()

"""What a FakeSmolvm's verbs do to its machines, as the engine's do."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any

from attrs import evolve

from smolkit.commands.options import port_pairs
from smolkit.process import MARK
from smolkit.testing import guest, words
from smolkit.testing.guest import FakeMachine, GuestCall
from smolkit.testing.memory import Files

if TYPE_CHECKING:
    from smolkit.dialect import Dialect
    from smolkit.testing.shell import Pieces
    from smolkit.testing.words import Words
    from smolkit.values import Invocation

_TIMED_OUT, _CANNOT_START = 124, 255
_SHOWS_PORTS = (1, 32, 2)  # in status; seen there, and not looked for before


_EPOCH = 1_767_225_600.0  # when a fake's clock begins: 2026-01-01


class Clock:
    """A time of its own, which passes when it is told to.

    Attributes:
        seconds: How much has passed.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return _EPOCH + self.seconds

    def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        self.seconds += seconds


class Verbs:
    """The machines of a fake, and the verbs of `smolvm machine`: each is given a command line, and gives text or pieces."""

    def __init__(self, dialect: Dialect, clock: Clock) -> None:
        self.machines: dict[str, FakeMachine] = {}
        self.leaked: list[str] = []
        self.handlers: list[tuple[tuple[str, ...], Any]] = []
        self.lock = RLock()
        self._dialect, self._clock = dialect, clock
        self._numbers = iter(range(600, 10**9))

    def _find(self, said: Words) -> FakeMachine:
        name = said.one("--name") or said.operands[0]
        if name not in self.machines:
            raise words.missing(name)
        return self.machines[name]

    def _up(self, machine: FakeMachine) -> FakeMachine:
        if machine.state != "running":
            raise words.not_running(machine.name, self._dialect)
        return machine

    def create(self, said: Words) -> str:
        """It is there, and does not run."""
        name = said.one("--name") or said.operands[0]
        if name in self.machines:
            raise words.exists(name)
        record = words.record(name, said, self._dialect, int(self._clock.now))
        pairs = [pair for text in said.all("--port") for pair in port_pairs(text)]
        if pairs and self._dialect.version >= _SHOWS_PORTS:
            record["published_ports"] = [{"host": host, "guest": inside} for host, inside in pairs]
        self.machines[name] = FakeMachine(name, Files(), record, env=said.pairs("-e"))
        self.machines[name].secrets = said.pairs("--secret-env")
        return f"Created machine: {name}\n"

    def start(self, said: Words) -> str:
        """It runs, if it may."""
        machine = self._find(said)
        if said.fault in words.FAULTS:
            machine.console += b"the fake's machine did not boot: " + said.fault.encode() + b"\n"
            if said.fault == "boot timeout":
                self._clock.sleep(30)
                machine.half_booted = True
            raise words.fault(said.fault)
        if machine.state == "running":
            return f"Machine '{machine.name}' already running\n"
        machine.state, machine.branchable = "running", bool({"--branchable", "--forkable"} & said.options.keys())
        return f"Machine '{machine.name}' running\n"

    def stop(self, said: Words) -> str:
        """It does not run any more."""
        machine = self._find(said)
        machine.half_booted = False
        if machine.state != "running":
            return f"Machine '{machine.name}' is not running (state: {machine.state})\n"
        machine.state = "stopped"
        return f"Stopped machine: {machine.name}\n"

    def delete(self, said: Words) -> str:
        """It is gone."""
        machine = self._find(said)
        children = sorted(other.name for other in self.machines.values() if other.parent == machine.name)
        if "--cascade" in said.options:
            for child in children:
                self.delete(evolve(said, options={**said.options, "--name": [child]}))
        elif children and self._dialect.supports("delete -f refuses a branch source"):
            raise words.has_branches(machine.name, children)
        if machine.half_booted:
            self.leaked.append(machine.name)
        del self.machines[machine.name]
        return f"Cleaning up data directory for vm: {machine.name}\nDeleted machine: {machine.name}\n"

    def status(self, said: Words) -> str:
        """Its record, as JSON."""
        name = said.one("--name")
        if name not in self.machines:
            raise words.missing_record("machine status", name)
        return json.dumps(self.machines[name].shown()) + "\n"

    def ls(self, said: Words) -> str:  # noqa: ARG002
        """All records, as JSON."""
        shown = [machine.shown() for machine in self.machines.values()]
        return (
            json.dumps([{key: value for key, value in item.items() if key != "published_ports"} for item in shown]) + "\n"
        )

    def data_dir(self, said: Words) -> str:
        """Its folder, which is none of this host's."""
        return f"/fake/{self._find(said).name}\n"

    def stats(self, said: Words) -> str:
        """What it uses, as JSON."""
        machine = self._up(self._find(said))
        total = machine.record["memory_mib"] * words.MIB
        sizes = {"total": total, "used": total // 8, "free": total // 2, "available": total * 3 // 4, "cached": total // 4}
        memory = {**{f"{key}_bytes": size for key, size in sizes.items()}, "swap_total_bytes": 0, "swap_used_bytes": 0}
        told = {"name": machine.name, "cpu_percent": 0.0, "cpus": machine.record["cpus"], "memory": memory}
        return json.dumps(told) + "\n"

    def logs(self, said: Words) -> str:
        """What its workload wrote."""
        lines = self._find(said).log.decode("utf-8", "replace").splitlines(keepends=True)
        return "".join(lines[-int(said.one("--tail")) :] if "--tail" in said.options else lines)

    def update(self, said: Words) -> str:
        """Its record is changed."""
        name = said.one("--name") or said.operands[0]
        if name not in self.machines:
            raise words.missing_record("update", name)
        machine = self.machines[name]
        lists = {"--allow-cidr", "--allow-host", "--remove-allow-cidr", "--remove-allow-host", "--reset-allow-list"}
        if machine.state == "running" and said.options.keys() - lists - {"--name"}:
            raise words.must_be_stopped()
        words.update(machine.record, said)
        machine.env.update(said.pairs("-e"))
        for key in said.all("--remove-env"):
            machine.env.pop(key, None)
        return f"Updated machine '{name}'\n"

    def branch(self, said: Words) -> str:
        """Others go on from where it is."""
        source = said.one("--from") or said.one("--golden") or said.operands[0]
        modern = self._dialect.supports("machine branch")
        first = f"Preparing branch from '{source}'...\n" if modern else f"Freezing golden '{source}' as fork base...\n"
        if source not in self.machines:
            refusal = words.missing(source)
            raise words.Refusal(refusal.code, refusal.message, first)
        parent = self.machines[source]
        if parent.state != "running" or not parent.branchable:
            raise words.not_branchable(source, running=parent.state == "running", said=first)
        prefix = said.one("--name-prefix")
        single = said.one("--name") or (said.operands[1] if len(said.operands) > 1 else "")
        names = [f"{prefix}-{number}" for number in range(int(said.one("--count", "1")))] if prefix else [single]
        if taken := [name for name in names if name in self.machines]:
            raise words.exists(taken[0])
        if said.fault in words.FAULTS:
            raise words.fault(said.fault)
        for name in names:
            labels = {**parent.labels, **said.pairs("--label")}
            record = {**parent.record, "name": name, "labels": labels, "created_at": int(self._clock.now)}
            if "parent_machine" in record:
                record["parent_machine"] = source
            self.machines[name] = evolve(
                parent,
                name=name,
                files=parent.files.copy(),
                record=record,
                env={**parent.env, **said.pairs("-e")},
                branchable="--branchable" in said.options,
                calls=[],
                spawned={},
            )
        return f"Branched {len(names)}\n"

    def cp(self, said: Words) -> str:
        """A file goes in or comes out."""
        source, target = said.operands
        for name, _, path in (source.partition(":"), target.partition(":")):
            if path and "/" not in name:
                if name not in self.machines:
                    raise words.missing(name)
                machine = self._up(self.machines[name])
                return (
                    self._copy_in(machine, said, source, path)
                    if path == target.partition(":")[2]
                    else self._copy_out(machine, path, target)
                )
        raise words.Refusal("CONFIG_ERROR", "config operation failed: cp: no side is NAME:/path")

    def _copy_in(self, machine: FakeMachine, said: Words, source: str, path: str) -> str:
        with open(source, "rb") as file:
            data = file.read()
        if not machine.files.is_dir(folder := path.rpartition("/")[0] or "/"):
            machine.files.mkdir(folder, parents=True)
        numbers = {"uid": int(said.one("--uid", "0")), "gid": int(said.one("--gid", "0"))}
        machine.files.write(path, data, mode=int(said.one("--mode", "644"), 8), **numbers)
        return ""

    def _copy_out(self, machine: FakeMachine, path: str, target: str) -> str:
        try:
            data = machine.files.read(path)
        except OSError as error:
            message = f"agent operation failed: read file: {error.strerror} (os error {error.errno})"
            raise words.Refusal("SMOLVM_ERROR", message) from None
        with open(target, "wb") as file:
            file.write(data)
        return ""

    def run(self, said: Words, invocation: Invocation) -> Pieces:
        """A machine for one command."""
        name = f"vm-{next(self._numbers):08x}"
        yield "stderr", f"Starting ephemeral machine ({name})...\n".encode()
        if said.fault in words.FAULTS and said.fault not in {"dies", "output cap"}:
            raise words.fault(said.fault)
        record = words.record(name, said, self._dialect, int(self._clock.now))
        machine = FakeMachine(name, Files(), record, "running", env=said.pairs("-e"))
        return (yield from self._call(machine, evolve(said, options={**said.options, "-e": []}), invocation))

    def exec(self, said: Words, invocation: Invocation) -> Pieces:
        """A command in it."""
        with self.lock:
            machine = self._up(self._find(said))
        return (yield from self._call(machine, said, invocation))

    def _call(self, machine: FakeMachine, said: Words, invocation: Invocation) -> Pieces:
        given = {key: value.reveal() for key, value in invocation.env}
        secrets = {**machine.secrets, **said.pairs("--secret-env")}
        env = {**machine.env, **{key: given.get(name, "") for key, name in secrets.items()}, **said.pairs("-e")}
        call = GuestCall(
            machine,
            said.command,
            env,
            said.one("-w") or said.one("--workdir") or "/",
            said.one("--user") or None,
            invocation.stdin or b"",
            self._clock.now,
            self._clock.sleep,
        )
        machine.calls.append(call)
        interactive, started = "-i" in said.options, self._clock.seconds
        if said.fault == "output cap":
            raise words.fault(said.fault)
        try:
            pieces = guest.run(call, self.handlers)
            if "-d" in said.options:
                return (yield from self._detach(machine, call, pieces))
            return (yield from self._bounded(machine, said, pieces, started))
        except (FileNotFoundError, PermissionError) as error:
            if machine.image is None:
                raise words.cannot_start(error, interactive=interactive) from None
            yield "stderr", words.crun_cannot_start(error, call.args[0]).encode()
            return _CANNOT_START

    def _bounded(self, machine: FakeMachine, said: Words, pieces: Pieces, started: float) -> Pieces:
        """The command's output, as long as the engine's bounds and its VM let it come."""
        timeout = _seconds(said.one("--timeout"))
        live, size, status = "-i" in said.options, 0, 0
        held: list[tuple[str, bytes]] = []
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                status, piece = end.value, None
            if timeout is not None and self._clock.seconds - started > timeout:
                self._clock.seconds -= self._clock.seconds - started - timeout
                pieces.close()
                yield from held
                if self._dialect.supports("--error-format"):
                    yield "stderr", f"\ncommand timed out after {timeout * 1000:.0f}ms".encode()
                return _TIMED_OUT
            if said.fault == "dies":
                machine.state = "stopped"
                yield from [piece] if live and piece else ()
                raise words.fault(said.fault)
            if machine.state != "running" or self.machines.get(machine.name, machine) is not machine:
                raise words.fault("dies")
            if piece is None:
                yield from held
                return status
            size += len(piece[1])
            if live:
                yield piece
            else:
                held.append(piece)
                if size > words.CAP:
                    raise words.fault("output cap")

    def _detach(self, machine: FakeMachine, call: GuestCall, pieces: Pieces) -> Pieces:
        """It runs to its end at once, but seems to run for as long as it slept."""
        started = self._clock.seconds
        for _ in pieces:
            pass
        taken = self._clock.seconds - started
        self._clock.seconds -= taken
        machine.spawned[call.env.get(MARK, "")] = call.now + taken
        yield "stdout", f"{next(self._numbers)}\n".encode()
        return 0


def _seconds(text: str) -> float | None:
    """As the engine reads it: `30s` or `1500ms`."""
    return None if not text else float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))


# What the fake does of `smolvm machine`; the first answer with text, the others bring output as it comes.
DONE: dict[str, Callable[[Verbs, Words], str]] = {
    "branch": Verbs.branch,
    "cp": Verbs.cp,
    "create": Verbs.create,
    "data-dir": Verbs.data_dir,
    "delete": Verbs.delete,
    "fork": Verbs.branch,
    "logs": Verbs.logs,
    "ls": Verbs.ls,
    "start": Verbs.start,
    "stats": Verbs.stats,
    "status": Verbs.status,
    "stop": Verbs.stop,
    "update": Verbs.update,
}
RUN: dict[str, Callable[[Verbs, Words, Invocation], Pieces]] = {"exec": Verbs.exec, "run": Verbs.run}

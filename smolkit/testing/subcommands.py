"""What a FakeSmolvm's verbs do to its machines, as the engine's do."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve

from smolkit.commands.options import port_pairs
from smolkit.testing import argv_parser
from smolkit.testing.filesystem import Files
from smolkit.testing.guest import FakeMachine
from smolkit.testing.guest_exec import Executing
from smolkit.testing.secret_sources import resolve, sources

if TYPE_CHECKING:
    from smolkit.testing.argv_parser import Words
    from smolkit.testing.guest_io import GuestInput
    from smolkit.testing.shell import Pieces

_SHOWS_PORTS = (1, 32, 2)  # in status; seen there, and not looked for before


class Verbs(Executing):
    """The machines of a fake, and the verbs of `smolvm machine`: each is given a command line, and gives text or pieces."""

    def _find(self, said: Words) -> FakeMachine:
        name = said.one("--name") or said.operands[0]
        if name not in self.machines:
            raise argv_parser.missing(name)
        return self.machines[name]

    def _up(self, machine: FakeMachine) -> FakeMachine:
        if machine.state != "running":
            raise argv_parser.not_running(machine.name, self._dialect)
        return machine

    def create(self, said: Words) -> str:
        """It is there, and does not run."""
        name = said.one("--name") or said.operands[0]
        if name in self.machines:
            raise argv_parser.exists(name)
        record = argv_parser.record(name, said, self._dialect, int(self._clock.now))
        pairs = [pair for text in said.all("--port") for pair in port_pairs(text)]
        if pairs and self._dialect.version >= _SHOWS_PORTS:
            record["published_ports"] = [{"host": host, "guest": inside} for host, inside in pairs]
        self.machines[name] = FakeMachine(name, Files(), record, env=said.pairs("-e"))
        self.machines[name].secrets = sources(said)
        return f"Created machine: {name}\n"

    def start(self, said: Words) -> str:
        """It runs, if it may."""
        machine = self._find(said)
        if said.fault in argv_parser.FAULTS:
            machine.console += b"the fake's machine did not boot: " + said.fault.encode() + b"\n"
            if said.fault == "boot timeout":
                self._clock.sleep(30)
                machine.half_booted = True
            raise argv_parser.fault(said.fault)
        if machine.state == "running":
            return f"Machine '{machine.name}' already running\n"
        resolve(machine.secrets, said.given)  # for its workload
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
            raise argv_parser.has_branches(machine.name, children)
        if machine.half_booted:
            self.leaked.append(machine.name)
        del self.machines[machine.name]
        return f"Cleaning up data directory for vm: {machine.name}\nDeleted machine: {machine.name}\n"

    def status(self, said: Words) -> str:
        """Its record, as JSON."""
        name = said.one("--name")
        if name not in self.machines:
            raise argv_parser.missing_record("machine status", name)
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
        total = machine.record["memory_mib"] * argv_parser.MIB
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
            raise argv_parser.missing_record("update", name)
        machine = self.machines[name]
        lists = {"--allow-cidr", "--allow-host", "--remove-allow-cidr", "--remove-allow-host", "--reset-allow-list"}
        if machine.state == "running" and said.options.keys() - lists - {"--name"}:
            raise argv_parser.must_be_stopped()
        # Before 1.15.0 any command that looks at a machine makes its disks (#1195).
        made = machine.state != "created" or not self._dialect.supports("status without side effects")
        argv_parser.check_disks(machine.record, said, made=made)
        argv_parser.update(machine.record, said)
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
            refusal = argv_parser.missing(source)
            raise argv_parser.Refusal(refusal.code, refusal.message, first)
        parent = self.machines[source]
        if parent.state != "running" or not parent.branchable:
            raise argv_parser.not_branchable(source, running=parent.state == "running", said=first)
        prefix = said.one("--name-prefix")
        single = said.one("--name") or (said.operands[1] if len(said.operands) > 1 else "")
        names = [f"{prefix}-{number}" for number in range(int(said.one("--count", "1")))] if prefix else [single]
        if taken := [name for name in names if name in self.machines]:
            raise argv_parser.exists(taken[0])
        if said.fault in argv_parser.FAULTS:
            raise argv_parser.fault(said.fault)
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
                secrets={**parent.secrets, **sources(said)},
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
                    raise argv_parser.missing(name)
                machine = self._up(self.machines[name])
                return (
                    self._copy_in(machine, said, source, path)
                    if path == target.partition(":")[2]
                    else self._copy_out(machine, path, target)
                )
        raise argv_parser.Refusal("CONFIG_ERROR", "config operation failed: cp: no side is NAME:/path")

    def _copy_in(self, machine: FakeMachine, said: Words, source: str, path: str) -> str:
        with open(source, "rb") as file:
            data = file.read()
        files, numbers = machine.files, {"uid": int(said.one("--uid", "0")), "gid": int(said.one("--gid", "0"))}
        try:
            if not files.is_dir(folder := path.rpartition("/")[0] or "/"):
                files.mkdir(folder, parents=True)
            if files.exists(path) and stat.S_ISLNK(files.stat(path, follow=False).mode):
                files.remove(path)  # the engine replaces it
            files.write(path, data, mode=int(said.one("--mode", "644"), 8), **numbers)
        except OSError as error:
            message = f"agent operation failed: write file: {error.strerror} (os error {error.errno})"
            raise argv_parser.Refusal("SMOLVM_ERROR", message) from None
        return ""

    def _copy_out(self, machine: FakeMachine, path: str, target: str) -> str:
        try:
            data = machine.files.read(path)
        except OSError as error:
            said = f"{error.strerror} (os error {error.errno})"
            if isinstance(error, IsADirectoryError) and not self._dialect.supports("machine cp --mode"):
                said = f"not a regular file: {path}"  # 1.8.3
            message = f"agent operation failed: read file: {said}"
            raise argv_parser.Refusal("SMOLVM_ERROR", message) from None
        with open(target, "wb") as file:
            file.write(data)
        return ""

    def run(self, said: Words, stdin: GuestInput) -> Pieces:
        """A machine for one command; or one that is left, with the command for a workload, which the fake does not run."""
        if "--detach" in said.options:
            return (yield from self._run_detached(said))
        name = f"vm-{next(self._numbers):08x}"
        yield "stderr", f"Starting ephemeral machine ({name})...\n".encode()
        if said.fault in argv_parser.FAULTS and said.fault not in {"dies", "output cap"}:
            raise argv_parser.fault(said.fault)
        record = argv_parser.record(name, said, self._dialect, int(self._clock.now))
        machine = FakeMachine(name, Files(), record, "running", env=said.pairs("-e"))
        return (yield from self.call(machine, evolve(said, options={**said.options, "-e": []}), stdin))

    def _run_detached(self, said: Words) -> Pieces:
        name = said.one("--name", "default")
        yield "stderr", b"Starting persistent machine...\n"
        with self.lock:
            if name in self.machines:
                raise argv_parser.exists_for_run(name)
            if said.fault in argv_parser.FAULTS:
                raise argv_parser.fault(said.fault)
            record = argv_parser.record(name, said, self._dialect, int(self._clock.now))
            machine = FakeMachine(name, Files(), record, "running", env=said.pairs("-e"), secrets=sources(said))
            resolve(machine.secrets, said.given)
            self.machines[name] = machine
        yield "stdout", f"Machine '{name}' running in background\n".encode()
        return 0

    def exec(self, said: Words, stdin: GuestInput) -> Pieces:
        """A command in it."""
        with self.lock:
            machine = self._up(self._find(said))
        return (yield from self.call(machine, said, stdin))


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
RUN: dict[str, Callable[[Verbs, Words, GuestInput], Pieces]] = {"exec": Verbs.exec, "run": Verbs.run}

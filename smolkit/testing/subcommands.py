"""The subcommands of `smolvm machine` that FakeSmolvm implements."""

from __future__ import annotations

import json
import posixpath
import stat
from collections.abc import Callable
from typing import Any

from attrs import evolve

from smolkit.testing import engine_failures
from smolkit.testing.argv_parser import ParsedArgs
from smolkit.testing.engine_failures import EngineFailure
from smolkit.testing.filesystem import Files
from smolkit.testing.guest import FakeMachine
from smolkit.testing.guest_exec import GuestExec
from smolkit.testing.guest_io import GuestStdin, Pieces
from smolkit.testing.machine_records import check_disks, new_record, stats, update_record
from smolkit.testing.secret_sources import resolve, sources
from smolkit.values.port_pairs import port_pairs

_SHOWS_PORTS = (1, 32, 2)  # the first version seen with ports in status; older ones were not looked at
_BOOT_TIMEOUT = 30  # seconds
_ALLOW_LISTS = {"--allow-cidr", "--allow-host", "--remove-allow-cidr", "--remove-allow-host", "--reset-allow-list"}


class Subcommands(GuestExec):
    """The subcommands, one method each: from a parsed command line to the text or the pieces of its output.

    All raise EngineFailure where the engine would fail.
    """

    def _find(self, args: ParsedArgs) -> FakeMachine:
        if args.name not in self.machines:
            raise engine_failures.no_machine(args.name)
        return self.machines[args.name]

    def _running(self, machine: FakeMachine) -> FakeMachine:
        if machine.state != "running":
            raise engine_failures.not_running(machine.name, self._dialect)
        return machine

    def _new_machine(self, name: str, args: ParsedArgs, state: str) -> FakeMachine:
        record = new_record(name, args, self._dialect, int(self._clock.now))
        return FakeMachine(name, Files(), record, state, env=args.pairs("-e"), secrets=sources(args))

    def create(self, args: ParsedArgs) -> str:
        """Create a machine."""
        if args.name in self.machines:
            raise engine_failures.name_taken(args.name)
        machine = self._new_machine(args.name, args, "created")
        pairs = [pair for text in args.values("--port") for pair in port_pairs(text)]
        if pairs and self._dialect.version >= _SHOWS_PORTS:
            machine.record["published_ports"] = [{"host": host, "guest": inside} for host, inside in pairs]
        self.machines[args.name] = machine
        return f"Created machine: {args.name}\n"

    def start(self, args: ParsedArgs) -> str:
        """Boot a machine."""
        machine = self._find(args)
        if args.fault in engine_failures.FAULTS:
            machine.console += b"the fake's machine did not boot: " + args.fault.encode() + b"\n"
            if args.fault == "boot timeout":
                self._clock.sleep(_BOOT_TIMEOUT)
                machine.half_booted = True
            raise engine_failures.injected(args.fault)
        if machine.state == "running":
            return f"Machine '{machine.name}' already running\n"
        resolve(machine.secrets, args.env)  # the engine resolves them for the workload, also where there is none
        machine.state, machine.branchable = "running", bool({"--branchable", "--forkable"} & args.options.keys())
        return f"Machine '{machine.name}' running\n"

    def stop(self, args: ParsedArgs) -> str:
        """Shut a machine down."""
        machine = self._find(args)
        machine.half_booted = False
        if machine.state != "running":
            return f"Machine '{machine.name}' is not running (state: {machine.state})\n"
        machine.state = "stopped"
        return f"Stopped machine: {machine.name}\n"

    def delete(self, args: ParsedArgs) -> str:
        """Delete a machine."""
        machine = self._find(args)
        branches = sorted(other.name for other in self.machines.values() if other.parent == machine.name)
        if "--cascade" in args.options:
            for branch in branches:
                self.delete(evolve(args, options={**args.options, "--name": [branch]}))
        elif branches and self._dialect.supports("delete -f refuses a branch source"):
            raise engine_failures.has_branches(machine.name, branches)
        if machine.half_booted:
            self.leaked.append(machine.name)
        del self.machines[machine.name]
        return f"Cleaning up data directory for vm: {machine.name}\nDeleted machine: {machine.name}\n"

    def status(self, args: ParsedArgs) -> str:
        """Show one record, as JSON."""
        name = args.value("--name")
        if name not in self.machines:
            raise engine_failures.no_record("machine status", name)
        return json.dumps(self.machines[name].shown()) + "\n"

    def ls(self, args: ParsedArgs) -> str:  # noqa: ARG002
        """Show all records, as JSON."""
        records = [machine.shown() for machine in self.machines.values()]
        for record in records:
            record.pop("published_ports", None)  # which only status shows
        return json.dumps(records) + "\n"

    def data_dir(self, args: ParsedArgs) -> str:
        """Show a machine's data directory, which does not exist on this host."""
        return f"/fake/{self._find(args).name}\n"

    def stats(self, args: ParsedArgs) -> str:
        """Show a machine's CPU and memory use, as JSON."""
        machine = self._running(self._find(args))
        return json.dumps(stats(machine.record)) + "\n"

    def logs(self, args: ParsedArgs) -> str:
        """Show the workload's output."""
        lines = self._find(args).log.decode("utf-8", "replace").splitlines(keepends=True)
        return "".join(lines[-int(args.value("--tail")) :] if "--tail" in args.options else lines)

    def update(self, args: ParsedArgs) -> str:
        """Change a machine's record and environment variables."""
        if args.name not in self.machines:
            raise engine_failures.no_record("update", args.name)
        machine = self.machines[args.name]
        if machine.state == "running" and args.options.keys() - _ALLOW_LISTS - {"--name"}:
            raise engine_failures.must_be_stopped()
        # Before 1.15.0 any command that looks at a machine makes its disks (#1195).
        exist = machine.state != "created" or not self._dialect.supports("status without side effects")
        check_disks(machine.record, args, exist=exist)
        update_record(machine.record, args)
        machine.env.update(args.pairs("-e"))
        for key in args.values("--remove-env"):
            machine.env.pop(key, None)
        return f"Updated machine '{args.name}'\n"

    def branch(self, args: ParsedArgs) -> str:
        """Branch a running machine: the branches start from its memory and disks."""
        source = self._branch_source(args)
        names = _branch_names(args)
        if taken := [name for name in names if name in self.machines]:
            raise engine_failures.name_taken(taken[0])
        if args.fault in engine_failures.FAULTS:
            raise engine_failures.injected(args.fault)
        for name in names:
            self.machines[name] = self._branched(source, name, args)
        return f"Branched {len(names)}\n"

    def _branch_source(self, args: ParsedArgs) -> FakeMachine:
        name = args.value("--from") or args.value("--golden") or args.positional[0]
        modern = self._dialect.supports("machine branch")
        preface = f"Preparing branch from '{name}'...\n" if modern else f"Freezing golden '{name}' as fork base...\n"
        if name not in self.machines:
            failure = engine_failures.no_machine(name)
            raise EngineFailure(failure.code, failure.message, preface)
        source = self.machines[name]
        if source.state != "running" or not source.branchable:
            raise engine_failures.not_branchable(name, running=source.state == "running", preface=preface)
        return source

    def _branched(self, source: FakeMachine, name: str, args: ParsedArgs) -> FakeMachine:
        labels = {**source.labels, **args.pairs("--label")}
        record: dict[str, Any] = {**source.record, "name": name, "labels": labels, "created_at": int(self._clock.now)}
        if "parent_machine" in record:
            record["parent_machine"] = source.name
        return evolve(
            source,
            name=name,
            files=source.files.copy(),
            record=record,
            env={**source.env, **args.pairs("-e")},
            secrets={**source.secrets, **sources(args)},
            branchable="--branchable" in args.options,
        )

    def cp(self, args: ParsedArgs) -> str:
        """Copy a file between this host and a machine."""
        source, target = args.positional
        for name, _, path in (source.partition(":"), target.partition(":")):
            if path and "/" not in name:
                if name not in self.machines:
                    raise engine_failures.no_machine(name)
                machine = self._running(self.machines[name])
                inside = posixpath.join("/", path)
                if path == target.partition(":")[2]:
                    return self._copy_in(machine, args, source, inside)
                return self._copy_out(machine, inside, target)
        raise engine_failures.config("cp: no side is NAME:/path")

    def _copy_in(self, machine: FakeMachine, args: ParsedArgs, source: str, path: str) -> str:
        with open(source, "rb") as file:
            data = file.read()
        files = machine.files
        try:
            if not files.is_dir(parent := path.rpartition("/")[0] or "/"):
                files.mkdir(parent, parents=True)
            if files.exists(path) and stat.S_ISLNK(files.stat(path, follow_symlinks=False).mode):
                files.remove(path)  # the engine replaces a symlink, and does not write through it
            files.write_bytes(path, data, mode=int(args.value("--mode", "644"), 8))
            files.chown(path, int(args.value("--uid", "0")), int(args.value("--gid", "0")))
        except OSError as error:
            message = f"agent operation failed: write file: {error.strerror} (os error {error.errno})"
            raise EngineFailure("SMOLVM_ERROR", message) from None
        return ""

    def _copy_out(self, machine: FakeMachine, path: str, target: str) -> str:
        try:
            data = machine.files.read_bytes(path)
        except OSError as error:
            why = f"{error.strerror} (os error {error.errno})"
            if isinstance(error, IsADirectoryError) and not self._dialect.supports("machine cp --mode"):
                why = f"not a regular file: {path}"  # 1.8.3
            raise EngineFailure("SMOLVM_ERROR", f"agent operation failed: read file: {why}") from None
        with open(target, "wb") as file:
            file.write(data)
        return ""

    def run(self, args: ParsedArgs, stdin: GuestStdin) -> Pieces:
        """Run a command in a machine made for it, or with `--detach` make a machine whose workload never runs."""
        if "--detach" in args.options:
            return (yield from self._run_detached(args))
        name = f"vm-{next(self._numbers):08x}"
        yield "stderr", f"Starting ephemeral machine ({name})...\n".encode()
        if args.fault in engine_failures.FAULTS and args.fault not in {"dies", "output cap"}:
            raise engine_failures.injected(args.fault)
        machine = self._new_machine(name, args, "running")
        return (yield from self.call(machine, evolve(args, options={**args.options, "-e": []}), stdin))

    def _run_detached(self, args: ParsedArgs) -> Pieces:
        name = args.value("--name", "default")
        yield "stderr", b"Starting persistent machine...\n"
        with self.lock:
            if name in self.machines:
                raise engine_failures.name_taken_for_run(name)
            if args.fault in engine_failures.FAULTS:
                raise engine_failures.injected(args.fault)
            machine = self._new_machine(name, args, "running")
            resolve(machine.secrets, args.env)
            self.machines[name] = machine
        yield "stdout", f"Machine '{name}' running in background\n".encode()
        return 0

    def exec(self, args: ParsedArgs, stdin: GuestStdin) -> Pieces:
        """Run a command in a running machine."""
        with self.lock:
            machine = self._running(self._find(args))
        return (yield from self.call(machine, args, stdin))


def _branch_names(args: ParsedArgs) -> list[str]:
    if prefix := args.value("--name-prefix"):
        return [f"{prefix}-{number}" for number in range(int(args.value("--count", "1")))]
    return [args.value("--name") or (args.positional[1] if len(args.positional) > 1 else "")]


# By name, below `smolvm machine`. ANSWERED return their text at once; STREAMED run a command, whose output comes in pieces.
ANSWERED: dict[str, Callable[[Subcommands, ParsedArgs], str]] = {
    "branch": Subcommands.branch,
    "cp": Subcommands.cp,
    "create": Subcommands.create,
    "data-dir": Subcommands.data_dir,
    "delete": Subcommands.delete,
    "fork": Subcommands.branch,
    "logs": Subcommands.logs,
    "ls": Subcommands.ls,
    "start": Subcommands.start,
    "stats": Subcommands.stats,
    "status": Subcommands.status,
    "stop": Subcommands.stop,
    "update": Subcommands.update,
}
STREAMED: dict[str, Callable[[Subcommands, ParsedArgs, GuestStdin], Pieces]] = {
    "exec": Subcommands.exec,
    "run": Subcommands.run,
}

"""The subcommands of `smolvm machine` that a NamespaceEngine has: from a call's words to its output and exit status."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from smolkit.testing import engine_failures
from smolkit.testing.arguments import Arguments
from smolkit.testing.engine_failures import EngineFailure, config
from smolkit.testing.machine_records import check_disks, stats
from smolkit.testing.namespace import guest_command, guest_files, machine_spec, root_fs, vm
from smolkit.testing.namespace.machine_spec import ALLOW_LISTS, VERSION
from smolkit.testing.namespace.records import Machine, alive, find, find_all
from smolkit.testing.secret_sources import sources

_CANNOT_START = 255  # the exit status of crun, which runs the commands of an image machine


class Subcommands:
    """The subcommands, one method each. Each raises EngineFailure where the engine would fail.

    Args:
        engine: The directory of the engine.
        settings: What `NamespaceEngine` has set: "bare", the root file system of machines without an image, and "cache".
        misbehave: Called by `start` when the VM is there and not yet on record.
    """

    def __init__(self, engine: str, settings: Mapping[str, str], misbehave: Callable[[], None]) -> None:
        self._engine, self._settings, self._misbehave = engine, settings, misbehave

    def _running(self, name: str) -> tuple[Machine, int]:
        machine = find(self._engine, name)
        pid = machine.vm
        if pid is None:
            raise engine_failures.not_running(name, VERSION)  # type: ignore[arg-type]
        return machine, pid

    def create(self, args: Arguments) -> int:
        """Create a machine."""
        machine_spec.new_machine(self._engine, self._settings, args.name, args).save(new=True)
        return _print(f"Created machine: {args.name}\n")

    def start(self, args: Arguments) -> int:
        """Boot a machine."""
        machine = find(self._engine, args.name)
        if machine.vm is not None:
            self._misbehave()
            return _print(f"Machine '{machine.name}' already running\n")
        machine.data["branchable"] = bool({"--branchable", "--forkable"} & args.options.keys())
        self._boot(machine)
        self._misbehave()
        try:
            machine.save()
        except EngineFailure:
            vm.end(machine.booting)
            raise
        vm.settle(machine)
        return _print(f"Machine '{machine.name}' running\n")

    def _boot(self, machine: Machine, lifeline: int | None = None) -> None:
        if machine.record.get("allowed_cidrs") or machine.record.get("allowed_hosts"):
            raise config("NamespaceEngine does not restrict a machine's network: allow lists are only noted down")
        os.umask(0o022)  # the root directory of a guest, and an unpacked image, are not only for their owner
        root_fs.prepare(machine)
        if not machine.record["cmd"]:
            image = root_fs.image_config(machine)
            machine.record["cmd"] = [*(image.get("Entrypoint") or ()), *(image.get("Cmd") or ())]
        environ = machine_spec.environ(machine)  # before the boot: a secret may be missing
        vm.boot(machine, lifeline)
        if machine.record["cmd"]:
            self._start_workload(machine, environ)

    def _start_workload(self, machine: Machine, environ: Mapping[str, str]) -> None:
        """Start the machine's own command, whose output is its log."""
        log = f"{machine.directory}/workload.log"
        command = machine_spec.command(
            machine, machine.record["cmd"], environ, machine.data["workdir"], machine.data["user"]
        )
        try:
            guest_command.detach(alive(machine.booting) or 0, command, log)
        except OSError as error:
            with open(log, "a") as file:
                file.write(f"{command.words[0]}: {error.strerror}\n")

    def stop(self, args: Arguments) -> int:
        """End a machine's VM, also one that is half booted."""
        machine = find(self._engine, args.name)
        was = machine.state
        vm.end(machine.booting)
        vm.end(machine.running)
        return _print(
            f"Stopped machine: {machine.name}\n"
            if was == "running"
            else f"Machine '{machine.name}' is not running (state: {was})\n"
        )

    def delete(self, args: Arguments) -> int:
        """Delete a machine. A half-booted VM stays, as in the real engine."""
        machine = find(self._engine, args.name)
        branches = [other for other in find_all(self._engine) if other.record.get("parent_machine") == machine.name]
        if branches and "--cascade" not in args.options:
            raise engine_failures.has_branches(machine.name, [branch.name for branch in branches])
        for branch in branches:
            self.delete(Arguments({**args.options, "--name": [branch.name]}, (), ()))
        vm.end(machine.running)
        machine.remove()
        return _print(f"Cleaning up data directory for vm: {machine.name}\nDeleted machine: {machine.name}\n")

    def status(self, args: Arguments) -> int:
        """Show one record, as JSON."""
        return _print(json.dumps(self._recorded(args, "machine status").shown()) + "\n")

    def _recorded(self, args: Arguments, operation: str) -> Machine:
        try:
            return find(self._engine, args.name)
        except EngineFailure:
            raise engine_failures.no_record(operation, args.name) from None

    def ls(self, args: Arguments) -> int:
        """Show all records, as JSON, or with `-q` the names."""
        machines = find_all(self._engine)
        if "-q" in args.options:
            return _print("".join(f"{machine.name}\n" for machine in machines))
        records = [machine.shown() for machine in machines]
        for record in records:
            record.pop("published_ports", None)  # which only status shows
        return _print(json.dumps(records) + "\n")

    def data_dir(self, args: Arguments) -> int:
        """Show a machine's data directory."""
        return _print(f"{find(self._engine, args.name).directory}\n")

    def stats(self, args: Arguments) -> int:
        """Show a machine's CPU and memory use, as JSON. The figures are made up."""
        return _print(json.dumps(stats(self._running(args.name)[0].record)) + "\n")

    def logs(self, args: Arguments) -> int:
        """Show the output of the machine's own command."""
        log = f"{find(self._engine, args.name).directory}/workload.log"
        if "--follow" in args.options:
            os.execvp("tail", ["tail", "-n", args.value("--tail", "+1"), "-F", log])  # noqa: S606
        with suppress(FileNotFoundError), open(log, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
            return _print("".join(lines[-int(args.value("--tail")) :] if "--tail" in args.options else lines))
        return 0

    def update(self, args: Arguments) -> int:
        """Change a machine's record, environment variables, ports and volumes."""
        machine = self._recorded(args, "update")
        if machine.state == "running" and args.options.keys() - ALLOW_LISTS - {"--name"}:
            raise engine_failures.must_be_stopped()
        check_disks(machine.record, args, exist=machine.state != "created")
        machine_spec.update_machine(machine, args)
        machine.save()
        return _print(f"Updated machine '{args.name}'\n")

    def branch(self, args: Arguments) -> int:
        """Branch a running machine: the branches have its files as they are now, and none of its processes."""
        source = self._branch_source(args.value("--from") or args.positional[0])
        prefix, count = args.value("--name-prefix"), int(args.value("--count", "1"))
        names = [f"{prefix}-{number}" for number in range(count)] if prefix else [args.value("--name")]
        for name in names:
            record = {**source.record, "name": name, "parent_machine": source.name, "created_at": int(time.time())}
            record["labels"] = {**record["labels"], **args.pairs("--label")}
            env, secrets = {**source.data["env"], **args.pairs("-e")}, {**source.data["secrets"], **sources(args)}
            branchable = bool({"--branchable", "--forkable"} & args.options.keys())
            more = {"record": record, "env": env, "secrets": secrets, "ports": [], "branchable": branchable}
            machine = Machine(self._engine, name, {**source.data, **more})
            machine.save(new=True)
            with vm.frozen(source.vm or 0):
                root_fs.copy_disk(source, machine)
            self._boot(machine)
            vm.settle(machine)
        return _print(f"Branched {len(names)}\n")

    def _branch_source(self, name: str) -> Machine:
        preface = f"Preparing branch from '{name}'...\n"
        try:
            source = find(self._engine, name)
        except EngineFailure as failure:
            raise EngineFailure(failure.code, failure.message, preface) from None
        if source.vm is None or not source.data.get("branchable"):
            raise engine_failures.not_branchable(name, running=source.vm is not None, preface=preface)
        return source

    def cp(self, args: Arguments) -> int:
        """Copy a file between this host and a machine."""
        for place, side in enumerate(args.positional):
            name, colon, path = side.partition(":")
            if colon and path and "/" not in name:
                pid, other = self._running(name)[1], args.positional[1 - place]
                if place == 0:
                    guest_files.copy_out(pid, path, other)
                    return 0
                uid, gid = (int(args.value(flag, "0")) for flag in ("--uid", "--gid"))
                guest_files.copy_in(pid, other, path, mode=int(args.value("--mode", "644"), 8), uid=uid, gid=gid)
                return 0
        raise config("cp: no side is NAME:/path")

    def exec(self, args: Arguments) -> int:
        """Run a command in a running machine."""
        machine, pid = self._running(args.name)
        return self._run_command(machine, pid, args, args.value("--user") or machine.data["user"])

    def _run_command(self, machine: Machine, pid: int, args: Arguments, user: str) -> int:
        if user and not machine.record["image"]:
            words = "needs an image machine; a bare VM runs every command as root"
            raise config(f"exec --user: running a command as '{user}' {words}")
        environ = {**machine_spec.environ(machine), **machine_spec.resolved(sources(args)), **args.pairs("-e")}
        workdir = args.value("-w") or args.value("--workdir")
        command = machine_spec.command(machine, args.command, environ, workdir, user)
        command.timeout = machine_spec.seconds(args.value("--timeout"))
        interactive = "-i" in args.options
        try:
            if "-d" in args.options:
                return _print(f"{guest_command.detach(pid, command)}\n")
            if "-t" in args.options and os.isatty(0):
                return guest_command.run_in_terminal(pid, command)
            return guest_command.run(pid, command, interactive=interactive)
        except OSError as error:
            if not machine.record["image"]:
                raise engine_failures.cannot_start(error, interactive=interactive) from None
            os.write(2, engine_failures.crun_cannot_start(error, args.command[0], command.workdir).encode())
            return _CANNOT_START

    def shell(self, args: Arguments) -> int:
        """Run the guest's shell in this terminal."""
        return self.exec(Arguments({"-i": [None], "-t": [None], **args.options}, (), ("sh",)))

    def run(self, args: Arguments) -> int:
        """Run a command in a machine made for it, or with `--detach` leave a machine with its own command."""
        if "--detach" in args.options:
            return self._run_detached(args)
        name = f"vm-{os.urandom(4).hex()}"
        os.write(2, f"Starting ephemeral machine ({name})...\n".encode())
        machine = machine_spec.new_machine(self._engine, self._settings, name, Arguments(args.options, (), ()))
        lifeline, _held = os.pipe()  # the VM ends with this process
        try:
            self._boot(machine, lifeline)
            vm.settle(machine)
            options = {**args.options, "-e": []}
            return self._run_command(machine, machine.vm or 0, Arguments(options, (), args.command), args.value("--user"))
        finally:
            vm.end(machine.booting)
            vm.end(machine.running)
            machine.remove()

    def _run_detached(self, args: Arguments) -> int:
        os.write(2, b"Starting persistent machine...\n")
        name = args.value("--name", "default")
        machine = machine_spec.new_machine(self._engine, self._settings, name, args)
        try:
            machine.save(new=True)
        except EngineFailure:
            raise engine_failures.name_taken_for_run(name) from None
        self._boot(machine)
        vm.settle(machine)
        return _print(f"Machine '{name}' running in background\n")


SUBCOMMANDS: dict[str, Callable[[Subcommands, Arguments], int]] = {
    "branch": Subcommands.branch,
    "cp": Subcommands.cp,
    "create": Subcommands.create,
    "data-dir": Subcommands.data_dir,
    "delete": Subcommands.delete,
    "exec": Subcommands.exec,
    "logs": Subcommands.logs,
    "ls": Subcommands.ls,
    "run": Subcommands.run,
    "shell": Subcommands.shell,
    "start": Subcommands.start,
    "stats": Subcommands.stats,
    "status": Subcommands.status,
    "stop": Subcommands.stop,
    "update": Subcommands.update,
}


def _print(text: str) -> int:
    guest_command.write(1, text.encode("utf-8", "surrogateescape"))
    return 0

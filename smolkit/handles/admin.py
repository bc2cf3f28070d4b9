"""The methods of Machine that few programs need. Most of them are one call of the engine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from attrs import evolve

from smolkit import commands, handles, options, values
from smolkit.commands import option_tables
from smolkit.commands.converters import machine_name
from smolkit.flows import lookup, provision, teardown
from smolkit.flows.steps import perform
from smolkit.handles.following import follow
from smolkit.handles.lifetime import LifetimeMethods
from smolkit.handles.process import Process
from smolkit.runners.acting import acting
from smolkit.values import validate
from smolkit.values.hidden import hide, hide_options
from smolkit.values.keywords import suggests_keywords
from smolkit.values.ownership import MACHINE, Marks

if TYPE_CHECKING:
    from smolkit.commands.verb import Verb

V = TypeVar("V", bound="Verb[Any]")


@suggests_keywords
class AdminMethods(LifetimeMethods):
    """Branches, checkpoints, resources, mounts, logs and records of one machine."""

    __slots__ = ()

    def _verb(self, kind: type[V], given: Mapping[str, Any] | None = None, *, operands: Sequence[str] = ()) -> V:
        """A command about this machine, with its secrets."""
        return evolve(kind.of(self.name, given, operands=operands), machine_secrets=self._spec.secrets)

    def branch(
        self, name: str | None = None, *, keep: teardown.Keep = False, **options: Unpack[options.BranchOptions]
    ) -> Self:
        """Make a machine that continues from this one's memory and disks; both run on (engine >= 1.0.0).

        This one must have been started as branchable: `client.machine(..., branchable=True)` or `start(branchable=True)`.
        The branch publishes its ports under other numbers on the host: see `url()`.

        Args:
            name: The new machine's name. Default: a fresh one.
            keep: As for `client.machine`.
            options: See `smolkit.options.BranchOptions`.

        Returns:
            The new machine. It is running; as a context manager it is deleted at the end of the block.

        Raises:
            ConfigError: this one was not started as branchable.
            MachineNotRunningError, MachineExistsError, BootFailedError
        """
        options = hide_options(options)
        child = self._child(self._runner.named(name, keep), keep, options)
        marks, dialect = self._branch_marks(child._marks()), self._dialect  # noqa: SLF001  (of this class)
        command = self._branch_of(child.name, provision.labelled(options, marks))
        perform(self._runner, provision.branch(child.name, command, dialect, marks), provision.undo([child.name], dialect))
        child._adopt(marks)  # noqa: SLF001  (of this class)
        return child

    def branch_many(
        self,
        count: int,
        prefix: str | None = None,
        *,
        keep: teardown.Keep = False,
        **options: Unpack[options.BranchOptions],
    ) -> list[Self]:
        """Make several branches of one moment of this machine: PREFIX-0, PREFIX-1 and so on (engine >= 1.7.7).

        The moment is when this machine's workload runs `smolvm-branch-ready`; with no_wait_ready=True, it is now.

        Args:
            count: The number of branches, 1 to 10,000.
            prefix: The prefix of their names. Default: a fresh one.
            keep: As for `client.machine`, for each.
            options: See `smolkit.options.BranchOptions`.

        Returns:
            The new machines. They are running, or with hold=True waiting for `release()`. Each is a context manager.
        """
        options = hide_options(options)
        prefix = machine_name(self._runner.named(prefix, keep))
        names = [f"{prefix}-{number}" for number in range(validate.integer("count", count, 1, 10_000))]
        children = [self._child(name, keep, options) for name in names]
        marks = self._branch_marks(children[0]._marks(), f"{prefix}-*{count}")  # noqa: SLF001  (of this class)
        given = {**provision.labelled(options, marks), "count": count, "name_prefix": prefix}
        command = self._branch_of(None, given)
        perform(self._runner, provision.branch_many(command, names), provision.undo(names, self._dialect))
        for child in children:
            child._adopt(Marks(marks.labels, self._runner.now(), self._runner.clock()))  # noqa: SLF001  (of this class)
        return children

    def _child(self, name: str, keep: teardown.Keep, options: Mapping[str, Any]) -> Self:
        """The handle of a branch. It has this machine's secrets, except those that it is given a value of its own for."""
        own = {name for key in option_tables.SECRETS for name in options.get(key) or ()}
        spec = commands.MachineSpec(secrets=tuple(pair for pair in self._spec.secrets if pair[0] not in own))
        return type(self)(self._runner, name, spec, keep=keep, session=self._session)

    def _branch_of(self, child: str | None, given: Mapping[str, Any]) -> commands.Branch:
        return evolve(commands.Branch.of(child, given, operands=[self.name]), machine_secrets=self._spec.secrets)

    def _branch_marks(self, marks: Marks, machine: str | None = None) -> Marks:
        """The marks for a branch, or for a batch named `machine`. Engines without labels for branches get none."""
        if not self._dialect.supports("machine branch --label"):
            return evolve(marks, labels=())
        labels = dict(marks.labels)
        return evolve(marks, labels=tuple({**labels, MACHINE: machine or labels[MACHINE]}.items()))

    def url(self, port: int, scheme: str = "http") -> str:
        """The address on this host of a published port of the guest: `http://127.0.0.1:18080`.

        If the engine is on another host, this opens a forward to it, which ends with the machine.

        Raises:
            ValueError: that port is not published.
            HostUnreachableError: the link to another host has no forwards (StdioLink), or this one failed.
        """
        validate.port("port", port)
        validate.text("scheme", scheme)
        status = perform(self._runner, lookup.status(self.name, self._dialect))
        for host, guest in status.ports or self._spec.ports:
            if guest == port:
                return f"{scheme}://127.0.0.1:{acting(self._runner).reach(self.name, host)}"
        raise ValueError(f"port {port} of machine {self.name!r} is not published: client.machine(..., ports=[{port}])")

    def update(self, **options: Unpack[options.UpdateOptions]) -> None:
        """Change the machine's settings for its next start. It must be stopped, except to change its allow lists.

        Retried while the engine is busy. Allow lists are read back.

        Args:
            options: See `smolkit.options.UpdateOptions`. Settings that are left out stay.

        Raises:
            ValueError: nothing is to be changed.
            MachineRunningError: it is running; nothing was changed.
            MachineNeverStartedError: disks cannot grow before its first start: it has none yet.
            PolicyNotRecordedError: an allow list was not recorded as asked. The machine is as the engine left it.
            MachineNotFoundError, MachineReplacedError
        """
        options = hide_options(options)
        command = self._verb(commands.Update, options)
        perform(self._runner, provision.update(self.name, command, self._dialect, self._known.made))

    def resize(
        self,
        *,
        cpus: int | None = None,
        memory: int | None = None,
        storage: int | None = None,
        overlay: int | None = None,
    ) -> None:
        """Change the machine's size (engine >= 1.20.2).

        Args:
            cpus: Virtual processors online, of a running machine.
            memory: MiB, of a running machine; it only grows, in steps of 128 (1.32.2), and needs the host's cgroup
                controllers.
            storage: GiB of its data disk, from the next start on; it only grows. The machine may be stopped.
            overlay: GiB of its root file system's overlay, likewise.

        Raises:
            ValueError: nothing is to be changed.
            ConfigError: the engine refused; nothing was changed.
            MachineNeverStartedError: disks cannot grow before its first start: it has none yet.
        """
        given = {"cpus": cpus, "memory": memory, "storage": storage, "overlay": overlay}
        self._on_own(self._verb(commands.Resize, given))

    def pause(self) -> None:
        """Save the running machine's memory to disk and end its process (engine >= 1.18.2).

        After that it can only be resumed or deleted.
        """
        self._on_own(self._verb(commands.Pause))

    def resume(self) -> None:
        """Continue a paused machine, with the memory that it had (engine >= 1.18.2)."""
        self._runner.run(self._verb(commands.Resume))

    def release(self, env: Mapping[str, str] | None = None) -> None:
        """Start a branch that was made with hold=True, with these variables (engine >= 1.14.0)."""
        env = hide(env)
        self._on_own(self._verb(commands.BranchRelease, {"env": env}))

    def checkpoint(self, output: str | os.PathLike[str], **options: Unpack[options.CheckpointOptions]) -> str:
        """Save the running machine, memory and disks, to a file; it runs on (engine >= 1.13.1).

        `client.machine(name, from_path=...)` makes a machine from it. The file appears once it is complete.

        Args:
            output: The file; `.smolcheckpoint` is its usual suffix. With `store`, a directory.
            options: See `smolkit.options.CheckpointOptions`.

        Returns:
            The absolute path.
        """
        options = hide_options(options)
        with self._runner.target(validate.path("output", output)) as part:
            self._runner.run(self._verb(commands.Checkpoint, {**options, "output": part}))
        return validate.absolute("output", output)

    def mount(self, source: str | os.PathLike[str], target: str, *, read_only: bool = False) -> None:
        """Mount a host directory in the running machine, until it stops (engine >= 1.32.2).

        Args:
            source: The host's directory.
            target: The absolute path in the guest.
            read_only: The guest may not write to it.
        """
        directory = validate.absolute("source", source)
        if ":" in directory:
            raise ValueError(f"source must not contain ':', which ends the path for the engine: {directory!r}")
        suffix = ":ro" if validate.flag("read_only", read_only) else ""
        volume = f"{directory}:{validate.guest_path('target', target)}{suffix}"
        self._runner.run(self._verb(commands.MountAdd, {"volume": volume}))

    def unmount(self, target: str) -> None:
        """Unmount the directory that was mounted at `target` (engine >= 1.32.2)."""
        self._runner.run(self._verb(commands.MountRemove, {"target": target}))

    def mounts(self) -> list[dict[str, Any]]:
        """The engine's records of the mounted directories: `source`, `target`, `readOnly` (engine >= 1.32.2)."""
        return list(self._runner.run(self._verb(commands.MountLs)))

    def sync(self) -> None:
        """Copy the machine's side of its `:staged` volumes to the host, deletions too (engine >= 1.14.0)."""
        self._on_own(self._verb(commands.Sync))

    def stats(self) -> values.Stats:
        """The resources that the running machine uses now (engine >= 1.29.1)."""
        return self._runner.run(self._verb(commands.StatsOf))

    def logs(self, *, tail: int | None = None) -> str:
        """The output of the machine's workload. Engines before 1.28.1 keep none: there, the end of its console.

        Args:
            tail: Only this many last lines.
        """
        command = self._verb(commands.Logs, {"tail": tail})
        if not self._dialect.supports("machine logs"):
            lines = self.console().splitlines(keepends=True)
            return "".join(lines if tail is None else lines[max(0, len(lines) - tail) :])
        return self._runner.run(command).decode("utf-8", "replace")

    def console(self) -> str:
        """The last MiB of the console: output of the machine's kernel and the engine's agent. It need not be running."""
        return perform(self._runner, provision.console(self.name)).decode("utf-8", "replace")

    def data_dir(self) -> str:
        """The absolute path of the directory on the engine's host that holds the machine's disks, logs and sockets.

        Raises:
            MachineNotFoundError: there is no such machine (engine >= 0.8.1).
        """
        return self._runner.run(commands.DataDir(self.name))

    def follow_logs(self, *, tail: int | None = None) -> Process[str]:
        """Follow the output of the machine's workload, line by line as it comes (engine >= 1.28.1).

        Args:
            tail: Begin with only this many lines of those that there are.

        Returns:
            A process to iterate for `(stream, line)`. It never ends by itself: `kill()` it.
        """
        logs = self._verb(commands.Logs, {"tail": tail, "follow": True})
        return follow(self._runner, logs, self.name, ("logs",), text=True, grace=0)

    def egress_events(self, *, limit: int | None = None) -> list[values.EgressEvent]:
        """The guest's last 200 attempts to connect out, oldest first (engine >= 1.8.1). A missing machine has none."""
        return list(self._runner.run(self._verb(commands.EgressEvents, {"limit": limit})))

    def monitor(self, **options: Unpack[options.MonitorOptions]) -> handles.Monitoring:
        """Monitor the machine: start it if it is not running, and again whenever it ends or is unhealthy.

        Args:
            options: See `smolkit.options.MonitorOptions`.

        Returns:
            An iterable of health and restarts as they come, until the engine gives up or `stop()`. Use it in a `with`.
        """
        monitor = self._verb(commands.Monitor, options)
        return handles.Monitoring(follow(self._runner, monitor, self.name, ("monitor",), text=True))

    def images(self) -> dict[str, Any]:
        """The engine's record of the machine's image layers and their disk. A stopped machine is booted to answer."""
        return self._runner.run(self._verb(commands.Images))

    def prune(self, *, everything: bool = False, dry_run: bool = False) -> str:
        """Remove image layers that nothing uses. Returns the engine's report. A stopped machine is booted for it.

        Args:
            everything: Remove all cached images.
            dry_run: Only report.
        """
        return self._on_own(self._verb(commands.Prune, {"everything": everything, "dry_run": dry_run}))

    def network_test(self, url: str | None = None) -> str:
        """The engine's report on whether the machine reaches a URL."""
        operands = () if url is None else (validate.operand("url", url),)
        return self._runner.run(self._verb(commands.NetworkTest, operands=operands))

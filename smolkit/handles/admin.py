"""What one does with a machine now and then: nearly each method is one call of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from smolkit.commands import option_tables
from smolkit.commands.create import MachineSpec
from smolkit.commands.lifecycle import DataDir
from smolkit.commands.names import machine_name
from smolkit.flows import provision, teardown
from smolkit.flows.steps import perform
from smolkit.handles.base import Handle
from smolkit.values import validate
from smolkit.values.hidden import hide, hide_options
from smolkit.values.ownership import MACHINE, Marks

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Self, Unpack

    from smolkit.commands.base import Command
    from smolkit.commands.option_types import BranchOptions, CheckpointOptions, MonitorOptions, UpdateOptions
    from smolkit.commands.verb import Verb
    from smolkit.commands.verbs import Branch
    from smolkit.flows.teardown import Keep
    from smolkit.handles.monitoring import Monitoring
    from smolkit.handles.process import Process
    from smolkit.values.observed import EgressEvent, Stats

T = TypeVar("T")
V = TypeVar("V", bound="Verb[Any]")


class MachineVerbs(Handle):
    """The verbs of a Machine beside those of its lifecycle and its commands."""

    __slots__ = ()

    def _on_own(self, command: Command[T]) -> T:
        """Does what would harm another machine, if the name is not such a one's by now."""
        return perform(self._runner, teardown.on_own(command, self._dialect, self._known.made, self.name))

    def _of(self, kind: type[V], given: Mapping[str, Any] | None = None, *, operands: Sequence[str] = ()) -> V:
        """A verb about this machine."""
        return evolve(kind.of(self.name, given, operands=operands), machine_secrets=self._spec.secrets)

    def branch(self, name: str | None = None, *, keep: Keep = False, **options: Unpack[BranchOptions]) -> Self:
        """Makes a machine that goes on from where this one is, memory and disks; both run on (engine >= 1.0.0).

        This one must have been started as branchable: `client.machine(..., branchable=True)` or `start(branchable=True)`.
        Its published ports get other numbers on the host: `url()` tells.

        Args:
            name: Of the new machine. Default: a fresh one.
            keep: As for `client.machine`.
            options: See `smolkit.commands.option_types.BranchOptions`.

        Returns:
            The new machine. It runs; as a context manager it is deleted at the end of the block.

        Raises:
            ConfigError: this one was not started as branchable.
            MachineNotRunningError, MachineExistsError, BootFailedError
        """
        options = hide_options(options)
        child = self._child(self._runner.named(name, keep), keep, options)
        marks, dialect = self._branch_marks(child._marks()), self._dialect  # noqa: SLF001  (one of this class)
        command = self._branch_of(child.name, provision.labelled(options, marks))
        perform(self._runner, provision.branch(child.name, command, dialect, marks), provision.undo([child.name], dialect))
        child._adopt(marks)  # noqa: SLF001
        return child

    def branch_many(
        self, count: int, prefix: str | None = None, *, keep: Keep = False, **options: Unpack[BranchOptions]
    ) -> list[Self]:
        """Makes several such machines from one moment of this one: PREFIX-0, PREFIX-1 and so on (engine >= 1.7.7).

        The moment is when this machine's workload runs `smolvm-branch-ready`; with no_wait_ready=True, it is now.

        Args:
            count: How many, 1 to 10,000.
            prefix: Of their names. Default: a fresh one.
            keep: As for `client.machine`, of each.
            options: See `smolkit.commands.option_types.BranchOptions`.

        Returns:
            Them. They run, or wait with hold=True for `release()`. Each can be used as a context manager.
        """
        options = hide_options(options)
        prefix = machine_name(self._runner.named(prefix, keep))
        names = [f"{prefix}-{number}" for number in range(validate.integer("count", count, 1, 10_000))]
        children = [self._child(name, keep, options) for name in names]
        marks = self._branch_marks(children[0]._marks(), f"{prefix}-*{count}")  # noqa: SLF001  (one of this class)
        given = {**provision.labelled(options, marks), "count": count, "name_prefix": prefix}
        command = self._branch_of(None, given)
        perform(self._runner, provision.branch_many(command, names), provision.undo(names, self._dialect))
        for child in children:
            child._adopt(Marks(marks.labels, self._runner.now(), self._runner.clock()))  # noqa: SLF001
        return children

    def _child(self, name: str, keep: Keep, options: Mapping[str, Any]) -> Self:
        """A branch's handle. It has this machine's secrets, but for those that the branch has others for."""
        own = {name for key in option_tables.SECRETS for name in options.get(key) or ()}
        spec = MachineSpec(secrets=tuple(pair for pair in self._spec.secrets if pair[0] not in own))
        return type(self)(self._runner, name, spec, keep=keep, session=self._session)

    def _branch_of(self, child: str | None, given: Mapping[str, Any]) -> Branch:
        from smolkit.commands.verbs import Branch  # late: rarely needed

        return evolve(Branch.of(child, given, operands=[self.name]), machine_secrets=self._spec.secrets)

    def _branch_marks(self, marks: Marks, machine: str | None = None) -> Marks:
        """These marks, if a branch can be given them, and be it several of them; else it has its source's, and none."""
        if not self._dialect.supports("machine branch --label"):
            return evolve(marks, labels=())
        labels = dict(marks.labels)
        return evolve(marks, labels=tuple({**labels, MACHINE: machine or labels[MACHINE]}.items()))

    def url(self, port: int, scheme: str = "http") -> str:
        """The address on the host of a port of the guest that is published: `http://127.0.0.1:18080`.

        Raises:
            ValueError: that port is not published.
        """
        validate.integer("port", port, 1, 65_535)
        validate.text("scheme", scheme)
        published = self.status().ports or self._spec.ports
        for host, guest in published:
            if guest == port:
                return f"{scheme}://127.0.0.1:{host}"
        raise ValueError(f"port {port} of machine {self.name!r} is not published: client.machine(..., ports=[{port}])")

    def update(self, **options: Unpack[UpdateOptions]) -> None:
        """Changes what the machine is made of, for its next start. It must not run (but for its allow lists).

        What is busy is tried again. Allow lists are read back.

        Args:
            options: See `smolkit.commands.option_types.UpdateOptions`. What is left out stays.

        Raises:
            ValueError: nothing is to be changed.
            MachineRunningError: it runs; nothing was changed.
            MachineNeverStartedError: its disks, which are to grow, are not there before its first start.
            PolicyNotRecordedError: an allow list was not recorded as asked. The machine is as the engine left it.
            MachineNotFoundError, MachineReplacedError
        """
        from smolkit.commands.verbs import Update  # late: rarely needed

        options = hide_options(options)
        command = self._of(Update, options)
        perform(self._runner, provision.update(self.name, command, self._dialect, self._known.made))

    def resize(
        self,
        *,
        cpus: int | None = None,
        memory: int | None = None,
        storage: int | None = None,
        overlay: int | None = None,
    ) -> None:
        """Changes a machine's size: of a running one its processors and memory (engine >= 1.20.2).

        Args:
            cpus: Virtual processors online.
            memory: MiB; it only grows, in steps of 128 (1.32.2), and needs the host's cgroup controllers.
            storage: GiB of its data disk, for the next start; it only grows. Also of a machine that does not run.
            overlay: GiB of its root's overlay, likewise.

        Raises:
            ValueError: nothing is to be changed.
            ConfigError: the engine refused; nothing was changed.
            MachineNeverStartedError: its disks, which are to grow, are not there before its first start.
        """
        from smolkit.commands.verbs import Resize  # late: rarely needed

        given = {"cpus": cpus, "memory": memory, "storage": storage, "overlay": overlay}
        self._on_own(self._of(Resize, given))

    def pause(self) -> None:
        """Saves the running machine's memory to disk and ends its process (engine >= 1.18.2).

        Then it can only be resumed or deleted.
        """
        from smolkit.commands.verbs import Pause  # late: rarely needed

        self._on_own(self._of(Pause))

    def resume(self) -> None:
        """Lets a paused machine run on, with the memory it had (engine >= 1.18.2)."""
        from smolkit.commands.verbs import Resume  # late: rarely needed

        self._runner.run(self._of(Resume))

    def release(self, env: Mapping[str, str] | None = None) -> None:
        """Lets a branch that was made with hold=True run, with these variables (engine >= 1.14.0)."""
        from smolkit.commands.verbs import BranchRelease  # late: rarely needed

        env = hide(env)
        self._on_own(self._of(BranchRelease, {"env": env}))

    def checkpoint(self, output: str | os.PathLike[str], **options: Unpack[CheckpointOptions]) -> str:
        """Saves the running machine, memory and disks, to a file; it runs on (engine >= 1.13.1).

        `client.machine(name, from_path=...)` makes a machine from it. It stands under its name only once it is whole.

        Args:
            output: The file; `.smolcheckpoint` is its usual suffix. With `store`, a directory.
            options: See `smolkit.commands.option_types.CheckpointOptions`.

        Returns:
            The path, absolute.
        """
        from smolkit.commands.verbs import Checkpoint  # late: rarely needed

        options = hide_options(options)
        with self._runner.target(validate.path("output", output)) as part:
            self._runner.run(self._of(Checkpoint, {**options, "output": part}))
        return validate.absolute("output", output)

    def mount(self, source: str | os.PathLike[str], target: str, *, read_only: bool = False) -> None:
        """Lets the running machine see a host folder, until it stops (engine >= 1.32.2).

        Args:
            source: The host's folder.
            target: The absolute path in the guest.
            read_only: Whether the guest may only read.
        """
        from smolkit.commands.verbs import MountAdd  # late: rarely needed

        folder = validate.absolute("source", source)
        if ":" in folder:
            raise ValueError(f"the engine takes ':' for the end of the folder's name: {folder!r}")
        suffix = ":ro" if validate.flag("read_only", read_only) else ""
        volume = f"{folder}:{validate.guest_path('target', target)}{suffix}"
        self._runner.run(self._of(MountAdd, {"volume": volume}))

    def unmount(self, target: str) -> None:
        """Takes away a folder that was mounted there (engine >= 1.32.2)."""
        from smolkit.commands.verbs import MountRemove  # late: rarely needed

        self._runner.run(self._of(MountRemove, {"target": target}))

    def mounts(self) -> list[dict[str, Any]]:
        """The engine's records of the folders that were mounted: `source`, `target`, `readOnly` (engine >= 1.32.2)."""
        from smolkit.commands.verbs import MountLs  # late: rarely needed

        return list(self._runner.run(self._of(MountLs)))

    def sync(self) -> None:
        """Makes the host's side of its `:staged` volumes as the machine's is, deletions too (engine >= 1.14.0)."""
        from smolkit.commands.verbs import Sync  # late: rarely needed

        self._on_own(self._of(Sync))

    def stats(self) -> Stats:
        """What the running machine uses right now (engine >= 1.29.1)."""
        from smolkit.commands.verbs import StatsOf  # late: rarely needed

        return self._runner.run(self._of(StatsOf))

    def logs(self, *, tail: int | None = None) -> str:
        """What the machine's workload wrote; with engines before 1.28.1, which cannot tell, the end of its console.

        Args:
            tail: Only so many lines.
        """
        from smolkit.commands.verbs import Logs  # late: rarely needed

        command = self._of(Logs, {"tail": tail})
        if not self._dialect.supports("machine logs"):
            lines = self.console().splitlines(keepends=True)
            return "".join(lines if tail is None else lines[max(0, len(lines) - tail) :])
        return self._runner.run(command).decode("utf-8", "replace")

    def console(self) -> str:
        """What the machine's kernel and the engine's agent wrote, the last MiB of it, also when it does not run."""
        return perform(self._runner, provision.console(self.name)).decode("utf-8", "replace")

    def data_dir(self) -> str:
        """The directory on the engine's host with the machine's disks, logs and sockets, absolute.

        Raises:
            MachineNotFoundError: there is no such machine (engine >= 0.8.1).
        """
        return self._runner.run(DataDir(self.name))

    def follow_logs(self, *, tail: int | None = None) -> Process[str]:
        """What the machine's workload writes, line by line as it comes, until it is killed (engine >= 1.28.1).

        Args:
            tail: Begin with only so many lines of what there is.

        Returns:
            A process to iterate for `(stream, line)`: `kill()` it, or leave its `with` by an exception, to have enough.
        """
        from smolkit.commands.verbs import Logs  # late: rarely needed
        from smolkit.handles.process import start

        logs = self._of(Logs, {"tail": tail, "follow": True})
        return start(self._runner, logs, stdin=False, text=True, grace=0)  # they never end by themselves

    def egress_events(self, *, limit: int | None = None) -> list[EgressEvent]:
        """The guest's attempts to reach out, oldest first, the newest 200 (engine >= 1.8.1). A missing machine has none."""
        from smolkit.commands.verbs import EgressEvents  # late: rarely needed

        return list(self._runner.run(self._of(EgressEvents, {"limit": limit})))

    def monitor(self, **options: Unpack[MonitorOptions]) -> Monitoring:
        """Looks after the machine, and starts it again where it ended or is unhealthy; first of all, if it does not run.

        Args:
            options: See `smolkit.commands.option_types.MonitorOptions`.

        Returns:
            What to iterate for health and restarts as they come, until the engine gives up or `stop()`; best in a `with`.
        """
        from smolkit.commands.verbs import Monitor  # late: rarely needed
        from smolkit.handles.monitoring import Monitoring
        from smolkit.handles.process import start

        return Monitoring(start(self._runner, self._of(Monitor, options), stdin=False, text=True))

    def images(self) -> dict[str, Any]:
        """The engine's record of the machine's image layers and their disk. A stopped machine is booted to answer."""
        from smolkit.commands.verbs import Images  # late: rarely needed

        return self._runner.run(self._of(Images))

    def prune(self, *, everything: bool = False, dry_run: bool = False) -> str:
        """Removes image layers that nothing needs, and gives the engine's words. A stopped machine is booted for it.

        Args:
            everything: All cached images.
            dry_run: Only say which.
        """
        from smolkit.commands.verbs import Prune  # late: rarely needed

        return self._on_own(self._of(Prune, {"everything": everything, "dry_run": dry_run}))

    def network_test(self, url: str | None = None) -> str:
        """Whether the machine reaches a URL, in the engine's words."""
        from smolkit.commands.verbs import NetworkTest  # late: rarely needed

        return self._runner.run(self._of(NetworkTest, operands=() if url is None else (validate.operand("url", url),)))

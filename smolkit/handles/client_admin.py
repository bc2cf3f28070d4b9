"""What one asks the engine now and then that is about no machine of one's own: each method is one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smolkit.errors import SmolvmError
from smolkit.flows import provision
from smolkit.flows.steps import perform
from smolkit.flows.teardown import note
from smolkit.values import validate
from smolkit.values.hidden import hide_options

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Unpack

    from smolkit.commands.option_types import PackRunOptions, RunOptions
    from smolkit.runners.base import Runner
    from smolkit.values.results import Completed, ExecResult


class EngineVerbs:
    """The verbs of a client beside those for its machines."""

    __slots__ = ()

    if TYPE_CHECKING:
        runner: Runner

    def run(self, command: Sequence[str] = (), /, **options: Unpack[RunOptions]) -> ExecResult:
        """Runs one command in a machine that is made for it and gone at its end: `smolvm machine run`.

        The engine removes the machine. smolkit waits for that, and deletes nothing itself: no label of such a machine tells
        whose it is. For more than one command, or to be sure of what is left when something fails, use `machine()`.

        Args:
            command: A list of words; default: the image's own.
            options: As for `machine`, and `timeout`, `input`: see `smolkit.commands.option_types.RunOptions`.

        Raises:
            ExecTimeoutError: the command did not end in time.
            StartError: the machine did not start.
            CleanupError: the command ran, and the engine has not removed the machine.
        """
        from smolkit.commands.run import Run  # late: rarely needed

        options = hide_options(options)
        return perform(self.runner, provision.run(Run.of(None, options, command=command), self.runner.engine.dialect))

    def terminal(self, command: Sequence[str] = (), /, **options: Unpack[RunOptions]) -> int:
        """Hands this program's terminal over to a command in a machine made for it, gone at its end; its exit status.

        Args:
            command: A list of words; default: the image's own, or a shell.
            options: As for `run`, but for `input`.

        Raises:
            StartError: the machine did not start.
        """
        from smolkit.commands.run import RunTerminal  # late: rarely needed

        options = hide_options(options)
        run, dialect = RunTerminal.of(None, options, command=command), self.runner.engine.dialect
        if run.input is not None:
            raise TypeError("input and a terminal: the input is what is typed there")
        try:
            completed = self.runner.run_in_terminal(run)
        except SmolvmError as error:
            name = run.machine(error.completed)[0] if error.completed is not None else ""
            note(error, perform(self.runner, provision.removal(name, dialect)))
            raise
        if left := perform(self.runner, provision.removal(run.machine(completed)[0], dialect)):
            raise left[0]
        return completed.returncode

    def pack_run(
        self, pack: str | os.PathLike[str], command: Sequence[str] = (), **options: Unpack[PackRunOptions]
    ) -> ExecResult:
        """Runs one command in a machine made from a pack file, gone at its end: `smolvm pack run`."""
        from smolkit.commands.run import PackRun  # late: rarely needed

        options = hide_options(options)
        run = PackRun.of(None, {**options, "sidecar": pack}, command=command)
        return perform(self.runner, provision.run(run, self.runner.engine.dialect))

    def pack_info(self, pack: str | os.PathLike[str]) -> str:
        """A pack file's manifest, as text."""
        from smolkit.commands.verbs import PackInfo  # late: rarely needed

        return self.runner.run(PackInfo.of(None, {"sidecar": pack}))

    def pack_push(self, pack: str | os.PathLike[str], reference: str) -> None:
        """Brings a pack file to a registry."""
        from smolkit.commands.verbs import PackPush  # late: rarely needed

        self.runner.run(PackPush.of(None, {"file": pack}, operands=[validate.operand("reference", reference)]))

    def pack_pull(self, reference: str, output: str | os.PathLike[str]) -> str:
        """Brings a pack from a registry to a file, which stands under its name only once it is whole.

        Returns:
            The file's absolute path.
        """
        from smolkit.commands.verbs import PackPull  # late: rarely needed

        operands = [validate.operand("reference", reference)]
        with self.runner.target(validate.path("output", output)) as part:
            self.runner.run(PackPull.of(None, {"output": part}, operands=operands))
        return validate.absolute("output", output)

    def pack_inspect(self, reference: str) -> dict[str, Any]:
        """A registry's manifest of a pack."""
        from smolkit.commands.verbs import PackInspect  # late: rarely needed

        return self.runner.run(PackInspect.of(operands=[validate.operand("reference", reference)]))

    def pack_list(self) -> list[dict[str, Any]]:
        """The engine's records of the packs it has unpacked (engine >= 1.31.0)."""
        from smolkit.commands.verbs import PackList  # late: rarely needed

        return list(self.runner.run(PackList.of()))

    def pack_prune(self, *, keep: int | None = None, everything: bool = False, dry_run: bool = False) -> str:
        """Removes unpacked packs that nothing needs, but for the `keep` (5) last ones; the engine's words."""
        from smolkit.commands.verbs import PackPrune  # late: rarely needed

        return self.runner.run(PackPrune.of(None, {"keep": keep, "everything": everything, "dry_run": dry_run}))

    def checkpoint_export(
        self, checkpoint: str | os.PathLike[str], output: str | os.PathLike[str], *, at: str | None = None
    ) -> str:
        """Makes one portable file of a checkpoint that is in a store (engine >= 1.17.0); its absolute path."""
        from smolkit.commands.verbs import Checkpoint  # late: rarely needed

        with self.runner.target(validate.path("output", output)) as part:
            self.runner.run(Checkpoint.of(None, {"export_from": checkpoint, "at": at, "output": part}))
        return validate.absolute("output", output)

    def checkpoint_log(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        machine: str | None = None,
    ) -> str:
        """The generations that a checkpoint retains, or the checkpoints of a store, as text (engine >= 1.18.2).

        Raises:
            ValueError: neither is given.
        """
        from smolkit.commands.verbs import CheckpointLog  # late: rarely needed

        operands = [] if checkpoint is None else [validate.no_flag("checkpoint", validate.path("checkpoint", checkpoint))]
        return self.runner.run(CheckpointLog.of(None, {"store": store, "machine": machine}, operands=operands))

    def checkpoint_prune(self, store: str | os.PathLike[str]) -> str:
        """Removes from a store what no checkpoint needs any more; the engine's words (engine >= 1.17.0)."""
        from smolkit.commands.verbs import CheckpointPrune  # late: rarely needed

        return self.runner.run(CheckpointPrune.of(None, {"store": store}))

    def checkpoint_warm(
        self,
        checkpoint: str | os.PathLike[str],
        *,
        restore_cache_entries: int | None = None,
        restore_cache_gib: int | None = None,
    ) -> None:
        """Makes a checkpoint directory ready, so that the next machine from it starts sooner (engine >= 1.22.2)."""
        from smolkit.commands.verbs import CheckpointWarm  # late: rarely needed

        limits = {"restore_cache_entries": restore_cache_entries, "restore_cache_gib": restore_cache_gib}
        self.runner.run(CheckpointWarm.of(None, {"source": checkpoint, **limits}))

    def config_show(self) -> str:
        """The engine's settings, as text."""
        from smolkit.commands.verbs import ConfigShow  # late: rarely needed

        return self.runner.run(ConfigShow.of())

    def registries_path(self) -> str:
        """The file that has the registries."""
        from smolkit.commands.verbs import RegistriesPath  # late: rarely needed

        return self.runner.run(RegistriesPath.of()).strip()

    def registries_show(self) -> str:
        """The registries, as text."""
        from smolkit.commands.verbs import RegistriesShow  # late: rarely needed

        return self.runner.run(RegistriesShow.of())

    def registries_init(self) -> None:
        """Writes a file of registries to begin with."""
        from smolkit.commands.verbs import RegistriesInit  # late: rarely needed

        self.runner.run(RegistriesInit.of())

    def cli(self, *words: str) -> Completed:
        """Runs the engine with any words at all: `client.cli("machine", "stats", "--name", "agent").stdout`.

        Failures of the engine are smolkit's errors. Nothing is checked, added (but `--error-format json`, where the engine
        has it) or undone. The words are shown in errors and logs: no place for secrets.
        """
        from smolkit.commands.verbs import Cli  # late: rarely needed

        return self.runner.run(Cli(None, validate.words("words", words)))

"""The methods of the client that are about no machine of its own. Most of them are one call of the engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

from smolkit import commands, errors, flows, options, runners, values
from smolkit.values import validate
from smolkit.values.hidden import hide_options


class EngineMethods:
    """One-command machines, packs, stored checkpoints and settings of one engine.

    Args:
        runner: Runs the engine's commands.

    Attributes:
        runner: The same.
    """

    __slots__ = ("runner",)

    def __init__(self, runner: runners.Runner) -> None:
        self.runner: runners.Runner = runner

    def run(self, command: Sequence[str] = (), /, **options: Unpack[options.RunOptions]) -> values.ExecResult:
        """Run one command in a machine that the engine makes for it and then removes: `smolvm machine run`.

        smolkit waits for the removal, and deletes nothing itself: such a machine has no label that tells whose it is. To
        run more than one command, or to be sure that nothing is left after a failure, use `machine()`.

        Args:
            command: The program and its arguments. Default: the image's own.
            options: As for `machine`, and `timeout` and `input`: see `smolkit.options.RunOptions`.

        Raises:
            ExecTimeoutError: the command did not end in time.
            StartError: the machine did not start.
            CleanupError: the command ran, and the engine has not removed the machine.
        """
        options = hide_options(options)
        run = commands.Run.of(None, options, command=command)
        return self._run(run)

    def _run(self, run: commands.Run) -> values.ExecResult:
        return flows.steps.perform(self.runner, flows.provision.run(run, self.runner.engine.dialect))

    def terminal(self, command: Sequence[str] = (), /, **options: Unpack[options.RunOptions]) -> int:
        """Hand this program's terminal over to a command in a machine made for it. Returns its exit status.

        The engine removes the machine at its end, as for `run`.

        Args:
            command: The program and its arguments. Default: the image's own, or a shell.
            options: As for `run`, except `input`.

        Raises:
            StartError: the machine did not start.
        """
        options = hide_options(options)
        run, dialect = commands.RunTerminal.of(None, options, command=command), self.runner.engine.dialect
        if run.input is not None:
            raise TypeError("input must be left out: the command reads the terminal")
        try:
            completed = self.runner.run_in_terminal(run)
        except errors.SmolvmError as error:
            name = run.machine(error.completed)[0] if error.completed is not None else ""
            flows.teardown.note(error, flows.steps.perform(self.runner, flows.provision.removal(name, dialect)))
            raise
        name = run.machine(completed)[0]
        if left := flows.steps.perform(self.runner, flows.provision.removal(name, dialect)):
            raise left[0]
        return completed.returncode

    def pack_run(
        self, pack: str | os.PathLike[str], command: Sequence[str] = (), **options: Unpack[options.PackRunOptions]
    ) -> values.ExecResult:
        """Run one command in a machine made from a pack file, which the engine then removes: `smolvm pack run`."""
        options = hide_options(options)
        run = commands.PackRun.of(None, {**options, "sidecar": pack}, command=command)
        return self._run(run)

    def pack_info(self, pack: str | os.PathLike[str]) -> str:
        """The manifest of a pack file, as text."""
        return self.runner.run(commands.PackInfo.of(None, {"sidecar": pack}))

    def pack_push(self, pack: str | os.PathLike[str], reference: str) -> None:
        """Push a pack file to a registry."""
        operands = [validate.operand("reference", reference)]
        self.runner.run(commands.PackPush.of(None, {"file": pack}, operands=operands))

    def pack_pull(self, reference: str, output: str | os.PathLike[str]) -> str:
        """Pull a pack from a registry to a file, which appears once it is complete.

        Returns:
            The file's absolute path.
        """
        operands = [validate.operand("reference", reference)]
        with self.runner.target(validate.path("output", output)) as part:
            self.runner.run(commands.PackPull.of(None, {"output": part}, operands=operands))
        return validate.absolute("output", output)

    def pack_inspect(self, reference: str) -> dict[str, Any]:
        """The manifest of a pack in a registry."""
        return self.runner.run(commands.PackInspect.of(operands=[validate.operand("reference", reference)]))

    def pack_list(self) -> list[dict[str, Any]]:
        """The engine's records of the packs that it has unpacked (engine >= 1.31.0)."""
        return list(self.runner.run(commands.PackList.of()))

    def pack_prune(self, *, keep: int | None = None, everything: bool = False, dry_run: bool = False) -> str:
        """Remove unpacked packs that nothing uses, except the last `keep` (default 5). Returns the engine's report."""
        given = {"keep": keep, "everything": everything, "dry_run": dry_run}
        return self.runner.run(commands.PackPrune.of(None, given))

    def checkpoint_export(
        self, checkpoint: str | os.PathLike[str], output: str | os.PathLike[str], *, at: str | None = None
    ) -> str:
        """Make one portable file of a checkpoint in a store (engine >= 1.17.0). Returns its absolute path."""
        with self.runner.target(validate.path("output", output)) as part:
            self.runner.run(commands.Checkpoint.of(None, {"export_from": checkpoint, "at": at, "output": part}))
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
            ValueError: neither a checkpoint nor a store is given.
        """
        operands = [] if checkpoint is None else [validate.no_flag("checkpoint", validate.path("checkpoint", checkpoint))]
        return self.runner.run(commands.CheckpointLog.of(None, {"store": store, "machine": machine}, operands=operands))

    def checkpoint_prune(self, store: str | os.PathLike[str]) -> str:
        """Remove data that no checkpoint needs from a store (engine >= 1.17.0). Returns the engine's report."""
        return self.runner.run(commands.CheckpointPrune.of(None, {"store": store}))

    def checkpoint_warm(
        self,
        checkpoint: str | os.PathLike[str],
        *,
        restore_cache_entries: int | None = None,
        restore_cache_gib: int | None = None,
    ) -> None:
        """Prepare a checkpoint directory, so that the next machine made from it starts sooner (engine >= 1.22.2)."""
        limits = {"restore_cache_entries": restore_cache_entries, "restore_cache_gib": restore_cache_gib}
        self.runner.run(commands.CheckpointWarm.of(None, {"source": checkpoint, **limits}))

    def config_show(self) -> str:
        """The engine's settings, as text."""
        return self.runner.run(commands.ConfigShow.of())

    def registries_path(self) -> str:
        """The path of the file that lists the registries."""
        return self.runner.run(commands.RegistriesPath.of()).strip()

    def registries_show(self) -> str:
        """The registries, as text."""
        return self.runner.run(commands.RegistriesShow.of())

    def registries_init(self) -> None:
        """Write an initial file of registries."""
        self.runner.run(commands.RegistriesInit.of())

    def cli(self, *words: str) -> values.Completed:
        """Run the engine with any arguments: `client.cli("machine", "stats", "--name", "agent").stdout`.

        Failures of the engine are smolkit's errors. The arguments are not checked, nothing is added but `--error-format
        json` (where the engine has it), and nothing is undone. Errors and logs show them: pass no secrets.
        """
        return self.runner.run(commands.Cli(None, validate.words("words", words)))

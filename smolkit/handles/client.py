"""The client: where machines come from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, final

from smolkit.commands import option_tables
from smolkit.commands.create import MachineSpec
from smolkit.commands.engine import PackCreate
from smolkit.commands.lifecycle import Ls
from smolkit.commands.options import choose
from smolkit.errors import MachineRunningError
from smolkit.flows import provision, reap
from smolkit.flows.steps import perform
from smolkit.handles.client_admin import EngineVerbs
from smolkit.handles.machine import Machine
from smolkit.values import validate
from smolkit.values.hidden import hide_options
from smolkit.values.ownership import SESSION, Marks
from smolkit.values.shown import without_users

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack

    from smolkit.commands.call import Call
    from smolkit.commands.dialect import Engine
    from smolkit.commands.option_types import ClientOptions, PackOptions, RunOptions
    from smolkit.flows.teardown import Keep
    from smolkit.runners.base import Runner
    from smolkit.runners.dry_run import Plan
    from smolkit.values.observed import Check
    from smolkit.values.ownership import Reapable
    from smolkit.values.results import MachineInfo


_PACK = ".smolmachine"


@final
class Smolvm(EngineVerbs):
    """A client of one engine. Making one runs nothing.

    Args:
        program: The smolvm program. Default: the variable SMOLKIT_SMOLVM, then `smolvm` on PATH, then the one that
            `pip install 'smolkit[engine]'` brings.
        runner: Runs the commands instead, wherever and however it likes: a SubprocessRunner with options of its own
            (`sudo -n` before each command, other variables), a fake in tests.
        max_processes: How many processes of the engine may run at once (default: any number); further calls wait for
            their turn. One of `popen` counts until its end.
        on_call: Told of each call of the engine once it has ended: a `smolkit.Call` with command, redacted argv,
            duration and outcome. All clients of one runner share these. What it raises is logged.
        watchdog: Whether a small process of its own, started with this process's first machine, removes the machines that
            this process leaves, at once and however it ends: killed, by `os._exit`, with its terminal, or of itself. All
            clients of one runner share it. It removes what `reap()` in another process would remove: not what was made
            with `keep`. Off by default, since programs may leave machines for others to find.
    """

    __slots__ = ("runner", "session")

    def __init__(
        self,
        program: str | os.PathLike[str] | None = None,
        *,
        runner: Runner | None = None,
        max_processes: int | None = None,
        on_call: Callable[[Call], object] | None = None,
        watchdog: bool = False,
    ) -> None:
        for name, given in (("program", program), ("max_processes", max_processes)):
            if runner is not None and given is not None:
                raise TypeError(f"{name} and runner: give {name} to the runner")
        validate.function("on_call", on_call)
        validate.flag("watchdog", watchdog)
        if runner is None:
            from smolkit.runners.local.subprocess import SubprocessRunner  # late: a fake's users need no processes

            runner = SubprocessRunner(program, max_processes=max_processes)
        self.runner = runner
        if on_call is not None:
            runner.observe(on_call)
        if watchdog:
            runner.watch()
        self.session = os.urandom(8).hex()

    def __repr__(self) -> str:
        return f"<Smolvm {without_users(self.runner.host)}>"

    def machine(
        self,
        name: str | None = None,
        *,
        keep: Keep = False,
        lifetime: float | None = None,
        **options: Unpack[ClientOptions],
    ) -> Machine:
        """A handle on the machine of that name, which may exist or not; nothing is asked.

        Args:
            name: 1 to 128 of `A-Z a-z 0-9 _ -`. Default: a fresh one.
            keep: Whether a `with` leaves the machine at its end: always (True), or when it ends with an exception
                ("on_error"), which then has a note on how to get into the machine. Either way it has no owner: no `reap()`
                takes it because a process is gone.
            lifetime: Seconds from its creation after which anybody's `reap()` may remove it, whoever lives, and also
                with `keep` (engine >= 1.8.0).
            options: What it is to be made of, if this handle makes it: see `MachineOptions` in
                `smolkit.commands.option_types`. And how it is to be started: `StartOptions` there.

        Raises:
            InvalidNameError: the engine would not take the name.
            TypeError, ValueError: an option is unknown, or its value cannot be right.
        """
        options = hide_options(options)
        starting = {key: value for key, value in options.items() if key in option_tables.START}
        spec = MachineSpec.of({key: value for key, value in options.items() if key not in starting})
        chosen = choose("a machine", option_tables.START, starting)
        named = self.runner.named(name, keep)
        return Machine(self.runner, named, spec, chosen, keep=keep, session=self.session, lifetime=lifetime)

    def run_detached(
        self,
        command: Sequence[str] = (),
        /,
        name: str | None = None,
        *,
        keep: Keep = False,
        **options: Unpack[RunOptions],
    ) -> Machine:
        """Makes a machine, starts it with a command for its workload, and leaves it running: `smolvm machine run --detach`.

        What the workload writes is in `logs()`. The machine has no labels: `reap()` does not know it.

        Args:
            command: A list of words; default: the image's own, or an idle one.
            name: Of the machine. Default: a fresh one.
            keep: As for `machine`.
            options: As for `run`, but for `timeout` and `input`.

        Returns:
            The machine. It runs; as a context manager it is deleted at the end of the block.

        Raises:
            MachineExistsError: the name is taken; nothing was touched.
            PolicyNotRecordedError: the engine did not record the network policy as asked; the machine is gone again.
            StartError: the machine did not start.
        """
        from smolkit.commands.run import RunDetached  # late: rarely needed

        options = hide_options(options)
        run = RunDetached.of(self.runner.named(name, keep), options, command=command)
        spec = MachineSpec(tuple(row for row in run.chosen if row[0] in option_tables.CREATE), secrets=run.secrets)
        machine = Machine(self.runner, str(run.name), spec, keep=keep, session=self.session)
        marks, dialect = Marks((), self.runner.now(), self.runner.clock()), self.engine.dialect
        steps = provision.run_detached(machine.name, run, spec, dialect, marks)
        perform(self.runner, steps, provision.undo([machine.name], dialect))
        machine._adopt(marks)  # noqa: SLF001  (made here)
        return machine

    def owned(self) -> list[MachineInfo]:
        """The machines that smolkit made, in whatever process, by name (engine >= 1.8.0)."""
        return [info for info in self.ls() if SESSION in info.labels]

    def reap(self, *, dry_run: bool = False) -> list[Reapable]:
        """Removes the machines that smolkit made and nobody wants: their process is gone, or their lifetime is over.

        Only what can be proved to be nobody's: a machine of another host, container or product is never touched, nor one
        that was made with `keep` (but by the end of its lifetime), nor a branch that has its source's labels, nor what a
        machine that stays was branched from. Where the engine has no labels (below 1.8.0, of branches below 1.29.0) only
        machines with fresh names (`client.machine()`, `machine.branch()`) are found: the name has the process in it that
        made the handle.

        Args:
            dry_run: Only say which, and why.

        Returns:
            What was (or would be) removed.

        Raises:
            SmolvmError: one could not be removed; the others were all tried, and notes tell of theirs.
        """
        validate.flag("dry_run", dry_run)
        dialect = self.engine.dialect
        found = perform(self.runner, reap.reapable(self.runner.here(), dialect))
        if not dry_run:
            perform(self.runner, reap.reap(found, dialect))
        return found

    def ls(self, labels: Mapping[str, str] | None = None) -> list[MachineInfo]:
        """All machines of the engine, smolkit's or not, by name.

        Args:
            labels: Only those that have all of these labels.

        Raises:
            SmolvmError: the engine could not tell. It is never taken for "no machines".
        """
        asked = dict(validate.pairs("labels", labels or {})).items()
        return [info for info in self.runner.run(Ls()) if asked <= info.labels.items()]

    def dry_run(self, *, echo: bool = True) -> AbstractContextManager[Plan]:
        """Plan what the block would run, instead of running it: commands are recorded, and their shell lines printed.

        All calls through this client's runner, of handles made before the block too, answer as if they had succeeded and
        found nothing: no machines, empty files, exit status 0. The engine is asked for its version; without one, the newest
        is spoken. After the block every handle is as it was before. A process that runs already is as real as before.

        The block's own code is in the dry run, and tasks that it begins, also after its end. Other threads are not, even if
        the block starts them, unless they run in a copy of its context: `asyncio.to_thread` does so, and
        `contextvars.copy_context().run(function)`.

        A dry run in another one has the commands of its block, and the outer one goes on after it.

        Args:
            echo: Whether the lines are printed.
        """
        from smolkit.runners.dry_run import dry_run  # late: few programs do so

        return dry_run(self.runner, echo=validate.flag("echo", echo))

    def free_port(self) -> int:
        """A TCP port of this host that nobody listens on, for `ports=[(port, 80)]`.

        No other program that uses smolkit gets it while this process lives; it is not one that the kernel hands out.
        """
        from smolkit.runners.local.ports import free_port  # late: rarely needed

        return free_port()

    def pack_create(
        self, image: str | os.PathLike[str] | None, output: str | os.PathLike[str], **options: Unpack[PackOptions]
    ) -> str:
        """Packs an image (or, with image=None and from_machine=NAME, a stopped machine) into a file for `from_path`.

        Both files stand under their names only once they are whole.

        Args:
            image: A registry reference, a `docker save` archive or an unpacked root file system.
            output: The program to write; the pack stands beside it as OUTPUT.smolmachine. The suffix may be given.
            options: See `smolkit.commands.option_types.PackOptions`.

        Returns:
            The pack's absolute path, for `client.machine(from_path=...)`: with single_file=True the program's own.

        Raises:
            MachineRunningError: the machine to pack runs; nothing was run but that look.
            MachineNotFoundError: there is no such machine.
            MachineNeverStartedError: it was never started: there is nothing of it to pack yet.
        """
        options = hide_options(options)
        given: dict[str, Any] = {"image": image, **options}
        program = validate.path("output", output).removesuffix(_PACK)
        PackCreate.of(program, given)  # says what is wrong with it, before any process starts
        source = given.get("from_machine")
        if source is not None and self.machine(source).status().running:
            raise MachineRunningError(f"machine {source!r} runs: only a stopped machine can be packed")
        with self.runner.target(program) as part, self.runner.target(program + _PACK, part + _PACK):
            self.runner.run(PackCreate.of(part, given))
        return validate.absolute("output", program if given.get("single_file") else program + _PACK)

    @property
    def engine(self) -> Engine:
        """The engine's version, path, dialect and capabilities; asked once.

        Raises:
            EngineNotFoundError, ForeignProgramError, UnsupportedByEngineError: there is none to drive.
        """
        return self.runner.engine

    def is_available(self) -> bool:
        """Whether there is a program to run. Nothing is run: `doctor` looks further."""
        return self.runner.is_available()

    def doctor(self) -> list[Check]:
        """What this host has and lacks for microVMs, each finding with a hint where it is not well. Never raises."""
        return self.runner.doctor()

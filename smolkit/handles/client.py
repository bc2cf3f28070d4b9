"""The client of an engine, which makes the handles on its machines.

What a machine's life needs is imported with `smolkit.handles.machine`, when the first handle is made: a program that only
imports smolkit need not wait for it, and a teardown never has to import anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Unpack, final

from smolkit import commands, errors, flows, handles, options, runners, values
from smolkit.handles.client_admin import EngineMethods
from smolkit.values import validate
from smolkit.values.hidden import hide_options
from smolkit.values.keywords import suggests_keywords
from smolkit.values.shown import without_users

_PACK = ".smolmachine"


def _check_runner(program: object, runner: object) -> None:
    """Raise TypeError unless `runner` is a runner (or None), and `program` is not one."""
    kind = runners.AnyRunner
    if isinstance(program, kind):
        raise TypeError("program must be a path: write Smolvm(runner=...) for a runner")
    if isinstance(runner, type) and issubclass(runner, kind):
        raise TypeError(f"runner must be a runner, not its class: write runner={runner.__name__}()")
    if runner is not None and not isinstance(runner, kind):
        raise TypeError(
            f"runner must be a Runner, such as SubprocessRunner(...) or FakeSmolvm(), not {type(runner).__name__}"
        )


@suggests_keywords
@final
class Smolvm(EngineMethods):
    """A client of one engine. Making one runs nothing.

    Args:
        program: The smolvm program. Default: the environment variable SMOLKIT_SMOLVM, then `smolvm` on PATH, then the
            program that `pip install 'smolkit[engine]'` brings.
        runner: Runs the commands, instead of a default SubprocessRunner: one with options of its own (`sudo -n` before
            each command, more variables), or a fake in tests.
        max_processes: Maximum number of concurrent engine processes (default: unlimited); further calls wait for their
            turn. A process of `popen` counts until its end.
        on_call: Called after each call of the engine with a `smolkit.Call`: the command, redacted argv, duration and
            outcome. All clients of one runner share these. Exceptions that it raises are logged.
        watchdog: Start a small process with this process's first machine. It removes the machines that this process leaves
            behind, as soon as this process ends in whatever way: killed, by `os._exit`, with its terminal, or by itself.
            All clients of one runner share it. It removes what `reap()` in another process would remove, so no machines
            made with `keep`. Off by default, since programs may leave machines for others to find.

    Attributes:
        session: Identifies this client in the labels of its machines.
    """

    __slots__ = ("session",)

    def __init__(
        self,
        program: str | os.PathLike[str] | None = None,
        *,
        runner: runners.Runner | None = None,
        max_processes: int | None = None,
        on_call: Callable[[commands.Call], object] | None = None,
        watchdog: bool = False,
    ) -> None:
        for name, given in (("program", program), ("max_processes", max_processes)):
            if runner is not None and given is not None:
                raise TypeError(f"{name} and runner cannot both be given: pass {name} to the runner")
        validate.function("on_call", on_call)
        validate.flag("watchdog", watchdog)
        _check_runner(program, runner)
        if runner is None:
            runner = runners.SubprocessRunner(program, max_processes=max_processes)
        super().__init__(runner)
        if on_call is not None:
            self.runner.observe(on_call)
        if watchdog:
            self.runner.watch()
        self.session: str = os.urandom(8).hex()

    def __repr__(self) -> str:
        return f"<Smolvm {without_users(self.runner.host)}>"

    def machine(
        self,
        name: str | None = None,
        *,
        keep: flows.teardown.Keep = False,
        lifetime: float | None = None,
        **options: Unpack[options.ClientOptions],
    ) -> handles.Machine:
        """A handle on the machine of that name, which need not exist. The engine is not called.

        Args:
            name: 1 to 128 of `A-Z a-z 0-9 _ -`. Default: a fresh one.
            keep: Leave the machine at the end of a `with`: always (True), or after an exception ("on_error"), which then
                has a note on how to get into the machine. Either way the machine has no owner, so that no `reap()` removes
                it because a process is gone.
            lifetime: Seconds from its creation after which any `reap()` may remove it, even if its owner is alive
                (engine >= 1.8.0; older ones are refused when the machine is created). With `keep` the machine stays at the
                end of its block, for others to find by its name, and is removed by the first `reap()` after its lifetime.
            options: The machine to create, if this handle creates it (`smolkit.options.MachineOptions`), and how to start
                it (`smolkit.options.StartOptions`).

        Raises:
            InvalidNameError: the name is invalid.
            TypeError, ValueError: an option is unknown, or its value is invalid.
        """
        options = hide_options(options)
        named = self.runner.named(name, keep)
        return handles.Machine._described(  # noqa: SLF001  (only a client makes them)
            self.runner, named, options, keep=keep, session=self.session, lifetime=lifetime
        )

    def run_detached(
        self,
        command: Sequence[str | os.PathLike[str]] = (),
        /,
        name: str | None = None,
        *,
        keep: flows.teardown.Keep = False,
        **options: Unpack[options.RunOptions],
    ) -> handles.Machine:
        """Make a machine, start it with a command as its workload, and leave it running: `smolvm machine run --detach`.

        `logs()` has the output of the workload. The machine has no labels, so that `reap()` does not know it.

        Args:
            command: The program and its arguments. Default: the image's own, or an idle one.
            name: The machine's name. Default: a fresh one.
            keep: As for `machine`.
            options: As for `run`, except `timeout` and `input`.

        Returns:
            The machine. It is running; as a context manager it is deleted at the end of the block.

        Raises:
            MachineExistsError: the name is taken; nothing was touched.
            PolicyNotRecordedError: the engine did not record the network policy as asked; the machine is gone again.
            StartError: the machine did not start.
        """
        options = hide_options(options)
        run = commands.RunDetached.of(self.runner.named(name, keep), options, command=command)
        machine = handles.Machine(self.runner, str(run.name), run.spec, keep=keep, session=self.session)
        marks, dialect = values.Marks((), self.runner.now(), self.runner.clock()), self.engine.dialect
        steps = flows.provision.run_detached(machine.name, run, run.spec, dialect, marks)
        flows.steps.perform(self.runner, steps, flows.provision.undo([machine.name], dialect))
        machine._adopt(marks)  # noqa: SLF001  (made here)
        return machine

    def owned(self) -> list[values.MachineInfo]:
        """The machines that smolkit made, in any process, sorted by name (engine >= 1.8.0)."""
        from smolkit.values.ownership import SESSION  # late: it needs attrs, which would double the import

        return [info for info in self.ls() if SESSION in info.labels]

    def reap(self, *, dry_run: bool = False) -> list[values.Reapable]:
        """Remove the machines that smolkit made and nobody needs: their process is gone, or their lifetime is over.

        Only machines that provably belong to nobody are removed. Never touched are machines of another host, container or
        product, machines made with `keep` (until their lifetime is over), branches that have their source's labels, and
        the sources of machines that stay. If the engine has no labels (below 1.8.0, for branches below 1.29.0), only
        machines with fresh names (`client.machine()`, `machine.branch()`) are found: the name contains the process that
        made the handle.

        Args:
            dry_run: Only return them.

        Returns:
            The machines that were (or would be) removed, each with the reason.

        Raises:
            SmolvmError: one could not be removed. All others were tried; notes tell of further failures.
        """
        validate.flag("dry_run", dry_run)
        dialect = self.engine.dialect
        found = flows.steps.perform(self.runner, flows.reap.reapable(self.runner.here(), dialect))
        if not dry_run:
            flows.steps.perform(self.runner, flows.reap.reap(found, dialect))
        return found

    def ls(self, labels: Mapping[str, str] | None = None) -> list[values.MachineInfo]:
        """All machines of the engine, made by smolkit or not, sorted by name.

        Args:
            labels: Only machines that have all of these labels.

        Raises:
            SmolvmError: the engine failed. A failure is never taken for "no machines".
        """
        asked = dict(validate.pairs("labels", labels or {})).items()
        return [info for info in self.runner.run(commands.Ls()) if asked <= info.labels.items()]

    def dry_run(self, *, echo: bool = True) -> AbstractContextManager[runners.Plan]:
        """Plan what the block would run, instead of running it: commands are recorded, and their shell lines printed.

        All calls through this client's runner, of handles made before the block too, answer as if they had succeeded and
        found nothing: no machines, empty files, exit status 0. The engine is asked for its version; without one, the newest
        is assumed. After the block every handle is as it was before. A process that runs already is as real as before.

        The block's own code is in the dry run, and tasks that it begins, also after its end. Other threads are not, even if
        the block starts them, unless they run in a copy of its context: `asyncio.to_thread` does so, and
        `contextvars.copy_context().run(function)`.

        A dry run in another one has the commands of its block, and the outer one goes on after it.

        Args:
            echo: Print the lines.
        """
        from smolkit.runners.dry_run import dry_run  # late: as in `owned`

        return dry_run(self.runner, echo=validate.flag("echo", echo))

    def free_port(self) -> int:
        """A TCP port of the engine's host that nothing listens on, for `ports=[(port, 80)]`.

        No other program that uses smolkit gets it while this process lives. It is outside the kernel's ephemeral range.
        """
        return self.runner.free_port()

    def pack_create(
        self, image: str | os.PathLike[str] | None, output: str | os.PathLike[str], **options: Unpack[options.PackOptions]
    ) -> str:
        """Pack an image (or, with image=None and from_machine=NAME, a stopped machine) into a file for `from_path`.

        Both files appear once they are complete.

        Args:
            image: A registry reference, a `docker save` archive or an unpacked root file system.
            output: The program to write; the pack is written beside it as OUTPUT.smolmachine. The suffix may be given.
            options: See `smolkit.options.PackOptions`.

        Returns:
            The pack's absolute path, for `client.machine(from_path=...)`: with single_file=True the program's own.

        Raises:
            MachineRunningError: the machine to pack is running; only its status was asked.
            MachineNotFoundError: there is no such machine.
            MachineNeverStartedError: it was never started, so it has no disk to pack.
        """
        options = hide_options(options)
        given: dict[str, Any] = {"image": image, **options}
        program = validate.path("output", output).removesuffix(_PACK)
        commands.PackCreate.of(program, given)  # raises for invalid arguments, before any process starts
        source = given.get("from_machine")
        if source is not None and self.machine(source).status().running:
            raise errors.MachineRunningError(f"machine {source!r} is running: only a stopped machine can be packed")
        with self.runner.target(program) as part, self.runner.target(program + _PACK, part + _PACK):
            self.runner.run(commands.PackCreate.of(part, given))
        return validate.absolute("output", program if given.get("single_file") else program + _PACK)

    @property
    def engine(self) -> commands.Engine:
        """The engine's version, path, dialect and capabilities; asked once.

        Raises:
            EngineNotFoundError: there is no engine.
            ForeignProgramError: the program is another product's.
            UnsupportedByEngineError: the engine is too old.
        """
        return self.runner.engine

    def is_available(self) -> bool:
        """True if there is a program to run. Runs nothing; `doctor` checks more."""
        return self.runner.is_available()

    def doctor(self) -> list[values.Check]:
        """Checks of what this host has and lacks for microVMs, with a hint for each that fails. Never raises."""
        return self.runner.doctor()

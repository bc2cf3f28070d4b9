"""Machine: the lifecycle of one machine, and the commands that run in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack, final, overload

import smolkit  # only for to_async, which reaches up when it is called
from smolkit import commands, options, values
from smolkit.commands import option_tables
from smolkit.commands.base import LONG
from smolkit.commands.options import choose
from smolkit.commands.spawn import MARK
from smolkit.errors import MachineNotFoundError
from smolkit.flows import lookup, provision, teardown, wait_until
from smolkit.flows.steps import perform
from smolkit.handles.admin import AdminMethods
from smolkit.handles.directories import DirectoryMethods
from smolkit.handles.process import Process
from smolkit.handles.spawned import Spawned
from smolkit.handles.transfers import TransferMethods
from smolkit.values import keywords, validate
from smolkit.values.hidden import hide, hide_options
from smolkit.values.keywords import suggests_keywords

_POPEN = frozenset({"env", "secrets", "workdir", "user", "timeout", "stdin", "grace"})  # PopenOptions
_WITHOUT_END = frozenset({"env", "secrets", "workdir", "user"})  # SpawnOptions: for commands that take no timeout or input


@suggests_keywords
@final
class Machine(TransferMethods, DirectoryMethods, AdminMethods):
    """A handle on one machine, known by its name. `client.machine(name, ...)` makes one without asking the engine.

    As a context manager it creates and starts the machine, and deletes it at the end; a machine that this handle created
    before is only started. `smolkit.flows.teardown` says what happens when something fails. Several threads may share a
    handle. It pickles: the copy is a handle on the same machine, which it deletes only when told to.
    """

    __slots__ = ()

    def to_sync(self) -> Machine:
        """Another handle on the same machine, for sync code. It does not own the machine: only `delete()` deletes it.

        Its calls block their thread: do not make them in an event loop's.
        """
        kind, given = self.__reduce__()  # as a pickled copy
        return kind(*given)

    def to_async(self) -> smolkit.AsyncMachine:
        """A handle on the same machine, for async code, which does not own it. Needs `pip install 'smolkit[async]'`."""
        return smolkit.AsyncMachine(self.to_sync())

    def create(self) -> None:
        """Create the machine as it was described to `client.machine`. It does not run yet.

        Raises:
            MachineExistsError: the name is taken; nothing was touched.
            PolicyNotRecordedError: the engine did not record the network policy as asked; the machine is gone again.
        """
        known, marks, dialect = self._known, self._marks(), self._dialect
        made = known.made
        known.made = marks  # before the machine exists, as in __enter__
        try:
            create = provision.create(self.name, self._spec, dialect, marks)
            perform(self._runner, create, provision.undo([self.name], dialect))
        except BaseException:
            known.made = made
            raise

    def start(self, *, timeout: float | None = LONG, **options: Unpack[options.StartOptions]) -> None:
        """Start the machine; returns once commands can run. No-op if it is already running.

        Args:
            timeout: Seconds until smolkit gives up (default 900), including the wait for its turn among other starts. The
                engine's own bound is 30 s without progress.
            options: See `smolkit.options.StartOptions`; they override those of `client.machine`.

        Raises:
            HypervisorUnavailableError: this host boots no microVMs.
            PortInUseError: something on the host listens on a port that was to be published.
            BootFailedError: it did not come up; notes on the error hold the end of its console log.
            QueueTimeoutError: its turn among other starts did not come in time; nothing was run.
            MachineNotFoundError, StartInProgressError, EngineTimeoutError
        """
        options = hide_options(options)
        known = self._known
        known.warm = False
        chosen = {**dict(self._starting), **dict(choose("start", option_tables.START, options, ["timeout"]))}
        known.branchable = known.branchable or bool(chosen.get("branchable"))
        start = commands.Start(self.name, timeout, chosen=tuple(chosen.items()), machine_secrets=self._spec.secrets)
        perform(self._runner, provision.start(start), within=timeout)

    def wait_until(
        self,
        *,
        command: Sequence[str | os.PathLike[str]] | None = None,
        path: str | None = None,
        port: int | None = None,
        log: str | re.Pattern[str] | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Wait until one condition in the guest is true. It is checked at least once a second.

        Args:
            command: This command exits with 0. A program that is missing may still appear.
            path: This absolute path exists.
            port: Something listens on this TCP port, published or not.
            log: A line of the machine's logs matches this regular expression: a line that its workload wrote (as `smolvm
                machine logs` shows it), or one of its console. The output of `exec` is in no log.
            timeout: Seconds to wait (default 60).

        Raises:
            WaitTimeoutError: it did not become true in time; notes on the error hold the end of the logs.
            ValueError: not exactly one condition is given.
            MachineNotRunningError, MachineNotFoundError, ConnectionLostError: it cannot become true any more.
            ProgramNotFoundError: the guest has no `test` (for path) or no `cat` (for port).
        """
        what, look = wait_until.probe(self.name, command, path, port, log, self._spec.secrets)
        seconds = validate.seconds("timeout", timeout)
        perform(self._runner, wait_until.wait_until(self.name, what, look, seconds), within=seconds)

    def stop(self, *, timeout: int | None = None) -> None:
        """Stop the machine; its disk stays. No-op if it is not running.

        Args:
            timeout: Whole seconds for its workload to end before it is killed, 0 to 300 (engine >= 1.28.1).

        Raises:
            MachineNotFoundError: there is no such machine (engine >= 0.8.1; older ones do not say).
            MachineReplacedError: another machine has the name by now, not the one that this handle made.
        """
        self._on_own(commands.Stop(self.name, timeout))

    def delete(self, *, missing_ok: bool = False, cascade: bool = False) -> None:
        """Delete the machine with its disk, running or not. Retried while the engine is busy.

        Args:
            missing_ok: No-op if there is no such machine.
            cascade: Also delete the machines that were branched from it (engine >= 1.7.0).

        Raises:
            MachineNotFoundError: there is no such machine.
            MachineHasBranchesError: machines were branched from it, and cascade is False; nothing was deleted.
            MachineReplacedError: another machine has the name by now, not the one that this handle made. (A handle that
                made none, `client.machine(name)`, deletes whatever has the name.)
        """
        for what, given in (("missing_ok", missing_ok), ("cascade", cascade)):
            validate.flag(what, given)
        known, dialect = self._known, self._dialect
        perform(self._runner, teardown.delete(self.name, dialect, known.made, missing_ok=missing_ok, cascade=cascade))
        known.made = None

    def status(self) -> values.MachineInfo:
        """The engine's record of the machine, with its state.

        Raises:
            MachineNotFoundError: there is no such machine.
        """
        return perform(self._runner, lookup.status(self.name, self._dialect))

    def exists(self, path: str | os.PathLike[str] | values.GuestPath | None = None) -> bool:
        """True if the engine has such a machine, in whatever state; with a path, if the running machine has that file.

        A dangling symlink exists, too.
        """
        if path is not None:
            return self._file_exists(path)
        try:
            self.status()
        except MachineNotFoundError:
            return False
        return True

    def exec(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | values.Secret] | None = None,
        workdir: str | os.PathLike[str] | None = None,
        user: str | None = None,
        timeout: float | None = None,
        input: bytes | str | None = None,  # noqa: A002  (subprocess's word)
    ) -> values.ExecResult:
        """Run a command in the guest to its end. Returns its exit status and output, whatever the status.

        Args:
            command: The program and its arguments. No shell reads them: use `sh` for that.
            check: Raise CommandFailedError if the exit status is not 0.
            env: Variables on top of the machine's. They are in the engine's argv while it runs.
            secrets: Variables that are in no argv, log or error: a Secret each, or a str for its value (engine >= 1.0.0).
            workdir: An absolute path in the guest.
            user: A name or `uid[:gid]`; image machines only (engine >= 1.14.0).
            timeout: Seconds after which the command is killed in the guest. smolkit's own bound is 30 s longer. It also
                bounds the wait for a place (max_processes).
            input: Data for its stdin, which is otherwise /dev/null.

        Raises:
            TypeError: command is a str.
            CommandFailedError: the exit status is not 0, and check=True.
            ExecTimeoutError: the command did not end in time; the error holds its output until then.
            ProgramNotFoundError, ProgramNotExecutableError: the guest could not start it.
            QueueTimeoutError: it did not get a place within the timeout; nothing was run.
            MachineNotRunningError, MachineNotFoundError, ConnectionLostError, OutputLimitError
        """
        env, secrets, input = hide(env), hide(secrets), hide(input)  # noqa: A001
        validate.flag("check", check)
        result = self._runner.run(
            commands.Exec(
                self.name,
                command,
                env=env,
                secrets=secrets,
                workdir=workdir,
                user=user,
                timeout=timeout,
                input=input,
                machine_secrets=self._spec.secrets,
            )
        )
        self._known.warm = True
        return result.check() if check else result

    def sh(self, script: str, **options: Unpack[options.ExecOptions]) -> values.ExecResult:
        """Run a script by the guest's `sh -c`: pipes, globs, `&&`. Options and errors are those of `exec`."""
        options = hide_options(options)
        return self.exec(["sh", "-c", validate.text("script", script)], **options)

    @overload
    def popen(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        text: Literal[False] = False,
        **options: Unpack[options.PopenOptions],
    ) -> Process[bytes]: ...

    @overload
    def popen(
        self, command: Sequence[str | os.PathLike[str]], *, text: Literal[True], **options: Unpack[options.PopenOptions]
    ) -> Process[str]: ...

    def popen(
        self, command: Sequence[str | os.PathLike[str]], *, text: bool = False, **options: Unpack[options.PopenOptions]
    ) -> Process[Any]:
        """Start a command in the guest and follow it while it runs.

        Its output has no cap, and only a piece of it is in memory at a time. Killing it kills it in the guest, with every
        process that it started (1.32.2).

        Args:
            command: As for exec.
            text: Read lines of text instead of pieces of bytes.
            options: `stdin=True` for an input to write to; env, secrets, workdir, user and timeout as for exec; `grace`,
                the seconds that the command has at the end of a `with` to end by itself (default 5).

        Raises:
            TypeError: command is a str.
            QueueTimeoutError: it did not get a place (max_processes) within its timeout; nothing was run.
        """
        options = hide_options(options)
        keywords.known("popen", options, _POPEN, ["text"])
        rest = dict(options)
        stdin, grace = validate.flag("stdin", rest.pop("stdin", False)), validate.grace("grace", rest.pop("grace", 5.0))
        validate.flag("text", text)
        return self._popen(command, stdin=stdin, text=text, grace=grace, **rest)

    def spawn(self, command: Sequence[str | os.PathLike[str]], **options: Unpack[options.SpawnOptions]) -> Spawned:
        """Start a command in the guest and leave it running until it ends, or the machine does (engine >= 1.3.0).

        Its output is discarded. For an image machine the engine does not say that the program is missing (1.32.2).

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError: the guest has no such program (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """
        options = hide_options(options)
        keywords.known("spawn", options, _WITHOUT_END)
        mark = os.urandom(8).hex()
        env = {**dict(validate.hidden_pairs("env", options.get("env"))), MARK: mark}
        rest: dict[str, Any] = {**options, "env": env}
        pid = self._runner.run(commands.Spawn(self.name, command, machine_secrets=self._spec.secrets, **rest))
        return Spawned(self, pid, mark)

    def shell(self) -> int:
        """Hand this program's terminal over to a shell in the guest. Returns its exit status.

        Raises:
            MachineNotRunningError, MachineNotFoundError
        """
        if self._spec.secrets:  # `machine shell` takes none, and another handle may have made the machine without them
            return self.terminal(["/bin/sh"])
        return self._runner.run_in_terminal(commands.Shell(self.name)).returncode

    def terminal(self, command: Sequence[str | os.PathLike[str]], **options: Unpack[options.SpawnOptions]) -> int:
        """Hand this program's terminal over to a command in the guest: `m.terminal(["python3"])`. Returns its exit status.

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError: the guest has no such program (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """
        options = hide_options(options)
        keywords.known("terminal", options, _WITHOUT_END)
        made = commands.Terminal(self.name, command, machine_secrets=self._spec.secrets, **options)
        return self._runner.run_in_terminal(made).returncode

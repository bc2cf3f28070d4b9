"""Commands in the guest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast, overload

from smolkit.commands.exec import Exec
from smolkit.handles.base import Handle
from smolkit.values import validate
from smolkit.values.hidden import hide, hide_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal, Unpack

    from smolkit.commands.option_types import ExecOptions, PopenOptions, SpawnOptions
    from smolkit.handles.process import Process
    from smolkit.handles.spawned import Spawned
    from smolkit.values.results import ExecResult
    from smolkit.values.secret import Secret


_LEFT = frozenset({"env", "secrets", "workdir", "user"})  # SpawnOptions: what a command without a bound takes


class MachineCommands(Handle):
    """The part of Machine that runs commands."""

    __slots__ = ()

    def exec(
        self,
        command: Sequence[str],
        *,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | Secret] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        timeout: float | None = None,
        input: bytes | str | None = None,  # noqa: A002  (subprocess's word)
    ) -> ExecResult:
        """Runs a command in the guest to its end, and gives its exit status and output, whatever the status.

        Args:
            command: A list of words, the program first. No shell sees them: `sh` is for that.
            check: Raise CommandFailedError if the exit status is not 0.
            env: Variables on top of the machine's. They are on the engine's command line while it runs.
            secrets: Variables that are not: a Secret each, or a str for its value (engine >= 1.0.0). No log, error or
                command line has them.
            workdir: An absolute path in the guest.
            user: A name or `uid[:gid]`; image machines only (engine >= 1.14.0).
            timeout: Seconds after which the command is killed in the guest. smolkit's own bound is 30 s longer.
                The wait for a place (max_processes) is bounded by it, too.
            input: For its standard input, which is otherwise /dev/null.

        Raises:
            TypeError: command is a str.
            CommandFailedError: the exit status is not 0, and check=True.
            ExecTimeoutError: the command did not end in time; the error holds what it had written.
            ProgramNotFoundError, ProgramNotExecutableError: the guest could not start it.
            QueueTimeoutError: it did not get a place within the timeout; nothing was run.
            MachineNotRunningError, MachineNotFoundError, ConnectionLostError, OutputLimitError
        """
        env, secrets, input = hide(env), hide(secrets), hide(input)  # noqa: A001
        validate.flag("check", check)
        result = self._runner.run(
            Exec(
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
        self._woke()
        return result.check() if check else result

    def sh(self, script: str, **options: Unpack[ExecOptions]) -> ExecResult:
        """Runs a script with the guest's `sh -c`: pipes, globs, `&&`. Options and errors are those of `exec`."""
        options = hide_options(options)
        return self.exec(["sh", "-c", validate.text("script", script)], **options)

    @overload
    def popen(
        self, command: Sequence[str], *, text: Literal[False] = False, **options: Unpack[PopenOptions]
    ) -> Process[bytes]: ...

    @overload
    def popen(self, command: Sequence[str], *, text: Literal[True], **options: Unpack[PopenOptions]) -> Process[str]: ...

    def popen(self, command: Sequence[str], *, text: bool = False, **options: Unpack[PopenOptions]) -> Process[Any]:
        """Starts a command in the guest, to be followed while it runs.

        Its output has no cap, and no more of it is in memory than a piece. Killing it kills it in the guest, with all that
        it started (1.32.2).

        Args:
            command: As for exec.
            text: Whether lines of text are read, instead of pieces of bytes.
            options: `stdin=True` for an input to write to; env, secrets, workdir, user and timeout as for exec; `grace`,
                the seconds that the command has at the end of a `with` to end by itself (default 5).

        Raises:
            TypeError: command is a str.
            QueueTimeoutError: it did not get a place (max_processes) within its timeout; nothing was run.
        """
        from smolkit.handles.process import start  # late: few programs follow commands

        options = hide_options(options)
        rest = dict(options)
        stdin, grace = validate.flag("stdin", rest.pop("stdin", False)), validate.grace("grace", rest.pop("grace", 5.0))
        validate.flag("text", text)
        # An input, be it empty, has the engine speak live.
        made = Exec(self.name, command, input=b"", machine_secrets=self._spec.secrets, **rest)  # type: ignore[arg-type]
        return start(self._runner, made, stdin=stdin, text=text, grace=grace)

    def spawn(self, command: Sequence[str], **options: Unpack[SpawnOptions]) -> Spawned:
        """Starts a command in the guest and leaves it: it runs until it ends, or the machine does (engine >= 1.3.0).

        Its output goes nowhere. An image machine's engine does not say whether there is such a program (1.32.2).

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError: the guest has no such program (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """
        from smolkit.commands.spawn import Spawn  # late: few programs leave commands
        from smolkit.handles.spawned import MARK, Spawned

        options = hide_options(options)
        validate.known("spawn", options, _LEFT)
        mark = os.urandom(8).hex()
        env = {**dict(validate.hidden_pairs("env", options.get("env"))), MARK: mark}
        rest: dict[str, Any] = {**options, "env": env}
        pid = self._runner.run(Spawn(self.name, command, machine_secrets=self._spec.secrets, **rest))
        return Spawned(self, cast("int", pid), mark)

    def shell(self) -> int:
        """Hands this program's terminal over to a shell in the guest; its exit status.

        Raises:
            MachineNotRunningError, MachineNotFoundError
        """
        if self._spec.secrets:  # the same, with them: another handle may have made the machine, without them
            return self.terminal(["/bin/sh"])
        from smolkit.commands.spawn import Shell  # late: few programs do so

        return self._runner.run_in_terminal(Shell(self.name)).returncode

    def terminal(self, command: Sequence[str], **options: Unpack[SpawnOptions]) -> int:
        """Hands this program's terminal over to a command in the guest: `m.terminal(["python3"])`; its exit status.

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError: the guest has no such program (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """
        from smolkit.commands.spawn import Terminal  # late: few programs do so

        options = hide_options(options)
        validate.known("terminal", options, _LEFT)
        made = Terminal(self.name, command, machine_secrets=self._spec.secrets, **options)
        return self._runner.run_in_terminal(made).returncode

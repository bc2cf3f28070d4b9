"""Running commands in a machine's guest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Unpack, overload

from smolkit import commands, handles, options, values
from smolkit.commands.exec import ExecCommand
from smolkit.commands.spawn import MARK
from smolkit.errors import SmolvmError
from smolkit.handles.base import Handle
from smolkit.handles.defaults import NONE
from smolkit.handles.process import Process
from smolkit.handles.spawned import Spawned
from smolkit.values import keywords, validate
from smolkit.values.hidden import hide, hide_options
from smolkit.values.keywords import suggests_keywords

C = TypeVar("C", bound=ExecCommand[Any])
T = TypeVar("T")

_POPEN = frozenset({"env", "secrets", "workdir", "user", "stderr", "timeout", "stdin", "grace"})  # PopenOptions
_WITHOUT_END = frozenset({"env", "secrets", "workdir", "user"})  # SpawnOptions: for commands that take no timeout or input


@suggests_keywords
class CommandMethods(Handle):
    """Running commands in the guest."""

    __slots__ = ()

    def at(
        self,
        *,
        workdir: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | values.Secret] | None = None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> handles.MachineView:
        """A view of the machine with defaults: `m.at(workdir="/repo", user="agent")` has its commands and files.

        What a call gives itself wins; its variables are added to these. A view of a view has the defaults of both. The
        engine is not called.

        Args:
            workdir: Where commands run, and relative paths start; in a view that has one, it may be relative to that.
            env: Variables of commands.
            secrets: Variables of commands that are in no argv, log or error.
            user: As whom commands and file methods run (`cp` excepted, which is the engine's).
            timeout: Seconds for each command, and for each file method, that has none of its own.
        """
        env, secrets = hide(env), hide(secrets)
        given = {"workdir": workdir, "env": env, "secrets": secrets, "user": user, "timeout": timeout}
        return handles.MachineView(self._machine, self._defaults.over(given))

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
        stderr: Literal["stdout"] | int | None = None,
        output_limit: int | None = None,
        on_limit: Literal["raise", "truncate"] = "raise",
    ) -> values.ExecResult:
        """Run a command in the guest to its end. Returns its exit status and output, whatever the status.

        Args:
            command: The program and its arguments. No shell reads them: use `sh` for that.
            check: Raise CommandFailedError if the exit status is not 0.
            env: Variables on top of the machine's. They are in the engine's argv while it runs.
            secrets: Variables that are in no argv, log or error: a Secret each, or a str for its value (engine >= 1.0.0).
            workdir: An absolute path in the guest.
            user: A name or `uid[:gid]` (engine >= 1.14.0). On a bare machine, whose engine knows only root, a name or uid
                of the guest's /etc/passwd: the guest's own `su` starts the command.
            timeout: Seconds after which the command is killed in the guest. smolkit's own bound is 30 s longer. It also
                bounds the wait for a place (max_processes).
            input: Data for its stdin, which is otherwise /dev/null.
            stderr: "stdout" (or subprocess.STDOUT) to have its stderr in its stdout, in the order in which the guest
                writes both. A `sh` in the guest starts the command.
            output_limit: Bytes of stdout and stderr together. Not much more than that is in memory, whatever the guest
                writes. Default: the runner's limit (256 MiB).
            on_limit: "raise" ends the command that writes more, with an OutputLimitError. "truncate" lets it run on, and
                keeps the beginning and the end of each stream: see `ExecResult.stdout_cut`.

        Raises:
            TypeError: command is a str.
            ValueError: an argument or variable is longer than 131,071 bytes, the kernel's limit, or all of them take more
                than 2,000,000. (A script for `sh -c`, and so of `sh`, may be longer than an argument.)
            ConfigError: the guest has no such user.
            CommandFailedError: the exit status is not 0, and check=True.
            ExecTimeoutError: the command did not end in time; the error holds its output until then.
            ProgramNotFoundError, ProgramNotExecutableError, WorkdirNotFoundError: the guest could not start it.
            QueueTimeoutError: it did not get a place within the timeout; nothing was run.
            OutputLimitError: it wrote more than output_limit, or than the runner takes; the error has the limit, and the
                beginning of the output.
            MachineNotRunningError, MachineNotFoundError, ConnectionLostError
        """
        env, secrets, input = hide(env), hide(secrets), hide(input)  # noqa: A001
        validate.flag("check", check)
        given = {"env": env, "secrets": secrets, "workdir": workdir, "user": user, "timeout": timeout}
        made = commands.Exec(
            self.name,
            command,
            input=input,
            stderr=stderr,
            output_limit=output_limit,
            on_limit=on_limit,
            machine_secrets=self._spec.secrets,
            **self._defaults.of_command(given),
        )
        result = self._started(self._as_user(made), self._runner.run)
        self._known.warm = True
        return result.check() if check else result

    def sh(self, script: str, **options: Unpack[options.ExecOptions]) -> values.ExecResult:
        """Run a script by the guest's `sh -c`: pipes, globs, `&&`. Options and errors are those of `exec`.

        The script may be 2 MB long, so that a heredoc may hold a file.
        """
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
            options: `stdin=True` for an input to write to; env, secrets, workdir, user, timeout and stderr as for exec;
                `grace`, the seconds that the command has at the end of a `with` to end by itself (default 5).

        Raises:
            TypeError: command is a str.
            QueueTimeoutError: it did not get a place (max_processes) within its timeout; nothing was run.
        """
        options = hide_options(options)
        keywords.known("popen", options, _POPEN, ["text"])
        rest = self._defaults.of_command({"timeout": None, **options})
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
            ProgramNotFoundError, WorkdirNotFoundError: the guest has no such program or directory (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """
        options = hide_options(options)
        keywords.known("spawn", options, _WITHOUT_END)
        mark = os.urandom(8).hex()
        rest = self._defaults.of_command(options)
        rest["env"] = {**rest["env"], MARK: mark}
        made = commands.Spawn(self.name, command, machine_secrets=self._spec.secrets, **rest)
        pid = self._started(self._as_user(made), self._runner.run)
        return Spawned(self._machine, pid, mark)

    def shell(self) -> int:
        """Hand this program's terminal over to a shell in the guest. Returns its exit status.

        Raises:
            MachineNotRunningError, MachineNotFoundError
        """
        # `machine shell` takes no secrets, and another handle may have made the machine without them.
        if self._spec.secrets or self._defaults != NONE:
            return self.terminal(["/bin/sh"])
        return self._runner.run_in_terminal(commands.Shell(self.name)).returncode

    def terminal(self, command: Sequence[str | os.PathLike[str]], **options: Unpack[options.SpawnOptions]) -> int:
        """Hand this program's terminal over to a command in the guest: `m.terminal(["python3"])`. Returns its exit status.

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError, WorkdirNotFoundError: the guest has no such program or directory (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """
        options = hide_options(options)
        keywords.known("terminal", options, _WITHOUT_END)
        given = self._defaults.of_command(options)
        made = commands.Terminal(self.name, command, machine_secrets=self._spec.secrets, **given)
        return self._started(self._as_user(made), self._runner.run_in_terminal).returncode

    def _started(self, command: C, run: Callable[[C], T]) -> T:
        """Run a command, and raise the error that its failure amounts to."""
        try:
            return run(command)
        except SmolvmError as error:
            explained = self._explain(command, error)
            if explained is error:
                raise
            raise explained from None

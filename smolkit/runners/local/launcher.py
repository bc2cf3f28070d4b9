"""The engine's program on this host: where it is, what its environment is, and how its processes are started.

The modules that run a child process (`capture`, `child`) are built on this one, and `SubprocessRunner` on them.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, final

from smolkit.errors import EngineNotFoundError, HostUnreachableError
from smolkit.runners.attempts import USED_UP
from smolkit.runners.local.engine_note import without_note
from smolkit.values import validate
from smolkit.values.hidden import Hidden, Variables
from smolkit.values.results import Completed
from smolkit.values.shown import redact, shell_line, without_users

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smolkit.runners.local.locate import Program
    from smolkit.runners.local.posix import ChildProcess
    from smolkit.values.results import Invocation

# The variables that the engine inherits: where its state and libraries are, and a registry's credentials.
_INHERITED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM"),
        *("DOCKER_CONFIG", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "DBUS_SESSION_BUS_ADDRESS"),
    }
)
_INHERITED_PREFIXES = ("LC_", "XDG_", "SMOLVM_")
# The first makes the engine run another program as its VM; the second gives every call a machine that it did not name.
_REFUSED = frozenset({"SMOLVM_BOOT_BINARY", "SMOLVM_MACHINE_NAME"})
# The variables that decide where the engine's state is.
_PLACES = frozenset({"SMOLVM_DATA_DIR", "HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"})
_PROXY = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# NO_COLOR: no escape sequences. RUST_LOG: no log lines in the guest's stderr.
_FIXED = {"NO_COLOR": "1", "RUST_LOG": "off"}


REMOTE_SHELLS = frozenset({"ssh", "autossh", "dbclient", "plink", "sshpass"})
_WSL = frozenset({"wsl", "wsl.exe"})


def _check_prefix(prefix: tuple[str, ...]) -> None:
    """Raise ValueError for a program that joins its arguments for a shell on the other side.

    That shell would read what is in them, on the engine's host: `$(...)` is run, an empty one is lost.
    """
    names = {os.path.basename(word) for word in prefix}
    if found := names & REMOTE_SHELLS:
        raise ValueError(f"prefix must not have {min(found)}, which hands all arguments to a shell: use SshRunner(HOST)")
    if names & _WSL and not {"-e", "--exec"} & set(prefix):
        raise ValueError(
            "prefix must not have wsl without --exec, which hands all arguments to a shell: use ['wsl', '--exec']"
        )


@final
class Launcher:
    """Finds and starts the engine's program. The arguments are those of SubprocessRunner.

    Attributes:
        prefix: Arguments before the program, the first of which is a program of this host; empty for none.
    """

    def __init__(
        self,
        program: str | os.PathLike[str] | None,
        *,
        prefix: Sequence[str],
        state_dir: str | os.PathLike[str] | None,
        env: Mapping[str, str] | None,
        pass_env: Sequence[str],
        inherit_proxy: bool,
    ) -> None:
        arguments = validate.words("prefix", prefix) if prefix else ()
        self.prefix: tuple[str, ...] = (*(validate.program("prefix", word) for word in arguments[:1]), *arguments[1:])
        _check_prefix(self.prefix)
        as_given = validate.path if self.prefix else validate.program  # with a prefix it is a path on the other side
        self._named = None if program is None else as_given("program", program)
        self._state = None if state_dir is None else os.path.abspath(validate.path("state_dir", state_dir))
        self._env = validate.hidden_pairs("env", env, any_bytes=True)
        self._pass_env = validate.variables("pass_env", pass_env)
        self._inherit_proxy = validate.flag("inherit_proxy", inherit_proxy)
        self._check_variables()
        self._found: Program | None = None
        self._prefix_path: str | None = None  # of the prefix's program
        self._home: str | None = None  # the host where it was pickled

    def _check_variables(self) -> None:
        names = {*(key for key, _ in self._env), *self._pass_env}
        if refused := _REFUSED & names:
            raise ValueError(f"env must not have {', '.join(sorted(refused))}: the engine would run something else")
        if self._state is not None and "SMOLVM_DATA_DIR" in names:
            raise ValueError("state_dir and SMOLVM_DATA_DIR in env mean the same: give one of them")
        if self._state is not None and self.prefix:
            raise ValueError(
                "state_dir does not work with a prefix, since few prefixes pass variables on: "
                "use prefix=[..., 'env', 'SMOLVM_DATA_DIR=...']"
            )

    def __getstate__(self) -> dict[str, Any]:
        from smolkit.runners.local.identity import host_name  # late: few runners are pickled

        # Where this is unpickled, the programs may be elsewhere. On another host the machines are others.
        return {**vars(self), "_found": None, "_prefix_path": None, "_home": self._home or host_name()}

    def _elsewhere(self) -> str | None:
        """The host on which the engine is, if that is not this one."""
        if self._home is None:
            return None
        from smolkit.runners.local.identity import host_name  # late: likewise

        return None if self._home == host_name() else self._home

    def check_host(self) -> None:
        """Raise unless the engine is on this host.

        Raises:
            HostUnreachableError: the runner was pickled on another one.
        """
        if (home := self._elsewhere()) is not None:
            error = HostUnreachableError(f"the engine is on {home}, where this runner was pickled, and not on this host")
            error.hint = "SshRunner reaches an engine from other hosts, and its handles can be pickled to them"
            raise error

    @property
    def host(self) -> str:
        """Prefix, program and place of the state: runners that have them in common drive the same machines."""
        given = {key: os.path.abspath(value.reveal()) for key, value in self._env if key in _PLACES}
        if (state := self._state or given.get("SMOLVM_DATA_DIR")) is not None:
            given = {"state_dir": state}  # the engine then looks at no other
        words = (*self.prefix, self._named or "smolvm", *(f"{key}={given[key]}" for key in sorted(given)))
        return shlex.join(words if (home := self._elsewhere()) is None else (*words, f"on {home}"))

    @property
    def has_state_dir(self) -> bool:
        """True if the engine's state is in a directory of its own (`state_dir`)."""
        return self._state is not None

    @property
    def program(self) -> Program:
        """The engine's program, or its name on the prefix's side. Searched for once.

        Raises:
            EngineNotFoundError: there is none.
            HostUnreachableError: it is on another host.
        """
        if self._found is None:
            self.check_host()
            from smolkit.runners.local.locate import Program, find  # late: it imports more than all of smolkit

            self._found = Program(self._named or "smolvm") if self.prefix else find(self._named)
        return self._found

    def check_available(self) -> None:
        """Search for the program, or for that of the prefix, again.

        Raises:
            EngineNotFoundError: there is none.
        """
        from smolkit.runners.local.locate import find  # late: likewise

        self.check_host()
        find(self.prefix[0] if self.prefix else self._named)

    def _executable(self) -> str:
        """The file that is executed: the engine, or the prefix's program. Searched for once, as `program` is."""
        if not self.prefix:
            return self.program.path
        if self._prefix_path is None:
            from smolkit.runners.local.locate import which  # late: likewise

            self._prefix_path = which(self.prefix[0], self.environment().get("PATH"))
        if self._prefix_path is None:
            error = EngineNotFoundError(f"cannot run {self.prefix[0]}: there is no such program, or it is not executable")
            error.hint = "the prefix runs the engine: is its program installed, and on PATH?"
            raise error
        return self._prefix_path

    def start(self, child: ChildProcess, invocation: Invocation) -> None:
        """Start the engine as this child process, whose pipes are open.

        Raises:
            EngineNotFoundError: the program cannot be executed.
            ValueError: the command line is longer than the host allows.
            OSError: the host has no process, descriptor or memory left.
        """
        program = self.program
        env = self.environment({**program.env, **dict(invocation.env)})
        # Without a prefix, argv[0] is the name by which the engine's usage texts call it.
        argv = (*self.prefix, program.path if self.prefix else "smolvm", *invocation.argv)
        executable = self._executable()
        try:
            child.start(executable, argv, env)
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise ValueError(
                    "the command line, with this host's variables, is longer than this host takes: pass data by input=, or "
                    "write it to a file of the guest (machine.write_text)"
                ) from None
            if error.errno in USED_UP:
                raise
            raise EngineNotFoundError(f"cannot run {executable}: {error.strerror}") from error

    def completed(  # noqa: PLR0917  (as Completed has them)
        self, invocation: Invocation, returncode: int, stdout: bytes, stderr: bytes, duration: float, ended_by: str
    ) -> Completed:
        """The end of a child process as a value, logged, without the note of a renamed engine."""
        program = self.program
        stderr = without_note(stderr, program.path)
        completed = Completed(invocation.argv, returncode, stdout, stderr, duration, ended_by)
        log_call(lambda: (*map(without_users, (*self.prefix, program.path)), *redact(completed.argv)), completed)
        return completed

    def environment(self, more: Mapping[str, str | Hidden] | None = None) -> Variables:
        """The variables of the engine's process, some of them secrets; `env` wins over `more`, which wins over ours."""
        # By key, then by value: decoding all of a large environment takes longer than all else that smolkit adds.
        ours = {key: os.environ[key] for key in os.environ if self._is_inherited(key)}
        state = {} if self._state is None else {"SMOLVM_DATA_DIR": self._state}
        return Variables({**ours, **_FIXED, **self._passed(), **state, **(more or {}), **dict(self._env)})

    def given(self) -> dict[str, Hidden]:
        """The variables of `env` and `pass_env`. They may be secrets."""
        return {**self._passed(), **dict(self._env)}

    def _passed(self) -> dict[str, Hidden]:
        return {key: Hidden(os.environ[key]) for key in self._pass_env if key in os.environ}

    def _is_inherited(self, key: str) -> bool:
        if key.startswith(_INHERITED_PREFIXES):
            return key not in _REFUSED
        return key in _INHERITED or (self._inherit_proxy and key.lower() in _PROXY)


def log_call(words: Callable[[], tuple[str, ...]], completed: Completed) -> None:
    """Log a call of the engine that has ended.

    Args:
        words: Returns its command line, without secrets.
        completed: Its end.
    """
    # Importing logging takes a tenth of smolkit's import time; a program that has not imported it does not listen.
    logging = sys.modules.get("logging")
    if logging is not None and (log := logging.getLogger("smolkit")).isEnabledFor(logging.DEBUG):
        # The call has ended, and its result must not be lost to a broken handler, or to one that waits for this call.
        with suppress(Exception):
            # The line can be pasted into a shell as it stands.
            log.debug("%s  # exit %d, %.3f s", shell_line(words()), completed.returncode, completed.duration)

"""The engine as a child process of this one. With `doctor` and the pipes, the only modules that know about processes."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from smolkit.errors import EngineNotFoundError
from smolkit.runners.attempts import USED_UP, InterruptedCall
from smolkit.runners.base import Runner
from smolkit.runners.blocking import Gate, struck
from smolkit.runners.local.capture import Call
from smolkit.runners.local.engine_note import without_note
from smolkit.runners.local.posix import ChildProcess, reserve
from smolkit.runners.local.pump import Pump
from smolkit.values import validate
from smolkit.values.hidden import Hidden, Variables, hide
from smolkit.values.results import Completed
from smolkit.values.shown import redact, shell_line, without_users

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from smolkit.commands.base import Command
    from smolkit.commands.dialect import Engine
    from smolkit.runners.live import Live
    from smolkit.runners.local.locate import Program
    from smolkit.values.observed import Check
    from smolkit.values.results import Invocation

# What the engine's process gets of ours: what it needs to find its state, its libraries and a registry's credentials.
_INHERITED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM"),
        *("DOCKER_CONFIG", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "DBUS_SESSION_BUS_ADDRESS"),
    }
)
_INHERITED_PREFIXES = ("LC_", "XDG_", "SMOLVM_")
# The first makes the engine run another program as its VM; the second gives every call a machine that it did not name.
_REFUSED = frozenset({"SMOLVM_BOOT_BINARY", "SMOLVM_MACHINE_NAME"})
# Where the engine's state is.
_PLACES = frozenset({"SMOLVM_DATA_DIR", "HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"})
_PROXY = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# NO_COLOR: no escapes. RUST_LOG: no log lines among the guest's stderr.
_FIXED = {"NO_COLOR": "1", "RUST_LOG": "off"}

_DEFAULT_LIMIT = 256 * 2**20


class SubprocessRunner(Runner):
    """Runs the engine as a child process: no shell, stdin from /dev/null, a process group and an environment of its own.

    Differences from `subprocess.run`: the child is not in the terminal's foreground group, so that a Ctrl-C does not
    tear the engine apart half-way; its environment is an allow-list (PATH, HOME, locale, XDG_*, SMOLVM_*, the agents' and
    certificates' variables, and `pass_env`), without the proxy variables; its output is bounded.

    Args:
        program: As for Smolvm. With a prefix: the program's name on the prefix's side, by default `smolvm`.
        prefix: Words before the program: `["sudo", "-n"]`, `["docker", "exec", "-i", "box"]`, `["wsl", "--"]`. Most of
            them do not hand on the environment, and so no secrets; nor do all of them hand on a signal.
        state_dir: Where the engine keeps its records and its machines' disks, instead of the user's own folders (engine
            >= 1.2.5). Not with a prefix. Keep the path short: sockets are made some 45 characters below it, and a socket's
            path has to stay below 108.
        env: More variables for the engine; they win over what is inherited, and may be secrets: no pickle has them.
        pass_env: Names of variables of this process that the engine gets too, if they are set when it is called: for the
            `from_env` of a Smolfile's `[secrets]`, say.
        inherit_proxy: Whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are inherited. From 1.9.1 on the engine gives
            them to its own pulls.
        output_limit: Bytes of stdout and stderr together that one call may give (default 256 MiB). A guest that writes
            more is cut off: OutputLimitError.
        version: The engine's version, if it is known: `smolvm --version` is then not asked.
        max_starts: How many machines may boot at once through this runner. The first start on a host is alone in any case.
        max_processes: As for Smolvm.

    Attributes:
        processes: Where each child of this runner has a place while it runs.
    """

    def __init__(
        self,
        program: str | os.PathLike[str] | None = None,
        *,
        prefix: Sequence[str] = (),
        state_dir: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        pass_env: Sequence[str] = (),
        inherit_proxy: bool = False,
        output_limit: int = _DEFAULT_LIMIT,
        version: str | None = None,
        max_starts: int = 4,
        max_processes: int | None = None,
    ) -> None:
        env = hide(env)
        super().__init__(version=version, max_starts=max_starts)
        self._max_processes = (
            None if max_processes is None else validate.integer("max_processes", max_processes, 1, 2**31 - 1)
        )
        self.processes = Gate(self._max_processes)
        words = validate.words("prefix", prefix) if prefix else ()
        self._prefix = (*(validate.program("prefix", word) for word in words[:1]), *words[1:])
        given = validate.path if self._prefix else validate.program  # with a prefix it is a path of the other side
        self._named = None if program is None else given("program", program)
        self._state = None if state_dir is None else os.path.abspath(validate.path("state_dir", state_dir))
        self._env = validate.hidden_pairs("env", env, any_bytes=True)
        self._pass_env = validate.variables("pass_env", pass_env)
        if refused := _REFUSED & {*(key for key, _ in self._env), *self._pass_env}:
            raise ValueError(f"env with {', '.join(sorted(refused))}: the engine would run what it is not asked to")
        if self._state is not None and "SMOLVM_DATA_DIR" in {*dict(self._env), *self._pass_env}:
            raise ValueError("state_dir and SMOLVM_DATA_DIR in env are two names of one thing: give one of them")
        if self._prefix and self._state is not None:
            raise ValueError(
                "state_dir behind a prefix: few hand on variables; let it be [..., 'env', 'SMOLVM_DATA_DIR=...']"
            )
        self._inherit_proxy = validate.flag("inherit_proxy", inherit_proxy)
        self.output_limit = validate.integer("output_limit", output_limit, 1, 2**63 - 1)
        self._found: Program | None = None
        self._prefix_path: str | None = None  # of the prefix's program
        self._is_watched = False

    @property
    def host(self) -> str:
        """Prefix, program and where the state is: runners that have them in common drive the same machines."""
        given = {key: os.path.abspath(value.reveal()) for key, value in self._env if key in _PLACES}
        if (state := self._state or given.get("SMOLVM_DATA_DIR")) is not None:
            given = {"state_dir": state}  # the engine then looks at no other
        return shlex.join((*self._prefix, self._named or "smolvm", *(f"{key}={given[key]}" for key in sorted(given))))

    def __repr__(self) -> str:
        return f"<SubprocessRunner {without_users(self.host)}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_found": None, "_prefix_path": None, "processes": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.processes = Gate(self._max_processes)

    @property
    def program(self) -> str:
        """The program, or its name on the prefix's side."""
        return self._locate().path

    def _locate(self) -> Program:
        if self._found is None:
            from smolkit.runners.local.locate import Program, find  # late: it imports more than all of smolkit

            self._found = Program(self._named or "smolvm") if self._prefix else find(self._named)
        return self._found

    def _executable(self) -> str:
        """What is started: the engine, or the prefix's program. It is looked for once, as that is what the user meant."""
        if not self._prefix:
            return self._locate().path
        if self._prefix_path is None:
            from smolkit.runners.local.locate import which  # late: likewise

            self._prefix_path = which(self._prefix[0], self._environment({}).get("PATH"))
        if self._prefix_path is None:
            raise EngineNotFoundError(f"cannot run {self._prefix[0]}: there is no such program, or it is not executable")
        return self._prefix_path

    def _probe_engine(self, within: float | None) -> Engine:
        engine = super()._probe_engine(within)
        if self._state is not None:
            engine.dialect.require("state_dir")
        return engine

    @contextmanager
    def admission(self, timeout: float | None = None) -> Iterator[None]:
        """So many boots at once; and until the first has succeeded on this host, one. Raises as that of Runner."""
        began = time.monotonic()
        with super().admission(timeout):
            if self._prefix:
                yield
                return
            from smolkit.runners.local.first_boot import first_start_alone  # late: it imports more than all of smolkit

            left = None if timeout is None else timeout - (time.monotonic() - began)
            with first_start_alone(self.program, self._environment({}), left):
                yield

    def is_available(self) -> bool:
        """Whether there is a program: the engine's, or with a prefix the prefix's. Runs nothing."""
        from smolkit.runners.local.locate import find  # late: likewise

        try:
            find(self._prefix[0] if self._prefix else self._named)
        except EngineNotFoundError:
            return False
        return True

    def look(self) -> list[Check]:
        """The engine's program and version, and what this host has for microVMs."""
        from smolkit.runners.local.doctor import host_checks  # late: rarely needed

        return [*super().look(), *([] if self._prefix else host_checks(self._environment({})))]

    def execute(self, invocation: Invocation) -> Completed:
        """One call of the engine as a child process, to its end: exited, timed out or over the output's limit."""
        began = time.monotonic()

        def run() -> Completed:
            # A caller's own time counts from the beginning; smolkit's bounds are for the engine alone.
            return self._execute_or_retry(invocation, time.monotonic() if invocation.patience is None else began)

        return self.processes.during(run, invocation.patience)

    def _execute_or_retry(self, invocation: Invocation, since: float) -> Completed:
        """A call that has to come to its end may use the descriptors that are kept for it."""
        if not invocation.finish:
            return self._execute(invocation, since)
        reserve.fill()
        try:
            return self._execute(invocation, since)
        except OSError as error:  # nothing was started
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
        with reserve.lent():
            return self._execute(invocation, since)

    def _execute(self, invocation: Invocation, since: float) -> Completed:
        call, before = Call(self, invocation, since), struck()
        try:
            return call.run()
        except BaseException as interrupt:  # noqa: BLE001  (raised in any case)
            try:
                if not (invocation.finish and (call.child.is_started or struck() > before)):
                    raise
                # It goes on where it was, even before its start: a teardown may hang on it. A second interrupt ends it.
                raise InterruptedCall(call.run(), interrupt) from interrupt
            finally:
                call.end()  # on every way out the engine is ended, and reaped

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """Starts a call of the engine as a child process, for its output to be read as it comes."""
        from smolkit.runners.local.child import Child  # late: few processes are followed live

        return Child(self, invocation, stdin=stdin)

    def watch(self) -> None:
        """As in Runner. Unpickled runners are watched, too, in their own process."""
        from smolkit.runners.local.watchdog import require  # late: few programs have one

        require()
        self._is_watched = True

    def watching(self, command: Command[Any]) -> AbstractContextManager[None]:
        """As in Runner."""
        if not self._is_watched:
            return nullcontext()
        from smolkit.runners.local.watchdog import describe, watching  # late: likewise

        return watching(
            self.host, lambda: describe(self.here().me, self.engine, self._prefix, self._environment({})), command
        )

    def interact(self, invocation: Invocation) -> Completed:
        """Runs the engine in the foreground of this program's terminal. What it says on stderr is kept, and is its own."""
        child, started = ChildProcess(), time.monotonic()
        child.open_stderr()
        pump = Pump(child, None, self.output_limit)
        try:
            self.spawn(child, invocation)
            pump.run(None)
        except BaseException:
            child.signal(signal.SIGKILL)
            raise
        finally:
            code = child.wait() if child.is_started else 0
            child.reap()
            pump.close()
            child.close()
        return self.completed(invocation, code, b"", pump.stderr, time.monotonic() - started, "")

    def spawn(self, child: ChildProcess, invocation: Invocation) -> None:
        """Starts the engine as this child, whose pipes are open."""
        program = self._locate()
        env = self._environment({**program.env, **dict(invocation.env)})
        # argv[0] of a program without a prefix is what its usage texts call it.
        argv = (*self._prefix, program.path if self._prefix else "smolvm", *invocation.argv)
        first = self._executable()
        try:
            child.start(first, argv, env)
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise ValueError("the command line is longer than this host takes: use input=, or cp a file") from None
            if error.errno in USED_UP:
                raise
            raise EngineNotFoundError(f"cannot run {first}: {error.strerror}") from error

    def completed(  # noqa: PLR0917  (as Completed has them)
        self, invocation: Invocation, returncode: int, stdout: bytes, stderr: bytes, duration: float, ended_by: str
    ) -> Completed:
        """How a child of this runner ended: without the note of a renamed engine, and logged."""
        program = self._locate()
        stderr = without_note(stderr, program.path)
        completed = Completed(invocation.argv, returncode, stdout, stderr, duration, ended_by)
        self._log((*self._prefix, program.path, *invocation.argv), completed)
        return completed

    def _log(self, argv: tuple[str, ...], completed: Completed) -> None:
        # A tenth of smolkit's import; who has not imported it does not listen.
        logging = sys.modules.get("logging")
        if logging is not None and (log := logging.getLogger("smolkit")).isEnabledFor(logging.DEBUG):
            program = map(without_users, argv[: len(argv) - len(completed.argv)])
            line = shell_line((*program, *redact(completed.argv)))
            with suppress(Exception):  # of a broken handler, or one whose own call would wait for this one: this has ended
                # The line can be pasted into a shell as it stands.
                log.debug("%s  # exit %d, %.3f s", line, completed.returncode, completed.duration)

    def _environment(self, more: Mapping[str, str | Hidden]) -> Variables:
        # By key, then by value: decoding all of a large environment takes longer than all else that smolkit adds.
        ours = {key: os.environ[key] for key in os.environ if self._is_inherited(key)}
        state = {} if self._state is None else {"SMOLVM_DATA_DIR": self._state}
        return Variables({**ours, **_FIXED, **self._passed(), **state, **more, **dict(self._env)})

    def _passed(self) -> dict[str, Hidden]:
        return {key: Hidden(os.environ[key]) for key in self._pass_env if key in os.environ}

    def given(self) -> dict[str, Hidden]:
        """As in Runner."""
        return {**self._passed(), **dict(self._env)}

    def _is_inherited(self, key: str) -> bool:
        if key.startswith(_INHERITED_PREFIXES):
            return key not in _REFUSED
        return key in _INHERITED or (self._inherit_proxy and key.lower() in _PROXY)

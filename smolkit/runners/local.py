"""The engine as a child process of this one. With `doctor` and the pipes, the only modules that know about processes."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from smolkit import checks
from smolkit.errors import EngineNotFoundError
from smolkit.runners import waiting
from smolkit.runners.base import InterruptedCall, Runner
from smolkit.runners.note import without_note
from smolkit.runners.pipes import ended
from smolkit.runners.pump import Pump
from smolkit.runners.waiting import Gate
from smolkit.values import Completed, redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from smolkit.dialect import Engine
    from smolkit.observed import Check
    from smolkit.runners.find import Program
    from smolkit.runners.live import Live
    from smolkit.values import Invocation

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

_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
_TERM_WAIT = 2.0  # seconds between SIGTERM and SIGKILL
_DEFAULT_LIMIT = 256 * 2**20


class SubprocessRunner(Runner):
    """Runs the engine as a child process: no shell, stdin from /dev/null, a process group and an environment of its own.

    Differences from `subprocess.run`: the child is not in the terminal's foreground group, so that a Ctrl-C does not
    tear the engine apart half-way; its environment is an allow-list (PATH, HOME, locale, XDG_*, SMOLVM_*, the agents' and
    certificates' variables), without the proxy variables; its output is bounded.

    Args:
        program: As for Smolvm. With a prefix: the program's name on the prefix's side, by default `smolvm`.
        prefix: Words before the program: `["sudo", "-n"]`, `["docker", "exec", "-i", "box"]`, `["wsl", "--"]`. Most of
            them do not hand on the environment, and so no secrets; nor do all of them hand on a signal.
        state_dir: Where the engine keeps its records and its machines' disks, instead of the user's own folders (engine
            >= 1.2.5). Not with a prefix. Keep the path short: sockets are made some 45 characters below it, and a socket's
            path has to stay below 108.
        env: More variables for the engine; they win over what is inherited, and may be secrets: no pickle has them.
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
        inherit_proxy: bool = False,
        output_limit: int = _DEFAULT_LIMIT,
        version: str | None = None,
        max_starts: int = 4,
        max_processes: int | None = None,
    ) -> None:
        super().__init__(version=version, max_starts=max_starts)
        self._max_processes = (
            None if max_processes is None else checks.integer("max_processes", max_processes, 1, 2**31 - 1)
        )
        self.processes = Gate(self._max_processes)
        words = checks.words("prefix", prefix) if prefix else ()
        self._prefix = (*(checks.program("prefix", word) for word in words[:1]), *words[1:])
        given = checks.path if self._prefix else checks.program  # with a prefix it is a path of the other side
        self._named = None if program is None else given("program", program)
        self._state = None if state_dir is None else os.path.abspath(checks.path("state_dir", state_dir))
        self._env = checks.hidden_pairs("env", env)
        if refused := _REFUSED & {key for key, _ in self._env}:
            raise ValueError(f"env with {', '.join(sorted(refused))}: the engine would run what it is not asked to")
        if self._state is not None and "SMOLVM_DATA_DIR" in dict(self._env):
            raise ValueError("state_dir and SMOLVM_DATA_DIR in env are two names of one thing: give one of them")
        if self._prefix and self._state is not None:
            raise ValueError(
                "state_dir behind a prefix: few hand on variables; let it be [..., 'env', 'SMOLVM_DATA_DIR=...']"
            )
        self._inherit_proxy = inherit_proxy
        self._limit = checks.integer("output_limit", output_limit, 1, 2**63 - 1)
        self._found: Program | None = None
        self._prefix_path: str | None = None  # of the prefix's program

    @property
    def host(self) -> str:
        """Prefix, program and where the state is: runners that have them in common drive the same machines."""
        given = {key: os.path.abspath(value.reveal()) for key, value in self._env if key in _PLACES}
        if (state := self._state or given.get("SMOLVM_DATA_DIR")) is not None:
            given = {"state_dir": state}  # the engine then looks at no other
        return shlex.join((*self._prefix, self._named or "smolvm", *(f"{key}={given[key]}" for key in sorted(given))))

    def __repr__(self) -> str:
        return f"<SubprocessRunner {self.host}>"

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
            from smolkit.runners.find import Program, find, which  # late: it imports more than all of smolkit

            if self._prefix:
                path = self._environment({}).get("PATH")
                self._found, self._prefix_path = Program(self._named or "smolvm"), which(self._prefix[0], path)
            else:
                self._found = find(self._named)
        return self._found

    def _probe(self, within: float | None) -> Engine:
        engine = super()._probe(within)
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
            from smolkit.runners.first import first_start_alone  # late: it imports more than all of smolkit

            left = None if timeout is None else timeout - (time.monotonic() - began)
            with first_start_alone(self.program, self._environment({}), left):
                yield

    def is_available(self) -> bool:
        """Whether there is a program: the engine's, or with a prefix the prefix's. Runs nothing."""
        from smolkit.runners.find import find  # late: likewise

        try:
            find(self._prefix[0] if self._prefix else self._named)
        except EngineNotFoundError:
            return False
        return True

    def look(self) -> list[Check]:
        """The engine's program and version, and what this host has for microVMs."""
        from smolkit.runners.doctor import host_checks  # late: rarely needed

        return [*super().look(), *([] if self._prefix else host_checks(self._environment({})))]

    def execute(self, invocation: Invocation) -> Completed:
        """One call of the engine as a child process, to its end: exited, timed out or over the output's limit."""
        began = time.monotonic()
        with self.processes.turn(invocation.patience):
            # A caller's own time counts from the beginning; smolkit's bounds are for the engine alone.
            return self._execute(invocation, time.monotonic() if invocation.patience is None else began)

    def _execute(self, invocation: Invocation, since: float) -> Completed:
        started = time.monotonic()
        deadline = None if invocation.timeout is None else since + invocation.timeout
        # In two steps, so that a child is known whose very start an interrupt meets.
        child = subprocess.Popen.__new__(subprocess.Popen)
        pump, interrupt = None, None
        try:
            try:
                spawn = self._spawn_unharmed if invocation.finish else self.spawn
                spawn(child, invocation, pipe_in=invocation.stdin is not None)
                pump = Pump(child, invocation.stdin, self._limit, invocation.booted)
                ended_by = pump.run(deadline)
            except BaseException as error:
                if not (invocation.finish and _is_started(child)):
                    raise
                interrupt = error
                pump = pump or Pump(child, invocation.stdin, self._limit)
                ended_by = pump.run(deadline)  # a second interrupt ends it at once
        finally:
            # On every way out, an interrupt's too: the engine is ended, and reaped.
            if _is_started(child) and child.returncode is None:
                end(child, pump)
            if pump is not None:
                pump.close()
        completed = self.completed(
            invocation, child.returncode, pump.stdout, pump.stderr, time.monotonic() - started, ended_by
        )
        if interrupt is not None:
            raise InterruptedCall(completed, interrupt) from interrupt
        return completed

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """Starts a call of the engine as a child process, for its output to be read as it comes."""
        from smolkit.runners.child import Child  # late: few processes are followed live

        return Child(self, invocation, stdin=stdin)

    def interact(self, invocation: Invocation) -> int:
        """Runs the engine in the foreground of this program's terminal; its exit status."""
        program = self._locate()
        argv = (*self._prefix, program.path, *invocation.argv)
        child = subprocess.Popen(argv, executable=self._prefix_path, env=self._environment(program.env))
        try:
            return ended(child)
        except BaseException:
            child.kill()
            child.wait()
            raise

    def _spawn_unharmed(self, child: subprocess.Popen[bytes], invocation: Invocation, *, pipe_in: bool) -> None:
        """As spawn, where no signal handler's exception can strike between the child's start and our knowing of it.

        Handlers run in the main thread, between any two of its instructions: what is started in another is never lost. (An
        event loop turns signals into cancellations, which strike where it waits.)
        """
        if waiting.loop() is not None or threading.current_thread() is not threading.main_thread():
            self.spawn(child, invocation, pipe_in=pipe_in)
            return
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self.spawn(child, invocation, pipe_in=pipe_in)
            except BaseException as error:  # noqa: BLE001  (raised below)
                failures.append(error)

        thread = threading.Thread(target=work)
        try:
            thread.start()
            thread.join()
        except BaseException:
            if thread.ident is not None:
                thread.join()
            raise
        if failures:
            raise failures[0]

    def spawn(self, child: subprocess.Popen[bytes], invocation: Invocation, *, pipe_in: bool) -> None:
        """Starts the engine as this child, which was made without being started."""
        program = self._locate()
        argv = (*self._prefix, program.path, *invocation.argv)
        try:
            # argv[0] of a program without a prefix is what its usage texts call it.
            child.__init__(  # type: ignore[misc]
                argv if self._prefix else ("smolvm", *invocation.argv),
                executable=self._prefix_path if self._prefix else program.path,
                stdin=subprocess.PIPE if pipe_in else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment({**program.env, **{key: value.reveal() for key, value in invocation.env}}),
                process_group=0,
                bufsize=0,
            )
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise ValueError("the command line is longer than this host takes: use input=, or cp a file") from None
            if error.errno in _USED_UP:
                error.add_note("max_processes= of the client, or of its SubprocessRunner, bounds how many run at once")
                raise
            raise EngineNotFoundError(f"cannot run {argv[0]}: {error.strerror}") from error

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
        import logging  # late: a tenth of smolkit's import

        log = logging.getLogger("smolkit")
        if log.isEnabledFor(logging.DEBUG):
            program = argv[: len(argv) - len(completed.argv)]
            line = shlex.join((*program, *redact(completed.argv)))
            # The line can be pasted into a shell as it stands.
            log.debug("%s  # exit %d, %.3f s", line, completed.returncode, completed.duration)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        # By key, then by value: decoding all of a large environment takes longer than all else that smolkit adds.
        ours = {key: os.environ[key] for key in os.environ if self._is_inherited(key)}
        state = {} if self._state is None else {"SMOLVM_DATA_DIR": self._state}
        return {**ours, **_FIXED, **state, **more, **{key: value.reveal() for key, value in self._env}}

    def _is_inherited(self, key: str) -> bool:
        if key.startswith(_INHERITED_PREFIXES):
            return key not in _REFUSED
        return key in _INHERITED or (self._inherit_proxy and key.lower() in _PROXY)


def _is_started(child: subprocess.Popen[bytes]) -> bool:
    return getattr(child, "pid", None) is not None


def end(child: subprocess.Popen[bytes], pump: Pump | None) -> None:
    """SIGTERM to the child's group, a wait, SIGKILL, a wait. What it still writes meanwhile is kept by the pump."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        # Gone already, or another user's (sudo): then closing its pipes is all that can be done.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        if pump is not None:
            pump.drain(time.monotonic() + _TERM_WAIT)
        else:
            with suppress(subprocess.TimeoutExpired):
                ended(child, _TERM_WAIT)
        if child.poll() is not None:
            return
    child.returncode = -signal.SIGKILL if child.returncode is None else child.returncode

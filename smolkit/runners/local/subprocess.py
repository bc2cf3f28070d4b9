"""The runner that runs the engine as a child process of this one."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from smolkit import runners, values
from smolkit.commands.base import Command
from smolkit.commands.dialect import Engine
from smolkit.errors import EngineNotFoundError, HostUnreachableError, SecretUnsetError
from smolkit.runners.attempts import run_to_end
from smolkit.runners.base import Runner
from smolkit.runners.blocking import Gate
from smolkit.runners.local.capture import CapturedCall
from smolkit.runners.local.launcher import Launcher
from smolkit.runners.local.posix import ChildProcess, reserve
from smolkit.runners.local.pump import Pump
from smolkit.values import validate
from smolkit.values.hidden import Hidden, hide
from smolkit.values.keywords import suggests_keywords
from smolkit.values.results import Completed, Invocation
from smolkit.values.shown import without_users

_DEFAULT_LIMIT = 256 * 2**20
_PROBE, _PROBE_TIMEOUT = "SMOLKIT_PROBE", 30.0  # a variable, and seconds
_LOSES = (
    "{0} does not pass variables on to the engine, and so no secrets: nothing was run; a far process does, with "
    "RemoteRunner(StdioLink(['{0}', ...]))"
)


@suggests_keywords
class SubprocessRunner(Runner):
    """Runs the engine as a child process: no shell, stdin from /dev/null, a process group and an environment of its own.

    Differences from `subprocess.run`: the child is not in the terminal's foreground group, so that a Ctrl-C does not
    tear the engine apart half-way; its environment is an allow-list (PATH, HOME, locale, XDG_*, SMOLVM_*, the variables of
    SSH agents and certificates, and `pass_env`), without the proxy variables; its output is bounded.

    Every bound of a call is measured by `clock()`: a test that overrides it need not wait for minutes.

    Args:
        program: As for Smolvm. With a prefix: the program's name on the prefix's side, by default `smolvm`.
        prefix: Arguments before the program: `["sudo", "-n"]`, `["docker", "exec", "-i", "box"]`. Most prefixes do not pass
            the environment on: secrets are refused then. Not all of them pass signals on. Refused is what hands its
            arguments to a shell (`ssh`, `wsl --`): use SshRunner for another host.
        state_dir: Directory of the engine's records and its machines' disks, instead of the user's own (engine >= 1.2.5).
            Not with a prefix. Keep the path short: sockets are made some 45 characters below it, and a socket's path must
            be shorter than 108.
        env: More variables for the engine; they win over inherited ones, and may be secrets: they are not pickled.
        pass_env: Names of variables of this process that the engine gets too, if they are set when it is called: for the
            `from_env` of a Smolfile's `[secrets]`, say.
        inherit_proxy: Whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are inherited. From 1.9.1 on the engine uses
            them for its own pulls.
        output_limit: Bytes of stdout and stderr together that one call may give (default 256 MiB). A guest that writes
            more is cut off: OutputLimitError.
        version: The engine's version, if it is known: `smolvm --version` is then not run.
        max_starts: How many machines may boot at once through this runner. The first start on a host is alone in any case.
        max_processes: As for Smolvm.
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
        self._processes = Gate(self._max_processes)  # each child process has a place in it while it runs
        self._launcher = Launcher(
            program, prefix=prefix, state_dir=state_dir, env=env, pass_env=pass_env, inherit_proxy=inherit_proxy
        )
        self.output_limit: int = validate.integer("output_limit", output_limit, 1, 2**63 - 1)
        self._is_watched = self._passes_variables = False

    @property
    def host(self) -> str:
        """Prefix, program and place of the state: runners that have them in common drive the same machines."""
        return self._launcher.host

    def __repr__(self) -> str:
        return f"<SubprocessRunner {without_users(self.host)}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_processes": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._processes = Gate(self._max_processes)

    @property
    def program(self) -> str:
        """The program's path, or its name on the prefix's side."""
        return self._launcher.program.path

    def _probe_engine(self, within: float | None) -> Engine:
        engine = super()._probe_engine(within)
        if self._launcher.has_state_dir:
            engine.dialect.require("state_dir")
        return engine

    def given(self) -> dict[str, Hidden]:
        """As in Runner."""
        return self._launcher.given()

    @contextmanager
    def admission(self, timeout: float | None = None) -> Iterator[None]:
        """Wait until a machine may boot: `max_starts` at once, but one until the first has succeeded on this host.

        Raises:
            QueueTimeoutError: as in Runner.
        """
        began = self.clock()
        with super().admission(timeout):
            if self._launcher.prefix:
                yield
                return
            from smolkit.runners.local.first_boot import first_start_alone  # late: it imports more than all of smolkit

            left = None if timeout is None else timeout - (self.clock() - began)
            with first_start_alone(self.program, self._launcher.environment(), left):
                yield

    def is_available(self) -> bool:
        """True if there is a program: the engine's, or with a prefix the prefix's. Runs nothing."""
        try:
            self._launcher.check_available()
        except (EngineNotFoundError, HostUnreachableError):
            return False
        return True

    def look(self) -> list[values.Check]:
        """Check the engine's program and version, and what this host has for microVMs."""
        from smolkit.runners.local.doctor import host_checks  # late: rarely needed

        return [*super().look(), *([] if self._launcher.prefix else host_checks(self._launcher.environment()))]

    def execute(self, invocation: Invocation) -> Completed:
        """Run one call of the engine as a child process until it has exited, timed out or written too much.

        Raises:
            SecretUnsetError: it has secrets, and the prefix does not pass them on; nothing was run.
        """
        began = self.clock()
        self._check_secrets(invocation)

        def in_turn() -> Completed:
            # A caller's own timeout includes the wait for a place; smolkit's bounds are for the engine alone.
            return self._execute_with_reserve(invocation, self.clock() if invocation.patience is None else began)

        return self._processes.during(in_turn, invocation.patience)

    def _check_secrets(self, invocation: Invocation) -> None:
        """Raise for secrets that the prefix would lose: asked of `env` behind it, once.

        Raises:
            SecretUnsetError: it does not pass variables on.
        """
        if not (invocation.env and self._launcher.prefix) or self._passes_variables:
            return
        token = os.urandom(8).hex()
        asking = Invocation((), ((_PROBE, Hidden(token)),), timeout=_PROBE_TIMEOUT)
        probe = SubprocessRunner("env", prefix=self._launcher.prefix)
        done = probe._execute_once(asking, probe.clock())
        if f"{_PROBE}={token}".encode() not in done.stdout.split(b"\n"):
            raise SecretUnsetError(_LOSES.format(self._launcher.prefix[0]))
        self._passes_variables = True

    def _execute_with_reserve(self, invocation: Invocation, since: float) -> Completed:
        """As `_execute_once`; a call that must come to its end may use the descriptors that are kept for it."""
        if not invocation.finish:
            return self._execute_once(invocation, since)
        reserve.fill()
        try:
            return self._execute_once(invocation, since)
        except OSError as error:  # nothing was started, so that a second try does no harm
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
        with reserve.lent():
            return self._execute_once(invocation, since)

    def _execute_once(self, invocation: Invocation, since: float) -> Completed:
        call = CapturedCall(self._launcher, invocation, since, self.output_limit, self.clock)
        return run_to_end(call, finish=invocation.finish)

    def open(self, invocation: Invocation, *, stdin: bool) -> runners.Live:
        """Start a call of the engine as a child process whose output is read as it comes."""
        self._check_secrets(invocation)
        from smolkit.runners.local.child import LiveChild  # late: few processes are followed live

        return LiveChild(self._launcher, self._processes, invocation, self.clock, stdin=stdin)

    def watch(self) -> None:
        """As in Runner. Unpickled copies are watched too, in their own process."""
        from smolkit.runners.local.watchdog import require  # late: few programs have one

        require()
        self._is_watched = True

    def watching(self, command: Command[Any]) -> AbstractContextManager[None]:
        """As in Runner."""
        if not self._is_watched:
            return nullcontext()
        from smolkit.runners.local.watching import watching  # late: likewise

        return watching(self.host, self._described, command)

    def _start(self, invocation: Invocation, child: ChildProcess) -> None:
        """Start a call of the engine as this child process, whose pipes are open. Raises as `execute` does."""
        self._check_secrets(invocation)
        self._launcher.start(child, invocation)

    def _described(self) -> str:
        """The engine's line for a watchdog."""
        from smolkit.runners.local.watchdog import describe  # late: likewise

        return describe(self.here().me, self.engine, self._launcher.prefix, self._launcher.environment())

    def interact(self, invocation: Invocation) -> Completed:
        """Run the engine in the foreground of this program's terminal. Its stderr, which is its own, is captured."""
        child, started = ChildProcess(), self.clock()
        child.open_stderr()
        pump = Pump(child, None, self.output_limit, self.clock)
        try:
            self._launcher.start(child, invocation)
            pump.pump_until_end(None)
        except BaseException:
            child.signal(signal.SIGKILL)
            raise
        finally:
            code = child.wait() if child.is_started else 0
            child.reap()
            pump.close()
            child.close()
        return self._launcher.completed(invocation, code, b"", pump.stderr.data, self.clock() - started, "")

"""The runner whose engine is on another host."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from smolkit import runners, values
from smolkit.commands.lifecycle import Delete, Stop
from smolkit.errors import HostLostError, HostUnreachableError, SmolvmError
from smolkit.runners.attempts import run_to_end
from smolkit.runners.base import Runner
from smolkit.runners.blocking import Gate
from smolkit.runners.bounds import least
from smolkit.runners.host import check_source, part_of
from smolkit.runners.local.launcher import Launcher, log_call
from smolkit.runners.local.watching import made_by
from smolkit.runners.remote.call import CapturedCall, RemoteLive
from smolkit.runners.remote.channel import Channel
from smolkit.runners.remote.files import fetch, send
from smolkit.runners.remote.forwards import Forwards
from smolkit.runners.remote.links import Link
from smolkit.runners.remote.session import Session
from smolkit.values import validate
from smolkit.values.hidden import Hidden, hide
from smolkit.values.keywords import suggests_keywords
from smolkit.values.ownership import Here, Owner
from smolkit.values.results import Completed, Invocation
from smolkit.values.shown import redact, without_users

_DEFAULT_LIMIT = 256 * 2**20
_LOG_BYTES = 2**18  # of a log at a time: a frame holds no more


@suggests_keywords
class RemoteRunner(Runner):
    """Runs the engine on another host, by one far process there that all calls share.

    The far process needs `sh` and Python 3.11 or later on that host, and nothing else: it gets smolkit over the link. It
    starts with the first call, and ends with this runner, this process or the link. If the link breaks, it ends the
    commands that run and removes the machines that were made over it; calls raise HostLostError, and none is repeated. The
    next call opens a new link.

    What belongs to the engine's host is that host's: the first start, `max_starts`, the owner of machines (the far
    process), ports, logs, `doctor`, `reap`. So are paths in options (`volumes`, `from_path`, `Secret.file`, Smolfiles). The
    paths of `cp`, `upload`, `download`, and files that the engine writes (`pack_create`, `checkpoint`) are this host's: the
    files are copied over the link.

    Args:
        link: The way to the host: StdioLink, or as SshRunner makes it.
        program: The engine's program there: an absolute path, or a name on PATH.
        prefix, state_dir, env, pass_env, inherit_proxy: As for SubprocessRunner, on that host.
        output_limit, version, max_starts, max_processes: As for SubprocessRunner.
        heartbeat: Seconds of silence after which each end takes the other one for dead.
        connect_timeout: Seconds in which the far process must have started.
    """

    def __init__(
        self,
        link: Link,
        *,
        program: str | os.PathLike[str] | None = None,
        prefix: Sequence[str] = (),
        state_dir: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        pass_env: Sequence[str] = (),
        inherit_proxy: bool = False,
        output_limit: int = _DEFAULT_LIMIT,
        version: str | None = None,
        max_starts: int = 4,
        max_processes: int | None = None,
        heartbeat: float = 15.0,
        connect_timeout: float = 60.0,
    ) -> None:
        env = hide(env)
        super().__init__(version=version, max_starts=max_starts)
        if not isinstance(link, Link):
            raise TypeError(f"link must be a link, such as StdioLink([...]), not {type(link).__name__}")
        self.link: Link = link
        Launcher(None, prefix=prefix, state_dir=None, env=env, pass_env=pass_env, inherit_proxy=inherit_proxy)  # as there
        self._program = None if program is None else validate.path("program", program)
        self._prefix = validate.words("prefix", prefix) if prefix else ()
        self._state_dir = None if state_dir is None else _far_path("state_dir", state_dir)
        self._env = validate.hidden_pairs("env", env, any_bytes=True)
        self._settings: dict[str, Any] = {
            "program": self._program,
            "prefix": self._prefix,
            "state_dir": self._state_dir,
            "pass_env": tuple(pass_env),
            "inherit_proxy": inherit_proxy,
            "max_starts": max_starts,
            "heartbeat": validate.seconds("heartbeat", heartbeat),
        }
        self.output_limit: int = validate.integer("output_limit", output_limit, 1, 2**62)
        self._max_processes = (
            None if max_processes is None else validate.integer("max_processes", max_processes, 1, 2**31 - 1)
        )
        self._connect_timeout = validate.seconds("connect_timeout", connect_timeout)
        self._place: str | None = None  # of the host, once it is known
        self._is_watched = False
        self._begin()

    def _begin(self) -> None:
        """Make what no copy has."""
        self._session: Session | None = None
        self._connecting = Gate(1, "to open the link")
        self._processes = Gate(self._max_processes)
        self._forwards = Forwards(self.link)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_session": None, "_connecting": None, "_processes": None, "_forwards": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._begin()

    @property
    def host(self) -> str:
        """Link, prefix, program and place of the state: runners that have them in common drive the same machines."""
        state = () if self._state_dir is None else (f"state_dir={self._state_dir}",)
        return f"{self.link.host}: {shlex.join((*self._prefix, self._program or 'smolvm', *state))}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {without_users(self.host)}>"

    @property
    def program(self) -> str:
        """The program's name or path on the host."""
        return self._program or "smolvm"

    def given(self) -> dict[str, Hidden]:
        """As in Runner."""
        return dict(self._env)

    def _connected(self, within: float | None = None) -> Session:
        """The session: a new one if there is none, or if its link was lost.

        Raises:
            HostUnreachableError: there is no way to the host.
        """
        session = self._session
        if session is not None and session.ended is None:
            return session
        return self._connecting.during(partial(self._reconnected, within), within)

    def _reconnected(self, within: float | None) -> Session:
        if self._session is None or self._session.ended is not None:
            self._session = self._connect(within)
        return self._session

    def _connect(self, within: float | None) -> Session:
        for _, value in self._env:
            value.reveal()  # raises in a pickled copy, which does not have it
        session = Session(self.link, {**self._settings, "env": dict(self._env)}, self._settings["heartbeat"])
        session.keeps = not self._is_watched
        session.connect(least(self._connect_timeout, within) or 0.0)
        owner = _owner_of(session)
        place = "" if owner is None else owner.place
        if self._place not in {None, place}:
            session.close()
            raise HostUnreachableError(f"{self.link.host} leads to another host than before: its machines are not there")
        self._place = place
        self._forwards.end()  # of a session that was lost
        return session

    def close(self) -> None:
        """End the far process. Its machines stay, unless they are watched (`Smolvm(watchdog=True)`)."""
        self._forwards.end()
        if self._session is not None:
            self._session.close()

    def __del__(self) -> None:
        if (session := getattr(self, "_session", None)) is not None:
            session.close()

    def here(self) -> values.Here:
        """The far process and its host."""
        session = self._connected()
        assert session.hello is not None  # noqa: S101  (for the type checker: it is connected)
        return Here(_owner_of(session), self.now(), partial(_is_alive, session), session.hello.fields.get("booted"))

    def owner(self) -> Owner | None:
        """The far process, if there is one by now: names are made without a call."""
        session = self._session
        return None if session is None or session.hello is None or session.ended is not None else _owner_of(session)

    def now(self) -> float:
        """The time of the engine's host, as far as it is known."""
        session = self._session
        return time.time() + (0.0 if session is None else session.ahead)

    def is_available(self) -> bool:
        """True if the host can be reached, and has the program."""
        try:
            return bool(self._connected().ask("is_available").fields.get("value"))
        except (HostUnreachableError, HostLostError):
            return False

    def look(self) -> list[values.Check]:
        """Check the link, and whatever `doctor` checks on that host."""
        try:
            found = self._connected().ask("look").fields["value"]
        except (HostUnreachableError, HostLostError) as error:
            return [values.Check("host", ok=False, detail=error.message, hint=error.hint)]
        return [values.Check("host", ok=True, detail=self.link.host), *(values.Check(*check) for check in found)]

    def free_port(self) -> int:
        """As in Runner: a port of the engine's host, kept by the far process."""
        return int(self._connected().ask("free_port").fields["value"])

    def read_log(self, path: str, start: int) -> bytes:
        """As in Runner."""
        return self._connected().ask("read_log", path, start, _LOG_BYTES).blob

    @contextmanager
    def admission(self, timeout: float | None = None) -> Iterator[None]:
        """Wait until a machine may boot, here and there. As for SubprocessRunner, on the engine's host."""
        began = self.clock()
        with super().admission(timeout):
            left = None if timeout is None else max(0.0, timeout - (self.clock() - began))
            with self._connected(left).holding("admission", left):
                yield

    def watch(self) -> None:
        """Have the far process's machines removed also at the orderly end of this process. (They always are at others.)"""
        self._is_watched = True
        if self._session is not None:
            self._session.keeps = False

    def _request(self, invocation: Invocation, *, stdin: bool) -> dict[str, Any]:
        """The fields of the frame that starts a call."""
        command = invocation.command
        return {
            "argv": invocation.argv,
            "env": invocation.env,
            "stdin": stdin,
            "finish": invocation.finish,
            "makes": made_by(command),
            "deletes": command.name if isinstance(command, Delete) else None,
        }

    def _open(self, within: float | None) -> Channel:
        return self._connected(within).channel()

    def execute(self, invocation: Invocation) -> Completed:
        """Run one call of the engine at the far end, until it has exited, timed out or written too much.

        Raises:
            HostUnreachableError: the host cannot be reached; nothing was run.
            HostLostError: the link was lost during the call.
        """
        began = self.clock()

        def in_turn() -> Completed:
            since = self.clock() if invocation.patience is None else began
            deadline = None if invocation.timeout is None else since + invocation.timeout
            limit = least(self.output_limit, invocation.output_limit)
            call = CapturedCall(
                partial(self._open, invocation.timeout),
                invocation,
                self._request(invocation, stdin=invocation.stdin is not None),
                deadline,
                int(limit or 0),
                self.clock,
            )
            if isinstance(invocation.command, (Delete, Stop)):
                self._forwards.end(invocation.command.name)
            return self._logged(run_to_end(call, finish=invocation.finish))

        return self._processes.during(in_turn, invocation.patience)

    def _logged(self, completed: Completed) -> Completed:
        log_call(lambda: self.link.argv((*self._prefix, self.program, *redact(completed.argv))), completed)
        return completed

    def open(self, invocation: Invocation, *, stdin: bool) -> runners.Live:
        """Start a call of the engine at the far end, whose output is read as it comes."""
        request = self._request(invocation, stdin=stdin)
        begin = partial(self._open, invocation.timeout)
        return RemoteLive(begin, invocation, request, self._processes, self.clock, self._logged)

    def interact(self, invocation: Invocation) -> Completed:
        """Run a call at the far end for this program's terminal: it has one of its own there, of the same size."""
        from smolkit.runners.remote.terminal import Terminal  # late: rarely needed

        return Terminal().run(self._open(None), invocation, self._request(invocation, stdin=True))

    def reach(self, machine: str, port: int) -> int:
        """As in Runner: by a forward of the link, which ends with the machine."""
        return self._forwards.reach(machine, port)

    @contextmanager
    def provide_source(self, path: str) -> Iterator[str]:
        """A copy of the file on the engine's host, for the block."""
        check_source(path)
        with self._connected().holding("source", os.path.basename(path), feed=partial(send, path)) as answer:
            yield str(answer.fields["value"])

    @contextmanager
    def provide_target(self, path: str, part: str | None = None) -> Iterator[str]:
        """A path on the engine's host; what the engine writes there is copied to `path` at the end of the block."""
        with part_of(path, None) as made, self._far_target(path, part) as far:
            yield far
            if fetch(self._connected(), far, made):
                os.replace(made, os.path.realpath(path))
            elif part is None:
                raise SmolvmError(f"the engine wrote no file for {path!r}")

    @contextmanager
    def _far_target(self, path: str, part: str | None) -> Iterator[str]:
        if part is not None:  # beside that of another target, and removed with it
            yield part
            return
        with self._connected().holding("target", os.path.basename(path)) as answer:
            yield str(answer.fields["value"])


def _far_path(name: str, value: str | os.PathLike[str]) -> str:
    path = validate.path(name, value)
    if not path.startswith("/"):
        raise ValueError(f"{name} must be an absolute path of the engine's host, not {path!r}")
    return path


def _owner_of(session: Session) -> Owner | None:
    return None if session.hello is None else Owner.parse(str(session.hello.fields.get("owner")))


def _is_alive(session: Session, pid: int, started: int) -> bool:
    return bool(session.ask("is_alive", pid, started).fields["value"])

"""The far process: runs the engine for the other end of a link, owns the machines that are made over it, and ends with it.

Its main thread serves the link, and each call has a thread. A second process waits for its end, whatever ends it, and ends
what it has left running; its watchdog then removes its machines.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve

from smolkit.errors import HostLimitError, SmolvmError
from smolkit.runners.attempts import host_limits
from smolkit.runners.local import watchdog
from smolkit.runners.local.identity import here
from smolkit.runners.local.subprocess import SubprocessRunner
from smolkit.runners.remote.connection import WINDOW, Connection, Signal
from smolkit.runners.remote.failures import described
from smolkit.runners.remote.far_call import FarCall
from smolkit.runners.remote.far_functions import CONTEXTS, FUNCTIONS
from smolkit.runners.remote.leftovers import end_session, remove_directory
from smolkit.values.hidden import Hidden
from smolkit.values.results import Invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smolkit.runners.live import Live
    from smolkit.runners.remote.far_functions import Answer
    from smolkit.runners.remote.wire import Frame

_FINISH = 5.0  # seconds that create, start, stop and delete have after the link is lost
_TERM_WAIT = 2.0  # seconds between SIGTERM and SIGKILL


def runner_of(settings: Mapping[str, Any]) -> SubprocessRunner:
    """A new runner of this host."""
    return SubprocessRunner(output_limit=2**62, **settings)


class Machines:
    """Tells the watchdog of the machines that calls make and delete."""

    def during(self, run: Callable[[], int], runner: SubprocessRunner, fields: Mapping[str, Any]) -> int:
        """Run a call of the engine, and return its exit status.

        Args:
            run: Runs it.
            runner: The runner that it belongs to.
            fields: Those of its frame.
        """
        machines = [(runner.host, str(name)) for name in fields.get("makes", ()) if here().me is not None]
        made = True
        if machines:
            watchdog.mine().begin_making(machines, runner._described())  # noqa: SLF001  (of our own)
        try:
            code = run()
            made = code <= 0
            if (name := fields.get("deletes")) is not None and made:
                watchdog.mine().forget((runner.host, str(name)))
            return code
        finally:
            if machines:
                watchdog.mine().end_making(machines, made=made)


class Server:
    """Everything that the far process has.

    Args:
        work: A directory for files that are copied, which need not exist.
        reads, writes: Descriptors of the link.
        runner_of: Makes the runner of these settings.
        machines: Is told of the calls that make and delete machines.
        functions: More functions for the other end to call.
    """

    def __init__(
        self,
        work: str,
        reads: int = 0,
        writes: int = 1,
        *,
        runner_of: Callable[[Mapping[str, Any]], SubprocessRunner] = runner_of,
        machines: Machines | None = None,
        functions: Mapping[str, Callable[..., Answer]] = FUNCTIONS,
    ) -> None:
        self.work = work
        self.runner: SubprocessRunner | None = None
        self._runner_of, self._machines, self._functions = runner_of, machines or Machines(), functions
        self.keeps: bool = False
        self.calls: dict[int, FarCall] = {}
        self.connection: Connection = Connection(reads, writes, self.receive)

    def receive(self, frame: Frame) -> None:
        """Take a frame."""
        if frame.op == "settings":
            self._settle(dict(frame.fields))
        elif frame.op == "bye":
            self.keeps = bool(frame.fields.get("keep"))
            self.connection.close()
        elif (call := self.calls.get(frame.channel)) is not None:
            call.receive(frame)  # a second "run" is ignored here
        elif frame.op in {"run", "call"}:
            self._begin(frame)
        elif frame.op == "end":  # before it began
            self.connection.send(frame.channel, "exit", code=-signal.SIGTERM)

    def _settle(self, settings: dict[str, Any]) -> None:
        heartbeat = float(settings.pop("heartbeat"))
        try:
            self.runner = self._runner_of(settings)
        except (TypeError, ValueError) as error:
            self.connection.send(0, "refused", **described(error))
            return
        found = here()
        self.connection.expect(heartbeat)
        self.connection.send(
            0, "hello", owner=found.me and str(found.me), now=found.now, booted=found.booted, pid=os.getpid()
        )

    def _begin(self, frame: Frame) -> None:
        call = self.calls[frame.channel] = FarCall(self, frame.channel)
        work = self._run if frame.op == "run" else self._answer
        try:
            threading.Thread(target=self._in_thread, args=(work, call, frame), daemon=True).start()
        except RuntimeError as error:
            self.calls.pop(frame.channel)
            self.connection.send(frame.channel, "error", **described(HostLimitError(str(error))))

    def _in_thread(self, work: Any, call: FarCall, frame: Frame) -> None:
        try:
            work(call, frame)
        except BaseException as error:  # noqa: BLE001  (the other end raises it)
            self.connection.send(frame.channel, "error", **described(error))
        finally:
            self.calls.pop(frame.channel, None)

    def _run(self, call: FarCall, frame: Frame) -> None:
        """Run the engine."""
        fields, runner = frame.fields, self.required()
        env = tuple((str(key), Hidden(str(value))) for key, value in fields.get("env", ()))
        invocation = Invocation(tuple(map(str, fields["argv"])), env, finish=bool(fields.get("finish")))
        call.room, call.finish = frame.integer("window", WINDOW), invocation.finish
        run = self._run_in_terminal if "terminal" in fields else self._follow
        self._machines.during(partial(run, call, invocation, fields), runner, fields)

    def _run_in_terminal(self, call: FarCall, invocation: Invocation, fields: dict[str, Any]) -> int:
        """Run the engine in a terminal of its own. Its exit status."""
        from smolkit.runners.remote.far_terminal import TerminalCall  # late: rarely needed

        name, *size = fields["terminal"]
        began = time.monotonic()
        invocation = evolve(invocation, env=(*invocation.env, ("TERM", Hidden(str(name)))))
        start = partial(self.required()._start, invocation)  # noqa: SLF001  (of our own)
        call.live = call.terminal = terminal = TerminalCall(call, start, size)
        if call.ending is not None:  # it came first
            terminal.end(kill=True)
        code = terminal.run()
        call.send("exit", code=code, duration=time.monotonic() - began)
        return code

    def _follow(self, call: FarCall, invocation: Invocation, fields: dict[str, Any]) -> int:
        """Run the engine, and pass its output on. Its exit status."""
        stdin = bool(fields.get("stdin"))
        with host_limits():
            live = self.required().open(invocation, stdin=stdin)
        call.live = live
        if call.ending is not None:  # it came first
            live.end(kill=call.ending == signal.SIGKILL)
        if stdin:
            threading.Thread(target=_feed, args=(call, live), daemon=True).start()
        while (piece := live.read(None)) is not None:
            call.send_output(*piece)
        done = live.close()
        call.close_input()
        call.send("exit", code=done.returncode, duration=done.duration, ended_by=done.ended_by)
        return done.returncode

    def _answer(self, call: FarCall, frame: Frame) -> None:
        """Call a function for the other end. What it has open stays so until the other end releases it."""
        name, args = str(frame.fields.get("name")), frame.fields.get("args", [])
        if name in self._functions:
            value, blob = self._functions[name](call, *args)
            call.send("result", blob, value=value)
            return
        with CONTEXTS[name](call, *args) as value:
            call.send("result", value=value)
            if not call.wait_for_release():  # the block failed there
                raise SmolvmError("not released")

    def required(self) -> SubprocessRunner:
        """The runner of this host, once there are settings."""
        if self.runner is None:
            raise SmolvmError("the far process was told no settings")
        return self.runner

    def end(self) -> None:
        """End what runs: the link is lost, or was closed."""
        calls = tuple(self.calls.values())
        for kill, seconds in ((False, _TERM_WAIT), (True, _TERM_WAIT)):
            for call in calls:
                call.lose(kill=kill)
            deadline = time.monotonic() + (seconds if kill or not any(call.finish for call in calls) else _FINISH)
            while self.calls and time.monotonic() < deadline:
                Signal().wait(lambda: not self.calls, 0.05)


def _feed(call: FarCall, live: Live) -> None:
    try:
        for piece in call.pieces():
            live.write(piece)
        live.close_stdin()
    except (OSError, RuntimeError, ValueError):
        call.send("deaf")


def main() -> None:
    """Serve the link at descriptors 0 and 1 until it ends. Does not return."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the engine would inherit
    work = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"smolkit-far-{os.urandom(8).hex()}")  # noqa: S108
    sys.stdout.flush()
    if child := os.fork():
        _look_after(child, work)
    os.setsid()
    server = Server(work)
    server.connection.serve()
    server.end()
    if server.keeps:
        watchdog.mine().dismiss()
    os._exit(0)


def _look_after(pid: int, work: str) -> None:
    """Wait for the far process's end, however it ends, and end what it has left running. Does not return."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)  # the link ends with the far process, not with this one
    status = 0
    with suppress(ChildProcessError):
        _, status = os.waitpid(pid, 0)
    end_session(pid)
    remove_directory(work)
    os._exit(0 if status == 0 else 1)

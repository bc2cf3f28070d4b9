"""The watchdog: a small process beside this one, which removes the machines that this one leaves, however it ends.

It is a shell that reads a socket. The kernel closes the other end when this process ends, whatever ended it: a signal that
cannot be handled, the OOM killer, `os._exit`, a closed terminal. The shell has a session of its own, "/" as its directory
and no other descriptor of ours, and takes a megabyte. Only if machines are left does it start a Python
(`smolkit.flows.orphans`).

Its protocol is lines: a JSON object for each engine, and the state of their machines: 0 for none, 1 for some, +N for N
machines, some of which are being made and may appear after this process's end. One watchdog serves all runners of a
process, and is started with their first machine; a forked child has its own, if it makes machines.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from smolkit.errors import SmolvmError
from smolkit.runners.local.posix import ChildProcess
from smolkit.values.hidden import Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smolkit.commands.dialect import Engine
    from smolkit.values.ownership import Owner

Held = tuple[str, str]  # the runner's host, and a machine's name

# The shell that is started ends at once, and its child in the background is the watchdog. That is no child of this process,
# which gets neither a zombie nor a SIGCHLD of it. The socket goes by descriptor 3, since the stdin of a background command
# is /dev/null. The watchdog ignores the signals that end a whole service.
_SCRIPT = """exec 3<&0
cd /
{
    trap '' HUP INT QUIT TERM
    while IFS= read -r line; do
        case $line in
        {*) engines="$engines$line
" ;;
        *) holds=$line ;;
        esac
    done
    [ "${holds:-0}" = 0 ] || printf '%s\\n%s' "$holds" "$engines" | "$1" -S -c "$2"
} <&3 3<&- &"""
# `-S`, without `site`, is faster; the import path comes with the engine's line.
_ORPHANS = """import json, sys
told = sys.stdin.read()
sys.path[:] = json.loads(told.splitlines()[1])["path"]
from smolkit.flows.orphans import main
main(told)"""
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")  # variables that a Python may need to start
_QUIETLY = getattr(socket, "MSG_NOSIGNAL", 0)  # a program may have restored SIGPIPE's default action
_PATIENCE = 1.0  # seconds to wait for a slow watchdog: its socket holds some hundred messages; and for its start
_POLL = 0.0005  # seconds between two looks at the shell that starts it


def require() -> None:
    """Raise RuntimeError unless this program's interpreter can be started a second time."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise RuntimeError("a watchdog needs a Python to start, and this program is frozen: use client.reap()")


def _import_path() -> list[str]:
    """The directories that smolkit and its dependencies are imported from in this process."""
    homes = (os.path.dirname(os.path.dirname(str(sys.modules[name].__file__))) for name in ("smolkit", "attr"))
    return list(dict.fromkeys(os.path.abspath(place) for place in (*homes, *sys.path)))


def describe(owner: Owner | None, engine: Engine, prefix: tuple[str, ...], env: Mapping[str, str]) -> str:
    """The engine's line for `smolkit.flows.orphans`. It may hold secrets.

    Raises:
        SmolvmError: this host has no means to prove that a machine is this process's.
    """
    if owner is None:
        raise SmolvmError(
            "no watchdog on this host: without /proc it could not tell this process's machines from those of others"
        )
    told = {"owner": str(owner), "path": _import_path(), "program": engine.path, "version": engine.version}
    return Word(json.dumps({**told, "prefix": prefix, "env": dict(env)}))


class Watchdog:
    """This process's end of the watchdog's socket, and what the watchdog is to know."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may make machines, too
        self._link: socket.socket | None = None
        self._inode = 0  # of the link: a program that closes all descriptors may have another file under its number
        self._sent_engines: set[str] = set()
        self._sent_state = "0"
        self._engines: dict[str, str] = {}  # a line for each host
        self._making: Counter[Held] = Counter()
        self._held: set[Held] = set()

    def begin_making(self, machines: list[Held], engine: str) -> None:
        """Tell the watchdog of machines that are about to be made by this engine.

        Raises:
            SmolvmError: there is no watchdog, and none can be started.
        """
        with self._lock:
            self._engines.update((host, engine) for host, _ in machines)
            self._making.update(machines)
            try:
                self._tell()
            except BaseException as error:
                self._making -= Counter(machines)
                if isinstance(error, OSError):
                    raise SmolvmError(f"no watchdog can be started: {error}") from error
                raise

    def end_making(self, machines: list[Held], *, made: bool) -> None:
        """Tell it that they were made, or were not."""
        with self._lock:
            self._making -= Counter(machines)
            self._held.update(machines if made else ())
            self._tell_if_possible()

    def forget(self, machine: Held) -> None:
        """Tell it that a machine is gone."""
        with self._lock:
            if machine in self._held:
                self._held.remove(machine)
                self._tell_if_possible()

    def dismiss(self) -> None:
        """Tell it to leave all machines alone."""
        with self._lock:
            self._making.clear()
            self._held.clear()
            self._tell_if_possible()

    def close(self) -> None:
        """Close the link: the watchdog is gone, or is the parent's of this fork."""
        if self._link is not None:
            # Another file that has its number by now is not ours to close.
            self._link.close() if self._is_linked() else self._link.detach()
            self._link = None

    def _tell_if_possible(self) -> None:
        """Tell it what has been done already: a failure must not be raised.

        A watchdog that could not be told looks for a machine that is gone, which does no harm; or it is gone itself, and
        the next create starts another one.
        """
        try:
            self._tell()
        except OSError:
            self.close()

    def _tell(self) -> None:
        """Send what is new; if no watchdog listens, to a new one, unless there are no machines.

        Raises:
            OSError: none can be started.
        """
        if self._send():
            return
        self.close()
        if self._making or self._held:
            self._start()
            if not self._send():
                raise ConnectionError("it does not listen")

    def _send(self) -> bool:
        """Send what the watchdog does not know yet. True if that was possible."""
        if self._link is None or not self._is_linked():
            return False
        state = f"+{self._making.total() + len(self._held)}" if self._making else str(int(bool(self._held)))
        engines = {self._engines[host] for host, _ in (*self._making, *self._held)} - self._sent_engines
        data = "".join(f"{line}\n" for line in (*engines, *([state] if state != self._sent_state else ()))).encode()
        try:
            sent = self._link.send(data, _QUIETLY) if data else 0
        except OSError:  # it was killed, or was stopped for so long that its socket is full
            return False
        self._sent_engines |= engines
        self._sent_state = state
        return sent == len(data)

    def _is_linked(self) -> bool:
        try:
            return self._link is not None and os.fstat(self._link.fileno()).st_ino == self._inode
        except OSError:
            return False

    def _start(self) -> None:
        self._link, far = socket.socketpair()
        self._link.settimeout(_PATIENCE)
        self._inode = os.fstat(self._link.fileno()).st_ino
        self._sent_engines, self._sent_state = set(), "0"
        try:
            self._start_shell(far)
        except BaseException:
            self.close()  # the shell is killed when it is garbage-collected: nothing must be sent to it meanwhile
            raise

    @staticmethod
    def _start_shell(far: socket.socket) -> None:
        child = ChildProcess()
        with far:
            child.open_session(stdin=far)
            argv = ("/bin/sh", "-c", _SCRIPT, "smolkit-watchdog", sys.executable, _ORPHANS)
            child.start("/bin/sh", argv, {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ})
        # Until it has forked, which takes a millisecond: a failure to fork closes the link, and the next line that is sent
        # finds that out. Not by `child.wait`, which lets other tasks of an event loop come here while the lock is held.
        deadline = time.monotonic() + _PATIENCE
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL)
        child.reap()
        child.close()


_mine = Watchdog()


def mine() -> Watchdog:
    """This process's."""
    return _mine


def _after_fork() -> None:
    # The link is the parent's; held open by a forked child, it would hide the parent's end from the watchdog.
    global _mine
    parents, _mine = _mine, Watchdog()
    parents.close()


os.register_at_fork(after_in_child=_after_fork)

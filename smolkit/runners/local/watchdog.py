"""A small process beside this one, which removes the machines that this one leaves, however it ends.

It is a shell that reads a socket, since what the kernel closes at a process's end is seen whatever ended it: a signal that
nobody can handle, the OOM killer, `os._exit`, a terminal that is gone. It has a session of its own, "/" as its directory
and no other descriptor of ours, and takes a megabyte. Only where something is left does it start a Python
(`smolkit.flows.orphans`).

It is told, line by line, which engines there are (JSON), and what is held of their machines: 0 for none, 1 for some, +N for
N of which some are only being made, and may come after this process's end. One serves all runners of a process, and is
started with their first machine; a forked child has its own, if it makes any.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from smolkit.commands.admin import Branch
from smolkit.commands.create import Create
from smolkit.commands.lifecycle import Delete
from smolkit.errors import MachineNotFoundError, OutcomeUnknownError, SmolvmError
from smolkit.values.hidden import Word
from smolkit.values.ownership import NONE, OWNER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from smolkit.commands.base import Command
    from smolkit.commands.dialect import Engine
    from smolkit.values.ownership import Owner

_Held = tuple[str, str]  # the runner's host, and a machine's name

# The shell that is started ends at once, so that its child is nobody's here: neither a zombie nor a SIGCHLD comes of it.
# What it started in the background would have /dev/null as its stdin. It outlives signals that end a whole service.
_SCRIPT = """exec 3<&0
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
# Without `site`, for speed: where smolkit and what it needs are found is told.
_ORPHANS = """import json, sys
told = sys.stdin.read()
sys.path[:] = json.loads(told.splitlines()[1])["path"]
from smolkit.flows.orphans import main
main(told)"""
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")  # what a Python may need to start
_QUIETLY = getattr(socket, "MSG_NOSIGNAL", 0)  # SIGPIPE may have been given its default back
_PATIENCE = 1.0  # seconds for a watchdog that is behind: its socket holds some hundred messages


def require() -> None:
    """Raise unless this program's interpreter can be started a second time.

    Raises:
        RuntimeError: it cannot.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise RuntimeError("a watchdog needs a Python to start, and this program is frozen: use client.reap()")


def _import_path() -> list[str]:
    """Where smolkit and its dependencies are imported from in this process, however they came there."""
    homes = (os.path.dirname(os.path.dirname(str(sys.modules[name].__file__))) for name in ("smolkit", "attr"))
    return list(dict.fromkeys(os.path.abspath(place) for place in (*homes, *sys.path)))


def describe(owner: Owner | None, engine: Engine, prefix: tuple[str, ...], env: Mapping[str, str]) -> str:
    """A line with what `orphans` has to know of an engine; it may hold secrets.

    Raises:
        SmolvmError: nothing of it could be proved to be this process's.
    """
    if owner is None:
        raise SmolvmError(
            "this host does not tell one process from another (no /proc): a watchdog would know no machine of ours"
        )
    told = {"owner": str(owner), "path": _import_path(), "program": engine.path, "version": engine.version}
    return Word(json.dumps({**told, "prefix": prefix, "env": dict(env)}))


def watching(host: str, describe: Callable[[], str], command: Command[Any]) -> AbstractContextManager[None]:
    """Around a call of the engine: what it makes is held, what it deletes is not any more.

    Args:
        host: The runner's.
        describe: Gives the line with its engine.
        command: What is done.
    """
    if isinstance(command, Delete):
        return _deleting((host, command.name))
    if names := _made_by(command):
        return _making([(host, name) for name in names], describe)
    return nullcontext()


def _made_by(command: Command[Any]) -> list[str]:
    """The machines that it makes, and that are not to outlive this process."""
    if isinstance(command, Create):
        return [] if (OWNER, NONE) in command.marks else [command.name]
    if not isinstance(command, Branch):
        return []
    chosen = dict(command.chosen)
    if f"{OWNER}={NONE}" in chosen.get("labels", ()):
        return []
    if command.name is not None:
        return [command.name]
    return [f"{chosen['name_prefix'][0]}-{number}" for number in range(int(str(chosen["count"][0])))]


@contextmanager
def _making(machines: list[_Held], describe: Callable[[], str]) -> Iterator[None]:
    mine = _mine
    mine.begin(machines, describe())
    try:
        yield
    except OutcomeUnknownError:
        mine.settle(machines, made=True)
        raise
    except SmolvmError:
        mine.settle(machines, made=False)
        raise
    except BaseException:
        mine.settle(machines, made=True)  # for all that is known
        raise
    mine.settle(machines, made=True)


@contextmanager
def _deleting(machine: _Held) -> Iterator[None]:
    try:
        yield
    except MachineNotFoundError:
        _mine.forget(machine)
        raise
    _mine.forget(machine)


class Watchdog:
    """This process's end of it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may make machines, too
        self._link: socket.socket | None = None
        self._inode = 0  # the link's: a program that closes all descriptors may have another file under its number
        self._told: set[str] = set()
        self._said = "0"
        self._engines: dict[str, str] = {}  # a line for each host
        self._making: Counter[_Held] = Counter()
        self._held: set[_Held] = set()

    def begin(self, machines: list[_Held], engine: str) -> None:
        """These are about to be made, by this engine.

        Raises:
            SmolvmError: there is no watchdog to tell, and none can be started.
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

    def settle(self, machines: list[_Held], *, made: bool) -> None:
        """These were made, or were not."""
        with self._lock:
            self._making -= Counter(machines)
            self._held.update(machines if made else ())
            self._tell_if_possible()

    def forget(self, machine: _Held) -> None:
        """This one is gone."""
        with self._lock:
            if machine in self._held:
                self._held.remove(machine)
                self._tell_if_possible()

    def close(self) -> None:
        """Lets go of the link, which is not this process's."""
        if self._link is not None:
            # What has its number by now is not ours to close.
            self._link.close() if self._is_linked() else self._link.detach()
            self._link = None

    def _tell_if_possible(self) -> None:
        """What was done is done. One that cannot be told looks for what is gone, or is replaced at the next create."""
        try:
            self._tell()
        except OSError:
            self.close()

    def _tell(self) -> None:
        """Brings the watchdog up to date; where none listens, a new one, if there is anything to hold."""
        if self._send():
            return
        self.close()
        if self._making or self._held:
            self._start()
            if not self._send():
                raise ConnectionError("it does not listen")

    def _send(self) -> bool:
        """Says what is new; whether that was possible."""
        if self._link is None or not self._is_linked():
            return False
        says = f"+{self._making.total() + len(self._held)}" if self._making else str(int(bool(self._held)))
        engines = {self._engines[host] for host, _ in (*self._making, *self._held)} - self._told
        data = "".join(f"{line}\n" for line in (*engines, *([says] if says != self._said else ()))).encode()
        try:
            sent = self._link.send(data, _QUIETLY) if data else 0
        except OSError:  # it was killed, or stopped for so long that nothing more fits in
            return False
        self._told |= engines
        self._said = says
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
        self._told, self._said = set(), "0"
        with far:
            child = subprocess.Popen(
                ("/bin/sh", "-c", _SCRIPT, "smolkit-watchdog", sys.executable, _ORPHANS),
                stdin=far.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
                start_new_session=True,
            )
            child.wait()  # for as long as a shell takes to fork


_mine = Watchdog()


def _leave() -> None:
    """In a forked child: the watchdog is its parent's, and would wait for the child too."""
    global _mine
    parents, _mine = _mine, Watchdog()
    parents.close()


os.register_at_fork(after_in_child=_leave)

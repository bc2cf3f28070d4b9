"""Child processes by posix_spawn and waitid: none is lost, mistaken for another, or taken for one that succeeded.

`subprocess.Popen` is not used, for three reasons. An exception of a signal handler (Ctrl-C) that strikes between the
child's start and the assignment of its pid leaves a child that nobody knows. `poll()` reaps, so that a later `kill()` may
meet a stranger with the same pid. A child that other code of this program has reaped counts as exit status 0.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from itertools import chain, cycle, repeat, starmap
from threading import RLock
from typing import TYPE_CHECKING, Any
from weakref import finalize

from smolkit.commands.failures import json_reader
from smolkit.runners import blocking

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from socket import socket

    Action = tuple[int, ...] | tuple[int, int, str, int, int]

LOST = -1  # in place of the exit status of a child that other code of this program has reaped
_BRIEFLY = (0.0005, 0.05)  # seconds between two polls where there is no pidfd: the first, and the longest
# Signals that a child does not inherit as ignored: it is ended by SIGTERM, and has children and pipes of its own.
_DEFAULTED = (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)
_RESERVE = 12  # descriptors: three pipes, a selector and a pidfd, a directory that is listed, a module that is imported
_unreaped: list[int] = []  # pids of children that we are done with and that have not ended yet: reaped later


class ChildProcess:
    """A child process, from before its start until it is reaped. Call one of the `open_*` methods first, then `start`.

    No other process gets its pid, which is also that of its process group, before `reap`. After that, and in a fork of this
    program, it is sent no signal. It is killed if it is garbage-collected before.

    Attributes:
        stdin, stdout, stderr: Our ends of its pipes; None where it has no pipe.
        pidfd: Descriptor that becomes readable when it ends; None where there is none (before Linux 5.3, macOS).
        lost: Whether its exit status was taken by other code of this program, or dropped because SIGCHLD is ignored.
    """

    def __init__(self) -> None:
        self.stdin: FileIO | None = None
        self.stdout: FileIO | None = None
        self.stderr: FileIO | None = None
        self.pidfd: int | None = None
        self.lost: bool = False
        self._files: list[FileIO] = []  # all ends of its pipes
        self._theirs: dict[int, FileIO | socket] = {}  # the child's ends, by the descriptor that they become there
        self._terminal = ""  # its path, if it has one of its own
        self._pids: list[int] = []  # none before the start, then one: see `start`
        self._parent, self._is_reaped = os.getpid(), False
        self._leads, self._has_session = True, False  # a process group of its own; a session
        self._status: int | None = None
        self._lock = RLock()  # reentrant: a signal handler may call these methods while they run
        # Not __del__: Python would call it for every child, and ignore a Ctrl-C that strikes in it.
        self._finalizer = finalize(self, _dropped, vars(self))
        self._finalizer.atexit = False

    @property
    def is_started(self) -> bool:
        """True if it was started; it may have ended since."""
        return bool(self._pids)

    @property
    def is_own(self) -> bool:
        """True if it is a child of this process, and not of one that this was forked from."""
        return os.getpid() == self._parent

    @property
    def pid(self) -> int:
        """Its process id, and that of its process group."""
        return self._pids[0]

    def open_pipes(self, *, stdin: bool) -> None:
        """Make pipes for its stdout and stderr, and for its stdin unless that is to be /dev/null."""
        fds = chain.from_iterable(starmap(os.pipe, repeat((), 3 if stdin else 2)))
        # As in `start`: one call of C code, so that an interrupt leaves no descriptor open that is not in the list.
        self._files.extend(map(FileIO, fds, cycle(("rb", "wb"))))
        if stdin:
            self.stdin = self._files[1]
        *_, self.stdout, out, self.stderr, err = self._files
        self._theirs = {**({0: self._files[0]} if stdin else {}), 1: out, 2: err}

    def open_stderr(self) -> None:
        """Make a pipe for its stderr alone: it has our stdin and stdout, in the foreground of our terminal."""
        self._files.extend(map(FileIO, chain.from_iterable(starmap(os.pipe, repeat((), 1))), cycle(("rb", "wb"))))
        self.stderr, theirs = self._files
        self._theirs = {2: theirs}

    def open_session(self, stdin: socket) -> None:
        """Give it a session of its own, a socket as its stdin, and /dev/null as its stdout and stderr."""
        self._theirs, self._has_session = {0: stdin}, True

    def open_terminal(self) -> int:
        """Give it a session with a terminal of its own, its stdin and stdout, and a pipe for stderr. Returns our end."""
        self.open_stderr()
        self._files.extend(map(FileIO, chain.from_iterable(starmap(os.openpty, repeat((), 1))), repeat("rb+")))
        self._terminal, self._has_session = os.ttyname(self._files[-1].fileno()), True
        self._theirs[-1] = self._files[-1]  # closed with the others once it is started
        return self._files[-2].fileno()

    def start(self, program: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start the program, as the leader of its own process group; after `open_stderr`, in ours.

        Raises:
            OSError: it could not be started; there is no child process.
        """
        _reap_ended()
        self._leads = self.stdout is not None or self._has_session
        spawn = partial(os.posix_spawn, file_actions=self._actions(), setsigmask=(), setsigdef=_DEFAULTED)
        if self._leads:
            spawn = partial(spawn, setsid=True) if self._has_session else partial(spawn, setpgroup=0)
        # Not `self._pid = spawn(...)`: a signal handler may raise between the call and the assignment. It runs in no line
        # of a single call of C code, so that there is never a child whose pid is not in the list.
        self._pids.extend(map(spawn, (program,), (argv,), (env,)))
        self.close_theirs()
        with suppress(AttributeError, OSError):
            self.pidfd = os.pidfd_open(self.pid)

    def close_theirs(self) -> None:
        """Close our copies of the child's ends of its pipes: with them, we would never see the end of its output."""
        _close(self._theirs.values())

    def _actions(self) -> list[Action]:
        """Actions before the program is executed: the child's ends become its descriptors 0 to 2; it has no others."""
        actions: list[Action] = []
        for place in range(3):
            if self._terminal and place < 2:  # noqa: PLR2004  (stdin and stdout)
                # The first terminal that the leader of a session opens is the session's.
                actions.append((os.POSIX_SPAWN_OPEN, place, self._terminal, os.O_RDWR, 0))
            elif place in self._theirs:
                actions.append((os.POSIX_SPAWN_DUP2, self._theirs[place].fileno(), place))
            elif self._leads:  # in the foreground of our terminal it has ours
                actions.append((os.POSIX_SPAWN_OPEN, place, os.devnull, os.O_RDWR, 0))
        return actions + [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()]

    def poll(self) -> int | None:
        """Its exit status (-N: killed by signal N; LOST), or None while it runs. Does not reap it."""
        if self._status is None:
            self._look()
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its exit status. Does not reap it.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, longest = _BRIEFLY
        while (code := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            if self.pidfd is not None:
                blocking.readable(self.pidfd, left)
            else:
                blocking.sleep(pause)
                pause = min(pause * 2, longest)
        return code

    def _look(self) -> None:
        try:
            if not self.is_own:
                raise ChildProcessError  # noqa: TRY301  (only a parent can wait for it)
            (self._look_only if hasattr(os, "waitid") else self._look_and_reap)()
        except ChildProcessError:
            self._is_reaped = self.lost = True
            self._status = LOST

    def _look_only(self) -> None:
        # WNOWAIT leaves it a zombie if it has ended: its pid stays its own, and after an interrupt this can be done again.
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if found is not None:
            self._status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _look_and_reap(self) -> None:
        # Python on macOS has no waitid before 3.13.
        with self._lock:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._is_reaped, self._status = True, os.waitstatus_to_exitcode(status)

    def signal(self, number: int) -> None:
        """Send a signal to its whole process group. No-op once it is reaped, or where it is not permitted (sudo)."""
        if not (self._pids and self.is_own):  # in a fork, the lock may be held by a thread that does not exist there
            return
        with self._lock:
            self._look()  # other code of this program may have reaped it
            if not self._is_reaped:
                with suppress(ProcessLookupError, PermissionError):
                    (os.killpg if self._leads else os.kill)(self.pid, number)

    def reap(self) -> None:
        """Reap it if it has ended; else it is reaped later, when another child is started."""
        if not (self._pids and self.is_own):
            return
        with self._lock:
            if not self._is_reaped:
                pid = self.pid
                self._is_reaped = True  # before the next line: a signal handler that runs after that must signal nobody
                _reap(pid)

    def close(self) -> None:
        """Close its pipes, and make its garbage collection harmless. May be called again."""
        _close(self._files)
        if self.pidfd is not None:
            pidfd, self.pidfd = self.pidfd, None
            os.close(pidfd)
        self._finalizer.detach()


def _dropped(state: dict[str, Any]) -> None:
    child = ChildProcess.__new__(ChildProcess)
    vars(child).update(state)
    child.signal(signal.SIGKILL)
    child.reap()
    child.close()


def _close(files: Iterable[FileIO | socket]) -> None:
    for file in files:
        file.close()


def _inheritable() -> list[int]:
    """Our descriptors above 2 that a child would inherit: not made by Python, or made inheritable on purpose."""
    try:
        fds = [int(name) for name in os.listdir("/dev/fd")]
    except FileNotFoundError:
        return []
    # posix_spawn refuses to close one above a limit that was lowered since. The child keeps it: better than no child.
    return [fd for fd in fds if 2 < fd < os.sysconf("SC_OPEN_MAX") and _is_inheritable(fd)]  # noqa: PLR2004


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # closed by now
        return False


def _reap(pid: int) -> None:
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            _unreaped.append(pid)
    except ChildProcessError:
        pass


def _reap_ended() -> None:
    for _ in range(len(_unreaped)):
        with suppress(IndexError):  # another thread has taken the last one
            _reap(_unreaped.pop(0))


class Reserve:
    """Descriptors that are kept from a machine's creation on, for its teardown in a program that has used up all others."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._turns = blocking.Gate(1)

    def fill(self) -> None:
        """Keep _RESERVE descriptors, or as many as can be had, and import what a teardown could not import without."""
        json_reader()
        with suppress(OSError):
            while len(self._fds) < _RESERVE:
                self._fds.append(os.open(os.devnull, os.O_RDONLY))

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Free them for the block; one block at a time."""
        with self._turns.turn():
            while self._fds:
                os.close(self._fds.pop())
            try:
                yield
            finally:
                self.fill()


reserve: Reserve = Reserve()

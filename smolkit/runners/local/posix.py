"""A child process, by the system's own calls, so that none is ever lost, mistaken for another, or said to have succeeded.

`subprocess.Popen` is not used, for three reasons. An exception of a signal handler (Ctrl-C) that strikes between the
child's start and the assignment of its pid leaves a child that nobody knows. `poll()` reaps, so that a later `kill()` may
meet a stranger under the same number. A child that other code of this program has reaped counts as exit status 0.
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

    Action = tuple[int, ...] | tuple[int, int, str, int, int]

LOST = -1  # stands for the exit status of a child that other code of this program has reaped
_BRIEFLY = (0.0005, 0.05)  # seconds between two looks where nothing tells of a child's end: the first, and the longest
# What a child does not inherit from us where we ignore it: it is ended by SIGTERM, has children and pipes of its own.
_DEFAULTED = (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)
_RESERVE = 12  # descriptors: three pipes, what waits for them, a directory's, a module's
_abandoned: list[int] = []  # the pids of children that could not be ended: reaped when they have


class ChildProcess:
    """A child process, from before its start until it is reaped: first `open_pipes`, then `start`.

    Its number, and its process group's, is nobody else's until `reap`; afterwards, and in a fork of this program, it is
    sent no signal. Dropped before that, it is killed.

    Attributes:
        stdin, stdout, stderr: Our ends of its pipes; None where it has none.
        pidfd: Becomes readable when it ends; None where the platform has none (before Linux 5.3, macOS) or gives none.
        lost: Whether its exit status was taken by other code of this program, or thrown away because SIGCHLD is ignored.
    """

    def __init__(self) -> None:
        self.stdin: FileIO | None = None
        self.stdout: FileIO | None = None
        self.stderr: FileIO | None = None
        self.pidfd: int | None = None
        self.lost: bool = False
        self._files: list[FileIO] = []  # all ends of its pipes
        self._theirs: list[FileIO] = []  # the child's, in the order of its stdin, stdout, stderr
        self._pids: list[int] = []
        self._parent, self._is_reaped, self._leads = os.getpid(), False, True
        self._status: int | None = None
        self._lock = RLock()  # a signal handler may come back here
        # No __del__, which Python would call for each child, and swallow a Ctrl-C in.
        self._finalizer = finalize(self, _dropped, vars(self))
        self._finalizer.atexit = False

    @property
    def is_started(self) -> bool:
        """Whether there is such a process, or was."""
        return bool(self._pids)

    @property
    def is_own(self) -> bool:
        """Whether it is this process's, not that of one that this was forked from."""
        return os.getpid() == self._parent

    @property
    def pid(self) -> int:
        """Its process id, and that of its process group."""
        return self._pids[0]

    def open_pipes(self, *, stdin: bool) -> None:
        """Makes pipes for its stdout and stderr, and for its stdin unless that is /dev/null."""
        fds = chain.from_iterable(starmap(os.pipe, repeat((), 3 if stdin else 2)))
        # As in `start`: one call of C code, so that no file is open that is not in the list.
        self._files.extend(map(FileIO, fds, cycle(("rb", "wb"))))
        if stdin:
            self.stdin = self._files[1]
        *_, self.stdout, out, self.stderr, err = self._files
        self._theirs = [*(self._files[:1] if stdin else ()), out, err]

    def open_stderr(self) -> None:
        """Makes a pipe for its stderr alone: it has our stdin and stdout, in the foreground of our terminal."""
        self._files.extend(map(FileIO, chain.from_iterable(starmap(os.pipe, repeat((), 1))), cycle(("rb", "wb"))))
        self.stderr, *self._theirs = self._files

    def start(self, program: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Starts the program, as the leader of a process group of its own; without a pipe for its stdout in ours.

        Raises:
            OSError: it could not be; there is no child.
        """
        _reap_abandoned()
        self._leads = self.stdout is not None
        spawn = partial(os.posix_spawn, file_actions=self._actions(), setsigmask=(), setsigdef=_DEFAULTED)
        if self._leads:
            spawn = partial(spawn, setpgroup=0)
        # No signal handler runs, and so none raises, within this one call of C code: there is no child without its pid.
        self._pids.extend(map(spawn, (program,), (argv,), (env,)))
        self.close_theirs()
        with suppress(AttributeError, OSError):
            self.pidfd = os.pidfd_open(self.pid)

    def close_theirs(self) -> None:
        """Closes the child's ends of its pipes, which it has itself; ours would hide that it has ended."""
        _close(self._theirs)

    def _actions(self) -> list[Action]:
        """What the child does before it is the program: our pipes become its first three files, and it has no others."""
        actions: list[Action] = []
        if self._theirs:
            places = range(3 - len(self._theirs), 3)
            actions += ((os.POSIX_SPAWN_DUP2, end.fileno(), place) for end, place in zip(self._theirs, places, strict=True))
            if self._leads and self.stdin is None:
                actions.insert(0, (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
        return actions + [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()]

    def poll(self) -> int | None:
        """Its exit status (-N: killed by signal N; LOST), or None while it runs. It is not reaped by this."""
        if self._status is None:
            self._look()
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Waits until it has ended; its exit status.

        Raises:
            TimeoutError: it has not, in so many seconds.
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
                raise ChildProcessError  # noqa: TRY301  (it is not ours to wait for)
            (self._look_only if hasattr(os, "waitid") else self._look_and_reap)()
        except ChildProcessError:
            self._is_reaped = self.lost = True
            self._status = LOST

    def _look_only(self) -> None:
        """Leaves it a zombie if it has ended: where a signal interrupts this, it can be done again."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if found is not None:
            self._status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _look_and_reap(self) -> None:
        """For Python on macOS, before 3.13."""
        with self._lock:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._is_reaped, self._status = True, os.waitstatus_to_exitcode(status)

    def signal(self, number: int) -> None:
        """Sends a signal to its whole process group; harmless once it is reaped, or where that is not allowed (sudo)."""
        if not (self._pids and self.is_own):  # in a fork the lock may be held by a thread that it does not have
            return
        with self._lock:
            self._look()  # other code of this program may have reaped it
            if not self._is_reaped:
                with suppress(ProcessLookupError, PermissionError):
                    (os.killpg if self._leads else os.kill)(self.pid, number)

    def reap(self) -> None:
        """Lets go of it, once it has ended; before that, it is reaped when it has."""
        if not (self._pids and self.is_own):
            return
        with self._lock:
            if not self._is_reaped:
                pid = self.pid
                self._is_reaped = True  # first: a signal handler that strikes after the next call signals no stranger
                _reap(pid)

    def close(self) -> None:
        """Closes what there is of its pipes."""
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


def _close(files: Iterable[FileIO]) -> None:
    for file in files:
        file.close()


def _inheritable() -> list[int]:
    """Our open files that a child would have too, but for the first three: not made by Python, or made so on purpose."""
    try:
        fds = [int(name) for name in os.listdir("/dev/fd")]
    except FileNotFoundError:
        return []
    # Above a limit that was lowered since, posix_spawn takes none: the child has those, which is better than no child.
    return [fd for fd in fds if 2 < fd < os.sysconf("SC_OPEN_MAX") and _is_inheritable(fd)]  # noqa: PLR2004


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # closed by now
        return False


def _reap(pid: int) -> None:
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            _abandoned.append(pid)
    except ChildProcessError:
        pass


def _reap_abandoned() -> None:
    for _ in range(len(_abandoned)):
        with suppress(IndexError):  # of other threads each takes its own
            _reap(_abandoned.pop(0))


class Reserve:
    """Descriptors that are kept from when a machine is made, for its teardown in a program that has used up all others."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._turns = blocking.Gate(1)

    def fill(self) -> None:
        """Keeps so many, or as many as there are, and what a teardown could not import without them."""
        json_reader()
        with suppress(OSError):
            while len(self._fds) < _RESERVE:
                self._fds.append(os.open(os.devnull, os.O_RDONLY))

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Lets the block have them, one at a time."""
        with self._turns.turn():
            while self._fds:
                os.close(self._fds.pop())
            try:
                yield
            finally:
                self.fill()


reserve: Reserve = Reserve()

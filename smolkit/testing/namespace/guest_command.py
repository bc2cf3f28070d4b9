"""One command in the guest.

    the call of the engine: relays the command's output, and tells how it ended
      └ the supervisor: process of the guest, and parent of all that the command starts, as long as the command runs
          └ the command

The call and the supervisor hold the ends of a socket. If the call ends, in whatever way, the supervisor kills the command
and all its descendants. If the VM ends, the call notices. What a command that has ended left in the background stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from smolkit.testing import engine_failures
from smolkit.testing.namespace import linux, vm

TIMED_OUT = 124  # the engine's exit status
_CHUNK = 2**18  # bytes: more than a pipe holds
_LAST_READS = 16  # of what a command left in a pipe or terminal: a background process may write to it for ever
_STATUS, _FAILED, _NO_USER, _NO_WORKDIR, _TIMED_OUT = (
    b"s",
    b"f",
    b"u",
    b"w",
    b"t",
)  # what the supervisor says, with a number


class Command:
    """A command.

    Args:
        words: The program and its arguments.
        environ: Its environment.
        workdir: Where it runs.
        user: As whom: "" for root, else `NAME` or `UID[:GID]`.

    Attributes:
        timeout: Seconds until it is killed.
    """

    def __init__(self, words: Sequence[str], environ: Mapping[str, str], workdir: str, user: str) -> None:
        self.words: Sequence[str] = words
        self.environ: Mapping[str, str] = environ
        self.workdir: str = workdir
        self.user: str = user
        self.timeout: float | None = None


def detach(pid: int, command: Command, output: str = "/dev/null") -> int:
    """Start a command that is left to run in the VM with this process. Return its process number in the guest.

    Args:
        pid: The process of the VM.
        command: The command.
        output: A file of this host, to which its output is appended.

    Raises:
        OSError: It cannot be started.
        EngineFailure: The VM has ended.
    """
    with open("/dev/null", "rb", buffering=0) as nothing, open(output, "ab", buffering=0) as out:
        control = _start(pid, command, (nothing.fileno(), out.fileno(), out.fileno()), stays=True)
    return _outcome(control, command)


def run(pid: int, command: Command, *, interactive: bool) -> int:
    """Run a command to its end, and return its exit status, or 128 + N after signal N.

    Args:
        pid: The process of the VM.
        command: The command.
        interactive: Pass on this process's stdin, and the output as it comes. Otherwise stdin is empty, and the output
            comes at the end, up to the engine's cap.

    Raises:
        OSError: It cannot be started.
        EngineFailure: The VM ended before the command, or there is too much output.
    """
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    stdin = 0 if interactive else os.open("/dev/null", os.O_RDONLY)
    control = _start(pid, command, (stdin, out_end, err_end))
    os.close(out_end)
    os.close(err_end)
    if interactive:
        _relay(control, {out: 1, err: 2})
    else:
        kept = _Capped()
        _relay(control, {out: 1, err: 2}, kept.add)
        kept.write()
    return _outcome(control, command)


def run_in_terminal(pid: int, command: Command) -> int:
    """Run a command in a terminal of its own, which this process's terminal shows. Otherwise as `run`."""
    import termios  # late: few calls need it
    import tty

    ours, theirs = os.openpty()
    before = termios.tcgetattr(0)

    def resize(*_: object) -> None:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))

    resize()
    control = _start(pid, command, (theirs,) * 3, terminal=termios.TIOCSCTTY)
    os.close(theirs)
    signal.signal(signal.SIGWINCH, resize)
    try:
        tty.setraw(0, termios.TCSADRAIN)  # what was typed before is kept
        _relay(control, {ours: 1, 0: ours})
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
    return _outcome(control, command)


def _start(
    pid: int, command: Command, files: tuple[int, int, int], *, stays: bool = False, terminal: int | None = None
) -> socket.socket:
    """Start the supervisor of a command, and return our end of the socket."""
    ours, theirs = socket.socketpair()
    helper = os.fork()
    if helper == 0:
        with suppress(BaseException):
            ours.close()
            vm.enter(pid)
            linux.hide_memory()
            if os.fork() == 0:
                # Twice: orphans go to the init of their parent's namespace, and the VM's is to collect the supervisor.
                if os.fork() == 0:
                    _supervise(theirs, command, files, stays=stays, terminal=terminal)
                os._exit(0)
            os.wait()
        os._exit(0)
    theirs.close()
    os.waitpid(helper, 0)
    return ours


def _outcome(control: socket.socket, command: Command) -> int:
    """Return what the supervisor said: an exit status, or the process number of a detached command."""
    said = control.recv(64)
    kind, number = said[:1], int(said[1:] or 0)
    if kind in {_FAILED, _NO_WORKDIR}:
        raise OSError(number, os.strerror(number), command.workdir if kind == _NO_WORKDIR else None)
    if kind == _NO_USER:
        raise engine_failures.no_such_user(command.user)
    if kind == _TIMED_OUT:
        os.write(2, f"\ncommand timed out after {(command.timeout or 0) * 1000:.0f}ms".encode())
        return TIMED_OUT
    if kind != _STATUS:
        raise engine_failures.injected("dies")
    return number if number >= 0 else 128 - number


def _relay(control: socket.socket, routes: dict[int, int], deliver: Callable[[int, bytes], None] | None = None) -> None:
    """Copy from each descriptor to another until the supervisor says how the command ended, and then what is still there.

    Args:
        control: Our end of the supervisor's socket.
        routes: Descriptors to read, and where to write what they give.
        deliver: Takes the second one and data. Default: write it.
    """
    is_over = False
    while not is_over:
        ready = select.select([control.fileno(), *routes], [], [])[0]
        is_over = control.fileno() in ready
        for source in [source for source in routes if source in ready or is_over]:
            for _ in range(_LAST_READS if is_over and source else 1):
                data = _read(source)
                if data:
                    (deliver or write)(routes[source], data)
                elif data is not None:
                    del routes[source]
                    break


def _read(source: int) -> bytes | None:
    """Return what can be read without waiting: None if there is nothing, b"" at the end."""
    if not select.select([source], [], [], 0)[0]:
        return None
    try:
        return os.read(source, _CHUNK)
    except OSError:  # a terminal that nobody has open any more
        return b""


def write(target: int, data: bytes) -> None:
    """Write all of the data."""
    while data:
        data = data[os.write(target, data) :]


class _Capped:
    """Output that is kept for the end."""

    def __init__(self) -> None:
        self._found: list[tuple[int, bytes]] = []
        self._size = 0

    def add(self, target: int, data: bytes) -> None:
        """Keep some."""
        self._found.append((target, data))
        self._size += len(data)
        if self._size > engine_failures.OUTPUT_CAP:
            raise engine_failures.injected("output cap")

    def write(self) -> None:
        """Write all of it."""
        for target, data in self._found:
            write(target, data)


def _supervise(
    control: socket.socket, command: Command, files: tuple[int, int, int], *, stays: bool, terminal: int | None
) -> NoReturn:
    """Be the supervisor of a command."""
    os.setsid()  # a Ctrl-C in the caller's terminal is not for it
    linux.adopt_orphans()
    children = linux.Children()
    trouble, trouble_end = os.pipe()
    child = os.fork()
    if child == 0:
        _become(command, files, trouble_end, terminal)
    for descriptor in (trouble_end, *set(files)):
        os.close(descriptor)
    failure = os.read(trouble, 16)  # empty once the command's program runs
    if failure or stays:
        _say(control, failure[:1] or _STATUS, int(failure[1:] or child))
    deadline = None if command.timeout is None else time.monotonic() + command.timeout
    while True:
        left = None if deadline is None else max(0, deadline - time.monotonic())
        ready = select.select([children.fileno(), control.fileno()], [], [], left)[0]
        status = children.reap().get(child)
        if status is not None:
            _say(control, _STATUS, status)
        if control.fileno() in ready or (deadline is not None and time.monotonic() >= deadline):
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # also where the guest has unmounted /proc
            linux.kill_descendants(children)
            _say(control, _TIMED_OUT)


def _say(control: socket.socket, kind: bytes, number: int = 0) -> NoReturn:
    with suppress(OSError):
        control.sendall(kind + str(number).encode())
    os._exit(0)


def _become(command: Command, files: tuple[int, int, int], trouble: int, terminal: int | None) -> NoReturn:
    """Be the command."""
    step = _FAILED
    try:
        os.setsid()
        for target, source in enumerate(files):
            os.dup2(source, target)
        if terminal is not None:
            fcntl.ioctl(0, terminal, 0)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        step = _NO_USER
        _change_user(command.user)
        step = _NO_WORKDIR
        os.chdir(command.workdir)
        step = _FAILED
        os.execvpe(command.words[0], list(command.words), command.environ)  # noqa: S606
    except Exception as error:  # noqa: BLE001  (ValueError: the name of a variable)
        os.write(trouble, step + str(getattr(error, "errno", errno.EINVAL)).encode())
    os._exit(127)


def _change_user(user: str) -> None:
    """Give up being root of the guest.

    Raises:
        OSError: The guest has no such user.
    """
    if not user:
        return
    name, _, group = user.partition(":")
    with open("/etc/passwd") as file:
        rows = {row[0]: row for row in (line.rstrip("\n").split(":") for line in file) if len(row) > 3}  # noqa: PLR2004
    row = rows.get(name, [name, "", name, group or name])
    if not row[2].isdigit():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), user)
    with suppress(PermissionError):  # a user namespace of somebody who is not root has no groups
        os.setgroups([])
    os.setgid(int(group or row[3]))
    os.setuid(int(row[2]))

"""System calls that Python 3.11 has no function for, and children.

The numbers are those of linux/sched.h, mount.h and prctl.h.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import time
from contextlib import suppress

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
_MNT_DETACH = 0x2
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_SETATTR = 442

_AT_ONCE = 1000  # children
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_PIVOT_ROOT = {"x86_64": 155}.get(os.uname().machine, 41)

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move this process to new namespaces of these kinds (CLONE_NEWPID: its next children)."""
    _check(_libc.unshare(flags), "namespaces")


def setns(descriptor: int) -> None:
    """Move this process to a namespace, given by an open file of /proc/PID/ns (a pid namespace: its next children)."""
    _check(_libc.setns(descriptor, 0))


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system."""
    words = [os.fsencode(word) or None for word in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(data) or None), target)


def make_read_only(target: str) -> None:
    """Make a mount read-only, with those below it. What else holds for them, such as nosuid, stays."""
    wanted = struct.pack("4Q", MS_RDONLY, 0, 0, 0)  # struct mount_attr
    _check(_libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, wanted, len(wanted)), target)


def pivot_root(path: str) -> None:
    """Make a mounted directory the root of this mount namespace. The old root stays mounted, but no path leads to it."""
    os.chdir(path)
    _check(_libc.syscall(_PIVOT_ROOT, b".", b"."), path)  # the old root now lies on the new one
    os.chdir("/")


def unmount_old_root() -> None:
    """Unmount the root that `pivot_root` has replaced."""
    _check(_libc.umount2(b".", _MNT_DETACH))


def die_with_parent(signal_number: int) -> None:
    """Let the kernel send this process a signal when its parent dies."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0))


def hide_memory() -> None:
    """Hide this process's environment, memory, program and open files from the guest, also from its root."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def adopt_orphans() -> None:
    """Make this process the parent of those descendants whose parent dies."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace."""
    data = os.fsencode(name)[:64]
    _check(_libc.sethostname(data, len(data)))


def loopback_up() -> None:
    """Bring up the loopback interface of this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))


def _check(result: int, path: str | None = None) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


class Children:
    """The children of this process, for a program that also waits for other things: `fileno` is readable after a change."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        for descriptor in (self._reader, self._writer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def fileno(self) -> int:
        """A descriptor for `select`."""
        return self._reader

    def reap(self) -> dict[int, int]:
        """Collect children that have ended: their exit statuses, -N after signal N, by process number.

        A fork bomb's children end faster than they are collected. So the rest is left for the next time.
        """
        with suppress(BlockingIOError):
            while os.read(self._reader, 512):
                pass
        ended: dict[int, int] = {}
        with suppress(ChildProcessError):
            while len(ended) < _AT_ONCE and (found := os.waitpid(-1, os.WNOHANG))[0]:
                ended[found[0]] = os.waitstatus_to_exitcode(found[1])
        if len(ended) == _AT_ONCE:
            os.write(self._writer, b"more")
        return ended


def kill_descendants(children: Children) -> None:
    """Kill all descendants of this process: first stop them, so that none can start another one."""
    while found := _descendants():
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        children.reap()
        time.sleep(0.001)


def others_run() -> bool:
    """Return True if a process of this pid namespace runs, apart from init and this one."""
    alive = {pid for pid, (state, _) in _processes().items() if state not in b"TtZX"}
    return bool(alive - {1, os.getpid()})


def _descendants() -> list[int]:
    """Return the processes below this one, without those that have ended."""
    parents = {pid: parent for pid, (state, parent) in _processes().items() if state != b"Z"}
    found = [os.getpid()]
    for pid in found:  # it grows meanwhile
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _processes() -> dict[int, tuple[bytes, int]]:
    """Return the state and the parent of each process of this pid namespace."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            found[int(entry)] = fields[0], int(fields[1])
    return found

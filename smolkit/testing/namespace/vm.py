"""The "VM" of a machine: a process with namespaces of its own, and an init in them.

    `machine start`
      └ the VM: makes the namespaces, and forwards published ports. It outlives the call; when it ends, all of them end
          └ init: process 1 of the namespaces. It mounts the root file system, and collects processes that nobody waits for

There is always a user namespace. Its root, which owns the guest, has no privileges outside: it makes no devices and loads
no modules, also if the caller is root. The caller maps its users into it: root all that it has, another user only itself.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from smolkit.testing import engine_failures
from smolkit.testing.engine_failures import EngineFailure
from smolkit.testing.namespace import linux, root_fs
from smolkit.testing.namespace.records import Machine, alive, start_of

_PATIENCE = 10.0  # seconds for a VM to end before it is killed
_LOOK = 0.002  # seconds between two looks whether it has
_STOPS = 1.0  # seconds for processes to stop, unless they wait for a disk
_KINDS = ("user", "mnt", "uts", "ipc", "net", "pid_for_children")
_UNSHARED, _READY = b"unshared", b"ready"


def boot(machine: Machine, lifeline: int | None = None) -> None:
    """Start a machine's VM. Its file is `machine.booting` until the caller renames it.

    Args:
        machine: The machine.
        lifeline: A pipe: the VM ends when all of its writers have ended. Default: it stays until it is stopped.

    Raises:
        EngineFailure: It is being started already, or did not start.
    """
    _claim(machine)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _end_with(lambda: _be_vm(machine, theirs, lifeline))
    theirs.close()
    said = ours.recv(4096)
    if said == _UNSHARED:
        try:
            _map_users(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            raise _boot_failed(f"map users: {error}") from None
        ours.send(_UNSHARED)
        said = ours.recv(4096)
    if said != _READY:
        end(machine.booting)
        raise _boot_failed(said.decode("utf-8", "replace"))


def _boot_failed(why: str) -> EngineFailure:
    why = f"{why or 'boot process exited (code 1)'} (boot process exited (code 1) before the agent was ready)"
    start = "agent operation failed: start machine: agent operation failed"
    return EngineFailure("SMOLVM_ERROR", f"{start}: monitor agent: {why}")


def settle(machine: Machine) -> None:
    """Let a machine's booted VM be its running one.

    Raises:
        EngineFailure: Another call has stopped it.
    """
    try:
        os.replace(machine.booting, machine.running)
    except FileNotFoundError:
        raise engine_failures.injected("boot failed") from None


def end(file: str) -> None:
    """End the VM that a file names, with all that runs in it, and remove the file."""
    started = time.monotonic()
    while (pid := alive(file)) is not None:
        is_late = time.monotonic() - started > _PATIENCE
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        time.sleep(_LOOK)
    with suppress(FileNotFoundError):
        os.unlink(file)


def enter(pid: int) -> None:
    """Move this process to the namespaces of a VM; as to process numbers, its next children."""
    try:
        places = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in _KINDS if _differs(pid, kind)]
        for place in places:
            linux.setns(place)
            os.close(place)
    except (FileNotFoundError, ProcessLookupError):
        raise engine_failures.injected("dies") from None
    os.chdir("/")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop the processes of a VM during the block: its files stay as they are. They go on also if this process ends."""
    ours, theirs = socket.socketpair()
    helper = os.fork()
    if helper == 0:
        ours.close()
        _end_with(lambda: _freeze(pid, theirs))
    theirs.close()
    ours.recv(1)
    try:
        yield
    finally:
        ours.close()
        os.waitpid(helper, 0)


def _freeze(pid: int, control: socket.socket) -> None:
    enter(pid)
    linux.hide_memory()
    inside = os.fork()
    if inside:
        os.waitpid(inside, 0)
        return
    with suppress(ProcessLookupError):  # there is none but init
        os.kill(-1, signal.SIGSTOP)
        latest = time.monotonic() + _STOPS
        while linux.others_run() and time.monotonic() < latest:
            time.sleep(_LOOK)
    with suppress(OSError):
        control.send(b"1")
        control.recv(1)  # until the other end is closed
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGCONT)


def _differs(pid: int, kind: str) -> bool:
    return os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind.removesuffix('_for_children')}")


def _claim(machine: Machine) -> None:
    """Make `machine.booting`, which names this process for now. Only one process can."""
    part = f"{machine.booting}.{os.getpid()}"
    _write_own(part)
    try:
        os.link(part, machine.booting)
    except FileExistsError:
        if alive(machine.booting) is not None:
            raise engine_failures.injected("start in progress") from None
        os.replace(part, machine.booting)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)


def _write_own(file: str) -> None:
    with open(file, "w") as opened:
        opened.write(f"{os.getpid()} {start_of(os.getpid())}")


def _map_users(pid: int) -> None:
    """Give the user namespace of a process its users."""
    if os.geteuid() != 0:
        maps = {"uid_map": f"0 {os.geteuid()} 1", "setgroups": "deny", "gid_map": f"0 {os.getegid()} 1"}
    else:
        maps = {name: _identity(name) for name in ("uid_map", "gid_map")}
    for name, text in maps.items():
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)


def _identity(name: str) -> str:
    """Return a map of all users (or groups) of this user namespace to themselves."""
    with open(f"/proc/self/{name}") as file:
        rows = [line.split() for line in file]
    return "\n".join(f"{inside} {inside} {count}" for inside, _, count in rows)


def _end_with(work: Callable[[], None]) -> NoReturn:
    """End this process after its work, without what Python does at exit: that belongs to the process it was forked from."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001
        os.write(2, f"{type(error).__name__}: {error}\n".encode())  # on the console
        os._exit(1)
    os._exit(0)


def _be_vm(machine: Machine, control: socket.socket, lifeline: int | None) -> None:
    if machine.data["ports"]:
        from smolkit.testing.namespace import forward  # late: it takes long, and soon this process has another root

    part = f"{machine.booting}.{os.getpid()}"
    _write_own(part)
    os.replace(part, machine.booting)
    os.setsid()
    _redirect(machine)
    kinds = linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
    try:
        owner = _open_owner(machine.data["owner"])
        listeners = {_listen(host, inside): inside for host, inside in _forwarded(machine)}
        linux.unshare(kinds | (0 if machine.record["network"] else linux.CLONE_NEWNET))
    except OSError as error:
        control.send(_told(error))
        raise
    control.send(_UNSHARED)
    control.recv(64)
    init = os.fork()
    if init == 0:
        _end_with(lambda: _be_init(machine, control))
    control.close()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(init, signal.SIGKILL))

    ends = [os.pidfd_open(init), owner, *([] if lifeline is None else [lifeline])]
    forward.serve(ends, listeners) if listeners else select.select(ends, [], [])
    os.kill(init, signal.SIGKILL)
    os.waitpid(init, 0)


def _told(error: OSError) -> bytes:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror} (os error {error.errno})".encode()


def _forwarded(machine: Machine) -> list[tuple[int, int]]:
    """Return the ports to forward. On the host's network, a port that keeps its number is there without."""
    is_shared = machine.record["network"]
    return [(host, inside) for host, inside in machine.data["ports"] if not (is_shared and host == inside)]


def _listen(host: int, inside: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", host))
    except OSError as error:
        number = error.errno or 0
        why = f"cannot publish host TCP 127.0.0.1:{host} to guest TCP {inside}"
        raise OSError(number, os.strerror(number), why) from None


def _open_owner(owner: str) -> int:
    """Return a descriptor that is readable once the process has ended that made the NamespaceEngine."""
    number, started = owner.split()
    found = os.pidfd_open(int(number))
    if start_of(int(number)) != started:
        raise ProcessLookupError(errno.ESRCH, "the process that made this NamespaceEngine has ended")
    return found


def _redirect(machine: Machine) -> None:
    """Let go of the caller's streams: what the VM prints is the machine's console."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    console = os.open(f"{machine.directory}/agent-console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((nothing, 0), (console, 1), (console, 2)):
        os.dup2(source, target)
    os.write(1, b"NamespaceEngine: no VM boots here. This machine is namespaces of its host, which isolate nothing.\n")


def _be_init(machine: Machine, control: socket.socket) -> None:
    linux.hide_memory()
    linux.die_with_parent(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        linux.sethostname(machine.name)
        if not machine.record["network"]:
            linux.loopback_up()
        root_fs.mount_all(machine)
    except OSError as error:
        control.send(_told(error))
        raise
    children = linux.Children()
    control.send(_READY)
    control.close()
    while True:
        select.select([children], [], [])
        children.reap()

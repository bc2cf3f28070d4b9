"""`machine cp`: one file, from or to the guest."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable

from smolkit.testing import engine_failures
from smolkit.testing.engine_failures import EngineFailure
from smolkit.testing.namespace import vm

_CHUNK = 2**20


def copy_in(pid: int, source: str, path: str, *, mode: int, uid: int, gid: int) -> None:
    """Copy a file of this host into a VM. A symlink there is replaced, as the engine does, and not followed.

    Raises:
        EngineFailure: It cannot be written.
    """
    with _open_local(source, "rb", "read source file") as file:

        def work() -> None:
            os.umask(0o022)
            os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
            if os.path.islink(path):
                os.unlink(path)
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            _copy(file.fileno(), target)
            os.fchown(target, uid, gid)
            os.fchmod(target, mode)

        _inside(pid, work, "write file")


def copy_out(pid: int, path: str, target: str) -> None:
    """Copy a regular file of a VM to this host. Where that fails, the file of this host is removed, as the engine does.

    Raises:
        EngineFailure: It cannot be read.
    """
    with _open_local(target, "wb", f"write local file: {target}") as file:

        def work() -> None:
            source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            kind = stat.S_IFMT(os.fstat(source).st_mode)
            if kind != stat.S_IFREG:
                raise OSError(errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL, "")
            _copy(source, file.fileno())

        try:
            _inside(pid, work, "read file")
        except EngineFailure:
            os.unlink(target)
            raise


def _open_local(path: str, mode: str, operation: str) -> io.FileIO:
    try:
        return io.FileIO(path, mode)
    except OSError as error:
        raise _failed(operation, error.errno) from None


def _copy(source: int, target: int) -> None:
    while data := os.read(source, _CHUNK):
        while data:
            data = data[os.write(target, data) :]


def _inside(pid: int, work: Callable[[], None], operation: str) -> None:
    """Do some work in the namespaces of a VM.

    Raises:
        EngineFailure: It raised an OSError, or the VM has ended.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            vm.enter(pid)
            work()
            status = 0
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        finally:
            os._exit(status)
    os.close(writer)
    failure = os.read(reader, 16)
    _, status = os.waitpid(child, 0)
    if failure:
        raise _failed(operation, int(failure))
    if status:
        raise engine_failures.injected("dies")


def _failed(operation: str, number: int | None) -> EngineFailure:
    why = f"{os.strerror(number or 0)} (os error {number})"
    return EngineFailure("SMOLVM_ERROR", f"agent operation failed: {operation}: {why}")

"""Failures of the engine, in the words of 1.8.3, 1.20.2 and 1.32.2, for FakeSmolvm to answer with."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # NamespaceEngine uses this module in a program that has to start fast
    from smolkit.commands.dialect import Dialect

OUTPUT_CAP = 11_534_336  # bytes of output that an exec without -i may have


class EngineFailure(Exception):  # noqa: N818  (an answer of the engine, not an error of the fake)
    """Ends a call with the engine's own error.

    Args:
        code: The engine's error code, which only its JSON shows.
        message: The error line, without its "Error: ".
        preface: Lines on stderr before it.
        status: The exit status; 2 is a usage error.
    """

    def __init__(self, code: str, message: str, preface: str = "", status: int = 1) -> None:
        super().__init__(code, message)
        self.code: str = code
        self.message: str = message
        self.preface: str = preface
        self.status: int = status

    def stderr(self, *, as_json: bool) -> bytes:
        """Stderr as the engine writes it."""
        if self.status == 2:  # noqa: PLR2004  (a usage error, which is never JSON)
            return f"error: {self.message}\n\nFor more information, try '--help'.\n".encode()
        line = json.dumps({"error": {"code": self.code, "message": self.message}}, separators=(",", ":"))
        return f"{self.preface}{line if as_json else f'Error: {self.message}'}\n".encode()


def usage(message: str) -> EngineFailure:
    """The command line is not understood."""
    return EngineFailure("", message, status=2)


def config(message: str) -> EngineFailure:
    """The request contradicts itself or the engine's records."""
    return EngineFailure("CONFIG_ERROR", f"config operation failed: {message}")


def no_machine(name: str) -> EngineFailure:
    """The machine does not exist."""
    return EngineFailure("NOT_FOUND", f"vm not found: {name}")


def no_record(operation: str, name: str) -> EngineFailure:
    """The machine does not exist, as status and update report it."""
    return config(f"{operation}: machine '{name}' not found")


def name_taken(name: str) -> EngineFailure:
    """A machine of this name exists."""
    return config(f"create machine: machine '{name}' already exists or is being created")


def name_taken_for_run(name: str) -> EngineFailure:
    """A machine of this name exists, as `run --detach` reports it."""
    return config(
        f"machine run -d --name: a machine named '{name}' already exists. "
        f"Use 'machine start --name {name}' to start it, or 'machine delete --name {name} -f' to remove it."
    )


def not_running(name: str, dialect: Dialect) -> EngineFailure:
    """The machine is not running."""
    start = f"smolvm machine start --name {name}"
    how = f"Use '{start}' first."
    if dialect.supports("--error-format"):
        how = f"Start it with '{start}'; if a start is already in progress, retry once it finishes."
    return EngineFailure("SMOLVM_ERROR", f"agent operation failed: connect: machine '{name}' is not running. {how}")


def must_be_stopped() -> EngineFailure:
    """The machine is running, and must be stopped for this."""
    return EngineFailure("INVALID_STATE", "invalid vm state: expected stopped, got Running")


def has_branches(name: str, branches: list[str]) -> EngineFailure:
    """The machine has branches, which delete would break."""
    return EngineFailure(
        "SMOLVM_ERROR",
        f"agent operation failed: delete: machine '{name}' is the fork base for {len(branches)} clone(s) "
        f"({', '.join(branches)}); delete the clones first or use --cascade to remove them too",
    )


def not_branchable(name: str, *, running: bool, preface: str) -> EngineFailure:
    """The machine is not running, or was started without `--branchable`."""
    message = f"golden '{name}' is not running forkable; start it with `machine start --forkable --name {name}`"
    if running and preface.startswith("Freezing"):
        message = "golden FORK failed: ERR EINVAL no memfd-backed RAM (start the golden VM with SMOLVM_FORKABLE=1)"
    elif running:
        message = (
            f"machine '{name}' was not started as branchable, so it has no copy-on-write memory to branch from. Restart it "
            f"with `smolvm machine start --name {name} --branchable`; branchability is decided at start time and cannot be "
            f"turned on for an already-running machine."
        )
    return EngineFailure("SMOLVM_ERROR", f"agent operation failed: fork: {message}", preface)


def cannot_start(error: OSError, *, interactive: bool) -> EngineFailure:
    """A bare machine cannot start the command's program."""
    number = {PermissionError: errno.EACCES, NotADirectoryError: errno.ENOTDIR}.get(type(error), errno.ENOENT)
    call = "vm exec interactive" if interactive else "vm exec: failed to spawn command"
    return EngineFailure("SMOLVM_ERROR", f"agent operation failed: {call}: {os.strerror(number)} (os error {number})")


def no_such_user(user: str) -> EngineFailure:
    """An image machine has no such user."""
    words = f"agent operation failed: run interactive: user '{user}' not found in container rootfs"
    return EngineFailure("SMOLVM_ERROR", words)


def crun_cannot_start(error: OSError, program: str, workdir: str) -> str:
    """Stderr of an image machine that cannot start a program: crun's line, with exit status 255."""
    if error.filename == workdir:
        return f"chdir `{workdir}`: {os.strerror(error.errno or errno.ENOENT)}\n"
    if isinstance(error, PermissionError):
        return "open executable: Permission denied\n"
    return f"executable file `{program}` not found in $PATH: No such file or directory\n"


_START = "agent operation failed: start machine: agent operation failed: "
FAULTS = {
    "boot failed": f"{_START}monitor agent: boot process exited (code 1) before the agent was ready",
    "boot timeout": (
        f"{_START}wait for ready: agent did not become ready within 30 seconds: no boot progress for 30 seconds"
    ),
    "no hypervisor": (
        f"{_START}monitor agent: libkrun detail: build microVM: Internal error while starting microVM: "
        "KvmContext(KvmOpen(Error(13))) (boot process exited (code 1) before the agent was ready)"
    ),
    "port in use": (
        f"{_START}monitor agent: Error: agent operation failed: configure virtio-net: failed to start virtio network "
        "runtime: cannot publish host TCP 127.0.0.1:8080 to guest TCP 80: Address already in use (os error 98) "
        "(boot process exited (code 1) before the agent was ready)"
    ),
    "start in progress": "agent operation failed: start: another process is already starting or running this VM",
    "locked": "database error: database is locked",
    "not empty": "storage operation failed: remove vm directory: Directory not empty (os error 39)",
    "output cap": (
        f"agent operation failed: vm exec: command output exceeded {OUTPUT_CAP} bytes and was truncated. "
        "Use streaming exec (exec_stream / execStream) for large output."
    ),
    "dies": "io operation failed: connection closed",
}


def injected(fault: str) -> EngineFailure:
    """The engine's error for an injected fault (a key of FAULTS)."""
    return EngineFailure("SMOLVM_ERROR", FAULTS[fault])

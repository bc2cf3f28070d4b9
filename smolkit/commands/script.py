"""The command that runs one of `guest_scripts`, and the errors that its exit status and stderr mean."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from attrs import evolve, field, frozen

from smolkit import values
from smolkit.commands import guest_scripts
from smolkit.commands.base import GuestCommand
from smolkit.commands.converters import machine_name, optional_input, optional_seconds, optional_user
from smolkit.commands.dialect import Dialect
from smolkit.commands.exec import Exec
from smolkit.commands.secret_args import Secrets
from smolkit.errors import GuestFileError, OutputLimitError, ProgramNotFoundError, SmolvmError
from smolkit.values.results import shown_size

# Exit statuses of the scripts. If a program in a script exits with one of these, it is mistaken for the script's own.
CODES = {
    80: errno.ENOENT,
    81: errno.EISDIR,
    82: errno.EACCES,
    83: errno.ENOTDIR,
    84: errno.EEXIST,
    85: errno.ENOTEMPTY,
    86: errno.EIO,
    88: errno.EBUSY,
    89: errno.EINVAL,
    90: errno.ELOOP,
}
_NO_PROGRAM = 87
# Limits, in bytes, for the output of scripts that print a line, and names: a hostile guest must not fill the memory.
_LINE = 2**20
_LIMITS = {guest_scripts.READ: None, guest_scripts.LISTDIR: 2**24, guest_scripts.SCAN: 2**26}
# Error messages of programs for errors of the kernel: those of this host (glibc), and of musl.
_KERNEL = (
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP),
    *(errno.EBUSY, errno.EINVAL, errno.ENAMETOOLONG, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EXDEV),
    *(errno.ETXTBSY, errno.EMLINK, errno.E2BIG),
)
_SAYINGS = {
    **{os.strerror(number).lower(): number for number in _KERNEL},
    "too many levels of symbolic links": errno.ELOOP,
    "symbolic link loop": errno.ELOOP,
    "device or resource busy": errno.EBUSY,
    "resource busy": errno.EBUSY,
    "filename too long": errno.ENAMETOOLONG,
    "file name too long": errno.ENAMETOOLONG,
    "quota exceeded": errno.EDQUOT,
    "argument list too long": errno.E2BIG,
    "no such file": errno.ENOENT,  # of dash, about a redirection
}


def script_failure(  # noqa: PLR0917  (all that is known)
    machine: str, script: str, path: str, returncode: int, stderr: str, completed: values.Completed | None = None
) -> GuestFileError | ProgramNotFoundError:
    """The error for a script's stderr and non-zero exit status."""
    if returncode == _NO_PROGRAM:
        return ProgramNotFoundError(f"the guest has no program {stderr.strip()[-80:]!r}, which is needed", completed)
    number = _said(stderr) or CODES.get(returncode, errno.EIO)
    verb = guest_scripts.title(script).partition(" $1")[0]
    return GuestFileError.of(number, path, stderr.strip(), completed, f"cannot {verb} {path!r} in machine {machine!r}")


def _said(stderr: str) -> int | None:
    """The errno of the last line of stderr that ends with an error message of the kernel."""
    for line in reversed(stderr.splitlines()):
        words = line.rpartition(": ")[2].strip().lower()
        if number := _SAYINGS.get(re.sub(r" \(os error \d+\)$", "", words)):  # so do the programs in Rust
            return number
    return None


@frozen
class Script(GuestCommand[bytes]):
    """One of `guest_scripts`, run by `machine exec`. The answer is its stdout.

    Attributes:
        name: The machine.
        script: The text of the script: a constant of `guest_scripts`.
        path, other: Paths in the guest: $p and $q.
        args: More arguments: $3, $4, ...
        input: Bytes for its stdin.
        timeout: Seconds after which the engine ends it; None for no bound.
        user, su: As whom it runs: see `ExecCommand`.
        skip: Bytes of the output that come before the answer.
        limit: Maximum bytes of the answer.
        machine_secrets: The machine's own secrets, which the engine resolves at every exec.
    """

    name: str = field(converter=machine_name)
    script: str = field(repr=False)
    path: str
    other: str = ""
    args: tuple[str, ...] = ()
    input: bytes | None = field(default=None, converter=optional_input, repr=shown_size)
    timeout: float | None = field(default=None, converter=optional_seconds, kw_only=True)
    user: str | None = field(default=None, converter=optional_user, kw_only=True)
    su: bool = field(default=False, kw_only=True)
    skip: int = field(default=0, kw_only=True)
    limit: int | None = field(default=None, kw_only=True)
    machine_secrets: Secrets = field(default=(), kw_only=True, eq=False, repr=False)

    @property
    def exec(self) -> Exec:
        """The `machine exec` that runs the script."""
        command = guest_scripts.words(self.script, self.path, self.other, *self.args)
        bounds: dict[str, Any] = {"timeout": self.timeout, "user": self.user, "su": self.su}
        return Exec(self.name, command, input=self.input, machine_secrets=self.machine_secrets, **bounds)

    @property
    def guest(self) -> tuple[str, ...]:
        return self.exec.guest

    @property
    def patience(self) -> float | None:
        return self.timeout

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return self.exec.argv(dialect)

    def invocation(self, dialect: Dialect) -> values.Invocation:
        return evolve(self.exec.invocation(dialect), output_limit=_LIMITS.get(self.script, _LINE))

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        """The engine's failure, or the script's: GuestFileError, or ProgramNotFoundError if the guest lacks a program."""
        found = self.exec.failure(completed)
        if found is not None or completed.returncode == 0:
            return found or self._too_much(completed)
        said = completed.stderr.decode("utf-8", "replace")
        return script_failure(self.name, self.script, self.path, completed.returncode, said, completed)

    def _too_much(self, completed: values.Completed) -> OutputLimitError | None:
        answer = self.answer(completed)
        if self.limit is None or len(answer) <= self.limit:
            return None
        message = f"{self.path!r} in machine {self.name!r} has more than the limit of {self.limit} bytes"
        return OutputLimitError(message, evolve(completed, stdout=answer[: self.limit]), self.limit)

    def answer(self, completed: values.Completed) -> bytes:
        return completed.stdout[self.skip :]

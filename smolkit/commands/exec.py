"""`machine exec`: one command in the guest."""

# No `from __future__ import annotations`: attrs gives the fields' annotations to the constructors of subclasses in other
# modules, where strings with this module's names would not evaluate.

import math
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar, Union

from attrs import evolve, field, frozen

from smolkit import values
from smolkit.commands import in_shell, options, secret_args
from smolkit.commands.base import GuestCommand, option
from smolkit.commands.converters import machine_name, optional_input, optional_seconds, optional_user
from smolkit.commands.dialect import Dialect, asks_json
from smolkit.errors import ExecTimeoutError, SmolvmError
from smolkit.values import validate
from smolkit.values.hidden import Hidden
from smolkit.values.results import Invocation, shown_size

T_co = TypeVar("T_co", covariant=True)

_SMALL_INPUT = 65_536
_STDOUT = -2  # subprocess.STDOUT, without importing that


def _command(value: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    return validate.words("command", value)


def _env(value: Mapping[str, str] | None) -> tuple[tuple[str, Hidden], ...]:
    return validate.hidden_pairs("env", value)


def _secrets(value: Mapping[str, Union[str, "values.Secret"]] | None) -> secret_args.Secrets:
    return validate.secrets("secrets", value)


def _workdir(value: str | os.PathLike[str] | None) -> str | None:
    return None if value is None else validate.utf8("workdir", validate.guest_path("workdir", value))


def _stderr(value: str | int | None) -> str | None:
    if value is None or value == "stdout" or (value == _STDOUT and not isinstance(value, bool)):
        return None if value is None else "stdout"
    raise ValueError(f"stderr must be 'stdout' or subprocess.STDOUT, not {validate.shown(value)}")


@frozen(eq=False, repr=False)  # the subclasses have their own
class ExecCommand(GuestCommand[T_co]):
    """`machine exec`, in any of its modes.

    Attributes:
        name: The machine.
        command: The program in the guest and its arguments.
        env: Variables of the program. They are in the engine's argv.
        secrets: Variables of the program that are in no argv.
        workdir: Where it runs: an absolute path in the guest.
        user: As whom it runs: a name or `uid[:gid]`.
        su: True if `su` in the guest makes that user of root: bare machines, which have no other user for the engine.
        stderr: "stdout" or subprocess.STDOUT to have its stderr in its stdout, in the order in which both are written.
        machine_secrets: The machine's own secrets, which the engine resolves at every exec.
    """

    name: str = field(converter=machine_name)
    command: tuple[str, ...] = field(converter=_command)
    env: tuple[tuple[str, Hidden], ...] = field(default=None, converter=_env, kw_only=True)
    secrets: secret_args.Secrets = field(default=None, converter=_secrets, kw_only=True)
    workdir: str | None = field(default=None, converter=_workdir, kw_only=True)
    user: str | None = field(default=None, converter=optional_user, kw_only=True)
    su: bool = field(default=False, kw_only=True)
    stderr: str | None = field(default=None, converter=_stderr, kw_only=True)
    machine_secrets: secret_args.Secrets = field(default=(), kw_only=True, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        validate.disjoint(self.env, self.secrets)
        if self.su and self.user is not None and ":" in self.user:
            raise ValueError(f"user must be a name or a uid on a bare machine, where `su` takes no group: {self.user!r}")
        in_shell.check_sizes(self.guest, (*self.env, *secret_args.carried(self.secrets, secret_args.OWN)))

    @property
    def guest(self) -> tuple[str, ...]:
        return in_shell.words(self.command, merged=self.stderr is not None, su=self.user if self.su else None)

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        found = super().failure(completed)
        if found is None and self.guest != self.command:
            found = in_shell.failure(completed, self.command[0], self.user)
        return found

    @abstractmethod
    def mode(self, dialect: Dialect) -> tuple[str, ...]:
        """The flags for how the engine connects the program's streams."""

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        flags = [*dialect.name("exec", self.name), *self.mode(dialect), *options.variables(self.env)]
        flags += secret_args.all_arguments("machine exec", self.machine_secrets, self.secrets, dialect)
        if self.workdir is not None:
            flags += ("-w", self.workdir)
        if self.user is not None and not self.su:
            flags += option("--user", self.user)
        if self.timeout is not None:
            flags += ("--timeout", duration(self.timeout))
        return dialect.argv("machine exec", *flags, "--", *self.guest)

    def invocation(self, dialect: Dialect) -> Invocation:
        # All of the machine's secrets: the engine resolves what is on record, even if the command has its own of that name.
        env = (*secret_args.carried(self.machine_secrets), *secret_args.carried(self.secrets, secret_args.OWN))
        return evolve(super().invocation(dialect), env=env)


@frozen
class Exec(ExecCommand[values.ExecResult]):
    """`machine exec`: runs a program to its end. The answer is its exit status and output.

    The other attributes are those of every ExecCommand.

    Attributes:
        timeout: Seconds after which the engine ends the program; None for no bound.
        input: Bytes for its stdin, which is otherwise /dev/null.
    """

    timeout: float | None = field(default=None, converter=optional_seconds, kw_only=True)
    input: bytes | None = field(default=None, converter=optional_input, kw_only=True, repr=shown_size)

    @property
    def patience(self) -> float | None:
        return self.timeout

    def mode(self, dialect: Dialect) -> tuple[str, ...]:
        if len(self.input or b"") > _SMALL_INPUT:
            dialect.require("input over 64 KiB")
        return interactive(dialect, self.input)

    def invocation(self, dialect: Dialect) -> Invocation:
        return evolve(super().invocation(dialect), stdin=self.input)

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        found = super().failure(completed)
        if isinstance(found, ExecTimeoutError) and not asks_json(completed.argv):
            # Seen with 1.9.1 and 1.4.0; 1.32.2 with -i ends the whole family.
            found.add_note(
                "engines before 1.28.1: in an image machine what the command had started may run on; stop() ends it"
            )
        return found

    def answer(self, completed: values.Completed) -> values.ExecResult:
        return values.ExecResult(self.command, completed.returncode, completed.stdout, completed.stderr, completed.duration)


def interactive(dialect: Dialect, data: bytes | None) -> tuple[str, ...]:
    """The flag for a program that has a stdin, or whose output comes live.

    With -i the output has no cap (else 11 MiB), the streams stay apart, and failures come as JSON where the engine can; it
    also took 0.75 of the time (1.32.2). Engines that cannot are asked the plain way, which is harder to forge.
    """
    return ("-i",) if data is not None or dialect.supports("--error-format") else ()


def duration(seconds: float) -> str:
    """Seconds as the engine reads them: `30s`, or whole milliseconds, rounded up (fractions of s: untested below 1.4.0)."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{math.ceil(seconds * 1000)}ms"

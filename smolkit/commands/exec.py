"""`machine exec`: one command in the guest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import field, frozen

from smolkit.commands import options, secret_args
from smolkit.commands.base import Command, option
from smolkit.commands.failures import verdict
from smolkit.commands.names import machine_name
from smolkit.errors import ExecTimeoutError
from smolkit.values import validate
from smolkit.values.exec_result import ExecResult
from smolkit.values.hidden import Hidden
from smolkit.values.results import Invocation, shown_size

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.errors import SmolvmError
    from smolkit.values.results import Completed
    from smolkit.values.secret import Secret

# Seconds that the engine gets, after the guest's timeout, to say so before the host ends it.
GRACE = 30.0
_SMALL_INPUT = 65_536


def _command(value: Sequence[str]) -> tuple[str, ...]:
    return validate.words("command", value)


def _env(value: Mapping[str, str] | None) -> tuple[tuple[str, Hidden], ...]:
    return validate.hidden_pairs("env", value)


def _secrets(value: Mapping[str, str | Secret] | None) -> secret_args.Secrets:
    return validate.secrets("secrets", value)


def _workdir(value: str | None) -> str | None:
    return None if value is None else validate.utf8("workdir", validate.guest_path("workdir", value))


def _user(value: str | None) -> str | None:
    return None if value is None else validate.text("user", value)


def _timeout(value: float | None) -> float | None:
    return None if value is None else validate.seconds("timeout", value)


def _input(value: bytes | str | None) -> bytes | None:
    return validate.data("input", value)


@frozen
class Exec(Command[ExecResult]):
    """`machine exec`. The attributes are those of `Machine.exec`."""

    name: str = field(converter=machine_name)
    command: tuple[str, ...] = field(converter=_command)
    env: tuple[tuple[str, Hidden], ...] = field(default=None, converter=_env, kw_only=True)
    secrets: secret_args.Secrets = field(default=None, converter=_secrets, kw_only=True)
    workdir: str | None = field(default=None, converter=_workdir, kw_only=True)
    user: str | None = field(default=None, converter=_user, kw_only=True)
    timeout: float | None = field(default=None, converter=_timeout, kw_only=True)
    input: bytes | None = field(default=None, converter=_input, kw_only=True, repr=shown_size)
    # The machine's own: the engine resolves them at every exec.
    machine_secrets: secret_args.Secrets = field(default=(), kw_only=True, eq=False, repr=False)

    @property
    def patience(self) -> float | None:
        return self.timeout

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        words = [*dialect.name("exec", self.name), *self._mode(dialect)]
        if len(self.input or b"") > _SMALL_INPUT:
            dialect.require("input over 64 KiB")
        words += options.variables(self.env)
        words += secret_args.all_words("machine exec", self.machine_secrets, self.secrets, dialect)
        if self.workdir is not None:
            words += ("-w", self.workdir)
        if self.user is not None:
            dialect.require("machine exec --user")
            words += option("--user", self.user)
        if self.timeout is not None:
            words += ("--timeout", duration(self.timeout))
        return dialect.words("machine", "exec", *words, "--", *self.command)

    def _mode(self, dialect: Dialect) -> tuple[str, ...]:
        # With -i the output has no cap (else 11 MiB), streams stay apart, and failures come as JSON where the engine can;
        # it also took 0.75 of the time (1.32.2). Engines that cannot are asked the plain way, which is harder to forge.
        return ("-i",) if self.input is not None or dialect.supports("--error-format") else ()

    def invocation(self, dialect: Dialect) -> Invocation:
        bound = None if self.timeout is None else self.timeout + GRACE
        # All of the machine's: the engine resolves what is on record, too, where the command has another of that name.
        env = (*secret_args.carried(self.machine_secrets), *secret_args.carried(self.secrets, secret_args.OWN))
        return Invocation(self.argv(dialect), env, self.input, bound)

    def read(self, completed: Completed) -> ExecResult:
        """The result, whatever the guest's exit status.

        Raises:
            SmolvmError: it was the engine that failed.
        """
        if failure := self.failure(completed):
            raise failure
        return self.answer(completed)

    def failure(self, completed: Completed) -> SmolvmError | None:
        """What went wrong with the engine, if it did; whatever the guest's exit status."""
        found = verdict(completed, self.command, self.timeout)
        if isinstance(found, ExecTimeoutError) and completed.argv[:1] != ("--error-format",):
            # Seen with 1.9.1 and 1.4.0; 1.32.2 with -i ends the whole family.
            found.add_note(
                "engines before 1.28.1: in an image machine what the command had started may run on; stop() ends it"
            )
        return found

    def answer(self, completed: Completed) -> ExecResult:
        return ExecResult(self.command, completed.returncode, completed.stdout, completed.stderr, completed.duration)


def duration(seconds: float) -> str:
    """As the engine reads it: `30s`, or whole milliseconds, rounded up. Fractions of seconds are untested below 1.4.0."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{math.ceil(seconds * 1000)}ms"

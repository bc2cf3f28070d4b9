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
from smolkit.commands.failures import STDERR_END
from smolkit.errors import ExecTimeoutError, OutputLimitError, SmolvmError
from smolkit.values import validate
from smolkit.values.cut import shares, shortened
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


def _output_limit(value: int | None) -> int | None:
    return None if value is None else validate.integer("output_limit", value, 0, 2**62)


def _on_limit(value: str) -> str:
    if value not in ("raise", "truncate"):
        raise ValueError(f"on_limit must be 'raise' or 'truncate', not {validate.shown(value)}")
    return value


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
        output_limit: Bytes of its output, both streams together; None for the runner's own limit.
        on_limit: What becomes of a longer output: "raise" ends the program with an error, "truncate" keeps the beginning
            and the end of each stream.
    """

    timeout: float | None = field(default=None, converter=optional_seconds, kw_only=True)
    input: bytes | None = field(default=None, converter=optional_input, kw_only=True, repr=shown_size)
    output_limit: int | None = field(default=None, converter=_output_limit, kw_only=True)
    on_limit: str = field(default="raise", converter=_on_limit, kw_only=True)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self._truncates and self.output_limit is None:
            raise ValueError("on_limit='truncate' needs an output_limit")

    @property
    def _truncates(self) -> bool:
        return self.on_limit == "truncate"

    @property
    def patience(self) -> float | None:
        return self.timeout

    def mode(self, dialect: Dialect) -> tuple[str, ...]:
        if len(self.input or b"") > _SMALL_INPUT:
            dialect.require("input over 64 KiB")
        # With a limit the output must come as it is written: an engine that collects it first has a cap of its own.
        return ("-i",) if self.output_limit is not None else interactive(dialect, self.input)

    def invocation(self, dialect: Dialect) -> Invocation:
        made = evolve(super().invocation(dialect), stdin=self.input)
        if self.output_limit is None:
            return made
        # The engine's own words are no output of the program, and are needed to tell what failed.
        return evolve(made, output_limit=self.output_limit + STDERR_END, truncate=self._truncates)

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        found = super().failure(completed)
        if isinstance(found, ExecTimeoutError) and not asks_json(completed.argv):
            # Seen with 1.9.1 and 1.4.0; 1.32.2 with -i ends the whole family.
            found.add_note(
                "engines before 1.28.1: in an image machine what the command had started may run on; stop() ends it"
            )
        if found is None or type(found) is OutputLimitError:
            return self._too_much(completed) or found
        return found

    def _too_much(self, completed: values.Completed) -> OutputLimitError | None:
        out, err = completed.stdout, completed.stderr
        if self.output_limit is None or self._truncates:
            return None
        if len(out) + len(err) <= self.output_limit and not completed.ended_by:
            return None
        first, second = shares(self.output_limit, len(out), len(err))
        message = f"the command wrote more than the limit of {self.output_limit} bytes, and was ended"
        return OutputLimitError(message, evolve(completed, stdout=out[:first], stderr=err[:second]), self.output_limit)

    def answer(self, completed: values.Completed) -> values.ExecResult:
        out, out_cut, err, err_cut = completed.stdout, completed.stdout_cut, completed.stderr, completed.stderr_cut
        if self._truncates and self.output_limit is not None:
            sizes = (len(out) + (out_cut.size if out_cut else 0), len(err) + (err_cut.size if err_cut else 0))
            first, second = shares(self.output_limit, *sizes)
            (out, out_cut), (err, err_cut) = shortened(out, out_cut, first), shortened(err, err_cut, second)
        return values.ExecResult(self.command, completed.returncode, out, err, completed.duration, out_cut, err_cut)


def interactive(dialect: Dialect, data: bytes | None) -> tuple[str, ...]:
    """The flag for a program that has a stdin, or whose output comes live.

    With -i the output has no cap (else 11 MiB), the streams stay apart, and failures come as JSON where the engine can; it
    also took 0.75 of the time (1.32.2). Engines that cannot are asked the plain way, which is harder to forge.
    """
    return ("-i",) if data is not None or dialect.supports("--error-format") else ()


def duration(seconds: float) -> str:
    """Seconds as the engine reads them: `30s`, or whole milliseconds, rounded up (fractions of s: untested below 1.4.0)."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{math.ceil(seconds * 1000)}ms"

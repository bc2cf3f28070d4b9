"""Base classes of subcommands with an option table: `smolvm VERB [--flag VALUE]... [--name NAME] [OPERAND]... [-- CMD]`."""

# No `from __future__ import annotations`: see `smolkit.commands.exec`.

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

from attrs import evolve, field, frozen

from smolkit import values
from smolkit.commands import options, secret_args
from smolkit.commands.base import Command, Silent
from smolkit.commands.converters import machine_name
from smolkit.commands.dialect import Dialect
from smolkit.commands.secret_args import Secrets
from smolkit.values import validate
from smolkit.values.hidden import Hidden, hide_options
from smolkit.values.results import Invocation, shown_argv

T_co = TypeVar("T_co", covariant=True)


def _name(value: str | None) -> str | None:
    return None if value is None else machine_name(value)


@frozen
class Verb(Command[T_co]):
    """A subcommand with an option table. A new one sets `VERB`, and has its row in `smolkit.commands.versions`.

    Attributes:
        VERB: The verb, for example `machine update`.
        FIXED: Arguments that it always has.
        OPTIONS: Its options, by their Python names.
        JSON: The kind of its answer: "list", "object", or "" if it is not JSON.
        NEEDS: What must be given, for the error message; "" if the verb works without options.
        SECRETS: The prefix of the variables that carry its `secrets` (see `secret_args.carrier`); "" if it takes none.
        name: The machine, if the verb is about one.
        operands: Positional arguments.
        chosen: The options given, as `options.choose` returns them.
        env: Variables for the guest.
        secrets: Variables for the guest whose values are in no argv.
        command: The guest's command, after `--`.
        machine_secrets: The machine's own secrets. The engine resolves them when it boots a machine, and for health checks.
    """

    VERB: ClassVar[str] = ""
    FIXED: ClassVar[tuple[str, ...]] = ()
    OPTIONS: ClassVar[Mapping[str, options.Option]] = {}
    JSON: ClassVar[str] = ""
    NEEDS: ClassVar[str] = ""
    SECRETS: ClassVar[str] = ""

    name: str | None = field(default=None, converter=_name)
    operands: tuple[str, ...] = field(default=(), repr=shown_argv)
    chosen: options.Chosen = field(default=(), kw_only=True, repr=options.shown)
    env: tuple[tuple[str, Hidden], ...] = field(default=(), kw_only=True)
    secrets: Secrets = field(default=(), kw_only=True)
    command: tuple[str, ...] = field(default=(), kw_only=True)
    machine_secrets: Secrets = field(default=(), kw_only=True, eq=False, repr=False)

    @classmethod
    def of(
        cls,
        name: str | None = None,
        given: Mapping[str, Any] | None = None,
        *,
        operands: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> Self:
        """The command with these options (`env` and `secrets` among them), validated.

        Raises:
            TypeError, ValueError: an option is unknown, its value is invalid, or no option is given where one is needed.
        """
        given = dict(hide_options(given or {}))
        env = validate.hidden_pairs("env", given.pop("env", None))
        secrets = validate.secrets("secrets", given.pop("secrets", None)) if cls.SECRETS else ()
        chosen = options.choose(f"`smolvm {cls.VERB}`", cls.OPTIONS, given)
        words = validate.words("command", command) if command else ()
        if cls.NEEDS and not (chosen or env or operands):
            raise ValueError(f"`smolvm {cls.VERB}` must be given {cls.NEEDS}")
        return cls(name, tuple(operands), chosen=chosen, env=env, secrets=secrets, command=words)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        arguments = [*self.FIXED, *options.argv(self.VERB, self.OPTIONS, self.chosen, dialect)]
        arguments += self._further(dialect)
        if self.name is not None:
            arguments += dialect.name(self.VERB.removeprefix("machine "), self.name)
        tail = ("--", *self.command) if self.command else ()
        return dialect.argv(self.VERB, *arguments, *self.operands, *tail)

    def _further(self, dialect: Dialect) -> Iterator[str]:
        """The flags that are not in the option table."""
        yield from options.variables(self.env)
        yield from secret_args.arguments(self.VERB, self.secrets, dialect, self.SECRETS)

    def invocation(self, dialect: Dialect) -> Invocation:
        env = (*secret_args.carried(self.machine_secrets), *secret_args.carried(self.secrets, self.SECRETS))
        return evolve(super().invocation(dialect), env=env)


class SilentVerb(Silent, Verb[None]):
    """A subcommand without an answer: it succeeds or raises."""

    __slots__ = ()


class TextVerb(Verb[str]):
    """A subcommand whose answer is text for people."""

    __slots__ = ()

    def answer(self, completed: values.Completed) -> str:
        return completed.stdout.decode("utf-8", "replace")


class FollowedVerb(Verb[T_co]):
    """A subcommand whose output is followed while it runs, without a time limit."""

    __slots__ = ()
    BOUND: ClassVar[float | None] = None

"""A subcommand that a table describes: `smolvm WORDS [--flag VALUE]... [--name NAME] [OPERAND]... [-- COMMAND...]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from attrs import evolve, field, frozen

from smolkit.commands import options, secret_args
from smolkit.commands.base import Command
from smolkit.commands.failures import verdict
from smolkit.commands.names import machine_name
from smolkit.commands.secret_args import Secrets
from smolkit.values import validate
from smolkit.values.hidden import Hidden, hide_options
from smolkit.values.results import Invocation, shown_argv

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.errors import SmolvmError
    from smolkit.values.results import Completed

T_co = TypeVar("T_co", covariant=True)


def _name(value: str | None) -> str | None:
    return None if value is None else machine_name(value)


@frozen
class Verb(Command[T_co]):
    """Such a subcommand. A new one is a subclass with its words; its version stands in `smolkit.commands.dialect.SINCE`.

    Attributes:
        WORDS: The subcommand.
        FIXED: Words that it always has.
        OPTIONS: Its options, by their Python names; empty for none.
        JSON: What its answer is: "list", "object", or "" for no JSON.
        NEEDS: What it is pointless without, for people to read; "" where it may be said without any options.
        SECRETS: Whose its `secrets` are (see `smolkit.commands.secret_args`); "" where it takes none.
        name: The machine that it is about, if any.
        operands: Words that stand by themselves.
        chosen: The options given.
        env: Variables.
        secrets: Variables that are in no argument.
        command: The guest's words, after `--`.
    """

    WORDS: ClassVar[str] = ""
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
    # The machine's own: the engine resolves them whenever it boots one, and for its health checks.
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
        """The command with these options (and `env`), checked.

        Raises:
            TypeError, ValueError: an option is unknown, its value cannot be right, or none is given where one must be.
        """
        given = dict(hide_options(given or {}))
        env = validate.hidden_pairs("env", given.pop("env", None))
        secrets = validate.secrets("secrets", given.pop("secrets", None)) if cls.SECRETS else ()
        chosen = options.choose(f"`smolvm {cls.WORDS}`", cls.OPTIONS, given)
        words = validate.words("command", command) if command else ()
        if cls.NEEDS and not (chosen or env or operands):
            raise ValueError(f"`smolvm {cls.WORDS}` needs {cls.NEEDS}")
        return cls(name, tuple(operands), chosen=chosen, env=env, secrets=secrets, command=words)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        dialect.require(self.WORDS)
        words = [*self.FIXED, *options.argv(self.WORDS, self.OPTIONS, self.chosen, dialect)]
        words += self._variables(dialect)
        if self.name is not None:
            words += dialect.name(self.WORDS.removeprefix("machine "), self.name)
        tail = ("--", *self.command) if self.command else ()
        return dialect.words(*self.WORDS.split(), *words, *self.operands, *tail)

    def _variables(self, dialect: Dialect) -> Iterator[str]:
        yield from options.variables(self.env)
        yield from secret_args.words(self.WORDS, self.secrets, dialect, self.SECRETS)

    def invocation(self, dialect: Dialect) -> Invocation:
        env = (*secret_args.carried(self.machine_secrets), *secret_args.carried(self.secrets, self.SECRETS))
        return evolve(super().invocation(dialect), env=env)


class Done(Verb[None]):
    """One whose success is all it has to say."""

    __slots__ = ()

    def answer(self, completed: Completed) -> None:
        return None


class Said(Verb[str]):
    """One whose answer is text for people."""

    __slots__ = ()

    def answer(self, completed: Completed) -> str:
        return completed.stdout.decode("utf-8", "replace")


class Followed(Verb[T_co]):
    """One whose output is followed while it runs, without a bound."""

    __slots__ = ()
    BOUND: ClassVar[float | None] = None
    timeout: ClassVar[float | None] = None

    def failure(self, completed: Completed) -> SmolvmError | None:
        """What went wrong with the engine, if it did."""
        return verdict(completed)

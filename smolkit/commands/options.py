"""Options: from a Python name and value to the engine's flag. The tables of them are in `option_tables`.

The version that brought a flag is in `smolkit.commands.versions`, under `machine create --flag`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from attrs import frozen

from smolkit.commands.base import option
from smolkit.commands.dialect import Dialect
from smolkit.values import keywords, validate
from smolkit.values.hidden import MASK, Hidden, Word
from smolkit.values.shown import without_users

# A reader takes an option's name and value, and returns the values of its flag: one for each time that the flag is given.
# A value is text, Hidden if it may be a secret, or None for a flag without a value.
Reader = Callable[[str, Any], tuple[str | Hidden | None, ...]]


@frozen
class Option:
    """A row of an option table.

    Attributes:
        flag: The engine's flag.
        reader: Validates the value and returns it as the engine reads it.
        policy: True if it restricts the network. Such an option implies `--net`, and is read back after create.
        older: The name that older engines have for the flag; "" if it was never renamed.
    """

    flag: str
    reader: Reader
    policy: bool = False
    older: str = ""


def text(name: str, value: object) -> tuple[str]:
    """Text."""
    return (validate.text(name, value),)


def hidden(name: str, value: object) -> tuple[Hidden]:
    """Text that may hold a secret."""
    return (validate.hidden(name, value),)


def path(name: str, value: object) -> tuple[str]:
    """A path on the host."""
    return (validate.path(name, value),)


def guest_path(name: str, value: object) -> tuple[str]:
    """An absolute path in the guest."""
    return (validate.utf8(name, validate.guest_path(name, value)),)


def texts(name: str, value: object) -> tuple[str, ...]:
    """A list of text; the flag is repeated."""
    return validate.strings(name, value)


def pairs(name: str, value: object) -> tuple[str, ...]:
    """A mapping; the flag is repeated, with KEY=VALUE each."""
    return tuple(f"{key}={item}" for key, item in validate.pairs(name, value))


def switch(name: str, value: object) -> tuple[None, ...]:
    """True for the flag, False for no flag."""
    return (None,) if validate.flag(name, value) else ()


def integer(low: int, high: int = 2**31 - 1) -> Reader:
    """A reader of an int from `low` to `high`."""

    def read(name: str, value: object) -> tuple[str]:
        return (str(validate.integer(name, value, low, high)),)

    return read


def choice(*choices: str) -> Reader:
    """A reader of one of these values."""

    def read(name: str, value: object) -> tuple[str]:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {validate.shown(value)}")
        return (choices[choices.index(value)],)  # a plain str, even if `value` is of a subclass such as an enum's member

    return read


# Values that older flags accept only in later versions: flag, pattern of the value, feature.
_LATER_VALUES = (
    ("--port", r"\d-\d", "machine create --port with a range"),
    ("--port", r"/(?:udp|tcp)$", "machine create --port with /udp"),
    ("--remove-port", r"\d-\d", "machine create --port with a range"),
    ("--remove-port", r"/(?:udp|tcp)$", "machine create --port with /udp"),
    ("--volume", r":(?:rw|staged)$", "machine create --volume with :rw or :staged"),
    ("--volume", r"^s3://", "machine create --volume of a remote"),
)

Chosen = tuple[tuple[str, tuple[str | Hidden | None, ...]], ...]


def shown(chosen: Chosen) -> str:
    """The repr of chosen options, with the passwords of URLs masked."""
    return without_users(repr(chosen))


def choose(what: str, table: Mapping[str, Option], given: Mapping[str, Any], also: Collection[str] = ()) -> Chosen:
    """Validate options and return those given (None is "not given") as the engine reads them, in the table's order."""
    keywords.known(what, given, table, also)
    chosen = [(name, row.reader(name, given[name])) for name, row in table.items() if given.get(name) is not None]
    for name, values in chosen:
        if table[name].policy and not values and given[name] is not False:
            raise ValueError(f"{name} must not be empty, which would restrict nothing: leave it out, and net with it")
    return tuple((name, values) for name, values in chosen if values)


def argv(verb: str, table: Mapping[str, Option], chosen: Chosen, dialect: Dialect) -> tuple[str, ...]:
    """The chosen options as arguments of `smolvm VERB`, each flag by the name that this version has for it."""
    arguments: list[str] = []
    for name, values in chosen:
        flag = table[name].flag
        if table[name].older and not dialect.supports(f"{verb} {flag}"):
            flag = table[name].older
        for value in values:
            arguments += (flag,) if value is None else option(flag, _word(value))
            for later in _LATER_VALUES:
                if isinstance(value, str) and later[0] == flag and re.search(later[1], value):
                    dialect.require(later[2])
    return tuple(arguments)


def _word(value: str | Hidden) -> str:
    return Word(value.reveal()) if isinstance(value, Hidden) else value


def variables(env: tuple[tuple[str, Hidden], ...]) -> Iterator[str]:
    """Variables as `-e` arguments."""
    for key, value in env:
        yield from option("-e", variable(key, value))


def variable(key: str, value: Hidden) -> Word:
    """KEY=VALUE, whose repr masks the value."""
    return Word(f"{key}={value.reveal()}", f"{key}={MASK}")

"""What an option is: from the Python name and value to the engine's words. The tables stand in `tables.py`.

A row's version stands in `smolkit.commands.dialect.SINCE`, under `machine create --flag`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import frozen

from smolkit.commands.base import option
from smolkit.commands.dialect import Dialect
from smolkit.values import validate
from smolkit.values.hidden import MASK, Hidden, Word
from smolkit.values.shown import without_users

# A reader takes (name, value given) and gives the flag's values as text, or Hidden if it may be a secret: one per
# repetition; None is the bare flag.
Reader = Callable[[str, Any], tuple[str | Hidden | None, ...]]


@frozen
class Option:
    """One option.

    Attributes:
        flag: The engine's word for it.
        reader: Checks the value given and writes it as the engine reads it.
        policy: Whether it restricts the network: such an option always brings `--net`, and is read back after create.
        older: What engines called it before `flag`, if they did.
    """

    flag: str
    reader: Reader
    policy: bool = False
    older: str = ""


def text(name: str, value: object) -> tuple[str]:
    """A word."""
    return (validate.text(name, value),)


def hidden(name: str, value: object) -> tuple[Hidden]:
    """A word that may hold a secret."""
    return (validate.hidden(name, value),)


def path(name: str, value: object) -> tuple[str]:
    """A path of the host."""
    return (validate.path(name, value),)


def guest_path(name: str, value: object) -> tuple[str]:
    """An absolute path in the guest."""
    return (validate.utf8(name, validate.guest_path(name, value)),)


def texts(name: str, value: object) -> tuple[str, ...]:
    """A list of words; the flag is repeated."""
    return validate.strings(name, value)


def pairs(name: str, value: object) -> tuple[str, ...]:
    """A mapping; the flag is repeated with KEY=VALUE."""
    return tuple(f"{key}={item}" for key, item in validate.pairs(name, value))


def switch(name: str, value: object) -> tuple[None, ...]:
    """True for the bare flag."""
    return (None,) if validate.flag(name, value) else ()


def integer(low: int, high: int = 2**31 - 1) -> Reader:
    """A reader of whole numbers within bounds."""

    def read(name: str, value: object) -> tuple[str]:
        return (str(validate.integer(name, value, low, high)),)

    return read


def choice(*choices: str) -> Reader:
    """A reader of one of these words."""

    def read(name: str, value: object) -> tuple[str]:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {validate.shown(value)}")
        return (choices[choices.index(value)],)  # a plain str, whatever `value` is written like

    return read


# Values that later versions brought to older flags: (flag, pattern, feature).
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
    """The repr of chosen options, without the passwords of URLs."""
    return without_users(repr(chosen))


def choose(what: str, table: Mapping[str, Option], given: Mapping[str, Any]) -> Chosen:
    """The options given, checked and written as the engine reads them, in the table's order. None is "not given"."""
    validate.known(what, given, table)
    chosen = [(name, row.reader(name, given[name])) for name, row in table.items() if given.get(name) is not None]
    for name, values in chosen:
        if table[name].policy and not values and given[name] is not False:
            raise ValueError(f"{name} is empty, and no list at all restricts nothing: leave it out, and net with it")
    return tuple((name, values) for name, values in chosen if values)


def argv(verb: str, table: Mapping[str, Option], chosen: Chosen, dialect: Dialect) -> tuple[str, ...]:
    """The chosen options as arguments of `smolvm VERB`, by the names that this version has for them."""
    words: list[str] = []
    for name, values in chosen:
        flag = table[name].flag
        if table[name].older and not dialect.supports(f"{verb} {flag}"):
            flag = table[name].older
        for value in values:
            words += (flag,) if value is None else option(flag, _word(value))
            for later in _LATER_VALUES:
                if isinstance(value, str) and later[0] == flag and re.search(later[1], value):
                    dialect.require(later[2])
    return tuple(words)


def _word(value: str | Hidden) -> str:
    return Word(value.reveal()) if isinstance(value, Hidden) else value


def port_pairs(words: str) -> Iterator[tuple[int, int]]:
    """The pairs (host, guest) of a published TCP port or range, as the engine reads it."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+)(?:-\d+)?)?(?:/tcp)?", words)
    if found:
        host, last, guest = int(found[1]), int(found[2] or found[1]), int(found[3] or found[1])
        yield from zip(range(host, last + 1), range(guest, guest + last - host + 1), strict=True)


def variables(env: tuple[tuple[str, Hidden], ...]) -> Iterator[str]:
    """Variables as arguments."""
    for key, value in env:
        yield from option("-e", variable(key, value))


def variable(key: str, value: Hidden) -> Word:
    """A variable with its value, as one argument."""
    return Word(f"{key}={value.reveal()}", f"{key}={MASK}")

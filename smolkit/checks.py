"""The caller's input, checked before any process starts. Each function gives the checked value or raises."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from smolkit.errors import InvalidNameError
from smolkit.values import Hidden

if TYPE_CHECKING:
    from smolkit.secret import Secret

_NAME = r"(?!.*--)[A-Za-z0-9](?:[A-Za-z0-9_-]{0,126}[A-Za-z0-9_])?"


def name(value: object) -> str:
    """A machine name that the engine takes (the same rule in 0.5.20 to 1.32.2).

    Raises:
        InvalidNameError: it would not take it.
    """
    if not isinstance(value, str):
        raise TypeError(f"a machine's name is a str, not {type(value).__name__}")
    if not re.fullmatch(_NAME, value):
        raise InvalidNameError(
            f"not a machine name: {value[:140]!r} (1 to 128 of A-Za-z0-9_-, first a letter or digit, no '--', last no '-')"
        )
    return value


def text(what: str, value: object) -> str:
    """A word for a command line: a str, not empty, without NUL."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {type(value).__name__}: {value!r}")
    if not value:
        raise ValueError(f"{what} is empty")
    return _encodable(what, value)


def _encodable(what: str, value: str) -> str:
    if "\0" in value:
        raise ValueError(f"{what} holds a NUL character: {value!r}")
    os.fsencode(value)  # a lone surrogate that no file system can hold: UnicodeEncodeError, a ValueError
    return value


def path(what: str, value: object) -> str:
    """A path of the host: a str or os.PathLike, not empty, without NUL. Not touched."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{what} is a str or a path, not {type(value).__name__}")
    return text(what, os.fsdecode(value))


def absolute(what: str, value: object) -> str:
    """A path of the host, absolute. Not touched."""
    return os.path.abspath(path(what, value))


def operand(what: str, value: object) -> str:
    """A word that stands by itself, and so must not look like a flag."""
    word = text(what, value)
    if word.startswith("-"):
        raise ValueError(f"{what} begins with '-': {word!r}")
    return word


def guest_path(what: str, value: object) -> str:
    """An absolute path in the guest."""
    given = path(what, value)
    if not given.startswith("/"):
        raise ValueError(f"{what} is not absolute: {given!r} (write /root/... or /workspace/...)")
    return given


def words(what: str, value: object) -> tuple[str, ...]:
    """A list of words: `["ls", "-l"]`. A single str is refused, with the call that was meant."""
    if isinstance(value, (str, bytes)):
        raise TypeError(
            f"{what} is a list of words, not {value!r}: write {_split(value)!r}, or machine.sh({value!r}) for a shell"
        )
    if not isinstance(value, Sequence):
        raise TypeError(f"{what} is a list of words, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{what} is empty")
    if not value[0]:
        raise ValueError(f"{what} has an empty first word: which program?")
    for word in value:
        if not isinstance(word, str):
            raise TypeError(f"{what} is a list of str; this word is {type(word).__name__}: {word!r}")
        _encodable(what, word)
    return tuple(value)


def _split(value: str | bytes) -> list[str]:
    return os.fsdecode(value).split()


def strings(what: str, value: object) -> tuple[str, ...]:
    """A list of values, each a str that is not empty. A single str is refused: it would be taken letter by letter."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{what} is a list: write [{value!r}]")
    return tuple(text(f"{what}[{place}]", item) for place, item in enumerate(value))


def variables(what: str, value: object) -> tuple[str, ...]:
    """A list of names of environment variables."""
    for name in (found := strings(what, value)):
        if "=" in name:
            raise ValueError(f"{what}: not the name of a variable: {name!r}")
    return found


def pairs(what: str, value: object) -> tuple[tuple[str, str], ...]:
    """A mapping of str to str, as pairs. Keys are not empty and hold no `=`: the engine drops such silently."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} is a mapping, not {type(value).__name__}: write {{'KEY': 'value'}}")
    return tuple((_key(what, key), _value(what, key, item)) for key, item in value.items())


def _key(what: str, key: object) -> str:
    if "=" in text(f"a key of {what}", key):
        raise ValueError(f"a key of {what} holds '=': {key!r}")
    return str(key)


def _value(what: str, key: object, item: object) -> str:
    # The value may be a secret: it is not in the message.
    if not isinstance(item, str):
        raise TypeError(f"{what}[{key!r}] is a str, not {type(item).__name__}")
    if "\0" in item:
        raise ValueError(f"{what}[{key!r}] holds a NUL character")
    try:
        os.fsencode(item)
    except UnicodeEncodeError:
        raise ValueError(f"{what}[{key!r}] cannot be encoded for a command line") from None
    return item


def hidden_pairs(what: str, value: object) -> tuple[tuple[str, Hidden], ...]:
    """As pairs, and the values hidden. None is no pairs."""
    return () if value is None else tuple((key, Hidden(item)) for key, item in pairs(what, value))


def secrets(what: str, value: object) -> tuple[tuple[str, Secret], ...]:
    """A mapping of guest variables to secrets; a str is the value itself. None is no secrets."""
    if value is None:
        return ()
    from smolkit.secret import Secret  # late: few programs have any

    if not isinstance(value, Mapping):
        raise TypeError(f"{what} is a mapping, not {type(value).__name__}: write {{'TOKEN': Secret('...')}}")
    shown = {key: item.text.reveal() if isinstance(item, Secret) else item for key, item in value.items()}
    return tuple((key, value[key] if isinstance(value[key], Secret) else Secret(text)) for key, text in pairs(what, shown))


def program(what: str, value: object) -> str:
    """A program, whatever the working directory becomes; a mere name, without a slash, is looked for on PATH."""
    named = path(what, value)
    return os.path.abspath(named) if os.path.dirname(named) else named


def grace(what: str, value: object) -> float | None:
    """A number of seconds, 0 included, or None for as long as it takes."""
    return value if value is None else 0.0 if value == 0 and not isinstance(value, bool) else seconds(what, value)


def seconds(what: str, value: object) -> float:
    """A positive, finite number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number of seconds, not {type(value).__name__}: {value!r}")
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{what} is a positive number of seconds, or None for no bound, not {value!r}")
    return float(value)


def integer(what: str, value: object, low: int, high: int) -> int:
    """A whole number within bounds, both included."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is an int, not {type(value).__name__}: {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{what} is from {low} to {high}, not {value}")
    return value


def data(what: str, value: object) -> bytes | None:
    """Bytes for a standard input; a str is encoded as UTF-8; None is none."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"{what} is bytes or str, not {type(value).__name__}")


def known(what: str, given: Iterable[str], options: Collection[str]) -> None:
    """Nothing, if every option given is known.

    Raises:
        TypeError: one is not; the message names the nearest that is.
    """
    for key in given:
        if key not in options:
            from difflib import get_close_matches  # late: only on the way to an error

            near = get_close_matches(key, options, n=1, cutoff=0.4)
            raise TypeError(f"{what} has no option {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))

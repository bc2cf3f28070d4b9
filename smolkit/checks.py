"""The caller's input, checked before any process starts. Each function gives the checked value or raises."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from smolkit.errors import InvalidNameError
from smolkit.hidden import Hidden, hide, hide_value

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
    return tuple((key, item.reveal()) for key, item in hidden_pairs(what, value))


def hidden_pairs(what: str, value: object) -> tuple[tuple[str, Hidden], ...]:
    """As pairs, and the values hidden. None is no pairs."""
    value = hide(value)  # in each of these frames: what raises shows no value
    return tuple((_key(what, key), _value(what, key, item)) for key, item in _items(what, value, "{'KEY': 'value'}"))


def secrets(what: str, value: object) -> tuple[tuple[str, Secret], ...]:
    """A mapping of guest variables to secrets; a str is the value itself. None is no secrets."""
    value = hide(value)
    return tuple(
        (_key(what, key), _secret(what, key, item)) for key, item in _items(what, value, "{'TOKEN': Secret('...')}")
    )


def hidden(what: str, value: object) -> Hidden:
    """A word that may hold a secret: a str, not empty, without NUL. No message shows it."""
    value = hide_value(value)
    if value == Hidden(""):
        raise ValueError(f"{what} is empty")
    return _unfaulty(what, cast("Hidden", value))


def _items(what: str, value: object, example: str) -> Iterable[tuple[object, Hidden]]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        kind = type(value.reveal() if isinstance(value, Hidden) else value).__name__
        raise TypeError(f"{what} is a mapping, not {kind}: write {example}")
    return value.items()


def _key(what: str, key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of {what} is a str, not {type(key).__name__}")
    if "=" in key:  # and behind it perhaps a secret
        raise ValueError(f"a key of {what} holds '=': {key.partition('=')[0]!r} is the key, and the rest its value")
    return text(f"a key of {what}", key)


def _value(what: str, key: object, item: Hidden) -> Hidden:
    return _unfaulty(f"{what}[{key!r}]", item)


def _secret(what: str, key: object, item: Hidden) -> Secret:
    from smolkit.secret import Secret  # late: few programs have any

    found: object = item.reveal()
    secret = found if isinstance(found, Secret) else Secret(item)
    found = None  # what raises shows no value
    _value(what, key, secret.text)
    return secret


def _unfaulty(what: str, item: Hidden) -> Hidden:
    if (fault := _fault(what, item.reveal())) is not None:
        raise fault
    return item


def _fault(what: str, value: object) -> Exception | None:
    """What is wrong with a value. It is raised where the value is not to be seen."""
    if not isinstance(value, str):
        return TypeError(f"{what} is a str, not {type(value).__name__}")
    if "\0" in value:
        return ValueError(f"{what} holds a NUL character")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return ValueError(f"{what} cannot be encoded for a command line")
    return None


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
    if not (math.isfinite(value) and value > 0):
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
    if value is None:
        return None
    value = hide_value(value)
    found = _bytes(what, cast("Hidden", value).reveal())
    if isinstance(found, Exception):
        raise found
    return found


def _bytes(what: str, value: object) -> bytes | Exception:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        return TypeError(f"{what} is bytes or str, not {type(value).__name__}")
    try:
        return value.encode()
    except UnicodeEncodeError:
        return ValueError(f"{what} cannot be encoded as UTF-8")


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

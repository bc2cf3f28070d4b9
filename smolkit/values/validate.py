"""The caller's input, checked before any process starts. Each function gives the checked value or raises."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from smolkit.values.hidden import Hidden, hide, hide_value

if TYPE_CHECKING:
    from smolkit.values.secret import Secret

_SHOWN = 120  # characters
_LONGEST = 10**9  # seconds


def shown(value: object) -> str:
    """The value for an error's message: short, whatever it is."""
    try:
        found = repr(value)
    except Exception:  # noqa: BLE001  (an int of 5,000 digits; a class whose repr fails)
        return f"this {type(value).__name__}"
    return found if len(found) <= _SHOWN else f"{found[: _SHOWN - 3]}..."


def text(what: str, value: object) -> str:
    """A word for a command line: a str, not empty, without NUL, UTF-8."""
    return utf8(what, _word(what, value))


def _word(what: str, value: object) -> str:
    """The plain str of it: formatting a str that is an enum's member may give another one."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {type(value).__name__}: {shown(value)}")
    if not value:
        raise ValueError(f"{what} is empty")
    if "\0" in value:
        raise ValueError(f"{what} holds a NUL character: {shown(value)}")
    return str.__str__(value)


def utf8(what: str, value: str) -> str:
    """A word that the engine can read: it refuses a command line that is not UTF-8."""
    if not is_utf8(value):
        raise ValueError(f"{what} is not UTF-8: {shown(value)}")
    return value


def is_utf8(value: str) -> bool:
    """Whether it can be encoded, as what the file system's bytes were decoded to may not."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def flag(what: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{what} is True or False, not {shown(value)}")
    return value


def function(what: str, value: object) -> None:
    """None, or something to call."""
    if value is not None and not callable(value):
        raise TypeError(f"{what} is a function, not {type(value).__name__}")


def path(what: str, value: object) -> str:
    """A path of the host: a str or os.PathLike, not empty, without NUL. Any bytes. Not touched."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{what} is a str or a path, not {type(value).__name__}")
    found = _word(what, os.fsdecode(value))
    try:
        os.fsencode(found)
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds what no file system can: {shown(found)}") from None
    return found


def absolute(what: str, value: object) -> str:
    """A path of the host, absolute. Not touched."""
    return os.path.abspath(path(what, value))


def operand(what: str, value: object) -> str:
    """A word that stands by itself, and so must not look like a flag."""
    return no_flag(what, text(what, value))


def no_flag(what: str, word: str) -> str:
    """A word that does not look like a flag."""
    if word.startswith("-"):
        raise ValueError(f"{what} begins with '-': {shown(word)}")
    return word


def guest_path(what: str, value: object) -> str:
    """An absolute path in the guest."""
    given = path(what, value)
    if not given.startswith("/"):
        raise ValueError(f"{what} is not absolute: {shown(given)} (write /root/... or /workspace/...)")
    return given


def words(what: str, value: object) -> tuple[str, ...]:
    """A list of words: `["ls", "-l"]`. A single str is refused, with the call that was meant."""
    if isinstance(value, (str, bytes)):
        raise TypeError(
            f"{what} is a list of words, not {shown(value)}: write {shown(_split(value))}, or machine.sh({shown(value)}) "
            f"for a shell"
        )
    if not isinstance(value, Sequence):
        raise TypeError(f"{what} is a list of words, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{what} is empty")
    found = tuple(_argument(what, word) for word in value)
    if not found[0]:
        raise ValueError(f"{what} has an empty first word: which program?")
    return found


def _argument(what: str, word: object) -> str:
    if not isinstance(word, str):
        raise TypeError(f"{what} is a list of str; this word is {type(word).__name__}: {shown(word)}")
    return text(f"a word of {what}", word) if word else ""


def _split(value: str | bytes) -> list[str]:
    return os.fsdecode(value).split()


def items(what: str, value: object) -> Sequence[object]:
    """A list. A single str is refused: it would be taken letter by letter."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{what} is a list: write [{shown(value)}]")
    return value


def strings(what: str, value: object) -> tuple[str, ...]:
    """A list of values, each a str that is not empty."""
    return tuple(text(f"{what}[{place}]", item) for place, item in enumerate(items(what, value)))


def variables(what: str, value: object) -> tuple[str, ...]:
    """A list of names of environment variables."""
    for name in (found := strings(what, value)):
        if "=" in name:
            raise ValueError(f"{what}: not the name of a variable: {name!r}")
    return found


def pairs(what: str, value: object, *, any_bytes: bool = False) -> tuple[tuple[str, str], ...]:
    """A mapping of str to str, as pairs. Keys are not empty and hold no `=`: the engine drops such silently."""
    return tuple((key, item.reveal()) for key, item in hidden_pairs(what, value, any_bytes=any_bytes))


def hidden_pairs(what: str, value: object, *, any_bytes: bool = False) -> tuple[tuple[str, Hidden], ...]:
    """As pairs, and the values hidden. None is no pairs."""
    value = hide(value)  # in each of these frames: what raises shows no value
    items = _items(what, value, "{'KEY': 'value'}")
    return tuple((_key(what, key), _value(what, key, item, any_bytes=any_bytes)) for key, item in items)


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


def _value(what: str, key: object, item: Hidden, *, any_bytes: bool = False) -> Hidden:
    return _unfaulty(f"{what}[{key!r}]", item, any_bytes=any_bytes)


def _secret(what: str, key: object, item: Hidden) -> Secret:
    from smolkit.values.secret import Secret  # late: few programs have any

    found: object = item.reveal()
    secret = found if isinstance(found, Secret) else Secret(item)
    found = None  # what raises shows no value
    _value(what, key, secret.text)
    return secret


def _unfaulty(what: str, item: Hidden, *, any_bytes: bool = False) -> Hidden:
    if (fault := _fault(what, item.reveal(), any_bytes=any_bytes)) is not None:
        raise fault
    return Hidden(str.__str__(item.reveal()))  # of an enum's member, the text that it is


def _fault(what: str, value: object, *, any_bytes: bool) -> Exception | None:
    """What is wrong with a value. It is raised where the value is not to be seen."""
    if not isinstance(value, str):
        return TypeError(f"{what} is a str, not {type(value).__name__}")
    if "\0" in value:
        return ValueError(f"{what} holds a NUL character")
    if not (any_bytes or is_utf8(value)):
        return ValueError(f"{what} is not UTF-8")
    return None


def program(what: str, value: object) -> str:
    """A program, whatever the working directory becomes; a mere name, without a slash, is looked for on PATH."""
    named = path(what, value)
    return os.path.abspath(named) if os.path.dirname(named) else named


def grace(what: str, value: object) -> float | None:
    """A number of seconds, 0 included, or None for as long as it takes."""
    return value if value is None else 0.0 if value == 0 and not isinstance(value, bool) else seconds(what, value)


def seconds(what: str, value: object) -> float:
    """A positive number of seconds, 30 years at the most."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number of seconds, not {type(value).__name__}: {shown(value)}")
    if not 0 < value <= _LONGEST:  # nor is NaN
        raise ValueError(
            f"{what} is a positive number of seconds up to {_LONGEST}, or None for no bound, not {shown(value)}"
        )
    return float(value)


def integer(what: str, value: object, low: int, high: int) -> int:
    """A whole number within bounds, both included."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is an int, not {type(value).__name__}: {shown(value)}")
    if not low <= value <= high:
        raise ValueError(f"{what} is from {low} to {high}, not {shown(value)}")
    return int(value)


PORTS = range(1, 65_536)


def port(what: str, value: object) -> int:
    """A TCP or UDP port."""
    return integer(what, value, PORTS[0], PORTS[-1])


def octal(what: str, value: object) -> str:
    """Permissions (0o644) as programs read them; "" for None."""
    return "" if value is None else f"{integer(what, value, 0, 0o7777):o}"


def encoding(what: str, value: object, errors: object = "strict") -> None:
    """The name of a text encoding, and of how its errors are handled.

    Raises:
        ValueError: there is none of this name.
    """
    import codecs  # late: rarely needed

    try:
        found = codecs.lookup(text(what, value))
        codecs.lookup_error(text("errors", errors))
    except LookupError as error:
        raise ValueError(f"{what}: {shown(str(error))}") from None
    if not getattr(found, "_is_text_encoding", True):
        raise ValueError(f"{what} is for no text: {shown(value)}")


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
        return ValueError(f"{what} is not UTF-8: give bytes")


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

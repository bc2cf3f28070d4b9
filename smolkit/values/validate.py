"""Checks of the caller's arguments, before any process starts. Each returns the checked value or raises.

`name` is what an error message calls the argument. A TypeError is for a wrong type, a ValueError for a wrong value.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import SupportsIndex, cast

from smolkit import values
from smolkit.values.hidden import Hidden, hide, hide_value

_SHOWN = 120  # characters
_LONGEST = 10**9  # seconds


def shown(value: object) -> str:
    """The repr of a value for an error message, shortened."""
    try:
        found = repr(value)
    except Exception:  # noqa: BLE001  (an int of 5,000 digits; a class whose repr fails)
        return f"this {type(value).__name__}"
    return found if len(found) <= _SHOWN else f"{found[: _SHOWN - 3]}..."


def text(name: str, value: object) -> str:
    """A command-line argument: a str that is valid UTF-8, not empty and without NUL."""
    return utf8(name, _plain(name, value))


def _plain(name: str, value: object) -> str:
    """The value as a plain str: of an enum member that is a str, `format` may give another text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}: {shown(value)}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    if "\0" in value:
        raise ValueError(f"{name} must not contain a NUL character: {shown(value)}")
    return str.__str__(value)


def utf8(name: str, value: str) -> str:
    """A str that is valid UTF-8: the engine refuses a command line that is not."""
    if not is_utf8(value):
        raise ValueError(f"{name} must be valid UTF-8: {shown(value)}")
    return value


def is_utf8(value: str) -> bool:
    """True if the str can be encoded. One from `os.fsdecode` may have surrogates, which cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def flag(name: str, value: object) -> bool:
    """A bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")
    return value


def function(name: str, value: object) -> None:
    """A callable, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function, not {type(value).__name__}")


def path(name: str, value: object) -> str:
    """A path on the host: a str or os.PathLike, not empty and without NUL. It need not be UTF-8. Does no I/O."""
    if isinstance(value, values.GuestPath):
        raise TypeError(f"{name} must be a path on the host, not one in a guest: {shown(value)}")
    found = _path(name, value)
    if found == "~" or found.startswith("~/"):
        raise ValueError(f"{name} must be a path, in which Python does not expand '~': write os.path.expanduser({found!r})")
    return found


def _path(name: str, value: object) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a str or os.PathLike, not {type(value).__name__}")
    found = _plain(name, os.fsdecode(value))
    try:
        os.fsencode(found)
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be a path, but no file system can encode {shown(found)}") from None
    return found


def absolute(name: str, value: object) -> str:
    """A path on the host, made absolute. Does no I/O."""
    return os.path.abspath(path(name, value))


def operand(name: str, value: object) -> str:
    """A positional argument, which must not look like a flag."""
    return no_flag(name, text(name, value))


def no_flag(name: str, argument: str) -> str:
    """An argument that does not look like a flag."""
    if argument.startswith("-"):
        raise ValueError(f"{name} must not begin with '-': {shown(argument)}")
    return argument


def guest_path(name: str, value: object) -> str:
    """An absolute path in the guest."""
    given = _path(name, value)
    if not given.startswith("/"):
        raise ValueError(f"{name} must be an absolute path, such as /root/... or /workspace/..., not {shown(given)}")
    return given


def words(name: str, value: object) -> tuple[str, ...]:
    """A command as a list of arguments: `["ls", "-l"]`. If it is a single str, the error shows the corrected call."""
    if isinstance(value, (str, bytes)):
        raise TypeError(
            f"{name} must be a list of arguments, not {shown(value)}: write {shown(_split(value))}, or, for a shell, "
            f"machine.sh({shown(value)})"
        )
    if not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list of arguments, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    found = tuple(_argument(name, argument) for argument in value)
    if not found[0]:
        raise ValueError(f"{name} must begin with the name of a program, not with an empty str")
    return found


def _argument(name: str, argument: object) -> str:
    if isinstance(argument, os.PathLike):
        argument = os.fspath(argument)
    if not isinstance(argument, str):
        raise TypeError(f"{name} must be a list of str, but an argument is {type(argument).__name__}: {shown(argument)}")
    return text(f"an argument of {name}", argument) if argument else ""


def _split(value: str | bytes) -> list[str]:
    return os.fsdecode(value).split()


def items(name: str, value: object) -> Sequence[object]:
    """A list. A single str is refused: as a sequence, its items would be its characters."""
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Sequence)):
        raise TypeError(f"{name} must be a list, not {type(value).__name__}: write list(...) of it")
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list: write [{shown(value)}]")
    return value


def strings(name: str, value: object) -> tuple[str, ...]:
    """A list of str, none of them empty."""
    return tuple(text(f"{name}[{index}]", item) for index, item in enumerate(items(name, value)))


def variables(name: str, value: object) -> tuple[str, ...]:
    """A list of names of environment variables."""
    for variable in (found := strings(name, value)):
        if "=" in variable:
            raise ValueError(f"{name} must be names of variables, and {variable!r} has an '='")
    return found


def pairs(name: str, value: object, *, any_bytes: bool = False) -> tuple[tuple[str, str], ...]:
    """A mapping of str to str, as pairs. Keys must not be empty or contain `=`: the engine would silently drop them."""
    return tuple((key, item.reveal()) for key, item in hidden_pairs(name, value, any_bytes=any_bytes))


def hidden_pairs(name: str, value: object, *, any_bytes: bool = False) -> tuple[tuple[str, Hidden], ...]:
    """As `pairs`, with the values Hidden. None gives no pairs."""
    value = hide(value)  # in each frame that may raise: a traceback may show its locals
    items = _items(name, value, "{'KEY': 'value'}")
    return tuple((_key(name, key), _value(name, key, item, any_bytes=any_bytes)) for key, item in items)


def secrets(name: str, value: object) -> tuple[tuple[str, values.Secret], ...]:
    """A mapping of guest variables to secrets; a str is the value itself. None gives no secrets."""
    value = hide(value)
    return tuple(
        (_key(name, key), _secret(name, key, item)) for key, item in _items(name, value, "{'TOKEN': Secret('...')}")
    )


def hidden(name: str, value: object) -> Hidden:
    """A str that may be a secret: not empty, without NUL. No error message shows it."""
    value = hide_value(value)
    if value == Hidden(""):
        raise ValueError(f"{name} must not be empty")
    return _checked(name, cast("Hidden", value))


def _items(name: str, value: object, example: str) -> Iterable[tuple[object, Hidden]]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        kind = type(value.reveal() if isinstance(value, Hidden) else value).__name__
        raise TypeError(f"{name} must be a mapping, not {kind}: write {example}")
    return value.items()


def _key(name: str, key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of {name} must be a str, not {type(key).__name__}")
    if "=" in key:  # the rest of it may be a secret
        raise ValueError(f"a key of {name} must not contain '=': {key.partition('=')[0]!r} is the key, the rest its value")
    return text(f"a key of {name}", key)


def _value(name: str, key: object, item: Hidden, *, any_bytes: bool = False) -> Hidden:
    return _checked(f"{name}[{key!r}]", item, any_bytes=any_bytes)


def _secret(name: str, key: object, item: Hidden) -> values.Secret:
    from smolkit.values.secret import Secret  # late: few programs have any

    # Revealed in no variable: a traceback may show this frame's locals.
    is_secret = isinstance(item.reveal(), Secret)
    secret: values.Secret = cast("values.Secret", item.reveal()) if is_secret else Secret(item)
    _value(name, key, secret.text)
    return secret


def _checked(name: str, item: Hidden, *, any_bytes: bool = False) -> Hidden:
    if (error := _error(name, item.reveal(), any_bytes=any_bytes)) is not None:
        raise error
    return Hidden(str.__str__(item.reveal()))  # a plain str, also of an enum member


def _error(name: str, value: object, *, any_bytes: bool) -> Exception | None:
    """The error of an invalid value, or None. It is raised in the caller's frame, which does not have the value."""
    if not isinstance(value, str):
        return TypeError(f"{name} must be a str, not {type(value).__name__}")
    if "\0" in value:
        return ValueError(f"{name} must not contain a NUL character")
    if not (any_bytes or is_utf8(value)):
        return ValueError(f"{name} must be valid UTF-8")
    return None


def program(name: str, value: object) -> str:
    """A program: an absolute path, so that a change of directory does not matter, or a name without `/`, found on PATH."""
    if isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be one path, not {shown(value)}: what runs it is SubprocessRunner(prefix=[...])")
    named = path(name, value)
    return os.path.abspath(named) if os.path.dirname(named) else named


def grace(name: str, value: object) -> float | None:
    """A number of seconds, 0 included, or None for no limit."""
    return value if value is None else 0.0 if value == 0 and not isinstance(value, bool) else seconds(name, value)


def seconds(name: str, value: object) -> float:
    """A positive number of seconds, at most some 30 years."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}: {shown(value)}")
    if not 0 < value <= _LONGEST:  # NaN neither
        raise ValueError(f"{name} must be a positive number of seconds up to {_LONGEST}, or None, not {shown(value)}")
    return float(value)


def integer(name: str, value: object, low: int, high: int) -> int:
    """An int from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):  # other libraries have ints of their own
        raise TypeError(f"{name} must be an int, not {type(value).__name__}: {shown(value)}")
    if not low <= index(value) <= high:
        raise ValueError(f"{name} must be from {low} to {high}, not {shown(value)}")
    return index(value)


PORTS = range(1, 65_536)


def port(name: str, value: object) -> int:
    """A TCP or UDP port."""
    return integer(name, value, PORTS[0], PORTS[-1])


def encoding(name: str, value: object, errors: object = "strict") -> None:
    """The name of a text encoding, and of its error handler.

    Raises:
        ValueError: there is none of this name.
    """
    import codecs  # late: rarely needed

    try:
        found = codecs.lookup(text(name, value))
        codecs.lookup_error(text("errors", errors))
    except LookupError as error:
        raise ValueError(f"{name} must be known to Python: {shown(str(error))}") from None
    if not getattr(found, "_is_text_encoding", True):
        raise ValueError(f"{name} must be a text encoding, not {shown(value)}")


def data(name: str, value: object) -> bytes | None:
    """Bytes for a standard input. A str is encoded as UTF-8. None stays None."""
    if value is None:
        return None
    value = hide_value(value)
    found = _bytes(name, cast("Hidden", value).reveal())
    if isinstance(found, Exception):
        raise found
    return found


def _bytes(name: str, value: object) -> bytes | Exception:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        return TypeError(f"{name} must be bytes or str, not {type(value).__name__}")
    try:
        return value.encode()
    except UnicodeEncodeError:
        return ValueError(f"{name} must be valid UTF-8, or bytes")


def disjoint(env: Iterable[tuple[str, object]], secrets: Iterable[tuple[str, object]]) -> None:
    """Raise if a variable is in env and in secrets: which one the guest would get depends on the engine's version.

    Raises:
        ValueError: it is.
    """
    if both := {key for key, _ in env} & {key for key, _ in secrets}:
        raise ValueError(f"env and secrets must not have the same variables: {', '.join(map(repr, sorted(both)))}")

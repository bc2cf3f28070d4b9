"""Converters of the commands' fields: each checks a caller's value and returns it as the command keeps it."""

# No `from __future__ import annotations`: see `smolkit.commands.exec`.

import re

from smolkit.errors import InvalidNameError
from smolkit.values import validate
from smolkit.values.hidden import Hidden

_NAME = r"(?!.*--)[A-Za-z0-9](?:[A-Za-z0-9_-]{0,126}[A-Za-z0-9_])?"


def machine_name(value: str) -> str:
    """A machine name that the engine accepts (the same rule in 0.5.20 to 1.32.2).

    Raises:
        TypeError: it is no str.
        InvalidNameError: the engine would refuse it.
    """
    if not isinstance(value, str):
        raise TypeError(f"a machine's name must be a str, not {type(value).__name__}")
    if not re.fullmatch(_NAME, value):
        raise InvalidNameError(
            f"not a machine name: {value[:140]!r} (1 to 128 of A-Za-z0-9_-, first a letter or digit, no '--', last no '-')"
        )
    # A plain str: formatting the member of an enum, which is a str too, may give its name instead of its value.
    return str.__str__(value)


def optional_seconds(value: float | None) -> float | None:
    """A timeout in seconds, or None for no bound."""
    return None if value is None else validate.seconds("timeout", value)


def optional_user(value: str | None) -> str | None:
    """A user of the guest, or None for its own."""
    if value is not None and validate.text("user", value).count(":") > 1:
        raise ValueError(f"user must be a name, or UID or UID:GID, not {validate.shown(value)}")
    return value


def optional_input(value: bytes | str | Hidden | None) -> bytes | None:
    """The bytes of an input (text as UTF-8), or None for no input."""
    return validate.data("input", value)

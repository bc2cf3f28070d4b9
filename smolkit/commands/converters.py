"""The names of machines."""

from __future__ import annotations

import re

from smolkit.errors import InvalidNameError

_NAME = r"(?!.*--)[A-Za-z0-9](?:[A-Za-z0-9_-]{0,126}[A-Za-z0-9_])?"


def machine_name(value: object) -> str:
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
    return str.__str__(value)

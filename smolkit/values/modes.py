"""Permissions of files, checked."""

from __future__ import annotations

import re

from smolkit.values.validate import shown

_LAST_MODE = 0o7777


def octal(name: str, value: object) -> str:
    """Permissions (0o644) as octal digits; "" for None.

    Raises:
        ValueError: it is no mode, or a decimal number that was meant as an octal one: 644 is 0o1204.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int):
        meant = str(value).removeprefix("0o")
        example = f"0o{meant}" if re.fullmatch("[0-7]{3,4}", meant) else "0o644"
        raise TypeError(f"{name} must be an int, such as {example}, not {type(value).__name__}: {shown(value)}")
    if not 0 <= value <= _LAST_MODE:
        raise ValueError(f"{name} must be from 0 to 0o7777, not {shown(value)} (stat.S_IMODE takes it out of a st_mode)")
    if _is_usual(f"0{value}") and not _is_usual(f"{value:04o}"):
        raise ValueError(f"{name} must be an octal number: write 0o{value}, not {value} (which is 0o{value:o})")
    return f"{value:o}"


def _is_usual(digits: str) -> bool:
    """True for four octal digits of a mode without special bits that nobody would be surprised by.

    The owner may read, group and others may no more than the owner, and nobody may write without reading.
    """
    if not re.fullmatch("0[4-7][014567]{2}", digits):
        return False
    owner, *others = map(int, digits[1:])
    return all(other & ~owner == 0 for other in others)

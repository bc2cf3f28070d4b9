"""How command lines, and what programs said, are shown: without secrets, and without what a terminal would obey."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from smolkit.values.hidden import MASK

# The flags whose value may be a secret. Everything after "--" is the guest's.
_VARIABLE_FLAGS = frozenset({"-e", "--env"})
_HIDING_FLAGS = _VARIABLE_FLAGS | {"--proxy"}
_GLUED = re.compile(r"(?s)(-e=?|--env=|--proxy=)(.+)")
_USER_OF_URL = re.compile(r"(?<=://)[^/?#\s'\"]+@")
_TAIL_LINES = 12
_TAIL_CHARACTERS = 2000
_SURROGATE_ESCAPED = range(0xDC80, 0xDD00)  # a byte that is no UTF-8, as `os.fsdecode` has it


def redact(argv: Iterable[str]) -> tuple[str, ...]:
    """The engine's arguments up to the `--` of the guest without values of variables, proxies and URLs' passwords."""
    words = tuple(argv)
    shown: list[str] = []
    flag = ""
    for place, word in enumerate(words):
        if word == "--" and not flag:
            return (*shown, *words[place:])
        shown.append(_masked(flag, word) if flag else _redacted(word))
        flag = "" if flag or word not in _HIDING_FLAGS else word
    return tuple(shown)


def _redacted(word: str) -> str:
    found = _GLUED.fullmatch(word)
    return without_users(word) if found is None else found[1] + _masked(found[1], found[2])


def _masked(flag: str, value: str) -> str:
    key, _, rest = value.partition("=")
    return f"{key}={MASK}" if rest and flag.rstrip("=") in _VARIABLE_FLAGS else MASK


def masked_parts(argv: Iterable[str]) -> tuple[str, ...]:
    """What `redact` replaces."""
    words = tuple(argv)
    return tuple(part for word, shown in zip(words, redact(words), strict=True) if (part := _replaced(word, shown)))


def _replaced(word: str, shown: str) -> str:
    before, _, after = shown.partition(MASK)
    return word[len(before) : len(word) - len(after)] if shown != word else ""


def without_users(text: str) -> str:
    """The text with the users and passwords of URLs replaced."""
    return _USER_OF_URL.sub(f"{MASK}@", text)


def tail(output: bytes | str) -> str:
    """The last lines of a program's output, safe to print: guests are hostile."""
    if isinstance(output, bytes):
        output = output[-4 * _TAIL_CHARACTERS :].decode("utf-8", "replace")
    text = without_users(output[-4 * _TAIL_CHARACTERS :]).strip()
    return printable("\n".join(text[-_TAIL_CHARACTERS:].splitlines()[-_TAIL_LINES:]))


def printable(text: str) -> str:
    r"""The text with what is not printable escaped (`\x1b`), but for newlines and tabs; UTF-8 can encode it."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if code in _SURROGATE_ESCAPED else ascii(character)[1:-1]


def shell_line(words: Iterable[str]) -> str:
    r"""One line that can be pasted into a shell; words that are not printable are in `$'\x1b'` form (bash, zsh, ksh)."""
    return " ".join(shlex.quote(word) if word.isprintable() else _ansi_c(word) for word in words)


def _ansi_c(word: str) -> str:
    return "$'" + "".join(map(_ansi_c_character, word)) + "'"


def _ansi_c_character(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable() or code < 0x80 or code in _SURROGATE_ESCAPED:  # noqa: PLR2004  (ASCII)
        return character if character.isprintable() else _escaped(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004  (as `$'...'` has them)

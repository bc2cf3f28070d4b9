"""Safe forms of command lines and programs' output: without secrets, and without control sequences for a terminal."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from smolkit.values.hidden import MASK

# How the line begins in which the engine reports its failure as JSON; it is the last one of stderr.
JSON_FAILURE = '{"error":{'
# The flags whose value may be a secret. Everything after "--" is the guest's.
_VARIABLE_FLAGS = frozenset({"-e", "--env"})
_HIDING_FLAGS = _VARIABLE_FLAGS | {"--proxy"}
_GLUED = re.compile(r"(?s)(-e=?|--env=|--proxy=)(.+)")
_USER_OF_URL = re.compile(r"(?<=://)[^/?#\s'\"]+@")
_TAIL_LINES = 12
_TAIL_CHARACTERS = 2000
_SURROGATE_ESCAPED = range(0xDC80, 0xDD00)  # an invalid byte of UTF-8, as `os.fsdecode` decodes it


def redact(argv: Iterable[str]) -> tuple[str, ...]:
    """Mask the values of variables and proxies, and passwords in URLs, in the engine's arguments up to the guest's `--`."""
    arguments = tuple(argv)
    shown: list[str] = []
    flag = ""  # whose value comes next
    for index, argument in enumerate(arguments):
        if argument == "--" and not flag:  # after `-e`, it is the value of a variable
            return (*shown, *arguments[index:])
        shown.append(_masked(flag, argument) if flag else _redacted(argument))
        flag = "" if flag or argument not in _HIDING_FLAGS else argument
    return tuple(shown)


def _redacted(argument: str) -> str:
    found = _GLUED.fullmatch(argument)
    return without_users(argument) if found is None else found[1] + _masked(found[1], found[2])


def _masked(flag: str, value: str) -> str:
    key, _, rest = value.partition("=")
    return f"{key}={MASK}" if rest and flag.rstrip("=") in _VARIABLE_FLAGS else MASK


def masked_parts(argv: Iterable[str]) -> tuple[str, ...]:
    """The parts of the arguments that `redact` replaces."""
    arguments = tuple(argv)
    return tuple(part for pair in zip(arguments, redact(arguments), strict=True) if (part := _replaced(*pair)))


def _replaced(argument: str, shown: str) -> str:
    before, _, after = shown.partition(MASK)
    return argument[len(before) : len(argument) - len(after)] if shown != argument else ""


def without_users(text: str) -> str:
    """Mask users and passwords of URLs in a text."""
    return _USER_OF_URL.sub(f"{MASK}@", text)


def tail(output: bytes | str) -> str:
    """The last lines of a program's output, safe to print: guests are hostile."""
    if isinstance(output, bytes):
        output = output[-4 * _TAIL_CHARACTERS :].decode("utf-8", "replace")
    # Masked before the last cut, since half of a URL is not recognised. The first cut, four times as large, bounds the work
    text = without_users(output[-4 * _TAIL_CHARACTERS :]).strip()
    return printable("\n".join(text[-_TAIL_CHARACTERS:].splitlines()[-_TAIL_LINES:]))


def printable(text: str) -> str:
    r"""Escape what is not printable (`\x1b`), except newlines and tabs. UTF-8 can encode the result."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if code in _SURROGATE_ESCAPED else ascii(character)[1:-1]


def shell_line(argv: Iterable[str]) -> str:
    r"""Quote a command line for a shell. Arguments that are not printable become `$'\x1b'` (bash, zsh, ksh)."""
    return " ".join(shlex.quote(argument) if argument.isprintable() else _ansi_c(argument) for argument in argv)


def _ansi_c(argument: str) -> str:
    return "$'" + "".join(map(_ansi_c_character, argument)) + "'"


def _ansi_c_character(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable() or code < 0x80 or code in _SURROGATE_ESCAPED:  # noqa: PLR2004  (ASCII)
        return character if character.isprintable() else _escaped(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004  (as `$'...'` has them)

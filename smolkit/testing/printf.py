"""The program printf of a fake machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

from smolkit.testing.guest import GuestCall
from smolkit.testing.guest_io import Pieces
from smolkit.testing.program_args import unsupported

_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "\\": 92}
_PIECE = re.compile(
    rb"""(?P<text>[^%\\]+)|(?P<percent>%%)|\\(?P<escape>[abtnvfr\\])|\\(?P<octal>[0-3]?[0-7]{1,2})
    |(?P<string>%-?(?:[1-9][0-9]*)?(?:\.[0-9]+)?s)|(?P<number>%(?:[-+ ]?(?:[1-9][0-9]*)?|0[1-9][0-9]*)[di])""",
    re.VERBOSE,
)
_NUMBER = re.compile("-?[1-9][0-9]{0,17}|0")  # a leading zero is octal


def printf(call: GuestCall) -> Pieces:
    """`printf FORMAT [ARGUMENT...]` with %s, %d, %i and %%, width, precision of %s, and the escapes of POSIX.

    The format is repeated while there are arguments. Numbers that are none are refused: shells differ.
    """
    if not call.args[1:] or call.args[1].startswith("-"):
        raise unsupported(call)
    form, arguments = call.args[1].encode("utf-8", "surrogateescape"), list(call.args[2:])
    text = b""
    while True:
        left = len(arguments)
        text += b"".join(_formatted(call, form, arguments))
        if not arguments or len(arguments) == left:
            break
    yield "stdout", text
    return 0


def _formatted(call: GuestCall, form: bytes, arguments: list[str]) -> Iterator[bytes]:
    """One round of the format. Takes its arguments out of the list."""
    place = 0
    while place < len(form):
        if (found := _PIECE.match(form, place)) is None:
            raise unsupported(call)
        place, kind = found.end(), found.lastgroup
        if kind == "string":
            yield found[0] % (arguments.pop(0).encode("utf-8", "surrogateescape") if arguments else b"")
        elif kind == "number":
            if not arguments or not _NUMBER.fullmatch(arguments[0]):
                raise unsupported(call)
            yield found[0] % int(arguments.pop(0))
        elif kind == "octal":
            yield bytes([int(found["octal"], 8)])
        else:
            yield (
                b"%" if kind == "percent" else bytes([_ESCAPES[found["escape"].decode()]]) if kind == "escape" else found[0]
            )

"""Removal of secrets from recorded data, where programs write them plain, quoted, escaped or encoded."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, final

from attrs import frozen

from smolkit.values.hidden import MASK

_WHITE = " \t\n\r\f\v"
_SHORT = 4  # characters: shorter secrets are removed only as whole words, since they occur inside any text
_LEAST = 4  # characters of base64 that identify a secret
# Characters as URLs, shells, JSON and C escape them, also repeatedly: `(?:25)*` is an escaped percent sign (`%2520`), and
# `{1,8}` are the backslashes of nested quotes.
_BREAK = rb"(?:\r?\n|\\{1,4}n|(?:%(?:25)*0[dD])?%(?:25)*0[aA])?"  # a line break inside base64, plain or escaped
_SPACE = rb"(?:\\{0,8}\s|\+|%(?:25)*(?:20|0[9aAdD])|\\{1,8}(?:[nrt]|u00(?:20|0[9aAdD])|x(?:20|0[9aAdD])|0?(?:040|01[125])))"
_SLASH = rb"(?:\\{1,8}(?:u005[cC]|x5[cC]|0?134)|%(?:25)*5[cC]|\\)"
_PART_OF_BASE64 = rb"[A-Za-z0-9+/_-]?={0,2}"


@final
class Scrubber:
    """Replaces secrets in text and bytes by `***`, in all their encodings. Overlapping matches become one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = [form for secret in dict.fromkeys(secrets) for form in _encodings_of(secret)]

    def text(self, text: str) -> str:
        """Replace the secrets in a text."""
        return self.data(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def data(self, data: bytes) -> bytes:
        """Replace the secrets in bytes. JSON stays valid, and binary data keeps its length."""
        found = self._masked(data)
        # A secret inside a number leaves invalid JSON (`4***2`): then each value is masked on its own.
        if found != data and _is_json(data) and not _is_json(found):
            value = self._masked_json(json.loads(data))
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        return found

    def _masked(self, data: bytes) -> bytes:
        # Binary data keeps its length: it may be an archive, whose headers hold the sizes of its files.
        size = _same_size if _is_binary(data) else _mask
        unbroken = re.sub(rb"[\r\n]|\\{1,4}n|%(?:25)*0[aAdD]", b"", data)
        parts, end = list[bytes](), 0
        for start, stop in _merged(span for form in self._forms for span in form.spans(data, unbroken)):
            parts += [data[end:start], size(stop - start)]
            end = stop
        return b"".join([*parts, data[end:]])

    def _masked_json(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.text(key): self._masked_json(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._masked_json(item) for item in value]
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self.text(str(value)) != str(value):
            return MASK
        return value


def _mask(size: int) -> bytes:  # noqa: ARG001  (the signature of _same_size)
    return MASK.encode()


def _same_size(size: int) -> bytes:
    return b"*" * max(size, len(MASK))


def _is_binary(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return b"\0" in data


def _is_json(data: bytes) -> bool:
    try:
        return data.lstrip()[:1] in {b"{", b"["} and json.loads(data) is not None
    except (ValueError, RecursionError):
        return False


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The spans, with overlapping ones merged."""
    start, end = -1, -1
    for left, right in sorted(spans):
        if left > end:
            if end > start:
                yield start, end
            start, end = left, right
        end = max(end, right)
    if end > start:
        yield start, end


@frozen
class _Form:
    """A pattern for one family of a secret's encodings.

    Attributes:
        pattern: Matches each of the encodings.
        anchor: A substring of all of them. Where it is missing, the slow pattern need not be tried.
        broken: True if line breaks may interrupt the anchor.
    """

    pattern: re.Pattern[bytes]
    anchor: bytes
    broken: bool = False

    def spans(self, data: bytes, unbroken: bytes) -> Iterator[tuple[int, int]]:
        """The start and end of each match, also of overlapping ones."""
        if self.anchor not in data and not (self.broken and self.anchor in unbroken):
            return
        found = self.pattern.search(data)
        while found is not None:
            yield found.span()
            found = self.pattern.search(data, found.start() + 1)  # not from its end: the next may begin inside this one


def _encodings_of(secret: str) -> Iterator[_Form]:
    whole = secret.strip(_WHITE)  # programs add and strip line ends
    if not whole:
        return
    yield _text_form(whole, rb"%s" if len(whole) >= _SHORT else rb"(?<!\w)%s(?!\w)")
    # A single line of a key file is a secret, too, unless it is so short that it occurs in any text.
    lines = [line.strip() for line in whole.splitlines()]
    yield from (_text_form(line, rb"%s") for line in lines if len(lines) > 1 and len(line) >= 2 * _SHORT)
    # The base64 digits of a secret depend on its offset modulo 3 in the encoded text.
    for data in dict.fromkeys((_bytes(secret), _bytes(whole))):
        yield from (_base64_form(data, place) for place in range(3) if len(_base64_core(data, place)) >= _LEAST)
        if len(data) >= _SHORT:
            digits = data.hex().encode()
            yield from (_Form(re.compile(form), form) for form in (digits, digits.upper()))


def _text_form(text: str, within: bytes) -> _Form:
    return _Form(re.compile(within % _text_pattern(text)), _anchor(text))


def _base64_form(data: bytes, place: int) -> _Form:
    core = _base64_core(data, place)
    return _Form(re.compile(_base64_pattern(core, place)), _anchor(core), broken=True)


def _anchor(text: str) -> bytes:
    parts: list[str] = re.findall("[A-Za-z0-9]*", text)
    return max(parts, key=len).encode()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text_pattern(text: str) -> bytes:
    """A pattern for a text in which each character is plain, quoted or escaped."""
    return b"".join(_run_pattern(kind, "".join(run)) for kind, run in groupby(text, _kind))


def _kind(character: str) -> str:
    return " " if character in _WHITE else character if character == "\\" else ""


def _run_pattern(kind: str, run: str) -> bytes:
    if not kind:
        return b"".join(map(_character_pattern, run))
    # Bounded: a guest may write any number, and an unbounded pattern would take quadratic time. Line breaks may be lost.
    least = 0 if {"\n", "\r"} & {*run} else 1
    return (_SLASH if kind == "\\" else _SPACE) + b"{%d,%d}" % (least, 2 * len(run) + 8)


def _character_pattern(character: str) -> bytes:
    data = character.encode("utf-8", "surrogateescape")
    if character.isascii() and character.isalnum():
        return data
    units = character.encode("utf-16-be", "surrogatepass").hex()
    forms = [
        rb"\\{0,8}" + re.escape(data),
        b"".join(b"%(?:25)*" + _digits(f"{byte:02x}") for byte in data),
        b"".join(rb"\\{1,8}u" + _digits(units[place : place + 4]) for place in range(0, len(units), 4)),
        b"".join(rb"\\{1,8}x" + _digits(f"{byte:02x}") for byte in data),
        b"".join(rb"\\{1,8}0?%03o" % byte for byte in data),
        rb"&(?:%s|#0*%d|#[xX]0*%s);" % (_entity(character), ord(character), _digits(f"{ord(character):x}")),
    ]
    if character == "'":
        forms[:0] = [rb"'\\{0,8}\"'\\{0,8}\"'", rb"'\\{1,8}''"]  # an apostrophe inside a shell's '...'
    return b"(?:" + b"|".join(forms) + b")"


def _entity(character: str) -> bytes:
    escaped = html.escape(character)
    return escaped[1:-1].encode() if escaped[1:-1].isalpha() else b"apos" if character == "'" else b"#"


def _digits(digits: str) -> bytes:
    """A pattern for hexadecimal digits in either case."""
    return "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in digits).encode()


def _base64_core(data: bytes, place: int) -> str:
    """The base64 digits of data at offset `place` (modulo 3) in a larger input that do not depend on its neighbours."""
    first, bits = (place * 8 + 5) // 6, (place + len(data)) * 8
    return base64.b64encode(bytes(place) + data).decode()[first : bits // 6]


def _base64_pattern(core: str, place: int) -> bytes:
    forms = {"+": rb"(?:\+|-|%(?:25)*2[bB])", "/": rb"(?:\\{0,8}/|_|%(?:25)*2[fF])"}
    written = _BREAK.join(forms.get(c, c.encode()) for c in core)
    return (rb"[A-Za-z0-9+/_-]" + _BREAK if place else b"") + written + _PART_OF_BASE64

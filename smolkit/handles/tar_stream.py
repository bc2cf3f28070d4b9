"""Reads a tar stream of which no byte is trusted: ustar, GNU and pax headers, in memory that does not grow.

Python's `tarfile` reads a long name of any size into memory, keeps every member, and takes what follows the archive's end;
where its members go is in the hands of names (`realpath`), not of descriptors. What is ambiguous between implementations
(sizes of links, two names for one member, numbers with a tail) is refused here, so that there is one reading.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from attrs import frozen

from smolkit.errors import UnsafeArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE, DIRECTORY, SYMLINK, HARD_LINK, OTHER = "file", "directory", "symlink", "hard link", "other"
_KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"1": HARD_LINK, b"2": SYMLINK, b"5": DIRECTORY}
_LONG = {b"L": b"path", b"K": b"linkpath"}  # GNU's headers, by what their content is in pax's terms
_PAX, _PAX_GLOBAL = b"x", b"g"
_FIELDS = {b"path", b"linkpath", b"size", b"mtime"}  # what of a pax header is heeded
_MAGIC_POSIX, _MAGIC_GNU = b"ustar\x0000", b"ustar  \0"

_BLOCK, _CHUNK = 512, 2**16
_END = bytes(_BLOCK)
_EXTENSION = 2**20  # bytes of a long name, or of a pax header, that are taken: the latter may have extended attributes
_AFTER = 2**20  # bytes that may follow the archive's end: tars fill up their last record, with 10 KiB as a rule
_SECONDS = 2**35  # before and after 1970: what any file system may know of

_OCTAL = re.compile(rb" *([0-7]+) *")
_DECIMAL = re.compile(rb"[0-9]{1,20}")
_TIME = re.compile(rb"(-?)([0-9]{1,12})(?:\.([0-9]*))?")


@frozen
class Member:
    """One member of an archive.

    Attributes:
        name: As it stands there; nothing was checked but that it is not empty and has no NUL.
        kind: One of this module's.
        mode: Permissions, without the setuid, setgid and sticky bits.
        size: Bytes of its content: 0 for all but files.
        mtime: Nanoseconds since the epoch.
        target: Where a link leads.
    """

    name: bytes
    kind: str
    mode: int
    size: int
    mtime: int
    target: bytes

    @property
    def shown(self) -> str:
        """Its name, for a message."""
        return shown(self.name)


def shown(name: bytes) -> str:
    """A guest's name, for a message: one line, not too long."""
    text = repr(os.fsdecode(name))
    return text if len(text) <= 200 else f"{text[:100]}...{text[-90:]}"  # noqa: PLR2004  (characters of a message)


def malformed(why: str) -> UnsafeArchiveError:
    """The error for what is no archive."""
    return UnsafeArchiveError(f"what the guest sent is no tar: {why}")


def too_much() -> UnsafeArchiveError:
    """The error for a guest that does not stop."""
    return UnsafeArchiveError("the guest sent more than was to be taken (limit=)")


class TarReader:
    """Iterates over the members of a stream; `content` gives that of the member at hand, and has to be read to its end.

    Args:
        file: Something with `read(size)`, which may give fewer bytes, and none at its end.
        limit: Bytes of the stream that are taken, headers and padding too.
    """

    def __init__(self, file: Any, limit: int) -> None:
        self._file, self._room = file, limit
        self._size = 0  # of the content of the member at hand
        self._extended: set[bytes] = set()  # the kinds of headers that extend the next member's
        self._extra: dict[bytes, bytes] = {}  # what they say

    def __iter__(self) -> Iterator[Member]:
        while (block := self._read(_BLOCK)) != _END:
            _check(block)
            kind = block[156:157]
            if kind in {*_LONG, _PAX, _PAX_GLOBAL}:
                self._extend(kind, self._content(block))
            else:
                yield self._member(block)
        if self._extended or self._read(_BLOCK) != _END:
            raise malformed("its end is none")
        self._room = _AFTER
        while self._some(_CHUNK):
            pass

    def content(self) -> Iterator[bytes]:
        """What the file at hand holds, in pieces."""
        size = left = self._size
        while left:
            chunk = self._some(min(left, _CHUNK)) or self._cut()
            left -= len(chunk)
            yield chunk
        self._read(-size % _BLOCK)

    def _member(self, block: bytes) -> Member:
        extra, self._extra, self._extended = self._extra, {}, set()
        kind = _KINDS.get(block[156:157], OTHER)
        self._size = _decimal(extra[b"size"]) if b"size" in extra else _number(block[124:136])
        if self._size < 0 or (self._size and kind not in {FILE, OTHER}):
            raise malformed(f"a {kind} with {self._size} bytes of content")
        name, target = extra.get(b"path", _name(block)), extra.get(b"linkpath", _text(block[157:257]))
        if not name or b"\0" in name + target:
            raise malformed("a name that is empty, or has a NUL")
        mtime = _time(extra[b"mtime"]) if b"mtime" in extra else _nanoseconds(_number(block[136:148]), 0)
        return Member(name, kind, _number(block[100:108]) & 0o777, self._size, mtime, target)

    def _content(self, block: bytes) -> bytes:
        """That of an extension header."""
        size = _number(block[124:136])
        if not 0 <= size <= _EXTENSION:
            raise malformed(f"a header of {size} bytes")
        return self._read(size + -size % _BLOCK)[:size]

    def _extend(self, kind: bytes, content: bytes) -> None:
        # Which of two counts, every tar decides otherwise.
        if kind in self._extended or (self._extended and _PAX in {kind, *self._extended}):
            raise malformed("two headers that extend the same one")
        found = {_LONG[kind]: _ended(content)} if kind in _LONG else _heeded(content, kind == _PAX_GLOBAL)
        if not all(found.values()):
            raise malformed("an extended header that says nothing")
        if kind != _PAX_GLOBAL:
            self._extended.add(kind)
            self._extra |= found

    def _read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        data = bytearray()  # bytes would be copied with each piece that is added
        while len(data) < size:
            data += self._some(size - len(data)) or self._cut()
        return bytes(data)

    def _some(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        self._room -= len(data)
        if self._room < 0:
            raise too_much()
        return data

    def _cut(self) -> bytes:
        raise malformed("it ends too early, and has only a part of what it says")


def _check(block: bytes) -> None:
    """The checksum counts itself as eight spaces. Some add up signed bytes."""
    counted = block[:148] + b" " * 8 + block[156:]
    more = sum(counted) - _number(block[148:156])
    if more and more != 256 * sum(byte >> 7 for byte in counted):
        raise malformed("a header's checksum is wrong")
    if block[257:265] not in {_MAGIC_POSIX, _MAGIC_GNU}:
        raise malformed("a header of no known format")


def _name(block: bytes) -> bytes:
    # Where GNU's own headers have times, POSIX's have what comes before the name.
    prefix = _text(block[345:500]) if block[257:265] == _MAGIC_POSIX else b""
    return (prefix + b"/" if prefix else b"") + _text(block[:100])


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _ended(content: bytes) -> bytes:
    """GNU's long name, with the NUL at its end."""
    if content[-1:] != b"\0":
        raise malformed("a long name without an end")
    return content[:-1]


def _number(field: bytes) -> int:
    """Octal digits; or, of GNU's, the number itself behind a byte that says so."""
    if field[0] in {0x80, 0xFF}:
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)  # noqa: PLR2004
    if not (found := _OCTAL.fullmatch(_text(field))):
        raise malformed(f"{field!r} instead of a number")
    return int(found[1], 8)


def _decimal(value: bytes) -> int:
    if not _DECIMAL.fullmatch(value):
        raise malformed("a size that is no number")
    return int(value)


def _time(value: bytes) -> int:
    """Seconds with decimals."""
    if not (found := _TIME.fullmatch(value)):
        raise malformed("a time that is no number")
    sign = -1 if found[1] else 1
    return _nanoseconds(sign * int(found[2]), sign * int((found[3] or b"")[:9].ljust(9, b"0")))


def _nanoseconds(seconds: int, more: int) -> int:
    return max(-_SECONDS, min(seconds, _SECONDS)) * 10**9 + more


def _heeded(data: bytes, everywhere: bool) -> dict[bytes, bytes]:
    """What of a pax header is heeded."""
    found = {}
    for key, value in _records(data):
        if key.startswith(b"GNU.") or (everywhere and key in _FIELDS):
            raise malformed("a pax header for a sparse file or a volume, or one for all members")
        if key in _FIELDS:
            found[key] = value  # the last one counts
    return found


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The `length key=value` lines of a pax header. A length counts all of its line."""
    start = 0
    while start < len(data):
        length, _, _ = data[start : start + 8].partition(b" ")
        end = start + int(length) if length.isdigit() else 0
        key, equals, value = data[start + len(length) + 1 : end].partition(b"=")
        if not start < end <= len(data) or not equals or value[-1:] != b"\n":
            raise malformed("a pax header that cannot be read")
        yield key, value[:-1]
        start = end

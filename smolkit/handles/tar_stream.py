"""A reader of untrusted tar streams, with ustar, GNU and pax headers, in constant memory.

Python's `tarfile` reads a long name of any size into memory, keeps every member, and accepts data after the archive's end;
it decides by names (`realpath`), not by descriptors, where members go. Archives that implementations read differently
(sizes of links, two names for one member, numbers with a tail) are refused here.
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
_LONG = {b"L": b"path", b"K": b"linkpath"}  # GNU's headers for long names, and the pax fields that they stand for
_PAX, _PAX_GLOBAL = b"x", b"g"
_FIELDS = {b"path", b"linkpath", b"size", b"mtime"}  # the fields of a pax header that are read
_MAGIC_POSIX, _MAGIC_GNU = b"ustar\x0000", b"ustar  \0"

_BLOCK, _CHUNK = 512, 2**16
_END = bytes(_BLOCK)
_EXTENSION = 2**20  # maximum bytes of a long name or a pax header, which may have extended attributes
_AFTER = 2**20  # maximum bytes after the archive's end: tar pads the last record, usually to 10 KiB
_SECONDS = 2**35  # maximum distance from 1970: more than any file system stores

_OCTAL = re.compile(rb" *([0-7]+) *")
_DECIMAL = re.compile(rb"[0-9]{1,20}")
_TIME = re.compile(rb"(-?)([0-9]{1,12})(?:\.([0-9]*))?")


@frozen
class Member:
    """One member of an archive.

    Attributes:
        name: Its name as the archive has it: not empty and without NUL, otherwise unchecked.
        kind: FILE, DIRECTORY, SYMLINK, HARD_LINK or OTHER.
        mode: Its permissions, without the setuid, setgid and sticky bits.
        size: The bytes of its content; 0 except for files.
        mtime: Its modification time, in nanoseconds since the epoch.
        target: The target of a link.
    """

    name: bytes
    kind: str
    mode: int
    size: int
    mtime: int
    target: bytes

    @property
    def shown(self) -> str:
        """Its name for a message."""
        return shown(self.name)


def shown(name: bytes) -> str:
    """A guest's name for a message: one line, shortened."""
    text = repr(os.fsdecode(name))
    return text if len(text) <= 200 else f"{text[:100]}...{text[-90:]}"  # noqa: PLR2004  (characters of a message)


def malformed(why: str) -> UnsafeArchiveError:
    """The error for a malformed archive."""
    return UnsafeArchiveError(f"the guest sent a malformed tar: {why}")


def too_much() -> UnsafeArchiveError:
    """The error for a guest that sends more than the limit."""
    return UnsafeArchiveError("the guest sent more bytes than the limit (limit=)")


class TarReader:
    """Iterates over the members of a stream. The `content` of each must be read to its end before the next member.

    Args:
        file: An object with `read(size)`, which may return fewer bytes, and none at the end.
        limit: Maximum number of bytes of the stream, including headers and padding.
    """

    def __init__(self, file: Any, limit: int) -> None:
        self._file, self._room = file, limit
        self._size = 0  # bytes of the current member's content
        self._extended: set[bytes] = set()  # the kinds of extension headers read for the next member
        self._extra: dict[bytes, bytes] = {}  # their fields

    def __iter__(self) -> Iterator[Member]:
        while (block := self._read(_BLOCK)) != _END:
            _check(block)
            kind = block[156:157]
            if kind in {*_LONG, _PAX, _PAX_GLOBAL}:
                self._extend(kind, self._content(block))
            else:
                yield self._member(block)
        if self._extended or self._read(_BLOCK) != _END:
            raise malformed("no end of the archive")
        self._room = _AFTER
        while self._some(_CHUNK):
            pass

    def content(self) -> Iterator[bytes]:
        """The current file's content, in pieces."""
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
        """The content of an extension header."""
        size = _number(block[124:136])
        if not 0 <= size <= _EXTENSION:
            raise malformed(f"a header of {size} bytes")
        return self._read(size + -size % _BLOCK)[:size]

    def _extend(self, kind: bytes, content: bytes) -> None:
        # Implementations differ in which of two such headers counts.
        if kind in self._extended or (self._extended and _PAX in {kind, *self._extended}):
            raise malformed("conflicting extension headers for one member")
        found = {_LONG[kind]: _ended(content)} if kind in _LONG else _heeded(content, kind == _PAX_GLOBAL)
        if not all(found.values()):
            raise malformed("an empty field in an extension header")
        if kind != _PAX_GLOBAL:
            self._extended.add(kind)
            self._extra |= found

    def _read(self, size: int) -> bytes:
        """Read exactly `size` bytes."""
        data = bytearray()  # appending to bytes would copy them each time
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
        raise malformed("it ends too early")


def _check(block: bytes) -> None:
    """Check the checksum, which counts itself as eight spaces. Some programs sum signed bytes."""
    counted = block[:148] + b" " * 8 + block[156:]
    more = sum(counted) - _number(block[148:156])
    if more and more != 256 * sum(byte >> 7 for byte in counted):
        raise malformed("a wrong checksum of a header")
    if block[257:265] not in {_MAGIC_POSIX, _MAGIC_GNU}:
        raise malformed("a header of no known format")


def _name(block: bytes) -> bytes:
    # POSIX's headers have the name's prefix where GNU's have times.
    prefix = _text(block[345:500]) if block[257:265] == _MAGIC_POSIX else b""
    return (prefix + b"/" if prefix else b"") + _text(block[:100])


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _ended(content: bytes) -> bytes:
    """A long name in GNU's header, without the NUL that ends it."""
    if content[-1:] != b"\0":
        raise malformed("a long name without a NUL")
    return content[:-1]


def _number(field: bytes) -> int:
    """A number: octal digits, or in GNU's headers binary after a marker byte."""
    if field[0] in {0x80, 0xFF}:
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)  # noqa: PLR2004
    if not (found := _OCTAL.fullmatch(_text(field))):
        raise malformed(f"{field!r} instead of a number")
    return int(found[1], 8)


def _decimal(value: bytes) -> int:
    if not _DECIMAL.fullmatch(value):
        raise malformed("a size that is not a number")
    return int(value)


def _time(value: bytes) -> int:
    """A decimal time in seconds, as nanoseconds."""
    if not (found := _TIME.fullmatch(value)):
        raise malformed("a time that is not a number")
    sign = -1 if found[1] else 1
    return _nanoseconds(sign * int(found[2]), sign * int((found[3] or b"")[:9].ljust(9, b"0")))


def _nanoseconds(seconds: int, more: int) -> int:
    return max(-_SECONDS, min(seconds, _SECONDS)) * 10**9 + more


def _heeded(data: bytes, everywhere: bool) -> dict[bytes, bytes]:
    """The fields of a pax header that are read."""
    found = {}
    for key, value in _records(data):
        if key.startswith(b"GNU.") or (everywhere and key in _FIELDS):
            raise malformed("a pax header for a sparse file or a volume, or one for all members")
        if key in _FIELDS:
            found[key] = value  # the last value of a field counts
    return found


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The `length key=value` lines of a pax header. A length counts all of its line."""
    start = 0
    while start < len(data):
        length, _, _ = data[start : start + 8].partition(b" ")
        end = start + int(length) if length.isdigit() else 0
        key, equals, value = data[start + len(length) + 1 : end].partition(b"=")
        if not start < end <= len(data) or not equals or value[-1:] != b"\n":
            raise malformed("a malformed pax header")
        yield key, value[:-1]
        start = end

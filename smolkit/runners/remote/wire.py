"""The wire format of a link: frames, each a JSON header and bytes. Neither end trusts the other: nothing is ever unpickled.

A frame is 12 bytes, its header, and its blob:

    "sk", version (1 byte), 0 (1 byte), length of the header (4 bytes, big-endian), length of the blob (4 bytes)

The header is a JSON object with the channel (an integer), the operation (a string), and the operation's fields.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from smolkit.values.hidden import Hidden

VERSION = 1
MAX_HEADER = 4 * 2**20  # bytes: an argv of 2 MiB, the most that Linux takes by default, and its quotes
MAX_BLOB = 2**18
_MAX_DEPTH = 16  # of the header's lists and objects
_PREFIX = struct.Struct(">2sBxII")
_MAGIC = b"sk"


class WireError(Exception):
    """The other end does not speak this protocol."""


class Frame(NamedTuple):
    """One message.

    Attributes:
        channel: The call that it is about; 0 is the link itself.
        op: The operation.
        fields: Its fields, as JSON has them.
        blob: Its bytes.
    """

    channel: int
    op: str
    fields: dict[str, Any]
    blob: bytes = b""

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer field.

        Raises:
            WireError: it is missing, or something else.
        """
        value = self.fields.get(name, default)
        if type(value) is not int:
            raise WireError(f"{self.op} without {name}")
        return value


def encode(channel: int, op: str, blob: bytes = b"", **fields: Any) -> bytes:
    """A frame as bytes. Fields may hold Hidden values, which are revealed there and nowhere else.

    Raises:
        ValueError: it is larger than the other end would take.
    """
    # Words may hold any bytes, as lone surrogates. In a Hidden: this function may raise.
    text = json.dumps({"ch": channel, "op": op, **fields}, ensure_ascii=False, separators=(",", ":"), default=Hidden.reveal)
    header, text = Hidden(text.encode("utf-8", "surrogatepass")), ""
    if len(header.reveal()) > MAX_HEADER or len(blob) > MAX_BLOB:
        raise ValueError("the command line is longer than a link takes: use input=, or cp a file")
    return b"".join((_PREFIX.pack(_MAGIC, VERSION, len(header.reveal()), len(blob)), header.reveal(), blob))  # type: ignore[arg-type]


class Decoder:
    """Finds the frames in what arrives. It keeps one incomplete frame at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes, and return the frames that are complete by then.

        Raises:
            WireError: they are no frames, or larger ones than the other end may send.
        """
        self._buffer += data
        while len(self._buffer) >= _PREFIX.size:
            header, blob = self._lengths()
            end = _PREFIX.size + header + blob
            if len(self._buffer) < end:
                return
            content = bytes(self._buffer[_PREFIX.size : end])
            del self._buffer[:end]
            yield _frame(content[:header], content[header:])

    def _lengths(self) -> tuple[int, int]:
        magic, version, header, blob = _PREFIX.unpack_from(self._buffer)
        if magic != _MAGIC:
            raise WireError(f"not a frame: {bytes(self._buffer[:40])!r}")
        if version != VERSION:
            raise WireError(f"a frame of version {version}, not {VERSION}")
        if header > MAX_HEADER or blob > MAX_BLOB:
            raise WireError(f"a frame of {header} and {blob} bytes, which is too large")
        return header, blob


def _frame(header: bytes, blob: bytes) -> Frame:
    # From None, and without the header in the message: it may hold secrets.
    try:
        fields = json.loads(header.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"a header that is no JSON: {type(error).__name__}") from None
    if not isinstance(fields, dict) or _is_deeper(fields, _MAX_DEPTH):
        raise WireError("a header that is no object, or a deep one")
    channel, op = fields.pop("ch", None), fields.pop("op", None)
    if type(channel) is not int or not 0 <= channel < 2**53 or not isinstance(op, str):
        raise WireError("a header without a channel and an operation")
    return Frame(channel, op, fields, blob)


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)

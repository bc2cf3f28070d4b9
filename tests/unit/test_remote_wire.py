"""The wire format: whatever arrives, it is frames or a WireError, soon and in little memory."""

from __future__ import annotations

import json
import os
import random
import struct
import time
import tracemalloc
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.runners.remote.channel import Carrier, Channel
from smolkit.runners.remote.wire import MAX_BLOB, MAX_HEADER, VERSION, Decoder, Frame, WireError, encode
from smolkit.values.hidden import Hidden

PREFIX = struct.Struct(">2sBxII")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FRAMES = st.lists(st.tuples(st.integers(0, 2**50), st.text(), JSON, st.binary(max_size=300)), max_size=5)


def raw(header: bytes, blob: bytes = b"", version: int = VERSION) -> bytes:
    """A frame with any header."""
    return PREFIX.pack(b"sk", version, len(header), len(blob)) + header + blob


@given(FRAMES, st.integers(1, 50))
def test_frames_arrive_as_they_were_sent(frames: list[tuple[int, str, object, bytes]], step: int) -> None:
    """Frames arrive as they were sent, however the stream is cut."""
    data = b"".join(encode(channel, op, blob, value=value) for channel, op, value, blob in frames)
    decoder, found = Decoder(), list[Frame]()
    for start in range(0, len(data), step):
        found += decoder.feed(data[start : start + step])

    assert [Frame(channel, op, {"value": value}, blob) for channel, op, value, blob in frames] == found


def test_words_of_any_bytes_and_secrets_arrive() -> None:
    """Words that are not UTF-8 arrive, and Hidden values as what they hide."""
    word = os.fsdecode(b"\xff\xfe a\0")
    (frame,) = Decoder().feed(encode(1, "run", argv=[word], env={"A": Hidden("secret")}))

    assert {"argv": [word], "env": {"A": "secret"}} == frame.fields


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Welcome to build1!\n", "not a frame"),
        (raw(b"{}", version=9), "version 9, not 1"),
        (PREFIX.pack(b"sk", VERSION, 2**32 - 1, 0), "too large"),
        (PREFIX.pack(b"sk", VERSION, 10, 2**32 - 1), "too large"),
        (PREFIX.pack(b"sk", VERSION, MAX_HEADER + 1, 0), "too large"),
        (PREFIX.pack(b"sk", VERSION, 2, MAX_BLOB + 1), "too large"),
        (raw(b"\xff\xff"), "no JSON"),
        (raw(b"{"), "no JSON"),
        (raw(b"[" * MAX_HEADER), "no JSON"),
        (raw(b'{"ch":1,"op":"x","a":' + b"[" * 100 + b"]" * 100 + b"}"), "deep"),
        (raw(b"9" * 10_000), "JSON"),
        (raw(b"[]"), "no object"),
        (raw(b"{}"), "without a channel"),
        (raw(b'{"ch":true,"op":"x"}'), "without a channel"),
        (raw(b'{"ch":-1,"op":"x"}'), "without a channel"),
        (raw(b'{"ch":1e300,"op":"x"}'), "without a channel"),
        (raw(b'{"ch":1,"op":["x"]}'), "without a channel"),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, words: str) -> None:
    """Anything else than a frame of this version and a sensible size is a WireError, at once."""
    with pytest.raises(WireError, match=words):
        list(Decoder().feed(data))


def test_an_error_shows_no_header() -> None:
    """The error of a broken header does not show it: it may hold secrets."""
    with pytest.raises(WireError) as caught:
        list(Decoder().feed(raw(b'{"env":{"TOKEN":"secret"}')))

    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_field_of_the_wrong_type_is_refused() -> None:
    """A number that is missing, or is none, is a WireError."""
    for fields in ({}, {"size": "1"}, {"size": 1.0}, {"size": True}):
        with pytest.raises(WireError, match="credit without size"):
            Frame(1, "credit", fields).integer("size")


@pytest.mark.parametrize("fields", [{"argv": ["x" * MAX_HEADER]}, {"blob": bytes(MAX_BLOB + 1)}])
def test_what_is_too_large_is_not_sent(fields: dict[str, object]) -> None:
    """A frame that the other end would refuse is refused by the sender."""
    with pytest.raises(ValueError, match="longer than a link takes"):
        encode(1, "run", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_take_little_time_and_memory(seed: int) -> None:
    """Random bytes, changed frames and cut ones end soon, in bounded memory, with no other error."""
    chance = random.Random(seed)  # noqa: S311
    good = encode(7, "stdout", chance.randbytes(1000), value=[1, {"a": "b"}])
    began = time.monotonic()
    tracemalloc.start()
    for _ in range(300):
        data = bytearray(good * 3)
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        for piece in (chance.randbytes(chance.randrange(200)), bytes(data), bytes(data[: chance.randrange(len(data))])):
            decoder = Decoder()
            try:
                frames = list(decoder.feed(piece))
            except WireError:
                continue
            assert all(isinstance(frame.fields, dict) for frame in frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * 2**20
    assert time.monotonic() - began < 60


def test_a_half_frame_is_all_that_is_kept() -> None:
    """The decoder keeps no more than the largest frame, whatever is promised."""
    decoder = Decoder()
    list(decoder.feed(PREFIX.pack(b"sk", VERSION, MAX_HEADER, MAX_BLOB)))
    for _ in range(40):
        list(decoder.feed(b" " * 2**16))

    assert len(decoder._buffer) <= PREFIX.size + MAX_HEADER + MAX_BLOB


def test_the_header_is_plain_json() -> None:
    """A frame's header is JSON that any program reads."""
    data = encode(3, "exit", code=255)

    assert {"ch": 3, "op": "exit", "code": 255} == json.loads(data[PREFIX.size :])


def test_output_beyond_its_window_is_refused() -> None:
    """A far end that sends more output than it was granted ends its link, and does not fill this process's memory."""
    channel = Channel(cast("Carrier", SimpleNamespace(send=lambda *_, **__: None)), 1)
    channel.send("run", window=10)
    channel.receive(Frame(1, "stdout", {}, bytes(9)))
    channel.receive(Frame(1, "stderr", {}, bytes(MAX_BLOB)))  # the frame that fills it may be a whole one
    with pytest.raises(WireError, match=f"it has sent {MAX_BLOB + 10} bytes of output where it may send 10"):
        channel.receive(Frame(1, "stdout", {}, b"x"))


def test_the_first_answer_counts() -> None:
    """A command that has ended keeps its exit status, and a failure its words, when an `end` to it came too late there."""
    for answer in (Frame(1, "exit", {"code": 7, "duration": 1.0}), Frame(1, "error", {"kind": "SmolvmError"})):
        channel = Channel(cast("Carrier", SimpleNamespace(send=lambda *_, **__: None)), 1)
        channel.receive(answer)
        code = channel.code
        channel.receive(Frame(1, "exit", {"code": -15}))

        assert (answer, code) == (channel.answer, channel.code)

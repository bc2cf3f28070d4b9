"""The output of a followed command: its lines, and which of its stderr is the guest's."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import final

from smolkit.commands.failures import STDERR_END
from smolkit.values.shown import JSON_FAILURE

_ERROR = JSON_FAILURE.encode()  # begins the engine's own last line of stderr, where a call failed
KEPT = STDERR_END  # bytes of a stream's end that are kept for errors
_LONGEST_LINE = 1_048_576  # characters after which a line is given without its end


@final
class Lines:
    """Makes lines of text of the pieces of both streams."""

    def __init__(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {"stdout": decoder("replace"), "stderr": decoder("replace")}
        self._rests = {"stdout": "", "stderr": ""}

    def of(self, stream: str, chunk: bytes) -> Iterator[tuple[str, str]]:
        """The lines that this piece completes."""
        *lines, rest = (self._rests[stream] + self._decoders[stream].decode(chunk)).split("\n")
        yield from ((stream, f"{line}\n") for line in lines)
        if len(rest) > _LONGEST_LINE:
            yield stream, rest
            rest = ""
        self._rests[stream] = rest

    def last(self) -> Iterator[tuple[str, str]]:
        """The last line of each stream, if it has no newline."""
        for stream, rest in self._rests.items():
            if last := rest + self._decoders[stream].decode(b"", final=True):
                self._rests[stream] = ""
                yield stream, last


@final
class Stderr:
    """Tells the guest's stderr from the engine's, which writes its own error as the last line there.

    Attributes:
        end: The end of all of it.
        held: A line that is held back, since it may turn out to be the engine's.
    """

    def __init__(self) -> None:
        self.end: bytes = b""
        self.held: bytes = b""

    def guests(self, chunk: bytes) -> bytes:
        """The part that is surely the guest's, as far as this piece tells."""
        said = self.held + chunk
        self.end = (self.end + chunk)[-KEPT:]
        start = said.rstrip(b"\n").rfind(b"\n") + 1
        last = said[start:]
        begins = any(last.endswith(_ERROR[:length]) for length in range(1, len(_ERROR)))
        if len(last) < KEPT and (_ERROR in last or begins):
            self.held = last
            return said[:start]
        self.held = b""
        return said

    def drop_error(self) -> None:
        """Drop the engine's error from the line that is held back: it is raised. What stands before it is the guest's."""
        self.held = self.held.partition(_ERROR)[0]

"""What a recorder has to leave out of a recording: the secrets that smolkit knows of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import unquote

from smolkit.values.hidden import Hidden
from smolkit.values.shown import masked_parts

if TYPE_CHECKING:
    from smolkit.values.results import Invocation

_SHORTEST_VALUE = 6  # characters of a variable that is no secret: shorter ones ("1", "true", "root") are in most answers
_LARGEST_FILE = 2**20  # bytes: the engine takes no more


def known(invocation: Invocation, given: Mapping[str, Hidden]) -> set[Hidden]:
    """The secrets of a call, the values of its variables, proxies and their passwords.

    Args:
        invocation: The call.
        given: The variables that its runner gives the engine.
    """
    values = [*masked_parts(invocation.argv), *(value.reveal() for value in given.values())]
    values += [part for value in values if "://" in value for part in _credentials(value)]
    files = (_read(path) for path in _files(invocation.argv))
    return {
        *(value for _, value in invocation.env),
        *(Hidden(value) for value in values if len(value) >= _SHORTEST_VALUE),
        *(Hidden(text) for text in files if text),
    }


def _files(argv: tuple[str, ...]) -> list[str]:
    words = argv[: argv.index("--")] if "--" in argv else argv
    return [word.partition("=")[2] for flag, word in pairwise(words) if flag == "--secret-file"]


def _read(path: str) -> str:
    """What a secret's file holds, if it is on this host."""
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST_FILE).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _credentials(url: str) -> Iterator[str]:
    """A URL's user and password, as they stand there and as they are."""
    for part in url.partition("://")[2].rpartition("@")[0].split(":", 1):
        yield from (part, unquote(part))

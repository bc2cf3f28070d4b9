"""The secrets of a call, for a Recorder to leave out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from urllib.parse import unquote

from smolkit.values.hidden import Hidden
from smolkit.values.results import Invocation
from smolkit.values.shown import masked_parts

_SHORTEST_VALUE = 6  # characters of a plain variable: shorter values ("1", "true", "root") occur in most output
_MAX_FILE_SIZE = 2**20  # bytes: the engine refuses larger secret files


def secrets_of(invocation: Invocation, given: Mapping[str, Hidden]) -> set[Hidden]:
    """The values that must not be recorded: secrets, environment variables, proxy URLs and their credentials.

    Args:
        invocation: The call.
        given: The environment variables that the runner gives the engine.
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
    """The content of a secret's file, or "" if this host does not have it."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE_SIZE).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _credentials(url: str) -> Iterator[str]:
    """The user and password in a URL, both percent-encoded and decoded."""
    for part in url.partition("://")[2].rpartition("@")[0].split(":", 1):
        yield from (part, unquote(part))

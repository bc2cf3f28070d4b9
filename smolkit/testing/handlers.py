"""Handlers of a fake's commands: which one answers a command, and what its answer means."""

from __future__ import annotations

import posixpath
from collections.abc import Generator
from inspect import iscoroutine
from types import GeneratorType
from typing import Any

from attrs import frozen

from smolkit.testing.guest import GuestCall, GuestResult
from smolkit.testing.guest_io import Pieces
from smolkit.values import validate

DEFAULT = ("*",)
_LAST_STATUS = 255
_ANSWERS = (
    "its stdout (str or bytes), its exit status (an int), a GuestResult(returncode, stdout, stderr), None, or "
    "FileNotFoundError or PermissionError"
)


class CannotStartError(Exception):
    """The program cannot be started. Apart from OSErrors that a handler raises by mistake.

    Attributes:
        reason: FileNotFoundError or PermissionError.
    """

    def __init__(self, reason: OSError) -> None:
        super().__init__(reason)
        self.reason: OSError = reason


def first_words(command: object) -> tuple[str, ...]:
    """The words that a handler's command begins with."""
    if callable(command):
        raise TypeError("a handler must be registered for a command: @fake.on('python3'), not @fake.on")
    if isinstance(command, str):
        if command.split() != [command]:
            raise ValueError(
                f"command must be a program, or a list of the first words of a command, not {command!r}: "
                f"write {command.split() or ['program']!r}"
            )
        return (command,)
    return validate.words("command", command)


@frozen
class RegisteredHandler:
    """A handler, and the first words of the commands that it answers.

    Attributes:
        words: The program, perhaps with arguments.
        handler: A function of the call, or its answer.
    """

    words: tuple[str, ...]
    handler: Any

    @classmethod
    def of(cls, words: tuple[str, ...], handler: Any) -> RegisteredHandler:
        """A checked handler."""
        if not callable(handler) or isinstance(handler, type):
            _checked(handler, "a handler must be a function of the call, or")
        return cls(words, handler)

    def matches(self, args: tuple[str, ...]) -> bool:
        """True if it answers this command: a program without a directory is that in any directory."""
        program = args[0] if "/" in self.words[0] else posixpath.basename(args[0])
        return self.words == (program, *args[1:])[: len(self.words)]

    def answer(self, call: GuestCall) -> Pieces:
        """The output of a call, and its exit status."""
        handler = self.handler
        result = handler(call) if callable(handler) and not isinstance(handler, type) else handler
        return _generated(result) if isinstance(result, GeneratorType) else output(result)


def output(result: Any) -> Pieces:
    """The output and the exit status that an answer of a handler stands for."""
    result = _checked(result, "a handler's answer must be")
    if isinstance(result, OSError):
        raise CannotStartError(result)
    if isinstance(result, BaseException):
        raise result
    if isinstance(result, int):
        result = GuestResult(result)
    if not isinstance(result, GuestResult):
        result = GuestResult(0, b"" if result is None else result)
    for stream, text in (("stdout", result.stdout), ("stderr", result.stderr)):
        if text:
            yield stream, validate.data("a handler's answer", text) or b""
    return _status(result.returncode)


def _checked(result: Any, subject: str) -> Any:
    """The answer, or an instance of the exception class. Raises TypeError if it is no answer."""
    if isinstance(result, type) and issubclass(result, BaseException):
        return result()
    known = (str, bytes, int, GuestResult, BaseException, type(None))
    if isinstance(result, known) and not isinstance(result, bool):
        return result
    if iscoroutine(result):
        result.close()
        raise TypeError(f"{subject} {_ANSWERS}, not a coroutine: a plain function may wait with smolkit.aio.wait_for")
    if isinstance(result, GeneratorType):
        raise TypeError(f"{subject} {_ANSWERS}, not a generator: pass the function that makes it")
    raise TypeError(f"{subject} {_ANSWERS}, not {type(result).__name__}")


def _generated(pieces: Generator[Any, Any, Any]) -> Pieces:
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            return _status(0 if end.value is None else end.value)
        stream, text = piece if isinstance(piece, tuple) and len(piece) == 2 else ("stdout", piece)  # noqa: PLR2004
        if stream not in {"stdout", "stderr"} or not isinstance(text, str | bytes):
            raise TypeError(
                "what a handler yields must be stdout (str or bytes), or a pair ('stderr', text) or ('stdout', text), "
                f"not {validate.shown(piece)}"
            )
        yield stream, validate.data("a handler's output", text) or b""


def _status(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LAST_STATUS:
        raise ValueError(f"a handler's exit status must be an int from 0 to {_LAST_STATUS}, not {validate.shown(value)}")
    return value

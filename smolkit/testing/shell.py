"""A very small `sh -c`, for what tests say in passing. What it does not know it refuses: it never guesses.

It knows words, quotes, `$NAME`, `${NAME}` and `$?`; `;`, newlines, `&&`, `||` and `|`; `<`, `>`, `>>`, `2>`, `2>&1` and
`>&2`; comments. Everything else is for a handler of `sh`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING

from attrs import define, field

from smolkit.testing.guest_input import WAITS, GuestInput

if TYPE_CHECKING:
    from smolkit.testing.memory import Files

Pieces = Generator[tuple[str, bytes], None, int]  # (stream, data), and in the end the exit status
Execute = Callable[[tuple[str, ...], GuestInput], Pieces]  # a program, and its stdin

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t]|\\\n)+|\#[^\n]*)
    |(?P<operator>&&|\|\||[;|\n])
    |(?P<duplicate>2>&1|1?>&2)
    |(?P<redirect>2>>|2>|1?>>|1?>|<(?!<))
    |(?P<word>(?:\\[^\n]|'[^']*'|"(?:[^"\\`]|\\.)*"|\$\w+|\$\{\w+\}|\$\?|[^\s;|&<>()$`\\"'*?\[\]{}~!\#]|(?<=\S)[\#~!\[\]{}])+)""",
    re.VERBOSE,
)
_PART = re.compile(r"""\\(?P<one>.)|'(?P<raw>[^']*)'|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<plain>[^\\'"]+)""", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\}|(\?))")
_KEYWORDS = frozenset(
    {"if", "for", "while", "until", "case", "function", "{", "}", "[[", "trap", "set", "eval", ".", "source"}
)


class UnknownSyntaxError(Exception):
    """The script has what this shell does not know."""


class _Exit(Exception):  # noqa: N818  (no error: what `exit` does)
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@define
class _Simple:
    words: list[str] = field(factory=list)
    redirects: list[tuple[str, str]] = field(factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.words and not self.redirects


class Shell:
    """A shell in a machine's guest.

    Args:
        files: The guest's.
        env: Its variables.
        workdir: Where relative names begin.
        execute: Runs a program. FileNotFoundError, PermissionError: it cannot be run.
    """

    def __init__(self, files: Files, env: Mapping[str, str], workdir: str, execute: Execute) -> None:
        self._files, self._env, self._workdir, self._execute = files, {**env, "?": "0"}, workdir, execute

    def run(self, script: str, stdin: GuestInput) -> Pieces:
        """Runs a script.

        Raises:
            UnknownSyntaxError: it has what this shell does not know.
        """
        status, skip = 0, False
        for pipeline, operator in list(_parse(script)):
            if not skip:
                try:
                    status = yield from self._pipeline(pipeline, stdin)
                except _Exit as end:
                    return end.status
                self._env["?"] = str(status)
            skip = (operator == "&&" and status != 0) or (operator == "||" and status == 0)
        return status

    def _pipeline(self, pipeline: list[_Simple], stdin: GuestInput) -> Pieces:
        status = 0
        for number, simple in enumerate(pipeline):
            passed, last = bytearray(), number == len(pipeline) - 1
            pieces = _Result(self._simple(simple, stdin))
            try:
                for stream, data in pieces:
                    if stream == "stdout" and not last:
                        passed += data
                    else:
                        yield stream, data
            except _Exit as end:
                if len(pipeline) == 1:
                    raise
                pieces.status = end.status  # a part of a pipeline is a shell of its own
            status, stdin = pieces.status, GuestInput(bytes(passed))
        return status

    def _simple(self, simple: _Simple, stdin: GuestInput) -> Pieces:
        words = tuple(text for word in simple.words if (text := self._expand(word)) or set(word) & {"'", '"'})
        places: dict[str, str] = {"stdout": "stdout", "stderr": "stderr", WAITS[0]: WAITS[0]}
        written: dict[str, bytearray] = {}
        try:
            for operator, target in simple.redirects:
                if operator == "<":
                    stdin = GuestInput(self._files.read(posixpath.join(self._workdir, self._expand(target))))
                else:
                    self._redirect(operator, target, places, written)
        except OSError as error:
            yield "stderr", f"sh: can't open {error.filename}: {(error.strerror or '').lower()}\n".encode()
            return 1
        for stream, piece in (pieces := _Result(self._started(words, stdin))):
            if (place := places[stream]) in written:
                written[place] += piece
            else:
                yield place, piece
        for path, data in written.items():
            if path != "/dev/null":
                self._files.write(path, bytes(data))
        return pieces.status

    def _redirect(self, operator: str, target: str, places: dict[str, str], written: dict[str, bytearray]) -> None:
        if operator == "2>&1":
            places["stderr"] = places["stdout"]
        elif operator.endswith("&2"):
            places["stdout"] = places["stderr"]
        else:
            path = posixpath.join(self._workdir, self._expand(target))
            places["stderr" if operator.startswith("2") else "stdout"] = path
            written[path] = self._opened(path, append=operator.endswith(">>"))

    def _started(self, words: tuple[str, ...], stdin: GuestInput) -> Pieces:
        if not words:
            return 0
        if words[0] == "exit":
            raise _Exit(int((*words[1:], self._env["?"])[0]) & 255)
        try:
            return (yield from self._execute(words, stdin))
        except FileNotFoundError:
            yield "stderr", f"sh: {words[0]}: not found\n".encode()
            return 127
        except PermissionError:
            yield "stderr", f"sh: {words[0]}: Permission denied\n".encode()
            return 126

    def _opened(self, path: str, *, append: bool) -> bytearray:
        """What a file to be written begins with; it is there from now on."""
        if path == "/dev/null":
            return bytearray()
        old = self._files.read(path) if append and self._files.exists(path) else b""
        self._files.write(path, old)
        return bytearray(old)

    def _expand(self, word: str) -> str:
        """The word without its quotes, variables put in."""
        parts = []
        for found in _PART.finditer(word):
            kind, text = found.lastgroup or "", found[found.lastgroup or 0]
            if kind == "plain":
                text = self._put_in(text)
                if re.search(r"[\s*?\[]", text):
                    raise UnknownSyntaxError(word)  # it would be split, or looked up
            elif kind == "text":
                pieces = re.split(r'\\(["\\$`])', text)
                text = "".join(piece if number % 2 else self._put_in(piece) for number, piece in enumerate(pieces))
            parts.append(text)
        return "".join(parts)

    def _put_in(self, text: str) -> str:
        return _VARIABLE.sub(lambda found: self._env.get(found[1] or found[2] or found[3], ""), text)


class _Result:
    """Pieces to iterate, whose status stays."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces, self.status = pieces, 0

    def __iter__(self) -> Pieces:
        self.status = yield from self._pieces
        return self.status


def _parse(script: str) -> Generator[tuple[list[_Simple], str], None, None]:
    """The pipelines, each with the operator behind it."""
    pipeline, redirect, last = [_Simple()], "", ""
    for kind, text in _tokens(script):
        if kind != "operator":
            redirect = _put(pipeline[-1], kind, text, redirect)
        elif redirect or (pipeline[-1].is_empty and text != "\n"):
            raise UnknownSyntaxError(redirect or text)
        elif text == "|":
            pipeline.append(_Simple())
        elif not pipeline[-1].is_empty:
            yield pipeline, text
            pipeline, last = [_Simple()], text
    if len(pipeline) > 1 or last in {"&&", "||"}:
        raise UnknownSyntaxError("|" if len(pipeline) > 1 else last)


def _put(simple: _Simple, kind: str, text: str, redirect: str) -> str:
    """Adds a word or a redirection to a command; the redirection that waits for its file, or ""."""
    if redirect:
        if kind != "word":
            raise UnknownSyntaxError(redirect)
        simple.redirects.append((redirect, text))
        return ""
    if kind == "word":
        if not simple.words and (text in _KEYWORDS or re.match(r"\w+=", text)):
            raise UnknownSyntaxError(text)
        simple.words.append(text)
    elif kind == "duplicate":
        simple.redirects.append((text, ""))
    return text if kind == "redirect" else ""


def _tokens(script: str) -> Generator[tuple[str, str], None, None]:
    """The script's words and operators; after its end, a newline."""
    place = 0
    while place < len(script):
        found = _TOKEN.match(script, place)
        if found is None:
            raise UnknownSyntaxError(script[place : place + 20].partition("\n")[0])
        place = found.end()
        if found.lastgroup != "space":
            yield found.lastgroup or "", found[0]
    yield "operator", "\n"

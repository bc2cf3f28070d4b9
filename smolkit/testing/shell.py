"""A very small `sh -c`, for what tests say in passing. What it does not know it refuses: it never guesses.

It knows words, quotes, `$NAME`, `${NAME}` and `$?`; `;`, newlines, `&&`, `||` and `|`; `<`, `>`, `>>`, `2>`, `2>&1` and
`>&2`; comments; `exit`. Everything else is for a handler of `sh`: also what shells do in different ways, or what depends on
which of two programs is faster. Where busybox' shell and dash differ in a status, it is busybox', which bare machines have.
"""

from __future__ import annotations

import errno
import posixpath
import re
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from smolkit.testing.guest_io import WAITS, GuestInput
from smolkit.testing.shell_syntax import PART, VARIABLE, Simple, UnknownSyntaxError, parse

if TYPE_CHECKING:
    from smolkit.testing.filesystem import Files

Pieces = Generator[tuple[str, bytes], None, int]  # (stream, data), and in the end the exit status
Execute = Callable[[tuple[str, ...], GuestInput], Pieces]  # a program, and its stdin

NULL = "/dev/null"
# What changes the shell itself, and what it sets by itself.
_BUILTINS = re.compile(
    r"cd|exec|export|unset|readonly|local|return|break|continue|shift|set|eval|trap|\.|source|read|umask|alias|command|wait"
)
_OWN = re.compile(r"PWD|OLDPWD|IFS|OPTIND|OPTARG|PPID|LINENO|PS1|PS2|PS4|_|RANDOM|SECONDS|UID|EUID|SHLVL|HOSTNAME")
_USUAL = re.compile(r"HOME|PATH|USER|LOGNAME|SHELL|TERM|LANG")  # whose values depend on the guest


def normal(path: str) -> str:
    """The absolute path without dots and needless slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


class _Exit(Exception):  # noqa: N818  (no error: what `exit` does)
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@frozen
class _Command:
    """A command with its variables put in.

    Attributes:
        words: The program and its arguments.
        redirects: (operator, file as it was written, where that leads).
    """

    words: tuple[str, ...]
    redirects: tuple[tuple[str, str, str], ...]

    @property
    def outputs(self) -> list[str]:
        """The files that it writes."""
        return [path for operator, name, path in self.redirects if name and operator != "<" and path != NULL]

    @property
    def inputs(self) -> list[str]:
        """The files that it is given to read."""
        return [path for operator, _, path in self.redirects if operator == "<"]


class Shell:
    """A shell in a machine's guest.

    Args:
        files: The guest's.
        env: Its variables.
        workdir: Where relative names begin.
        execute: Runs a program. FileNotFoundError, PermissionError: it cannot be run.
    """

    def __init__(self, files: Files, env: Mapping[str, str], workdir: str, execute: Execute) -> None:
        self._files, self._env, self._workdir, self._execute, self._status = files, env, workdir, execute, 0

    def run(self, script: str, stdin: GuestInput) -> Pieces:
        """Runs a script.

        Raises:
            UnknownSyntaxError: it has what this shell does not know.
        """
        skip = False
        for pipeline, operator in list(parse(script)):
            if not skip:
                try:
                    self._status = yield from self._pipeline(pipeline, stdin)
                except _Exit as end:
                    return end.status
            skip = (operator == "&&" and self._status != 0) or (operator == "||" and self._status == 0)
        return self._status

    def _pipeline(self, pipeline: list[Simple], stdin: GuestInput) -> Pieces:
        status, commands = 0, [self._command(simple) for simple in pipeline]
        self._refuse_races(commands)
        for number, command in enumerate(commands):
            passed, last = bytearray(), number == len(commands) - 1
            pieces = _Result(self._simple(command, stdin))
            try:
                for stream, data in pieces:
                    if stream == "stdout" and not last:
                        passed += data
                    else:
                        yield stream, data
            except _Exit as end:
                if len(commands) == 1:
                    raise
                pieces.status = end.status  # a part of a pipeline is a shell of its own
            status, stdin = pieces.status, GuestInput(bytes(passed))
        return status

    def _command(self, simple: Simple) -> _Command:
        words = tuple(text for word in simple.words if (text := self._expand(word)) or set(word) & {"'", '"'})
        redirects = []
        for operator, target in simple.redirects:
            name = self._expand(target)
            redirects.append((operator, name, self._leads(name) if target else ""))
        _refuse(words)
        return _Command(words, tuple(redirects))

    def _leads(self, name: str) -> str:
        """The path of a redirection's file, by which it is known whatever it is called."""
        path = posixpath.join(self._workdir, name)
        if not name or name.endswith("/"):
            raise UnknownSyntaxError(f"a redirection to {name!r}")
        if (plain := normal(path)) == NULL:
            return NULL
        if plain.startswith("/dev/") and not self._files.exists(path):
            raise UnknownSyntaxError(name)
        try:
            return self._files.find(path)[0]
        except OSError:
            return path

    def _refuse_races(self, commands: list[_Command]) -> None:
        """Refuses what is written and read at the same time, or written twice: the fake's commands run one by one."""
        outputs = [path for command in commands for path in command.outputs]
        used = [path for command in commands for path in command.inputs]
        used += [
            self._leads(word) for command in commands if command.words[:1] == ("cat",) for word in command.words[1:] if word
        ]
        sleeps = [command for command in commands if command.words[:1] == ("sleep",)]
        if len(outputs) > len(set(outputs)) or set(outputs) & {*used, *self._files.held} or len(sleeps) > 1:
            raise UnknownSyntaxError("what is used twice at the same time")

    def _simple(self, command: _Command, stdin: GuestInput) -> Pieces:
        places: dict[str, str] = {"stdout": "stdout", "stderr": "stderr", WAITS[0]: WAITS[0]}
        written: dict[str, bytearray] = {}
        try:
            for redirect in command.redirects:
                stdin = self._redirected(redirect, places, written, stdin)
        except OSError as error:
            if command.words[:1] == ("exit",):
                raise UnknownSyntaxError("exit with a file that cannot be opened") from None
            return (yield from self._led(_failed(_cannot(redirect, error)), places, written))
        self._files.held |= written.keys()
        try:
            return (yield from self._led(self._started(command.words, stdin), places, written))
        finally:
            self._files.held -= written.keys()

    def _led(self, pieces: Pieces, places: dict[str, str], written: dict[str, bytearray]) -> Pieces:
        """The pieces go where they are led."""
        for stream, piece in (result := _Result(pieces)):
            if (place := places[stream]) in written:
                written[place] += piece
                self._files.write(place, bytes(written[place]))
            elif place != NULL:
                yield place, piece
        return result.status

    def _redirected(
        self, redirect: tuple[str, str, str], places: dict[str, str], written: dict[str, bytearray], stdin: GuestInput
    ) -> GuestInput:
        """The command's stdin from now on; where else its streams go is put down."""
        operator, _, path = redirect
        if operator == "<":
            if path in self._files.held or self._files.is_dir(path):
                raise UnknownSyntaxError(f"< {path}")
            return GuestInput(b"" if path == NULL else self._files.read(path))
        if operator == "2>&1":
            places["stderr"] = places["stdout"]
        elif operator.endswith("&2"):
            places["stdout"] = places["stderr"]
        else:
            if path != NULL:
                written[path] = self._opened(path, append=operator.endswith(">>"))
            places["stderr" if operator.startswith("2") else "stdout"] = path  # not where it could not be opened
        return stdin

    def _started(self, words: tuple[str, ...], stdin: GuestInput) -> Pieces:
        if not words:
            return 0
        if words[0] == "exit":
            raise _Exit(int(words[1]) & 255 if words[1:] else self._status)
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
        node = self._files.find(path)[1]
        old = node.data if append and node is not None else b""
        self._files.write(path, old)
        return bytearray(old)

    def _expand(self, word: str) -> str:
        """The word without its quotes, variables put in."""
        parts = []
        for found in PART.finditer(word):
            kind, text = found.lastgroup or "", found[found.lastgroup or 0]
            if kind == "plain":
                put_in = self._put_in(text)
                if put_in != text and ("IFS" in self._env or re.search(r"[\s*?\[\\]", put_in)):
                    raise UnknownSyntaxError(word)  # it would be split, or looked up
                text = put_in
            elif kind == "text":
                pieces = re.split(r'\\(["\\$`])', text)
                text = "".join(piece if number % 2 else self._put_in(piece) for number, piece in enumerate(pieces))
            parts.append(text)
        return "".join(parts)

    def _put_in(self, text: str) -> str:
        return VARIABLE.sub(lambda found: self._value(found[1] or found[2] or found[3]), text)

    def _value(self, name: str) -> str:
        if name == "?":
            return str(self._status)
        if _OWN.fullmatch(name) or (_USUAL.fullmatch(name) and name not in self._env):
            raise UnknownSyntaxError(f"${name}")
        return self._env.get(name, "")


def _refuse(words: tuple[str, ...]) -> None:
    """Refuses what is a shell's own and unknown here, or what shells do in different ways."""
    if words[:1] == ("echo",) and any("\\" in word for word in words):
        raise UnknownSyntaxError("echo with a backslash")
    if words[:1] == ("exit",) and words[1:] and not (len(words) == 2 and re.fullmatch("[0-9]{1,9}", words[1])):  # noqa: PLR2004
        raise UnknownSyntaxError(" ".join(words))
    if words and _BUILTINS.fullmatch(words[0]):
        raise UnknownSyntaxError(words[0])


def _failed(words: bytes) -> Pieces:
    yield "stderr", words
    return 1


def _cannot(redirect: tuple[str, str, str], error: OSError) -> bytes:
    """The shell's words about a file that cannot be opened."""
    operator, name, _ = redirect
    if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}:
        raise UnknownSyntaxError(f"{operator} {name}") from None
    if operator == "<":
        return f"sh: can't open {name}: no such file\n".encode()
    why = "Is a directory" if error.errno == errno.EISDIR else "nonexistent directory"
    return f"sh: can't create {name}: {why}\n".encode()


class _Result:
    """Pieces to iterate, whose status stays."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces, self.status = pieces, 0

    def __iter__(self) -> Pieces:
        self.status = yield from self._pieces
        return self.status

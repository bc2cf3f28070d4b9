"""A small `sh -c` for short scripts in tests. It refuses what it does not implement, and never guesses.

It implements quotes, `$NAME`, `${NAME}` and `$?`; `;`, newlines, `&&`, `||` and `|`; `<`, `>`, `>>`, `2>`, `2>&1` and
`>&2`; comments; `exit`. Everything else needs a handler for `sh`. It also refuses what differs between shells, or depends
on which of two programs is faster. Where the exit statuses of dash and busybox differ, it has that of busybox, the shell of
bare machines.
"""

from __future__ import annotations

import errno
import posixpath
import re
from collections.abc import Callable, Mapping

from attrs import frozen

from smolkit.testing.filesystem import Files
from smolkit.testing.guest_io import WAITING, GuestStdin, Pieces
from smolkit.testing.shell_syntax import PART, VARIABLE, Simple, UnknownSyntaxError, parse

Execute = Callable[[tuple[str, ...], GuestStdin], Pieces]  # runs a program with this stdin

NULL = "/dev/null"
# Builtins that are not implemented, and variables whose value is the shell's own.
_BUILTINS = re.compile(
    r"cd|exec|export|unset|readonly|local|return|break|continue|shift|set|eval|trap|\.|source|read|umask|alias|command|wait"
)
_SHELL_VARS = re.compile(r"PWD|OLDPWD|IFS|OPTIND|OPTARG|PPID|LINENO|PS1|PS2|PS4|_|RANDOM|SECONDS|UID|EUID|SHLVL|HOSTNAME")
_LOGIN_VARS = re.compile(r"HOME|PATH|USER|LOGNAME|SHELL|TERM|LANG")  # their values depend on the guest


def normalized(path: str) -> str:
    """The absolute path without `.`, `..` and repeated slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


class _Exit(Exception):  # noqa: N818  (control flow: the `exit` builtin)
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@frozen
class _Command:
    """A simple command after expansion.

    Attributes:
        words: The program and its arguments.
        redirects: Operator, file name as written, resolved path.
    """

    words: tuple[str, ...]
    redirects: tuple[tuple[str, str, str], ...]

    @property
    def outputs(self) -> list[str]:
        """Resolved paths of the files that the command writes."""
        return [path for operator, name, path in self.redirects if name and operator != "<" and path != NULL]

    @property
    def inputs(self) -> list[str]:
        """Resolved paths of the files that are redirected to its stdin."""
        return [path for operator, _, path in self.redirects if operator == "<"]


class Shell:
    """A shell in a fake machine.

    Args:
        files: The machine's files.
        env: The shell's environment.
        workdir: Its working directory.
        execute: Runs a program; raises FileNotFoundError or PermissionError if it cannot be started.
    """

    def __init__(self, files: Files, env: Mapping[str, str], workdir: str, execute: Execute) -> None:
        self._files, self._env, self._workdir, self._execute, self._status = files, env, workdir, execute, 0

    def run(self, script: str, stdin: GuestStdin) -> Pieces:
        """Run a script.

        Raises:
            UnknownSyntaxError: The script needs something that is not implemented.
        """
        skip = False
        # Parsed to its end before anything runs: a script with unsupported syntax has no effect.
        for pipeline, operator in list(parse(script)):
            if not skip:
                try:
                    self._status = yield from self._pipeline(pipeline, stdin)
                except _Exit as end:
                    return end.status
            skip = (operator == "&&" and self._status != 0) or (operator == "||" and self._status == 0)
        return self._status

    def _pipeline(self, pipeline: list[Simple], stdin: GuestStdin) -> Pieces:
        status, commands = 0, [self._command(simple) for simple in pipeline]
        self._refuse_races(commands)
        for number, command in enumerate(commands):
            piped, last = bytearray(), number == len(commands) - 1
            pieces = _Result(self._simple(command, stdin))
            try:
                for stream, data in pieces:
                    if stream == "stdout" and not last:
                        piped += data
                    else:
                        yield stream, data
            except _Exit as end:
                if len(commands) == 1:
                    raise
                pieces.status = end.status  # in a pipeline, `exit` ends only its own part: each part is a subshell
            status, stdin = pieces.status, GuestStdin(bytes(piped))
        return status

    def _command(self, simple: Simple) -> _Command:
        words = tuple(text for word in simple.words if (text := self._expand(word)) or set(word) & {"'", '"'})
        redirects = []
        for operator, target in simple.redirects:
            name = self._expand(target)
            redirects.append((operator, name, self._path_of(name) if target else ""))
        _refuse(words)
        return _Command(words, tuple(redirects))

    def _path_of(self, name: str) -> str:
        """The resolved path of a redirection's file: two names of one file compare equal."""
        path = posixpath.join(self._workdir, name)
        if not name or name.endswith("/"):
            raise UnknownSyntaxError(f"a redirection to {name!r}")
        if (plain := normalized(path)) == NULL:
            return NULL
        if plain.startswith("/dev/") and not self._files.exists(path):
            raise UnknownSyntaxError(name)
        try:
            return self._files.find(path)[0]
        except OSError:
            return path

    def _refuse_races(self, commands: list[_Command]) -> None:
        """Refuse pipelines whose result depends on timing: a file is written twice, or read while it is written.

        Parts of a pipeline run one after the other here, and at the same time in a real shell.
        """
        outputs = [path for command in commands for path in command.outputs]
        used = [path for command in commands for path in command.inputs]
        used += [
            self._path_of(word)
            for command in commands
            if command.words[:1] == ("cat",)
            for word in command.words[1:]
            if word
        ]
        sleeps = [command for command in commands if command.words[:1] == ("sleep",)]
        if len(outputs) > len(set(outputs)) or set(outputs) & {*used, *self._files.being_written} or len(sleeps) > 1:
            raise UnknownSyntaxError("a pipeline whose result depends on timing")

    def _simple(self, command: _Command, stdin: GuestStdin) -> Pieces:
        routes: dict[str, str] = {"stdout": "stdout", "stderr": "stderr", WAITING[0]: WAITING[0]}
        written: dict[str, bytearray] = {}
        try:
            for redirect in command.redirects:
                stdin = self._redirected(redirect, routes, written, stdin)
        except OSError as error:
            if command.words[:1] == ("exit",):
                raise UnknownSyntaxError("exit with a file that cannot be opened") from None
            return (yield from self._routed(_failed(_cannot_open(redirect, error)), routes, written))
        self._files.being_written |= written.keys()
        try:
            return (yield from self._routed(self._started(command.words, stdin), routes, written))
        finally:
            self._files.being_written -= written.keys()

    def _routed(self, pieces: Pieces, routes: dict[str, str], written: dict[str, bytearray]) -> Pieces:
        """Send each piece to its route: a stream, a file or /dev/null."""
        for stream, piece in (result := _Result(pieces)):
            if (route := routes[stream]) in written:
                written[route] += piece
                self._files.write(route, bytes(written[route]))
            elif route != NULL:
                yield route, piece
        return result.status

    def _redirected(
        self, redirect: tuple[str, str, str], routes: dict[str, str], written: dict[str, bytearray], stdin: GuestStdin
    ) -> GuestStdin:
        """Apply a redirection to the routes of the output, and return the stdin from now on."""
        operator, _, path = redirect
        if operator == "<":
            if path in self._files.being_written or self._files.is_dir(path):
                raise UnknownSyntaxError(f"< {path}")
            return GuestStdin(b"" if path == NULL else self._files.read(path))
        if operator == "2>&1":
            routes["stderr"] = routes["stdout"]
        elif operator.endswith("&2"):
            routes["stdout"] = routes["stderr"]
        else:
            if path != NULL:
                written[path] = self._opened(path, append=operator.endswith(">>"))
            # Last: a file that cannot be opened changes no route.
            routes["stderr" if operator.startswith("2") else "stdout"] = path
        return stdin

    def _started(self, words: tuple[str, ...], stdin: GuestStdin) -> Pieces:
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
        """Create or open a file for writing, and return what it begins with."""
        node = self._files.find(path)[1]
        old = node.data if append and node is not None else b""
        self._files.write(path, old)
        return bytearray(old)

    def _expand(self, word: str) -> str:
        """The word with quotes removed and variables expanded."""
        parts = []
        for found in PART.finditer(word):
            kind, text = found.lastgroup or "", found[found.lastgroup or 0]
            if kind == "plain":
                expanded = self._variables_in(text)
                if expanded != text and ("IFS" in self._env or re.search(r"[\s*?\[\\]", expanded)):
                    raise UnknownSyntaxError(word)  # a shell would split the value into words, or expand its globs
                text = expanded
            elif kind == "text":
                pieces = re.split(r'\\(["\\$`])', text)
                text = "".join(piece if number % 2 else self._variables_in(piece) for number, piece in enumerate(pieces))
            parts.append(text)
        return "".join(parts)

    def _variables_in(self, text: str) -> str:
        return VARIABLE.sub(lambda found: self._value(found[1] or found[2] or found[3]), text)

    def _value(self, name: str) -> str:
        if name == "?":
            return str(self._status)
        if _SHELL_VARS.fullmatch(name) or (_LOGIN_VARS.fullmatch(name) and name not in self._env):
            raise UnknownSyntaxError(f"${name}")
        return self._env.get(name, "")


def _refuse(words: tuple[str, ...]) -> None:
    """Refuse builtins that are not implemented, and what differs between shells."""
    if words[:1] == ("echo",) and any("\\" in word for word in words):
        raise UnknownSyntaxError("echo with a backslash")
    if words[:1] == ("exit",) and words[1:] and not (len(words) == 2 and re.fullmatch("[0-9]{1,9}", words[1])):  # noqa: PLR2004
        raise UnknownSyntaxError(" ".join(words))
    if words and _BUILTINS.fullmatch(words[0]):
        raise UnknownSyntaxError(words[0])


def _failed(message: bytes) -> Pieces:
    yield "stderr", message
    return 1


def _cannot_open(redirect: tuple[str, str, str], error: OSError) -> bytes:
    """Busybox's message about a file that cannot be opened."""
    operator, name, _ = redirect
    if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}:
        raise UnknownSyntaxError(f"{operator} {name}") from None
    if operator == "<":
        return f"sh: can't open {name}: no such file\n".encode()
    why = "Is a directory" if error.errno == errno.EISDIR else "nonexistent directory"
    return f"sh: can't create {name}: {why}\n".encode()


class _Result:
    """An iterable of pieces that keeps the exit status, which a `for` loop would lose."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces, self.status = pieces, 0

    def __iter__(self) -> Pieces:
        self.status = yield from self._pieces
        return self.status

"""A small `sh -c` for short scripts in tests. It refuses what it does not implement, and never guesses.

It implements quotes, `$NAME`, `${NAME}` and `$?`; `;`, newlines, `&&`, `||` and `|`; `<`, `>`, `>>`, `2>`, `2>&1` and
`>&2`; comments; `cd` and `exit`. Everything else needs a handler for `sh`. It also refuses what differs between shells, or
depends on which of two programs is faster. Where the exit statuses of dash and busybox differ, it has that of busybox, the
shell of bare machines.
"""

from __future__ import annotations

import errno
import posixpath
import re
import stat
from collections.abc import Callable

from smolkit.testing.filesystem import Files, error
from smolkit.testing.guest_io import WAITING, GuestStdin, Pieces
from smolkit.testing.handlers import CannotStartError
from smolkit.testing.program_args import NULL, normalized
from smolkit.testing.shell_command import Command, refuse, refuse_races
from smolkit.testing.shell_syntax import PART, VARIABLE, Simple, UnknownSyntaxError, parse
from smolkit.values.hidden import Variables

# Runs a program with this stdin, in this working directory and environment.
Execute = Callable[[tuple[str, ...], GuestStdin, str, Variables], Pieces]

# Variables whose value is the shell's own.
_SHELL_VARS = re.compile(r"PWD|OLDPWD|IFS|OPTIND|OPTARG|PPID|LINENO|PS1|PS2|PS4|_|RANDOM|SECONDS|UID|EUID|SHLVL|HOSTNAME")
_LOGIN_VARS = re.compile(r"HOME|PATH|USER|LOGNAME|SHELL|TERM|LANG")  # their values depend on the guest


class _Exit(Exception):  # noqa: N818  (control flow: the `exit` builtin)
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Shell:
    """A shell in a fake machine.

    Args:
        files: The machine's files.
        env: The shell's environment.
        workdir: Its working directory.
        execute: Runs a program; raises CannotStartError if it cannot be started.
    """

    def __init__(self, files: Files, env: Variables, workdir: str, execute: Execute) -> None:
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
        refuse_races(commands, self._files.being_written, self._path_of)
        if not self._files.is_dir(self._workdir):
            raise UnknownSyntaxError("a working directory that was removed")
        for number, command in enumerate(commands):
            piped, last, place = bytearray(), number == len(commands) - 1, (self._workdir, self._env)
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
                pieces.status = end.status
            if len(commands) > 1:  # each part is a subshell: its `exit` and `cd` are its own
                self._workdir, self._env = place
            status, stdin = pieces.status, GuestStdin(bytes(piped))
        return status

    def _command(self, simple: Simple) -> Command:
        words = tuple(text for word in simple.words if (text := self._expand(word)) or set(word) & {"'", '"'})
        redirects = []
        for operator, target in simple.redirects:
            name = self._expand(target)
            redirects.append((operator, name, self._path_of(name) if target else ""))
        refuse(words)
        return Command(words, tuple(redirects))

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

    def _simple(self, command: Command, stdin: GuestStdin) -> Pieces:
        routes: dict[str, str] = {"stdout": "stdout", "stderr": "stderr", WAITING[0]: WAITING[0]}
        written: dict[str, bytearray] = {}
        try:
            for redirect in command.redirects:
                stdin = self._redirected(redirect, routes, written, stdin)
        except OSError as failure:
            if command.name == "exit":
                raise UnknownSyntaxError("exit with a file that cannot be opened") from None
            return (yield from self._routed(_failed(_cannot_open(redirect, failure)), routes, written))
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
                self._files.write_bytes(route, bytes(written[route]))
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
            return GuestStdin(b"" if path == NULL else self._files.read_bytes(path))
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
        if words[0] == "cd":
            return (yield from self._cd(words[1]))
        try:
            return (yield from self._execute(words, stdin, self._workdir, self._env))
        except CannotStartError as failure:
            is_found = isinstance(failure.reason, PermissionError)
            yield "stderr", f"sh: {words[0]}: {'Permission denied' if is_found else 'not found'}\n".encode()
            return 126 if is_found else 127

    def _cd(self, name: str) -> Pieces:
        """The builtin. Refuses paths with symlinks or `..` after a name: shells resolve those by the words of the path."""
        path = posixpath.join(self._workdir, name)
        if "CDPATH" in self._env or normalized(path).startswith("/dev"):
            raise UnknownSyntaxError(f"cd {name}")
        try:
            found, node = self._files.find(path)
            if node is None or not stat.S_ISDIR(node.mode):
                raise error(errno.ENOTDIR if node else errno.ENOENT, name)
        except OSError as failure:
            if ".." in name.split("/"):
                raise UnknownSyntaxError(f"cd {name}") from None
            yield "stderr", f"sh: cd: line 0: can't cd to {name}: {failure.strerror}\n".encode("utf-8", "surrogateescape")
            return 2
        if found != normalized(path):
            raise UnknownSyntaxError(f"cd {name}")
        self._env = Variables({**self._env, "OLDPWD": self._workdir, "PWD": found})
        self._workdir = found
        return 0

    def _opened(self, path: str, *, append: bool) -> bytearray:
        """Create or open a file for writing, and return what it begins with."""
        node = self._files.find(path)[1]
        old = node.data if append and node is not None else b""
        self._files.write_bytes(path, old)
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

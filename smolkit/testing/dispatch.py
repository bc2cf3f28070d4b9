"""Dispatch of a guest's command to a handler, one of smolkit's scripts, the small shell or a built-in program."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Generator
from types import GeneratorType
from typing import Any

from attrs import evolve

from smolkit.handles.spawned import FIND, KILL
from smolkit.testing import file_scripts
from smolkit.testing.guest import GuestCall, GuestResult
from smolkit.testing.guest_io import GuestStdin, Pieces
from smolkit.testing.programs import PROGRAMS
from smolkit.testing.scripted import UnexpectedCommandError
from smolkit.testing.shell import NULL, Shell, normalized
from smolkit.testing.shell_syntax import UnknownSyntaxError
from smolkit.values.shown import SCRIPT_TITLE
from smolkit.values.validate import data

DEFAULT = ("*",)
Handlers = list[tuple[tuple[str, ...], Any]]  # the first words of a command, and its handler


def run(call: GuestCall, handlers: Handlers) -> Pieces:
    """Run a command: by the handler that was registered last, or by a program of the fake's own.

    Raises:
        FileNotFoundError, PermissionError: The program cannot be started.
        UnexpectedCommandError: No handler or program is known for it.
    """
    # A generator, so that the handler starts when its output is first read: then the command's timeout already runs.
    return (yield from _start(call, handlers))


def _start(call: GuestCall, handlers: Handlers) -> Pieces:
    if not call.files.is_dir(call.workdir):
        raise FileNotFoundError(call.workdir)
    is_own = call.args[:2] == ("sh", "-c") and "".join(call.args[2:3]).startswith(SCRIPT_TITLE)
    for words, handler in reversed([] if is_own else handlers):
        if _matches(words, call.args):
            return _answer(handler, call)
    try:
        output = None if call.args == ("sh", "-c") else file_scripts.run(call.files, call.args, call._input, int(call.now))  # noqa: SLF001  (package-private)
    except file_scripts.Exit as end:
        return _output(GuestResult(end.status, b"", end.stderr))
    if output is not None:
        return _output(output)
    if call.args[:2] == ("sh", "-c") and call.args[2:] and not call.args[2].startswith(("-", "+")):  # those are options
        return _spawned_script(call) or _shell(call, handlers)
    if call.args[0] in PROGRAMS:
        return PROGRAMS[call.args[0]](call)
    return _unknown(call, handlers)


def _unknown(call: GuestCall, handlers: Handlers) -> Pieces:
    """Run a command that no handler and no program of the fake's own is for: by the default handler, if there is one."""
    for words, handler in reversed(handlers):
        if words == DEFAULT:
            return _answer(handler, call)
    if "/" in call.args[0]:
        _check_program_file(call)
    raise UnexpectedCommandError(
        f"FakeSmolvm has no handler for {call.args[0]!r}: {list(call.args)}\n"
        f"  register one: fake.on({call.args[0]!r}, 'its output'), or FileNotFoundError if the guest lacks it\n"
        f"  known: {', '.join(sorted({words[0] for words, _ in handlers} | {*PROGRAMS, 'sh -c'}))}"
    )


def _matches(words: tuple[str, ...], args: tuple[str, ...]) -> bool:
    """True if a handler for these words answers the command: a program without a directory is that in any directory."""
    program = args[0] if "/" in words[0] else posixpath.basename(args[0])
    return words == (program, *args[1:])[: len(words)]


def _answer(handler: Any, call: GuestCall) -> Pieces:
    return _pieces(handler(call) if callable(handler) and not isinstance(handler, type) else handler)


def _check_program_file(call: GuestCall) -> None:
    """Look for a program that is given by its path.

    Says nothing of a file that is missing in a directory of system programs: a real guest may have it.

    Raises:
        FileNotFoundError, PermissionError: It does not exist, or is not executable.
    """
    name, path = call.args[0], normalized(call.path(call.args[0]))
    try:
        node = call.files.find(path)[1]
    except (FileNotFoundError, NotADirectoryError):
        node = None
    is_dir = node is not None and stat.S_ISDIR(node.mode)
    if path == NULL or is_dir or (node is not None and not name.endswith("/") and not stat.S_IMODE(node.mode) & 0o111):
        raise PermissionError(name)
    if name.endswith("/") or (node is None and not path.startswith(("/bin/", "/sbin/", "/usr/", "/opt/", "/dev/"))):
        raise FileNotFoundError(name)


def _spawned_script(call: GuestCall) -> Pieces | None:
    """The scripts of `Spawned`, which find and kill a command that was left to run; None for any other script."""
    mark, machine = call.env.get("SMOLKIT_MARK", ""), call.machine
    if call.args[2] == FIND:
        return _output("/proc/600/environ\n" if machine.spawned.get(mark, 0) > call.now else "")
    if call.args[2] == KILL:
        machine.spawned[mark] = 0
        return _output(0)
    return None


def _shell(call: GuestCall, handlers: Handlers) -> Pieces:
    def execute(words: tuple[str, ...], stdin: GuestStdin) -> Pieces:
        return run(evolve(call, args=words, input=stdin), handlers)

    try:
        shell = Shell(call.files, call.env, call.workdir, execute)
        return (yield from shell.run(call.args[2], call._input))  # noqa: SLF001  (package-private)
    except UnknownSyntaxError as error:
        raise UnexpectedCommandError(
            f"FakeSmolvm's `sh -c` does not support {str(error)!r}, in {call.args[2]!r}\n"
            "  register a handler for scripts: fake.on(['sh', '-c'], lambda call: ...)"
        ) from None


def _pieces(result: Any) -> Pieces:
    if isinstance(result, type) and issubclass(result, BaseException):
        result = result()
    if isinstance(result, BaseException):
        raise result
    return _generated(result) if isinstance(result, GeneratorType) else _output(result)


def _output(result: Any) -> Pieces:
    if isinstance(result, int):
        result = GuestResult(result)
    if result is not None and not isinstance(result, (str, bytes, GuestResult)):
        raise TypeError(
            "a handler's result must be its stdout (str or bytes), its exit status (an int) or a GuestResult(returncode, "
            f"stdout, stderr), not {type(result).__name__}"
        )
    if not isinstance(result, GuestResult):
        result = GuestResult(0, b"" if result is None else result)
    for stream, text in (("stdout", result.stdout), ("stderr", result.stderr)):
        if text:
            yield stream, data("a handler's result", text) or b""
    return int(result.returncode)


def _generated(pieces: Generator[Any, Any, Any]) -> Pieces:
    status = None
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            status = end.value
            break
        stream, text = piece if isinstance(piece, tuple) else ("stdout", piece)
        yield stream, data("a handler's piece", text) or b""
    return status or 0

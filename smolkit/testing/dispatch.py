"""Dispatch of a guest's command to a handler, one of smolkit's scripts, the small shell or a built-in program."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Sequence

from attrs import evolve

from smolkit.commands.spawn import FIND, KILL
from smolkit.testing import file_scripts
from smolkit.testing.guest import GuestCall, GuestResult
from smolkit.testing.guest_io import GuestStdin, Pieces
from smolkit.testing.handlers import DEFAULT, CannotStartError, RegisteredHandler, output
from smolkit.testing.program_args import NULL, normalized
from smolkit.testing.programs import PROGRAMS
from smolkit.testing.scripted import UnexpectedCommandError
from smolkit.testing.shell import Shell
from smolkit.testing.shell_syntax import UnknownSyntaxError
from smolkit.values.hidden import Variables
from smolkit.values.shown import SCRIPT_TITLE

_SHELL_BUILTINS = {"echo", "false", "printf", "pwd", "test", "true"}


def run(call: GuestCall, handlers: Sequence[RegisteredHandler]) -> Pieces:
    """Run a command: by the handler that was registered last, or by a program of the fake's own.

    Raises:
        CannotStartError: The program cannot be started.
        UnexpectedCommandError: No handler or program is known for it.
    """
    if not call.files.is_dir("/bin"):  # somebody removed it, and with it (or its shared libraries) every program
        raise CannotStartError(FileNotFoundError(call.args[0]))
    # A generator, so that the handler starts when its output is first read: then the command's timeout already runs.
    return (yield from _start(call, handlers))


def _start(call: GuestCall, handlers: Sequence[RegisteredHandler]) -> Pieces:
    if not call.files.is_dir(call.workdir):
        number = errno.ENOTDIR if call.files.exists(call.workdir) else errno.ENOENT
        raise CannotStartError(OSError(number, os.strerror(number), call.workdir))
    is_own = call.args[:2] == ("sh", "-c") and "".join(call.args[2:3]).startswith(SCRIPT_TITLE)
    for handler in reversed([] if is_own else handlers):
        if handler.matches(call.args):
            return handler.answer(call)
    try:
        said = None if call.args == ("sh", "-c") else file_scripts.run(call.files, call.args, call._input, int(call.now))  # noqa: SLF001  (package-private)
    except file_scripts.Exit as end:
        return output(GuestResult(end.status, b"", end.stderr))
    if said is not None:
        return output(said)
    call = _by_name(call)
    if call.args[:2] == ("sh", "-c") and call.args[2:] and not call.args[2].startswith(("-", "+")):  # those are options
        return _spawned_script(call) or _shell(call, handlers)
    if call.args[0] in PROGRAMS:
        return PROGRAMS[call.args[0]](call)
    return _unknown(call, handlers)


def _by_name(call: GuestCall) -> GuestCall:
    """The call with its program by name, if it is one of the fake's own by the path where a bare machine has it."""
    folder, name = posixpath.split(call.args[0])
    is_own = (folder == "/usr/bin" if name in {"printf", "test"} else folder == "/bin") and name in {*PROGRAMS, "sh"}
    return evolve(call, args=(name, *call.args[1:])) if is_own and not call.files.exists(call.args[0]) else call


def _unknown(call: GuestCall, handlers: Sequence[RegisteredHandler]) -> Pieces:
    """Run a command that no handler and no program of the fake's own is for: by the default handler, if there is one."""
    for handler in reversed(handlers):
        if handler.words == DEFAULT:
            return handler.answer(call)
    if "/" in call.args[0]:
        _check_program_file(call)
    raise UnexpectedCommandError(
        f"FakeSmolvm has no handler for {call.args[0]!r}: {list(call.args)}\n"
        f"  register one: fake.on({call.args[0]!r}, 'its output'), or FileNotFoundError if the guest lacks it\n"
        f"  known: {', '.join(sorted({handler.words[0] for handler in handlers} | {*PROGRAMS, 'sh -c'}))}"
    )


def _check_program_file(call: GuestCall) -> None:
    """Look for a program that is given by its path.

    Says nothing of a file that is missing in a directory of system programs: a real guest may have it.

    Raises:
        CannotStartError: It does not exist, or is not executable.
    """
    name, path = call.args[0], normalized(call.path(call.args[0]))
    try:
        node = call.files.find(path)[1]
    except (FileNotFoundError, NotADirectoryError):
        node = None
    is_dir = node is not None and stat.S_ISDIR(node.mode)
    if path == NULL or is_dir or (node is not None and not name.endswith("/") and not stat.S_IMODE(node.mode) & 0o111):
        raise CannotStartError(PermissionError(name))
    if name.endswith("/") or (node is None and not path.startswith(("/bin/", "/sbin/", "/usr/", "/opt/", "/dev/"))):
        raise CannotStartError(FileNotFoundError(name))


def _spawned_script(call: GuestCall) -> Pieces | None:
    """The scripts of `Spawned`, which find and kill a command that was left to run; None for any other script."""
    mark, machine = call.env.get("SMOLKIT_MARK", ""), call.machine
    if call.args[2] == FIND:
        return output("/proc/600/environ\n" if machine.spawned.get(mark, 0) > call.now else "")
    if call.args[2] == KILL:
        machine.spawned[mark] = 0
        return output(0)
    return None


def _shell(call: GuestCall, handlers: Sequence[RegisteredHandler]) -> Pieces:
    def execute(words: tuple[str, ...], stdin: GuestStdin, workdir: str, env: Variables) -> Pieces:
        start = _start if words[0] in _SHELL_BUILTINS else run
        return start(evolve(call, args=words, input=stdin, workdir=workdir, env=env), handlers)

    try:
        shell = Shell(call.files, call.env, call.workdir, execute)
        return (yield from shell.run(call.args[2], call._input))  # noqa: SLF001  (package-private)
    except UnknownSyntaxError as error:
        raise UnexpectedCommandError(
            f"FakeSmolvm's `sh -c` does not support {str(error)!r}, in {call.args[2]!r}\n"
            "  register a handler for scripts: fake.on(['sh', '-c'], lambda call: ...)"
        ) from None

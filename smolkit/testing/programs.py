"""Built-in programs of a fake machine. Each refuses options that it does not implement."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator

from smolkit.testing.file_programs import ls, mkdir, rm
from smolkit.testing.guest import GuestCall
from smolkit.testing.guest_io import WAITING, Pieces
from smolkit.testing.printf import printf
from smolkit.testing.program_args import NULL, checked_path, unsupported
from smolkit.testing.scripted import UnexpectedCommandError


# `yield from ()` makes a generator of a program that writes nothing.
def _true(call: GuestCall) -> Pieces:  # noqa: ARG001
    yield from ()
    return 0


def _false(call: GuestCall) -> Pieces:  # noqa: ARG001
    yield from ()
    return 1


def _echo(call: GuestCall) -> Pieces:
    words, end = (call.args[2:], "") if call.args[1:2] == ("-n",) else (call.args[1:], "\n")
    if words and re.fullmatch("-[neE]+", words[0]):
        raise unsupported(call)
    yield "stdout", (" ".join(words) + end).encode("utf-8", "surrogateescape")
    return 0


def _cat(call: GuestCall) -> Pieces:
    status = 0
    if any(name.startswith("-") and name != "-" for name in call.args):
        raise unsupported(call)
    for name in call.args[1:] or ("-",):
        try:
            yield from _stdin_pieces(call) if name == "-" else [("stdout", _content(call, name))]
        except OSError as failure:
            is_dir = isinstance(failure, IsADirectoryError)
            why = "read error: Is a directory" if is_dir else f"can't open '{name}': {failure.strerror}"
            yield "stderr", f"cat: {why}\n".encode()
            status = 1
    return status


def _content(call: GuestCall, name: str) -> bytes:
    path = checked_path(call, name)
    if path == NULL:
        return b""
    if call.files.find(path)[0] in call.files.being_written:
        raise unsupported(call)  # the file is being written: what cat sees depends on timing
    return call.files.read_bytes(path)


def _stdin_pieces(call: GuestCall) -> Iterator[tuple[str, bytes]]:
    while (taken := call._input.take()) != b"":  # noqa: SLF001  (package-private)
        yield WAITING if taken is None else ("stdout", taken)


def _sleep(call: GuestCall) -> Pieces:
    yield from ()
    if len(call.args) != 2 or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", call.args[1]):  # noqa: PLR2004
        raise unsupported(call)
    call.sleep(float(call.args[1]))
    return 0


def _pwd(call: GuestCall) -> Pieces:
    if call.args[1:]:
        raise unsupported(call)
    yield "stdout", f"{call.files.find(call.workdir)[0]}\n".encode("utf-8", "surrogateescape")
    return 0


def _test(call: GuestCall) -> Pieces:
    yield from ()
    checks: dict[str, Callable[[str], bool]] = {
        "-e": lambda path: call.files.find(path)[1] is not None,
        "-f": lambda path: (node := call.files.find(path)[1]) is not None and stat.S_ISREG(node.mode),
        "-d": call.files.is_dir,
    }
    if len(call.args) != 3 or call.args[1] not in checks:  # noqa: PLR2004
        raise UnexpectedCommandError(
            f"FakeSmolvm's `test` supports {', '.join(checks)}, not {list(call.args)}\n"
            "  register a handler: fake.on('test', ...)"
        )
    try:
        path = checked_path(call, call.args[2])
        return 0 if (call.args[1] == "-e" if path == NULL else checks[call.args[1]](path)) else 1
    except OSError:
        return 1


PROGRAMS: dict[str, Callable[[GuestCall], Pieces]] = {
    "true": _true,
    "false": _false,
    "echo": _echo,
    "cat": _cat,
    "sleep": _sleep,
    "pwd": _pwd,
    "test": _test,
    "printf": printf,
    "mkdir": mkdir,
    "ls": ls,
    "rm": rm,
}

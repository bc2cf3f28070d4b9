"""Arguments of the fake's programs: options, operands and paths. Whatever is not implemented is refused."""

from __future__ import annotations

import errno
import posixpath

from smolkit.testing.filesystem import error
from smolkit.testing.guest import GuestCall
from smolkit.testing.scripted import UnexpectedCommandError

NULL = "/dev/null"


def unsupported(call: GuestCall) -> UnexpectedCommandError:
    """The error for arguments that a program does not implement."""
    return UnexpectedCommandError(
        f"FakeSmolvm's {call.args[0]!r} does not support {list(call.args[1:])}\n"
        f"  register a handler: fake.on({call.args[0]!r}, ...)"
    )


def options(call: GuestCall, known: str) -> tuple[set[str], list[str]]:
    """The options of one letter each, and the operands.

    Raises:
        UnexpectedCommandError: There is another option, or one after an operand.
    """
    found: set[str] = set()
    operands = list(call.args[1:])
    while operands and operands[0].startswith("-") and operands[0] not in {"-", "--"}:
        found |= set(operands.pop(0)[1:])
    ended = operands[:1] == ["--"]
    operands = operands[ended:]
    if found - set(known) or (not ended and any(word.startswith("-") and word != "-" for word in operands)):
        raise unsupported(call)
    return found, operands


def normalized(path: str) -> str:
    """The absolute path without `.`, `..` and repeated slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


def checked_path(call: GuestCall, name: str) -> str:
    """The absolute path of a file. Raises or refuses where Files and a real kernel would differ."""
    path = call.path(name)
    if not name:
        raise error(errno.ENOENT, name)
    if name.endswith("/") and call.files.exists(path) and not call.files.is_dir(path):
        raise error(errno.ENOTDIR, name)
    plain = normalized(path)
    if plain == "/dev" or (plain.startswith("/dev/") and plain != NULL and not call.files.exists(path)):
        raise unsupported(call)
    return NULL if plain == NULL else path

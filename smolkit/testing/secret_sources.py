"""How a fake finds secrets: as the engine does, by the variables of its process and by files of its host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from smolkit.testing.argv_parser import Refusal
from smolkit.testing.scripted import UnexpectedCommandError
from smolkit.values.hidden import Hidden

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smolkit.testing.argv_parser import Words

Sources = dict[str, tuple[str, str]]  # by the guest's variable: the flag, and what it names

_FLAGS = ("--secret-env", "--secret-file", "--secret-keychain")
_LARGEST = 2**20  # bytes of a file


def sources(said: Words) -> Sources:
    """The secrets that a command line names.

    Raises:
        Refusal: one is named twice.
    """
    found: Sources = {}
    for flag in _FLAGS:
        for guest, _, name in (pair.partition("=") for pair in said.all(flag)):
            if guest in found:
                raise Refusal("CONFIG_ERROR", f"config operation failed: {flag}: secret '{guest}' specified more than once")
            found[guest] = flag, name
    return found


def resolve(wanted: Sources, given: Mapping[str, Hidden]) -> dict[str, Hidden]:
    """The secrets' values.

    Args:
        wanted: What is asked for.
        given: The variables of the engine's process.

    Raises:
        Refusal: one of them is not to be found.
        UnexpectedCommandError: one of them is a keychain's.
    """
    return {guest: _value(guest, flag, name, given) for guest, (flag, name) in sorted(wanted.items())}


def _value(guest: str, flag: str, name: str, given: Mapping[str, Hidden]) -> Hidden:
    if flag == "--secret-file":
        return _read(guest, name)
    if flag == "--secret-keychain":
        raise UnexpectedCommandError(f"FakeSmolvm has no keychain: let the secret {guest!r} be Secret('...') in tests")
    if name not in given:
        raise _refusal(guest, "env_unset")
    return given[name]


def _read(guest: str, path: str) -> Hidden:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            data = Hidden(file.read(_LARGEST + 1))
        if len(data.reveal()) <= _LARGEST:
            return Hidden(bytes(data.reveal()).decode().rstrip("\r\n"))  # type: ignore[arg-type]  # bytes so far
    except (OSError, UnicodeDecodeError):
        raise _refusal(guest, "file_read_failed") from None
    raise _refusal(guest, "file_too_large")


def _refusal(guest: str, reason: str) -> Refusal:
    return Refusal("CONFIG_ERROR", f"config operation failed: resolve secret '{guest}': {reason}")

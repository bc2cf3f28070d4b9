"""Resolution of secrets in a fake, as in the engine: from its environment and from files of its host."""

from __future__ import annotations

import os
from collections.abc import Mapping

from smolkit.testing.arguments import Arguments
from smolkit.testing.engine_failures import EngineFailure, config
from smolkit.values.hidden import Hidden

Sources = dict[str, tuple[str, str]]  # the flag and its source, by the guest's variable

_FLAGS = ("--secret-env", "--secret-file", "--secret-keychain")
_MAX_FILE_SIZE = 2**20  # bytes


def sources(args: Arguments) -> Sources:
    """The secrets that a command line names.

    Raises:
        EngineFailure: A secret is named twice.
    """
    found: Sources = {}
    for flag in _FLAGS:
        for guest, _, source in (pair.partition("=") for pair in args.values(flag)):
            if guest in found:
                raise config(f"{flag}: secret '{guest}' specified more than once")
            found[guest] = flag, source
    return found


def resolve(wanted: Sources, env: Mapping[str, Hidden]) -> dict[str, Hidden]:
    """The values of secrets.

    Args:
        wanted: The secrets, and where each comes from.
        env: The environment of the engine's process.

    Raises:
        EngineFailure: A source does not exist or cannot be read.
        UnexpectedCommandError: A secret comes from a keychain.
    """
    return {guest: _value(guest, flag, source, env) for guest, (flag, source) in sorted(wanted.items())}


def _value(guest: str, flag: str, source: str, env: Mapping[str, Hidden]) -> Hidden:
    if flag == "--secret-file":
        return _read(guest, source)
    if flag == "--secret-keychain":
        from smolkit.testing.scripted import UnexpectedCommandError  # late: NamespaceEngine's program starts fast

        raise UnexpectedCommandError(f"FakeSmolvm has no keychain: use Secret('...') for the secret {guest!r} in tests")
    if source not in env:
        raise _unresolved(guest, "env_unset")
    return env[source]


def _read(guest: str, path: str) -> Hidden:
    try:
        # As the engine opens it: no symlink, and no wait for the writer of a FIFO.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            data = Hidden(file.read(_MAX_FILE_SIZE + 1))
        if len(data.reveal()) <= _MAX_FILE_SIZE:
            return Hidden(bytes(data.reveal()).decode().rstrip("\r\n"))  # type: ignore[arg-type]  # bytes so far
    except (OSError, UnicodeDecodeError):
        raise _unresolved(guest, "file_read_failed") from None
    raise _unresolved(guest, "file_too_large")


def _unresolved(guest: str, reason: str) -> EngineFailure:
    return config(f"resolve secret '{guest}': {reason}")

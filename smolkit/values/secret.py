"""Secrets for the guest's environment."""

from __future__ import annotations

import os
from typing import final

from attrs import field, frozen

from smolkit.values.hidden import Hidden, hide_value


def _hide(text: str | Hidden) -> Hidden:
    return hide_value(text)  # type: ignore[no-any-return]  # another type is refused where the secret is used


@final
@frozen
class Secret:
    """A secret for the guest's environment: `Secret("value")`, `Secret.env("HOST_VARIABLE")`, `Secret.file("/path")`,
    `Secret.keychain("service/account")`.

    It is passed through the engine's `--secret-*` options, so it is on no command line. No repr, log, error or pickle
    shows it. A pickled copy of a value is empty.

    Attributes:
        text: The value, the file's absolute path, or the keychain's service[/account].
        kind: Which of these: "env" (a value), "file" or "keychain".
        allow_argv: Allow a value on the engine's command line if the engine has no other way (< 1.0.0).
    """

    text: Hidden = field(converter=_hide)
    kind: str = field(default="env", kw_only=True)
    allow_argv: bool = field(default=False, kw_only=True)

    @classmethod
    def env(cls, variable: str) -> Secret:
        """The current value of an environment variable of this process.

        Raises:
            KeyError: the variable is not set.
        """
        return cls(os.environ[variable])

    @classmethod
    def file(cls, path: str | os.PathLike[str]) -> Secret:
        """The content of a file on the engine's host, read at each start and exec: up to 1 MiB of UTF-8; not a symlink."""
        return cls(os.path.abspath(os.fspath(path)), kind="file")

    @classmethod
    def keychain(cls, service: str) -> Secret:
        """An item of the engine host's keychain: service[/account], read at each start and exec (engine >= 1.31.0)."""
        return cls(service, kind="keychain")

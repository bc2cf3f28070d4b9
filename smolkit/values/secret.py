"""Secrets for the guest. Imported where one is used."""

from __future__ import annotations

import os
from typing import final

from attrs import field, frozen

from smolkit.values.hidden import Hidden, hide_value


def _hide(text: str | Hidden) -> Hidden:
    return hide_value(text)  # type: ignore[no-any-return]  # what is no str is refused where the secret is used


@final
@frozen
class Secret:
    """A secret for the guest's environment: `Secret("value")`, `Secret.env("HOST_VARIABLE")`, `Secret.file("/path")`,
    `Secret.keychain("service/account")`.

    It goes through the engine's `--secret-*` options, so that no command line has it. No repr, log, error or pickle has it
    either; a pickled copy of a value is empty.

    Attributes:
        text: The value, the file's absolute path, or the keychain's service[/account].
        kind: Which of these: "env" (a value), "file" or "keychain".
        allow_argv: Whether a value may stand on the engine's command line where the engine has no other way (< 1.0.0).
    """

    text: Hidden = field(converter=_hide)
    kind: str = field(default="env", kw_only=True)
    allow_argv: bool = field(default=False, kw_only=True)

    @classmethod
    def env(cls, variable: str) -> Secret:
        """The value that a variable of this process has now.

        Raises:
            KeyError: there is no such variable.
        """
        return cls(os.environ[variable])

    @classmethod
    def file(cls, path: str | os.PathLike[str]) -> Secret:
        """What a file on the engine's host holds at each start and exec: at most 1 MiB of UTF-8, and no link."""
        return cls(os.path.abspath(os.fspath(path)), kind="file")

    @classmethod
    def keychain(cls, service: str) -> Secret:
        """What the engine host's keychain has under service[/account] at each start and exec (engine >= 1.31.0)."""
        return cls(service, kind="keychain")

"""How the engine is told secrets: by the names of variables, files and keychain items, never by their values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from smolkit.commands.base import option

if TYPE_CHECKING:
    from smolkit.dialect import Dialect
    from smolkit.secret import Secret
    from smolkit.values import Hidden

Secrets = tuple[tuple[str, "Secret"], ...]

_FLAGS = {"file": "--secret-file", "keychain": "--secret-keychain"}


def variable(guest: str, place: str) -> str:
    """The variable of the engine's process that carries a value for this one of the guest."""
    return f"SMOLKIT_{place}_" + re.sub(r"\W", "_", guest)


def words(verb: str, secrets: Secrets, dialect: Dialect, place: str) -> Iterator[str]:
    """The secrets as arguments of `smolvm VERB`."""
    for guest, secret in secrets:
        if secret.kind in _FLAGS:
            flag = _FLAGS[secret.kind]
            dialect.require(f"{verb} {flag}")
            yield from option(flag, f"{guest}={secret.text.reveal()}")
        elif secret.allow_argv and not dialect.supports(f"{verb} --secret-env"):
            yield from option("-e", f"{guest}={secret.text.reveal()}")
        else:
            dialect.require(f"{verb} --secret-env")
            yield from option("--secret-env", f"{guest}={variable(guest, place)}")


def carried(secrets: Secrets, place: str) -> tuple[tuple[str, Hidden], ...]:
    """The variables that the engine's process needs for them."""
    return tuple((variable(guest, place), secret.text) for guest, secret in secrets if secret.kind == "env")

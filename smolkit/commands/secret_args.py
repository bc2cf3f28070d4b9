"""How the engine is told secrets: by the names of variables, files and keychain items, never by their values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from smolkit.commands.base import option
from smolkit.commands.options import variable

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.values.hidden import Hidden
    from smolkit.values.secret import Secret

Secrets = tuple[tuple[str, "Secret"], ...]

# Whose they are. A machine's are on its record, so that their variables have the same names in every process.
MACHINES = "MACHINE_SECRET"
OWN = "SECRET"
_FLAGS = {"file": "--secret-file", "keychain": "--secret-keychain"}


def carrier(guest: str, place: str) -> str:
    """The variable of the engine's process that carries a value for this one of the guest: for each another."""
    if re.fullmatch(r"\w+", guest, re.ASCII):
        return f"SMOLKIT_{place}_{guest}"
    return f"SMOLKIT_{place}X_{guest.encode('utf-8', 'surrogateescape').hex()}"


def words(verb: str, secrets: Secrets, dialect: Dialect, place: str) -> Iterator[str]:
    """The secrets as arguments of `smolvm VERB`."""
    for guest, secret in secrets:
        if secret.kind in _FLAGS:
            yield from option(_FLAGS[secret.kind], f"{guest}={secret.text.reveal()}")
        elif secret.allow_argv and not dialect.supports(f"{verb} --secret-env"):
            yield from option("-e", variable(guest, secret.text))
        else:
            yield from option("--secret-env", f"{guest}={carrier(guest, place)}")


def all_words(verb: str, machines: Secrets, own: Secrets, dialect: Dialect) -> Iterator[str]:
    """A machine's secrets and a command's own, which win, as arguments of `smolvm VERB`.

    A machine's are said again: another handle may have made it, without them.
    """
    names = dict(own).keys()
    yield from words(verb, tuple(pair for pair in machines if pair[0] not in names), dialect, MACHINES)
    yield from words(verb, own, dialect, OWN)


def carried(secrets: Secrets, place: str = MACHINES) -> tuple[tuple[str, Hidden], ...]:
    """The variables that the engine's process needs for them."""
    return tuple((carrier(guest, place), secret.text) for guest, secret in secrets if secret.kind == "env")

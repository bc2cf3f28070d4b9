"""Secrets as arguments: names of variables, files and keychain items, never their values.

A value is in a variable of the engine's process, its carrier.
"""

# No `from __future__ import annotations`: see `smolkit.commands.exec`.

import re
from collections.abc import Iterator

from smolkit import values
from smolkit.commands.base import option
from smolkit.commands.dialect import Dialect
from smolkit.commands.options import variable
from smolkit.values.hidden import Hidden

# The class is named in a string, so that it is imported only by programs that have secrets.
Secrets = tuple[tuple[str, "values.Secret"], ...]

# Prefixes of carriers: for a machine's secrets, and for those of one command. A machine's carriers are on its record, and
# so have the same names in every process.
MACHINES = "MACHINE_SECRET"
OWN = "SECRET"
_FLAGS = {"file": "--secret-file", "keychain": "--secret-keychain"}


def carrier(guest: str, place: str) -> str:
    """The name of the variable in the engine's process that carries the value of this guest variable; unique for each."""
    if re.fullmatch(r"\w+", guest, re.ASCII):
        return f"SMOLKIT_{place}_{guest}"
    return f"SMOLKIT_{place}X_{guest.encode('utf-8', 'surrogateescape').hex()}"


def arguments(verb: str, secrets: Secrets, dialect: Dialect, place: str) -> Iterator[str]:
    """The secrets as arguments of `smolvm VERB`."""
    for guest, secret in secrets:
        if secret.kind in _FLAGS:
            yield from option(_FLAGS[secret.kind], f"{guest}={secret.text.reveal()}")
        elif secret.allow_argv and not dialect.supports(f"{verb} --secret-env"):
            yield from option("-e", variable(guest, secret.text))
        else:
            yield from option("--secret-env", f"{guest}={carrier(guest, place)}")


def all_arguments(verb: str, machines: Secrets, own: Secrets, dialect: Dialect) -> Iterator[str]:
    """A machine's secrets and a command's own, which win, as arguments of `smolvm VERB`.

    The machine's secrets are given each time: another handle may have created the machine without them.
    """
    names = dict(own).keys()
    yield from arguments(verb, tuple(pair for pair in machines if pair[0] not in names), dialect, MACHINES)
    yield from arguments(verb, own, dialect, OWN)


def carried(secrets: Secrets, place: str = MACHINES) -> tuple[tuple[str, Hidden], ...]:
    """The carriers of these secrets, with their values: variables for the engine's process."""
    return tuple((carrier(guest, place), secret.text) for guest, secret in secrets if secret.kind == "env")

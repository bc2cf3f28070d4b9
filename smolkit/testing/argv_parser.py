"""A parser of the engine's command lines, for FakeSmolvm."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from smolkit.commands import option_tables
from smolkit.commands.dialect import Dialect, asks_json, verb_of, without_json
from smolkit.commands.options import switch
from smolkit.testing.arguments import Arguments, split
from smolkit.testing.engine_failures import usage
from smolkit.values.hidden import Hidden

# Flags that are not in the option tables: those without a value, and those with one.
_SWITCHES = {
    "machine delete": ("-f", "--cascade"),
    "machine exec": ("-i", "-d", "-t"),
    "machine ls": ("--json", "-q"),
    "machine run": ("-i", "-t", "--detach"),
    "machine status": ("--json",),
    "machine stats": ("--json",),
    "machine logs": ("--follow",),
}
_FLAGS = {
    "machine branch": ("--from", "-e"),
    "machine cp": ("--mode", "--uid", "--gid"),
    "machine create": ("-e",),
    "machine exec": ("-e", "-w", "--user", "--timeout", "--secret-env", "--secret-file", "--secret-keychain"),
    "machine fork": ("--golden", "-e"),
    "machine logs": ("--tail",),
    "machine run": ("-e", "--timeout"),
    "machine stop": ("--timeout",),
    "machine update": ("-e",),
}
_TABLES = {
    "machine branch": option_tables.BRANCH,
    "machine create": option_tables.CREATE,
    "machine fork": option_tables.BRANCH,
    "machine run": option_tables.RUN,
    "machine start": option_tables.START,
    "machine update": option_tables.UPDATE,
}


@frozen
class ParsedArgs(Arguments):
    """A parsed command line.

    Attributes:
        verb: The subcommand: `machine create`.
        options: The values of each flag, None for each use of a switch.
        positional: Positional arguments.
        command: The guest's command: everything after `--`.
        as_json: True if errors are to be written as JSON.
        fault: The fault injected into this call, or "".
        env: The environment of the engine's process.
    """

    verb: str
    options: Mapping[str, list[str | None]] = field(factory=dict)
    positional: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    as_json: bool = False
    fault: str = ""
    env: Mapping[str, Hidden] = field(factory=dict)


def parse(argv: tuple[str, ...], dialect: Dialect) -> ParsedArgs:
    """Parse a command line by the grammar of one engine version.

    Raises:
        EngineFailure: The engine has no such subcommand or flag.
    """
    as_json, verb = asks_json(argv) and dialect.supports("--error-format"), verb_of(argv)
    if not dialect.supports(verb):
        raise usage(f"unrecognized subcommand '{verb.split()[-1]}'")
    words = (without_json(argv) if as_json else argv)[len(verb.split()) :]
    found = split(words, *flags_of(verb, dialect))
    return ParsedArgs(verb, found.options, found.positional, found.command, as_json)


def flags_of(verb: str, dialect: Dialect) -> tuple[frozenset[str], frozenset[str]]:
    """The flags of a subcommand that a version has: those without a value, and those with one."""
    table = _TABLES.get(verb, {}).values()
    switches = {*_SWITCHES.get(verb, ()), *(row.flag for row in table if row.reader is switch)}
    switches |= {row.older for row in table if row.older and row.reader is switch}
    named = {*_FLAGS.get(verb, ()), *(flag for row in table for flag in (row.flag, row.older) if flag)}
    flags = {flag for flag in named - switches if dialect.supports(f"{verb} {flag}")}
    return frozenset(switches), frozenset({"--name", *flags} - switches)

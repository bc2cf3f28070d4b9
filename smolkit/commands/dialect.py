"""The command-line grammar of each version of the engine, as data.

Evidence: the source of v0.5.0 to v1.9.3, and `--help` of 1.4.0 to 1.32.2.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import final

from attrs import frozen

from smolkit.commands.versions import ALWAYS, LONG, MINIMUM, SINCE
from smolkit.errors import UnsupportedByEngineError

_Version = tuple[int, int, int]

# Since v1.0.2 every machine name is a flag. No version accepts both forms.
_NAMES_ARE_FLAGS: _Version = (1, 0, 2)
_POSITIONAL_BEFORE = frozenset({"create", "delete", "update", "data-dir"})


# Asks the engine to report its failures as JSON. It stands before the verb.
JSON_ERRORS = ("--error-format", "json")


def without_json(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The argv without the request for failures as JSON: the verb comes first."""
    return argv[len(JSON_ERRORS) :] if asks_json(argv) else argv


def asks_json(argv: tuple[str, ...]) -> bool:
    """True if this argv asks for failures as JSON."""
    return argv[: len(JSON_ERRORS)] == JSON_ERRORS


def verb_of(argv: tuple[str, ...]) -> str:
    """The verb of an argv: `machine exec`."""
    arguments = without_json(argv)
    return " ".join(arguments[: 2 if arguments[:1] in {("machine",), ("pack",), ("config",)} else 1])


def _dotted(version: _Version) -> str:
    return ".".join(map(str, version))


def _in_full(feature: str) -> str:
    """The feature with the long form of its flag, which the version table uses."""
    verb, _, flag = feature.rpartition(" ")
    return f"{verb} {LONG[flag]}" if flag in LONG else feature


@final
@frozen
class Dialect:
    """The command-line grammar of one version of the engine.

    Attributes:
        version: Major, minor, patch.
    """

    version: _Version

    @classmethod
    def of(cls, version: str) -> Dialect:
        """The dialect of a version such as `1.32.2`; a suffix (`-rc.1`) is ignored.

        Raises:
            ValueError: the text is no version.
            UnsupportedByEngineError: the version is below 0.7.2.
        """
        found = re.match(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(?![0-9])", version)
        if not found:
            raise ValueError(f"version must be like '1.32.2', not {version!r}")
        numbers = (int(found[1]), int(found[2]), int(found[3]))
        if numbers < MINIMUM:
            raise UnsupportedByEngineError("smolkit", _dotted(MINIMUM), version)
        return cls(numbers)

    def __str__(self) -> str:
        return _dotted(self.version)

    @property
    def classic(self) -> bool:
        """True if create, delete, update and data-dir take the machine's name positionally (smolvm up to 1.0.1)."""
        return self.version < _NAMES_ARE_FLAGS

    @property
    def capabilities(self) -> frozenset[str]:
        """The features of the table `SINCE` that this version supports."""
        return frozenset(feature for feature in SINCE if self.supports(feature))

    def supports(self, feature: str) -> bool:
        """True if this version supports the feature, for example `"machine create --label"`.

        Raises:
            LookupError: no row of `smolkit.commands.versions` names the feature: it is misspelt, or its row is missing.
        """
        row = _in_full(feature)
        if row in SINCE:
            return self.version >= SINCE[row]
        if row not in ALWAYS:
            raise LookupError(f"no row of smolkit.commands.versions names the feature {row!r}")
        return True

    def require(self, feature: str) -> None:
        """Raise unless this version supports the feature.

        Raises:
            LookupError: as for `supports`.
            UnsupportedByEngineError: it does not.
        """
        if not self.supports(feature):
            row = _in_full(feature)
            raise UnsupportedByEngineError(row, _dotted(SINCE[row]), str(self))

    def argv(self, verb: str, *arguments: str) -> tuple[str, ...]:
        """The argv of `smolvm VERB` for this version. Checks that the version table has the verb and each flag before `--`.

        Raises:
            LookupError: as for `supports`, for the verb or a flag.
            UnsupportedByEngineError: this version lacks the verb or a flag.
        """
        self.require(verb)
        # Flags behind `--` are those of the guest's program. A value never looks like a flag: `option` glues it to its own.
        for argument in takewhile("--".__ne__, arguments):
            if argument.startswith("-"):
                self.require(f"{verb} {argument.partition('=')[0]}")
        return self.raw_argv(*verb.split(), *arguments)

    def raw_argv(self, *arguments: str) -> tuple[str, ...]:
        """These arguments, unchecked, after the request for failures as JSON if this version supports it."""
        return (*JSON_ERRORS, *arguments) if self.supports(JSON_ERRORS[0]) else arguments

    def name(self, verb: str, name: str) -> tuple[str, ...]:
        """The arguments that name the machine `machine VERB` is about."""
        return (name,) if self.classic and verb in _POSITIONAL_BEFORE else ("--name", name)


@final
@frozen
class Engine:
    """The engine that a client drives.

    Attributes:
        version: Its own answer to `--version`, for example `1.32.2`.
        path: The program.
        dialect: Its command-line grammar.
    """

    version: str
    path: str
    dialect: Dialect

    @property
    def capabilities(self) -> frozenset[str]:
        """The features that not all versions support and this one does, for example `machine create --label`."""
        return self.dialect.capabilities

"""What each version of the engine understands, as data. Evidence: the source of v0.5.0-v1.9.3, `--help` of 1.4.0-1.32.2."""

from __future__ import annotations

import re
from typing import final

from attrs import frozen

from smolkit.commands.versions import ALWAYS, MINIMUM, SINCE
from smolkit.errors import UnsupportedByEngineError

_Version = tuple[int, int, int]

# v1.0.2 made every machine name a flag; no version takes both forms.
_NAMES_ARE_FLAGS: _Version = (1, 0, 2)
_POSITIONAL_BEFORE = frozenset({"create", "delete", "update", "data-dir"})


def _dotted(version: _Version) -> str:
    return ".".join(map(str, version))


@final
@frozen
class Dialect:
    """How to speak to one version of the engine.

    Attributes:
        version: Major, minor, patch.
    """

    version: _Version

    @classmethod
    def of(cls, version: str) -> Dialect:
        """The dialect of a version written `1.32.2`; a suffix (`-rc.1`) is ignored.

        Raises:
            ValueError: this is no version.
            UnsupportedByEngineError: the version is below 0.7.2.
        """
        found = re.match(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(?![0-9])", version)
        if not found:
            raise ValueError(f"not a version of smolvm: {version!r}")
        numbers = (int(found[1]), int(found[2]), int(found[3]))
        if numbers < MINIMUM:
            raise UnsupportedByEngineError("smolkit", _dotted(MINIMUM), version)
        return cls(numbers)

    def __str__(self) -> str:
        return _dotted(self.version)

    @property
    def classic(self) -> bool:
        """Whether create, delete, update and data-dir take the machine's name positionally (smolvm up to 1.0.1)."""
        return self.version < _NAMES_ARE_FLAGS

    @property
    def capabilities(self) -> frozenset[str]:
        """The features of the table `SINCE` that this version has."""
        return frozenset(feature for feature in SINCE if self.supports(feature))

    def supports(self, feature: str) -> bool:
        """Whether this version has the feature.

        Raises:
            LookupError: no row of `smolkit.commands.versions` names it: it is misspelt, or new and without its version.
        """
        if feature in SINCE:
            return self.version >= SINCE[feature]
        if feature not in ALWAYS:
            raise LookupError(f"no row of smolkit.commands.versions names the feature {feature!r}")
        return True

    def require(self, feature: str) -> None:
        """Nothing, if this version has the feature.

        Raises:
            UnsupportedByEngineError: it has not.
        """
        if not self.supports(feature):
            raise UnsupportedByEngineError(feature, _dotted(SINCE[feature]), str(self))

    def words(self, *words: str) -> tuple[str, ...]:
        """A command line for this engine: with its failures as JSON where it can."""
        return ("--error-format", "json", *words) if self.supports("--error-format") else words

    def name(self, verb: str, name: str) -> tuple[str, ...]:
        """How this engine is told the machine that `machine VERB` is about."""
        return (name,) if self.classic and verb in _POSITIONAL_BEFORE else ("--name", name)


@final
@frozen
class Engine:
    """The engine that a client drives.

    Attributes:
        version: As it says itself, for example `1.32.2`.
        path: The program.
        dialect: How it is spoken to.
    """

    version: str
    path: str
    dialect: Dialect

    @property
    def capabilities(self) -> frozenset[str]:
        """The features that differ between versions and that this one has, for example `machine create --label`."""
        return self.dialect.capabilities

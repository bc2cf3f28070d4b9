"""What each version of the engine understands, as data. Evidence: the source of v0.5.0-v1.9.3, `--help` of 1.4.0-1.32.2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, final

from attrs import frozen

from smolkit.errors import UnsupportedByEngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

_Version = tuple[int, int, int]

# Older engines lack too much (readable output, a teardown that ends the VM) to be driven safely.
MINIMUM: _Version = (0, 7, 2)
# v1.0.2 made every machine name a flag; no version takes both forms.
_NAMES_ARE_FLAGS: _Version = (1, 0, 2)
_POSITIONAL_BEFORE = frozenset({"create", "delete", "update", "data-dir"})

# The first version that has a feature, or the first one that was seen to. What is not listed, every supported one has.
SINCE: Mapping[str, _Version] = {
    "--error-format": (1, 28, 1),
    "delete of a running machine": (0, 8, 1),
    "status without side effects": (1, 15, 0),  # before, status of a machine never started made a 20 GiB disk (#1195)
    "parents in ls": (1, 14, 0),
    "delete -f refuses a branch source": (1, 32, 2),  # in 1.9.3 it only warned, and the branches' disks dangled
    "machine delete --cascade": (1, 7, 0),
    "allow lists in ls": (1, 27, 3),  # 1.27.0 does not show them
    "state_dir": (1, 2, 5),
    "input over 64 KiB": (1, 8, 1),  # before, a large stdin could deadlock (4e80aab5)
    "machine exec --secret-env": (1, 0, 0),
    "machine exec --user": (1, 14, 0),
    "machine create COMMAND": (1, 0, 0),
    "machine create --secret-env": (1, 0, 0),
    "machine create --secret-file": (1, 0, 0),
    "machine create --net-backend": (1, 0, 2),
    "machine create --max-image-size": (1, 2, 0),
    "machine create --dns": (1, 2, 5),
    "machine create --cuda": (1, 3, 2),
    "machine create --rosetta": (1, 5, 0),
    "machine create --docker-socket": (1, 6, 0),
    "machine create --expose-socket": (1, 6, 4),
    "machine create --mount-socket": (1, 6, 4),
    "machine create --auto-graph": (1, 7, 2),
    "machine create --label": (1, 8, 0),
    "machine create --network": (1, 8, 3),
    "machine create --allow-system-mounts": (1, 14, 0),
    "machine create --user": (1, 14, 0),
    "machine create --port with a range": (1, 13, 1),
    "machine create --port with /udp": (1, 28, 1),
    "machine create --volume with :rw or :staged": (1, 14, 0),
    "machine create --volume of a remote": (1, 9, 3),
    "machine create --block-io": (1, 15, 0),
    "machine create --nested": (1, 15, 0),
    "machine create --disk": (1, 17, 0),
    "machine create --guest-subnet": (1, 18, 2),
    "machine create --credential": (1, 18, 2),
    "machine create --at": (1, 18, 2),
    "machine create --allow-host-pattern": (1, 20, 2),
    "machine create --use-host-proxy": (1, 20, 2),
    "machine create --trust-host-certs": (1, 20, 2),
    "machine create --restore-cache-entries": (1, 22, 2),
    "machine create --restore-cache-gib": (1, 22, 2),
    "machine create --keep-identity": (1, 22, 2),
    "machine create --stop-on-exit": (1, 22, 2),
    "machine create --disk-durability": (1, 26, 1),
    "machine create --cache-disk": (1, 26, 1),
    "machine create --dns-option": (1, 28, 1),
    "machine create --block-private": (1, 28, 1),
    "machine create --allow-private": (1, 28, 1),
    "machine create --stop-signal": (1, 28, 1),
    "machine create --stop-timeout": (1, 28, 1),
    "machine create --shm-size": (1, 31, 0),
    "machine create --deny-cidr": (1, 31, 0),
    "machine create --secret-keychain": (1, 31, 0),
    "machine create --allow-udp": (1, 31, 5),
    "pack create --proxy": (0, 8, 1),
    "pack create --no-proxy": (0, 8, 1),
    "pack create --staging-dir": (1, 2, 0),
    "pack create --rebase-from-image": (1, 3, 4),
    "pack create --include-workspace": (1, 15, 0),
    "pack create --storage": (1, 20, 2),
    "pack create --dns": (1, 26, 1),
}


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
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
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
        """Whether this version has the feature; true for what is not in the table."""
        return self.version >= SINCE.get(feature, MINIMUM)

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

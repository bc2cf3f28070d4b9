"""Patterns of paths in the guest, by `pathlib`'s rules."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import final

from attrs import frozen

from smolkit.commands.scan import Listing, is_absent
from smolkit.errors import GuestFileError
from smolkit.handles.walking import Scan
from smolkit.values import validate
from smolkit.values.dir_entry import DirEntry

# A hostile guest may claim any number of directories, of any depth: no kernel opens a longer path.
_MOST, _LONGEST = 2_000_000, 4096


@final
@frozen
class Part:
    """One part of a pattern.

    Attributes:
        text: As it was written.
        name: Matches names; None for `**` and `..`.
        is_dir: True if only directories match.
    """

    text: str
    name: re.Pattern[str] | None
    is_dir: bool


def parse(pattern: str, *, case_sensitive: bool) -> list[Part]:
    """Parse a pattern.

    Raises:
        TypeError: it is no str.
        ValueError: it is empty or absolute.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str, not {type(pattern).__name__}")
    texts = [text for text in pattern.split("/") if text not in {"", "."}]
    if not texts or pattern.startswith("/") or "\0" in pattern:
        raise ValueError(f"pattern must be a relative path, such as '**/*.py', not {validate.shown(pattern)}")
    flags, last = re.NOFLAG if case_sensitive else re.IGNORECASE, len(texts) - 1
    return [
        Part(
            text,
            None if text in {"**", ".."} else re.compile(fnmatch.translate(text), flags),
            place < last or pattern.endswith("/"),
        )
        for place, text in enumerate(texts)
    ]


def glob(scan: Scan, top: str, parts: Sequence[Part], *, recurse: bool) -> list[str]:
    """See `Machine.glob`."""
    tree, found = _Tree(scan), [top]
    for part in parts:
        if part.text == "..":
            found = [posixpath.join(path, "..") for path in tree.directories(found)]
        elif part.name is None:
            found = tree.below(found, recurse=recurse, only_dirs=part.is_dir)
        else:
            entries = tree.entries(found)
            found = [entry.path for entry in entries if part.name.match(entry.name) and (entry.is_dir() or not part.is_dir)]
    return sorted(set(found))


class _Tree:
    """Listings of directories: of each one, once."""

    def __init__(self, scan: Scan) -> None:
        self._scan, self._listed, self._count = scan, dict[str, Listing](), 0

    def _look(self, paths: Iterable[str]) -> None:
        new = [path for path in paths if path not in self._listed and len(path) <= _LONGEST]
        for path, listing in (self._scan(new) if new else {}).items():
            self._listed[path] = listing
            self._count += 0 if isinstance(listing, GuestFileError) else len(listing)
            if self._count > _MOST:
                raise GuestFileError(f"there are more than {_MOST} files to look at, the last ones in {path!r}", None, path)

    def entries(self, paths: Iterable[str]) -> list[DirEntry]:
        """The entries of these directories; none of those that cannot be listed."""
        paths = list(paths)
        self._look(paths)
        listings = [self._listed.get(path, []) for path in paths]
        return [entry for listing in listings if not isinstance(listing, GuestFileError) for entry in listing]

    def directories(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths that are directories."""
        paths = list(paths)
        self._look(paths)
        listings = [(path, self._listed.get(path)) for path in paths]
        return [path for path, found in listings if not (isinstance(found, GuestFileError) and is_absent(found))]

    def below(self, paths: Iterable[str], *, recurse: bool, only_dirs: bool) -> list[str]:
        """These directories and, at any depth, all directories below, or all files too."""
        level = self.directories(paths)
        found = dict.fromkeys(level)
        while level:
            entries = self.entries(level)
            level = [entry.path for entry in entries if entry.is_dir(follow_symlinks=recurse) and entry.path not in found]
            found |= dict.fromkeys(level)
            found |= {} if only_dirs else dict.fromkeys(entry.path for entry in entries)
        return list(found)

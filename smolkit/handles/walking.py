"""Walks through the guest's directory trees."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence

from smolkit.commands.guest_scripts import encode
from smolkit.commands.scan import Listing
from smolkit.errors import GuestFileError

Scan = Callable[[Sequence[str]], dict[str, Listing]]  # lists these directories

_AT_ONCE, _WORDS = 64, 32_768  # directories listed by one call, and bytes of their encoded paths: a command line is limited


def batches(paths: Iterable[str]) -> Iterator[list[str]]:
    """Split the paths into groups that fit on a command line each."""
    some: list[str] = []
    size = 0
    for path in dict.fromkeys(paths):
        size += len(encode(path))
        if some and (len(some) == _AT_ONCE or size > _WORDS):
            yield some
            some, size = [], len(encode(path))
        some.append(path)
    if some:
        yield some


def walk(
    scan: Scan, top: str, on_error: Callable[[GuestFileError], object] | None, *, follow: bool
) -> Iterator[tuple[str, list[str], list[str]]]:
    """See `Machine.walk`."""
    levels, listed = [[top]], dict[str, Listing]()  # of each level the siblings that are left, the next one last
    while levels:
        if not levels[-1]:
            levels.pop()
            continue
        path = levels[-1].pop()
        if path not in listed:
            listed |= scan([path, *levels[-1][:-_AT_ONCE:-1]])
        found = listed.pop(path)
        if isinstance(found, GuestFileError):
            if on_error is not None:
                on_error(found)
            continue
        dirnames = [entry.name for entry in found if entry.is_dir(follow_symlinks=follow)]
        yield path, dirnames, [entry.name for entry in found if not entry.is_dir(follow_symlinks=follow)]
        levels.append([posixpath.join(path, name) for name in reversed(dirnames)])

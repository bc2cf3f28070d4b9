"""Directories of the guest, listed with what `stat` says of each entry."""

from __future__ import annotations

import errno
import os
import posixpath
import re
from collections.abc import Iterator, Sequence

from attrs import field, frozen

from smolkit import values
from smolkit.commands import guest_scripts
from smolkit.commands.base import GuestCommand
from smolkit.commands.converters import machine_name, optional_seconds, optional_user
from smolkit.commands.dialect import Dialect
from smolkit.commands.script import Script, script_failure
from smolkit.commands.secret_args import Secrets
from smolkit.errors import GuestFileError, SmolvmError
from smolkit.values.dir_entry import DirEntry

Listing = list[DirEntry] | GuestFileError  # the entries, sorted, or why there are none

# The output of `stat -c '%f %s %u %g %Y'`. A hostile guest may send numbers of any length: these bounds keep them fit for
# the functions of `stat` and `os`. A time has 12 digits in the year 33658.
_STAT = re.compile(rb"([0-9a-f]{1,8}) ([0-9]{1,18}) ([0-9]{1,10}) ([0-9]{1,10}) (-?[0-9]{1,12})")
_END = re.compile(rb"=([0-9]{1,3}) ")


def nonsense(what: str, path: str, said: bytes) -> GuestFileError:
    """The error for an answer that no honest guest gives."""
    return GuestFileError(f"the guest sent an invalid {what} of {path!r}: {said[:80]!r}", None, path)


def file_stat(path: str, said: bytes) -> values.FileStat:
    """Parse a line of stat.

    Raises:
        GuestFileError: it is none.
    """
    if not (found := _STAT.fullmatch(said)):
        raise nonsense("stat", path, said)
    return _file_stat(found)


def _file_stat(found: re.Match[bytes]) -> values.FileStat:
    return values.FileStat(int(found[1], 16), *map(int, found.groups()[1:]))


@frozen
class ScanDirs(GuestCommand[dict[str, Listing]]):
    """Lists directories by one call. The answer is the listing of each.

    Attributes:
        name: The machine.
        paths: The directories.
        timeout: Seconds after which the engine ends it; None for no bound.
        user, su: As whom it runs: see `ExecCommand`.
        machine_secrets: The machine's own secrets, which the engine resolves at every exec.
    """

    name: str = field(converter=machine_name)
    paths: tuple[str, ...]
    timeout: float | None = field(default=None, converter=optional_seconds, kw_only=True)
    user: str | None = field(default=None, converter=optional_user, kw_only=True)
    su: bool = field(default=False, kw_only=True)
    machine_secrets: Secrets = field(default=(), kw_only=True, eq=False, repr=False)

    @property
    def script(self) -> Script:
        """The script that lists them."""
        first, second, *others = (*self.paths, "")
        args = [guest_scripts.encode(path) for path in others]
        secrets = self.machine_secrets
        return Script(
            *(self.name, guest_scripts.SCAN, first, second, tuple(args)),
            timeout=self.timeout,
            user=self.user,
            su=self.su,
            machine_secrets=secrets,
        )

    @property
    def guest(self) -> tuple[str, ...]:
        return self.script.guest

    @property
    def patience(self) -> float | None:
        return self.timeout

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return self.script.argv(dialect)

    def invocation(self, dialect: Dialect) -> values.Invocation:
        return self.script.invocation(dialect)

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        """The engine's failure, or the script's."""
        return self.script.failure(completed)

    def answer(self, completed: values.Completed) -> dict[str, Listing]:
        tokens = iter(completed.stdout.split(b"\0"))
        return {path: self._listing(path, tokens, completed) for path in self.paths}

    def _listing(self, path: str, tokens: Iterator[bytes], completed: values.Completed) -> Listing:
        entries: list[DirEntry] = []
        while not (end := _END.match(token := next(tokens, b""))):
            names = [token, *iter(lambda: next(tokens, b""), b"")]
            stats, targets = (_stats(path, next(tokens, b""), names) for _ in range(2))
            entries += [_entry(path, name, found, targets.get(name)) for name, found in stats.items()]
        if status := int(end[1]):
            said = token[end.end() :].decode("utf-8", "replace")
            error = script_failure(self.name, guest_scripts.SCAN, path, status, said, completed)
            return error if isinstance(error, GuestFileError) else nonsense("listing", path, token)
        return sorted(entries, key=lambda entry: entry.name)


def _stats(path: str, said: bytes, names: Sequence[bytes]) -> dict[bytes, values.FileStat]:
    """The lines of stat by name. A name may hold newlines; one whose file was gone has no line."""
    found: dict[bytes, values.FileStat] = {}
    place = 0
    for name in names:
        line = _STAT.match(said, place)
        if line and said.startswith(b" %s\n" % name, line.end()):
            found[name], place = _file_stat(line), line.end() + len(name) + 2
    if place != len(said) or not names[0]:
        raise nonsense("listing", path, said[place:])
    return found


def _entry(path: str, name: bytes, found: values.FileStat, target: values.FileStat | None) -> DirEntry:
    plain = name.removeprefix(b"./")
    if b"/" in plain or plain in {b"", b".", b".."}:  # a caller who joins it to a path would get elsewhere
        raise nonsense("directory entry", path, name)
    decoded = os.fsdecode(plain)
    return DirEntry(decoded, posixpath.join(path, decoded), found, target if found.is_symlink else found)


def is_absent(error: GuestFileError) -> bool:
    """True if there is no such directory, rather than one that may not be read."""
    return error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}

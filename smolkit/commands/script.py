"""What is done to the guest's files: small scripts for its `sh`, whose exit status says what went wrong."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from smolkit import checks
from smolkit.commands.base import Command
from smolkit.commands.execute import Exec
from smolkit.errors import GuestFileError, ProgramNotFoundError
from smolkit.values import shown_size

if TYPE_CHECKING:
    from smolkit.commands.secret import Secrets
    from smolkit.dialect import Dialect
    from smolkit.hidden import Hidden
    from smolkit.values import Completed, Invocation

# Exit statuses of the scripts. Such a one of a program in them is taken for ours: the guest may say what it likes.
CODES = {
    80: errno.ENOENT,
    81: errno.EISDIR,
    82: errno.EACCES,
    83: errno.ENOTDIR,
    84: errno.EEXIST,
    85: errno.ENOTEMPTY,
    86: errno.EIO,
}
_NO_PROGRAM = 87
# Bytes that a script may say which is to say a line, or the names in a directory: a hostile guest's would fill the memory.
_LINE, _NAMES = 2**20, 2**24
_PLAIN = b"/._-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# A path comes as `printf %b` reads it: any bytes, where the engine takes only UTF-8. The dot keeps newlines at its end.
_PRELUDE = """\
decode() { decoded=$(printf '%b.' "$1"); decoded=${decoded%.}; }
have() { [ -e "$1" ] || [ -L "$1" ]; }
need() { command -v "$1" >/dev/null || { echo "$1" >&2; exit 87; }; }
decode "$1"; p=$decoded; decode "$2"; q=$decoded
"""

READ = """\
have "$p" || exit 80; [ -d "$p" ] && exit 81; [ -r "$p" ] || exit 82
exec cat -- "$p"
"""
# $q is a name beside $p; $3 the number of bytes; $4 and $5 mode and owner, or nothing.
WRITE = """\
[ -L "$p" ] && p=$(readlink -f -- "$p")
[ -d "$p" ] && exit 81; d=${p%/*}; [ -e "${d:-/}" ] || exit 80; [ -d "${d:-/}" ] || exit 83; [ -w "${d:-/}" ] || exit 82
trap 'rm -f -- "$q"' EXIT
cat >"$q" || exit 86
[ "$(wc -c <"$q")" -eq "$3" ] || exit 86
mode=$4; owner=$5
[ -e "$p" ] && { [ "$mode" ] || mode=$(stat -c %a -- "$p"); [ "$owner" ] || owner=$(stat -c %u:%g -- "$p"); }
[ -z "$owner" ] || chown "$owner" -- "$q" || exit 82
[ -z "$mode" ] || chmod "$mode" -- "$q" || exit 82
mv -f -- "$q" "$p"
"""
EXISTS = 'if have "$p"; then echo yes; fi\n'
STAT = """\
have "$p" || exit 80
exec stat $3 -c '%f %s %u %g %Y' -- "$p"
"""
LISTDIR = """\
have "$p" || exit 80; [ -d "$p" ] || exit 83; [ -r "$p" ] && cd -- "$p" || exit 82
for f in * .[!.]* ..?*; do if have "$f"; then printf '%s\\0' "$f"; fi; done
"""
# $3: -p or nothing; $4: the mode or nothing; $5: whether it is fine that it is there.
MKDIR = """\
[ "$5" ] && [ -d "$p" ] && exit 0; have "$p" && exit 84
d=${p%/*}; [ "$3" ] || { [ -e "${d:-/}" ] || exit 80; [ -d "${d:-/}" ] || exit 83; [ -w "${d:-/}" ] || exit 82; }
mkdir $3 -- "$p" || exit 82
[ -z "$4" ] || chmod "$4" -- "$p"
"""
# $3: whether a folder goes with all that is in it; $4: whether it is fine that it is not there.
REMOVE = """\
have "$p" || { [ "$4" ] && exit 0; exit 80; }
if [ -d "$p" ] && [ ! -L "$p" ]; then
    if [ "$3" ]; then exec rm -rf -- "$p"; fi
    rmdir -- "$p" 2>/dev/null && exit 0
    for f in "$p"/* "$p"/.[!.]* "$p"/..?*; do have "$f" && exit 85; done
    exit 82
fi
rm -f -- "$p" || exit 82
"""
RENAME = """\
have "$p" || exit 80; d=${q%/*}; [ -d "${d:-/}" ] || exit 80; [ "$p" = "$q" ] && exit 0
[ -d "$q" ] && { [ -d "$p" ] || exit 81; rmdir -- "$q" 2>/dev/null || exit 85; }
mv -f -- "$p" "$q" || exit 82
"""
# A tree comes in as a tar, to $q first: what is at $p stays as it is until all is there.
UNPACK = """\
need tar; have "$p" && [ ! -d "$p" ] && exit 83
d=${p%/*}; mkdir -p -- "${d:-/}" || exit 82
trap 'rm -rf -- "$q"' EXIT
mkdir -- "$q" && tar -x -f - -C "$q" || exit 86
[ -e "$q/.smolkit-whole" ] || exit 86; rm -f -- "$q/.smolkit-whole"
[ -z "$3" ] || chown -R "$3" -- "$q" || exit 82
if [ -d "$p" ]; then cp -a -- "$q/." "$p/" || exit 86; else mv -- "$q" "$p" || exit 86; fi
"""
PACK = """\
need tar; have "$p" || exit 80; [ -d "$p" ] || exit 83; [ -r "$p" ] || exit 82
exec tar -c -f - -C "$p" .
"""
SIZE = """\
have "$p" || exit 80
if [ -d "$p" ]; then find "$p" -type f -exec stat -c %s -- '{}' + | awk '{ s += $1 } END { printf "%.0f\\n", s }'
else exec stat -L -c %s -- "$p"; fi
"""


def encode(path: str) -> str:
    """A path as `printf %b` reads it."""
    data = path.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in data)


def words(script: str, path: str, other: str = "", *args: str) -> tuple[str, ...]:
    """The command that runs a script on a path of the guest, and on another."""
    return ("sh", "-c", _PRELUDE + script, "sh", encode(path), encode(other), *args)


def failure(path: str, returncode: int, stderr: str, completed: Completed | None) -> GuestFileError | ProgramNotFoundError:
    """What a script's exit status means."""
    if returncode == _NO_PROGRAM:
        return ProgramNotFoundError(f"the guest has no program {stderr.strip()[-80:]!r}, which this needs", completed)
    return GuestFileError.of(CODES.get(returncode, errno.EIO), path, stderr.strip(), completed)


def _input(value: bytes | Hidden | None) -> bytes | None:
    return checks.data("input", value)


@frozen
class Script(Command[bytes]):
    """One of these scripts, run by `exec`. The answer is what it writes.

    Attributes:
        name: The machine.
        script: One of this module's.
        path, other: In the guest.
        args: More words for it.
        input: For its standard input.
    """

    name: str = field(converter=checks.name)
    script: str = field(repr=False)
    path: str
    other: str = ""
    args: tuple[str, ...] = ()
    input: bytes | None = field(default=None, converter=_input, repr=shown_size)
    machine_secrets: Secrets = field(default=(), kw_only=True, eq=False, repr=False)

    @property
    def exec(self) -> Exec:
        """The exec that it is."""
        command = words(self.script, self.path, self.other, *self.args)
        return Exec(self.name, command, input=self.input, machine_secrets=self.machine_secrets)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return self.exec.argv(dialect)

    def invocation(self, dialect: Dialect) -> Invocation:
        limit = {READ: None, LISTDIR: _NAMES}.get(self.script, _LINE)
        return evolve(self.exec.invocation(dialect), output_limit=limit)

    def nothing(self) -> bytes:
        return b"81a4 0 0 0 0\n" if self.script is STAT else b""

    def read(self, completed: Completed) -> bytes:
        """What it wrote.

        Raises:
            GuestFileError: the file is not as it has to be.
            ProgramNotFoundError: the guest has no `sh`, or not all that the script needs.
        """
        result = self.exec.read(completed)
        if not result.ok:
            raise failure(self.path, result.returncode, result.stderr, completed)
        return self.answer(completed)

    def answer(self, completed: Completed) -> bytes:
        return completed.stdout

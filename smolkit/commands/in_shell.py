"""Commands that a shell of the guest starts: as another user, with stderr in stdout, or from a script of any length.

The engine cannot start these by itself. Each takes a `sh` in the guest. Its exit status and signals are the command's: the
shell becomes the command (`exec`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from smolkit import errors, values

# Linux: no argument or variable may be longer (MAX_ARG_STRLEN is 32 pages, with the NUL), on either side of the engine.
LONGEST = 131_071
# Linux: all arguments and variables, their NULs and 8 bytes for each, may take a quarter of the stack's 8 MiB. Something
# is left for the engine's own. Commands of 1,920,000 bytes ran (1.32.2).
MOST = 2_000_000
_NO_USER = 125  # exit status
_SAYS = "smolkit: "
_KINDS: dict[str, type[errors.ProgramNotFoundError | errors.ProgramNotExecutableError]] = {
    "not found": errors.ProgramNotFoundError,
    "not executable": errors.ProgramNotExecutableError,
}
_PIECE = 32_000  # characters, of 4 bytes at most

# Runs the script that its arguments are pieces of. The script sees no arguments or variables but its own.
# IFS is set, not unset: `old=$IFS; IFS=,; ...; IFS=$old` of a script would leave it empty. By printf, since a newline here
# would count as a line of the script in bash.
_JOINED = r'IFS=; set -- "$*"; IFS=$(printf " \t\nx"); IFS=${IFS%x}; eval "set --; $1"'
# Says on stderr what is missing, as the last line: with stderr="stdout" all that the command writes is on stdout.
_CHECKED = """\
no() { echo "smolkit: $2: $3" >&2; exit "$1"; }
case $1 in
*/*) [ -e "$1" ] || no 127 "$1" "not found"; { [ -f "$1" ] && [ -x "$1" ]; } || no 126 "$1" "not executable";;
*) command -v -- "$1" >/dev/null || no 127 "$1" "not found";;
esac
"""
_START = _CHECKED + 'exec "$@"'
_MERGED = _CHECKED + 'exec "$@" 2>&1'
# $1 is the user: a name, or a uid in /etc/passwd. $2 is the script that starts the command. Without -l, `su` keeps the
# working directory and the environment but HOME, USER, LOGNAME and SHELL.
_AS_USER = """\
no() { echo "smolkit: $2: $3" >&2; exit "$1"; }
user=$1 start=$2; shift 2
case $user in *[!0-9]*) ;; *)
while IFS=: read -r name _ uid _; do [ "$uid" != "$user" ] || { user=$name; break; }; done </etc/passwd;; esac
command -v su >/dev/null || no 127 su "not found"
! command -v id >/dev/null || id -u -- "$user" >/dev/null 2>&1 || no 125 "$user" "no such user"
exec su -s /bin/sh -c "$start" -- "$user" sh "$@"
"""


def words(command: tuple[str, ...], *, merged: bool, su: str | None) -> tuple[str, ...]:
    """The command as the engine gets it.

    Args:
        command: As the caller wrote it.
        merged: True if its stderr is its stdout.
        su: The user that `su` makes of the guest's root; None for the user that the engine starts it as.
    """
    command = _joined(command)
    start = _MERGED if merged else _START
    if su is not None:
        return ("sh", "-c", _AS_USER, "sh", su, start, *command)
    return ("sh", "-c", start, "sh", *command) if merged else command


def unwrapped(given: Sequence[str]) -> tuple[tuple[str, ...], str | None, bool]:
    """The inverse of `words`: the command, the user, and whether stderr is stdout. For fakes."""
    command, user, merged = tuple(given), None, False
    if command[:3] == ("sh", "-c", _AS_USER):
        user, merged, command = command[4], command[5] == _MERGED, command[6:]
    elif command[:3] == ("sh", "-c", _MERGED):
        merged, command = True, command[4:]
    if command[1:3] == ("-c", _JOINED):
        command = (*command[:2], "".join(command[4:]))
    return command, user, merged


def _joined(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command; a script for `sh -c` that is too long for one argument, in pieces."""
    if len(command) != 3 or command[:2] not in {("sh", "-c"), ("/bin/sh", "-c")} or _size(command[2]) <= LONGEST:  # noqa: PLR2004
        return command
    script = command[2]
    pieces = [script[start : start + _PIECE] for start in range(0, len(script), _PIECE)]
    return (*command[:2], _JOINED, command[0], *pieces)


def check_sizes(arguments: Iterable[str], variables: Iterable[tuple[str, values.hidden.Hidden]]) -> None:
    """Raise for what the kernel refuses as too long, in the guest or on the engine's host.

    Args:
        arguments: The command as the engine gets it.
        variables: Its variables.

    Raises:
        ValueError: an argument, a variable, or all of them are too long.
    """
    total = 0
    for argument in arguments:
        total += _check("an argument of command", _size(argument), "pass it by input=")
    for name, value in variables:
        size = _size(name) + 1 + _size(value.reveal())
        total += _check(f"the variable {name}", size, "pass it by input=")
    if total > MOST:
        raise ValueError(
            f"the command and its variables must be at most {MOST:,} bytes in all, not {total:,}: write the data, or a "
            "script, to a file of the guest (machine.write_text), and name that"
        )


def _check(what: str, size: int, advice: str) -> int:
    if size > LONGEST:
        raise ValueError(
            f"{what} must be at most {LONGEST:,} bytes, the kernel's limit, not {size:,}: {advice}, or write it to a file "
            "of the guest (machine.write_text)"
        )
    return size + 9


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def failure(completed: values.Completed, program: str, user: str | None) -> errors.SmolvmError | None:
    """The error of a command that the guest's shell could not start; None if it was started."""
    last = completed.stderr.rstrip(b"\n").rpartition(b"\n")[2].decode("utf-8", "replace")
    said = last.removeprefix(_SAYS)
    if last == said:
        return None
    if completed.returncode == _NO_USER and said == f"{user}: no such user":
        return errors.ConfigError(f"the guest has no user {user!r}", completed)
    name, _, what = said.rpartition(": ")
    kind = _KINDS.get(what)
    if kind is None or name not in {program, "su"} or completed.returncode != kind.shell_status:
        return None
    return kind(f"{kind.summary}: {name}", completed)

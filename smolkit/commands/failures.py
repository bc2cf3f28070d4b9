"""Whose failure is it, and which? The one place that reads exit statuses and the engine's words for them.

The engine exits 1 for every failure of its own, and the guest's command may exit 1 too; both write to the same stderr.
`verdict` decides, and errs as follows (nothing that the engine offers is proof against a hostile guest):

- Engines from 1.28.1 on are asked for failures as JSON, and exec runs with `-i`. Exit 1 and a last line of stderr that is
  `{"error":{"code":...,"message":...}}` is the engine's. A guest that ends its stderr with such a line and exits 1 makes
  exec raise: it can pretend that exec failed, never that a failed exec succeeded. smolkit does nothing on the strength of
  such an error but raise it.
- Older engines print text, and only after the whole answer is in. Exit 1, an empty stdout and a stderr that begins with
  `Error: ` and one of the engine's own openings is the engine's. Where something had been written before, the status
  counts as the guest's.
- A timeout is exit 124 after at least the time that was given, by the host's clock; a 124 before that is data.
- Exit 255 of an image machine is crun's only where crun's one line is all there is and names the program that was asked.
- Exit 2 is a usage error only where the usage printed is that of the verb that was said (`machine exec`), or the flag
  and the value that are called invalid were said: guests run programs that print others.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from smolkit import errors
from smolkit.commands.dialect import asks_json, without_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.values.results import Completed

_Error = TypeVar("_Error", bound=errors.SmolvmError)


# Words of the engine, as patterns, and the failures that they name. tests/recorded.py has where each was heard.
# The first that matches counts: what names the cause stands before what names the consequence.
PHRASES: tuple[tuple[str, type[errors.SmolvmError]], ...] = (
    (r"^vm not found: ", errors.MachineNotFoundError),
    (r"^(?:config|agent) operation failed: [^\n]*machine '[^']*' not found", errors.MachineNotFoundError),
    (r"machine (?:named )?'[^']*' already exists", errors.MachineExistsError),
    (r"machine '[^']*' is the fork base for \d+ clone", errors.MachineHasBranchesError),
    (r"machine '[^']*' is not running|control socket not responding", errors.MachineNotRunningError),
    (r"invalid vm state: expected stopped, got [Rr]unning", errors.MachineRunningError),
    (
        r"expand (?:storage|overlay) disk: [^\n]*No such file|disk not found at [^\n]* may not have been started yet",
        errors.MachineNeverStartedError,
    ),
    (
        r"was not started as branchable|is not running forkable|no memfd-backed RAM|machine has saved execution",
        errors.ConfigError,
    ),
    (r"another process is already starting or running this VM", errors.StartInProgressError),
    (
        r"KvmOpen|creating the Kvm object|/dev/kvm|kvm permission denied|hypervisor not available",
        errors.HypervisorUnavailableError,
    ),
    (r"agent did not become ready", errors.BootFailedError),
    (r"cannot publish host [^\n]*Address already in use|host port \d+ is already in use", errors.PortInUseError),
    (r"boot process exited \(", errors.BootFailedError),
    (r"database is locked|Database already open|database not available", errors.EngineBusyError),
    (r"Directory not empty", errors.EngineBusyError),
    (r"command output exceeded \d+ bytes", errors.OutputLimitError),
    (r"streaming output exceeded \d+ byte cap", errors.OutputLimitError),
    (r"^io operation failed: (?:connection closed|Connection reset by peer|Broken pipe)", errors.ConnectionLostError),
    (r"(?:vm exec|streaming exec)[^\n]*: No such file or directory \(os error 2\)", errors.ProgramNotFoundError),
    (r"(?:vm exec|streaming exec)[^\n]*: Permission denied \(os error 13\)", errors.ProgramNotExecutableError),
    (r"^config operation failed: [^\n]*machine name ", errors.InvalidNameError),
    (r"resolve secret '[^']*': env_unset", errors.SecretUnsetError),
    (r"^config operation failed: ", errors.ConfigError),
    (r"^(?:mount source not found|mount operation failed|invalid mount path)", errors.ConfigError),
    (r"^agent operation failed: (?:read|write) file: [^\n]*No such file or directory", errors.CopyNotFoundError),
    (r"^agent operation failed: (?:read|write) file: [^\n]*[Ii]s a directory", errors.CopyIsADirectoryError),
    (r"^agent operation failed: (?:read|write) (?:local |source )?file: ", errors.CopyError),
    (r"No such command 'machine'", errors.ForeignProgramError),
    # The engine's parser, about options that do not go together, or a value that only the engine can judge.
    (
        r"^the argument '[^']*' cannot be used with|^the following required arguments were not provided|^invalid value '",
        errors.ConfigError,
    ),
)

# How the engine opens its messages (the thiserror formats of v0.7.2 to v1.9.3, src/data/errors.rs).
_OPENINGS = (
    r"Error: (?:agent operation failed|config operation failed|vm not found|vm creation failed|hypervisor not available|"
    r"invalid vm state|rootfs|storage operation failed|disk not found|mount |invalid mount path|database |"
    r"command '.*' failed|kvm |io operation failed)"
)
# Lines that the engine may put before its message: the note of a renamed program, and log lines, coloured even in a pipe.
_NOISE = r"(?m)^(?:note: no packed assets found for .*|(?:\x1b\[[0-9;]*m)*\d{4}-\d\d-\d\dT\d\d:.*)\n?"
# The message follows a line's end, a progress bar's carriage return, or (cp) the progress bar itself.
_TEXT_MESSAGE = r"(?s)(?:^|[\r\n]|B/s\))(?:Error|error): (.*)"
_TIMED_OUT = rb"\n?command timed out after \d+ms\Z"

_TIMEOUT, _CANNOT_START, _USAGE = 124, 255, 2
_CAUSE = 8192  # characters of a message that are looked at for its cause
_LOOK = 65_536  # bytes of stderr that are looked at, from its end: no message of the engine is longer


def verdict(completed: Completed, guest: tuple[str, ...] = (), timeout: float | None = None) -> errors.SmolvmError | None:
    """The failure that a finished call amounts to, or None: it succeeded, or its exit status is the guest's own.

    Args:
        completed: The call.
        guest: The command in the guest, for exec; empty for the engine's other verbs, whose statuses but 0 are failures.
        timeout: The seconds that the guest's command was given.
    """
    if completed.ended_by or completed.returncode < 0:
        return _ended(completed, guest, timeout)
    if completed.returncode == 0:
        return None
    if guest and completed.returncode == _TIMEOUT and timeout is not None and completed.duration >= timeout:
        shown = evolve(completed, stderr=re.sub(_TIMED_OUT, b"", completed.stderr))
        message = f"the guest's command did not end within {timeout:g} s and was killed"
        return errors.ExecTimeoutError(message, shown, timeout, guest_ended=True)
    stderr = _words(completed)
    if guest and completed.returncode == _CANNOT_START:
        return _not_started(completed, stderr.strip("\n"), guest[0])
    if not guest or _is_engines(completed, stderr):
        return _named(completed, _json_message(stderr) or _text_message(stderr))
    return None


def _words(completed: Completed) -> str:
    return re.sub(_NOISE, "", completed.stderr[-_LOOK:].decode("utf-8", "replace"))


def _ended(completed: Completed, guest: tuple[str, ...], timeout: float | None) -> errors.SmolvmError:
    """What it means that the engine did not come to an end of its own."""
    if not completed.ended_by:
        return errors.EngineDiedError(f"the engine was killed by signal {-completed.returncode}", completed)
    if completed.ended_by == "reaped elsewhere":
        # What the engine says of its failure shows it without a status; what a guest says shows nothing.
        message = None if guest else _json_message(_words(completed))
        said = "the engine's exit status was taken by other code of this program"
        return errors.StatusLostError(said, completed) if message is None else _named(completed, message)
    if completed.ended_by != "timeout":
        kind = errors.OutputLimitError if guest else errors.EngineOutputLimitError
        return kind("the output passed the runner's limit and the engine was ended", completed)
    if guest and timeout is not None:
        message = f"the guest's command did not end within {timeout:g} s, nor did the engine answer; it was ended"
        return errors.ExecOutcomeUnknownError(message, completed, timeout, guest_ended=False)
    return errors.EngineTimeoutError(
        f"the engine did not answer within {completed.duration:.0f} s and was ended", completed
    )


def _is_engines(completed: Completed, stderr: str) -> bool:
    """Whether an exec that exited non-zero is the engine's failure (see the head of this module)."""
    if completed.returncode == 1 and asks_json(completed.argv):
        return _json_message(stderr) is not None
    if completed.returncode == 1:
        return not completed.stdout and re.match(_OPENINGS, stderr) is not None
    return completed.returncode == _USAGE and not completed.stdout and _is_usage(completed.argv, stderr)


def _is_usage(argv: tuple[str, ...], stderr: str) -> bool:
    """Whether this is what the engine's parser says of these arguments."""
    words = without_json(argv)
    usage = rf"(?m)^Usage: \S+ {re.escape(' '.join(words[:2]))} "
    if not stderr.startswith("error: ") or re.search(usage, stderr):
        return stderr.startswith("error: ")
    own = words[: words.index("--")] if "--" in words else words
    said = [*pairwise(own), *(word.split("=", 1) for word in own if "=" in word)]
    return any(stderr.startswith(f"error: invalid value '{value}' for '{flag} <") for flag, value in said)


def _not_started(completed: Completed, line: str, program: str) -> errors.ExecError | None:
    """What crun's one line about a command that it could not start means; None if stderr is not that line alone."""
    if completed.stdout or "\n" in line:
        return None
    if line.startswith((f"executable file `{program}` not found", "chdir `", "open executable: No such file")):
        return _explained(errors.ProgramNotFoundError, line, completed)
    if line == "open executable: Permission denied":
        return _explained(errors.ProgramNotExecutableError, line, completed)
    return None


def _explained(error: type[_Error], words: str, completed: Completed) -> _Error:
    return error(f"{error.summary}: {words}" if error.summary else words, completed)


def _json_message(stderr: str) -> str | None:
    last = stderr.rstrip("\n").rpartition("\n")[2]
    # Found, not expected at the start: the guest's last line may lack its newline.
    start = last.rfind('{"error":{')
    if start < 0:
        return None
    try:
        error = json_reader()(last[start:])["error"]
    except (ValueError, RecursionError):  # a guest can write anything, however deep
        return None
    if not isinstance(error, dict) or error.keys() != {"code", "message"}:  # a key may be there twice
        return None
    code, message = error["code"], error["message"]
    return message if isinstance(code, str) and isinstance(message, str) else None


@cache
def json_reader() -> Callable[..., Any]:
    """`json.loads`, kept: at the exit of the interpreter nothing is imported any more, not even once again."""
    import json  # late: it costs as much as a dozen of our classes, and most calls succeed

    return json.loads


def _text_message(stderr: str) -> str:
    found = re.search(_TEXT_MESSAGE, stderr)
    return (found[1] if found else stderr).partition("\n\nUsage: ")[0].strip()


def _named(completed: Completed, message: str) -> errors.SmolvmError:
    opening = message[:_CAUSE]  # a guest's may be long, and made so that the patterns take long
    for pattern, error in PHRASES:
        if re.search(pattern, opening):
            return _explained(error, message, completed)
    if completed.returncode == _USAGE:
        return errors.UsageError(message.partition("\n")[0], completed)
    said = message or f"the engine exited with status {completed.returncode} and said nothing"
    return errors.UnknownEngineError(said, completed)

"""Failures: the only module that tells the engine's failures from the guest's exit status, and maps them to errors.

The engine exits 1 for each of its own failures, but the guest's command may exit 1, too, and both write to the same
stderr. `verdict` decides by these rules. None of them is proof against a hostile guest:

- Engines from 1.28.1 on are asked for failures as JSON, and exec runs with `-i`. Exit status 1 is the engine's if the last
  line of stderr is `{"error":{"code":...,"message":...}}`. A guest that ends its stderr with such a line and exits 1 makes
  exec raise. So it can make a successful exec look failed, but not a failed one successful. smolkit only raises such an
  error, and takes no other action because of it.
- Older engines print text, and only after all of the output. Exit status 1 is the engine's if stdout is empty and stderr
  begins with `Error: ` and one of the engine's openings. If anything was written before, the status counts as the guest's.
  With `-i` (a call with input) their output is live, too, and what fails then is the last line of stderr: as above, a guest
  that exits 1 can write it.
- Exit status 124 is a timeout if at least that time has passed on the host's clock. An earlier 124 is the guest's own.
- Exit status 255 of an image machine is crun's if stderr is only crun's line and names the program that was run.
- Exit status 2 is a usage error if stderr has the usage of the verb that was run (`machine exec`), or calls a flag and a
  value invalid that were in the argv. The programs of a guest print usages, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

from attrs import evolve

from smolkit import errors
from smolkit.commands.dialect import asks_json, without_json
from smolkit.values.results import Completed
from smolkit.values.shown import JSON_FAILURE

_Error = TypeVar("_Error", bound=errors.SmolvmError)


# Patterns of the engine's messages, and the errors that they mean. tests/recorded.py has a recorded message for each.
# The first match counts: patterns of a cause come before those of its consequences.
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
    # Of the program or of the workdir: the agent of a bare machine does not say which (see `flows.not_started`).
    (
        r"(?:vm exec|streaming exec)[^\n]*: (?:No such file or directory \(os error 2\)|Not a directory \(os error 20\))",
        errors.ProgramNotFoundError,
    ),
    (r"(?:vm exec|streaming exec)[^\n]*: Permission denied \(os error 13\)", errors.ProgramNotExecutableError),
    (r"^config operation failed: [^\n]*machine name ", errors.InvalidNameError),
    (r"resolve secret '[^']*': env_unset", errors.SecretUnsetError),
    (r"^config operation failed: |user '[^']*' not found in container rootfs", errors.ConfigError),
    (r"^(?:mount source not found|mount operation failed|invalid mount path)", errors.ConfigError),
    (r"^agent operation failed: (?:read|write) file: [^\n]*No such file or directory", errors.CopyNotFoundError),
    (r"^agent operation failed: (?:read|write) file: [^\n]*[Ii]s a directory", errors.CopyIsADirectoryError),
    (r"^agent operation failed: (?:read|write) (?:local |source )?file: ", errors.CopyError),
    (r"No such command 'machine'", errors.ForeignProgramError),
    # From the engine's parser: options that exclude each other, or a value that only the engine can validate.
    (
        r"^the argument '[^']*' cannot be used with|^the following required arguments were not provided|^invalid value '",
        errors.ConfigError,
    ),
)

# How the engine's messages begin (the thiserror formats of v0.7.2 to v1.9.3, src/data/errors.rs).
_OPENINGS = (
    r"Error: (?:agent operation failed|config operation failed|vm not found|vm creation failed|hypervisor not available|"
    r"invalid vm state|rootfs|storage operation failed|disk not found|mount |invalid mount path|database |"
    r"command '.*' failed|kvm |io operation failed)"
)
_LAST_LINE = rf"(?={_OPENINGS})Error: ([^\n]*)\n*\Z"  # not only at its start: the guest's last line may lack its newline
# Lines that may precede the engine's message: the note of a renamed program, and log lines, coloured even in a pipe.
_NOISE = r"(?m)^(?:note: no packed assets found for .*|(?:\x1b\[[0-9;]*m)*\d{4}-\d\d-\d\dT\d\d:.*)\n?"
# The last line of a longer advice, which the engine puts before the cause (seen with 1.32.2).
_LEFTOVER = r"(?<=monitor agent: )[^;\n]{0,300}; libkrun detail: "
# The message follows a newline, the carriage return of a progress bar, or (cp) the progress bar itself.
_TEXT_MESSAGE = r"(?s)(?:^|[\r\n]|B/s\))(?:Error|error): (.*)"
_TIMED_OUT = rb"\n?command timed out after \d+ms\Z"

_NO_FILE = {"open executable: Not a directory"}  # crun's words for /etc/passwd/x, ...
_NO_PROGRAM = {"open executable: Permission denied", "open executable: Operation not permitted"}  # a file, a directory
# Exit statuses: the guest's program did not end in time; an image machine could not start it; the engine's parser refused.
TIMED_OUT, CANNOT_START, USAGE = 124, 255, 2
STDERR_END = 65_536  # bytes of stderr, from its end, that are searched for the engine's message: none is longer
_CAUSE = 8192  # characters of a message that are matched against `PHRASES`


def verdict(completed: Completed, guest: tuple[str, ...] = (), timeout: float | None = None) -> errors.SmolvmError | None:
    """The failure that a finished call amounts to, or None if it succeeded or its exit status is the guest's own.

    Args:
        completed: The finished call.
        guest: The command in the guest. Empty for verbs without one, for which every exit status but 0 is a failure.
        timeout: The timeout of the guest's command, in seconds.
    """
    if completed.ended_by or completed.returncode < 0:
        return _ended(completed, guest, timeout)
    if completed.returncode == 0:
        return None
    # A guest's program may exit 124 by itself, so the clock decides. Not all versions print a line about a timeout.
    if guest and completed.returncode == TIMED_OUT and timeout is not None and completed.duration >= timeout:
        shown = evolve(completed, stderr=re.sub(_TIMED_OUT, b"", completed.stderr))
        message = f"the guest's command did not end within {timeout:g} s and was killed"
        return errors.ExecTimeoutError(message, shown, timeout, guest_ended=True)
    stderr = _words(completed)
    if guest and completed.returncode == CANNOT_START:
        return _not_started(completed, stderr.strip("\n"), guest[0])
    if not guest:
        return _named(completed, _json_message(stderr) or _text_message(stderr))
    found = _engines_message(completed, stderr)
    return None if found is None else _named(completed, found)


def _words(completed: Completed) -> str:
    return re.sub(_NOISE, "", completed.stderr[-STDERR_END:].decode("utf-8", "replace"))


def _ended(completed: Completed, guest: tuple[str, ...], timeout: float | None) -> errors.SmolvmError:
    """The failure of a call whose engine was killed, or whose exit status is lost."""
    if not completed.ended_by:
        return errors.EngineDiedError(f"the engine was killed by signal {-completed.returncode}", completed)
    if completed.ended_by == "reaped elsewhere":
        # The engine's own report shows the failure even without a status. A guest's stderr proves nothing.
        message = None if guest else _json_message(_words(completed))
        said = "other code of this program took the engine's exit status"
        return errors.StatusLostError(said, completed) if message is None else _named(completed, message)
    if completed.ended_by != "timeout":
        kind = errors.OutputLimitError if guest else errors.EngineOutputLimitError
        return kind("the output exceeded the runner's limit, and the engine was ended", completed)
    if guest and timeout is not None:
        message = f"neither the guest's command nor the engine ended within {timeout:g} s; the engine was ended"
        return errors.ExecOutcomeUnknownError(message, completed, timeout, guest_ended=False)
    return errors.EngineTimeoutError(
        f"the engine did not answer within {completed.duration:.0f} s and was ended", completed
    )


def _engines_message(completed: Completed, stderr: str) -> str | None:
    """The engine's message, or None if the non-zero exit status is the guest's (see the docstring of this module)."""
    if completed.returncode == USAGE:
        is_usage = not completed.stdout and _is_usage(completed.argv, stderr)
        return _text_message(stderr) if is_usage else None
    if completed.returncode != 1:
        return None
    if asks_json(completed.argv):
        return _json_message(stderr)
    if not completed.stdout and re.match(_OPENINGS, stderr):
        return _text_message(stderr)
    last = re.search(_LAST_LINE, stderr) if _is_live(completed.argv) else None
    return last and last[1]


def _is_live(argv: tuple[str, ...]) -> bool:
    """True if an engine that was called so writes the output as it comes."""
    return "-i" in (argv[: argv.index("--")] if "--" in argv else argv)


def _is_usage(argv: tuple[str, ...], stderr: str) -> bool:
    """True if this stderr is the engine's parser refusing this argv."""
    words = without_json(argv)
    # A program of the guest may fail with a usage of its own, also one that is built with the same parser (clap).
    usage = rf"(?m)^Usage: \S+ {re.escape(' '.join(words[:2]))} "
    if not stderr.startswith("error: ") or re.search(usage, stderr):
        return stderr.startswith("error: ")
    own = words[: words.index("--")] if "--" in words else words
    said = [*pairwise(own), *(word.split("=", 1) for word in own if "=" in word)]
    return any(stderr.startswith(f"error: invalid value '{value}' for '{flag} <") for flag, value in said)


def _not_started(completed: Completed, line: str, program: str) -> errors.ExecError | None:
    """The error for crun's line about a program that it could not start; None unless that line is all of the output."""
    if completed.stdout or "\n" in line:
        return None
    if line.startswith("chdir `"):
        return _explained(errors.WorkdirNotFoundError, line, completed)
    if line.startswith((f"executable file `{program}` not found", "open executable: No such file")) or line in _NO_FILE:
        return _explained(errors.ProgramNotFoundError, line, completed)
    if line in _NO_PROGRAM:
        return _explained(errors.ProgramNotExecutableError, line, completed)
    return None


def _explained(error: type[_Error], words: str, completed: Completed) -> _Error:
    words = re.sub(_LEFTOVER, "", words)
    return error(f"{error.summary}: {words}" if error.summary else words, completed)


def _json_message(stderr: str) -> str | None:
    last = stderr.rstrip("\n").rpartition("\n")[2]
    # Not only at the start of the line: the guest's own last line may lack its newline.
    start = last.rfind(JSON_FAILURE)
    if start < 0:
        return None
    try:
        error = json_reader()(last[start:])["error"]
    except (ValueError, RecursionError):  # a guest can write anything, nested however deep
        return None
    if not isinstance(error, dict) or error.keys() != {"code", "message"}:  # of a repeated "error", the last counts
        return None
    code, message = error["code"], error["message"]
    return message if isinstance(code, str) and isinstance(message, str) else None


@cache
def json_reader() -> Callable[..., Any]:
    """`json.loads`, cached: while the interpreter exits, no import works any more, not even a repeated one."""
    import json  # late: it takes as long as a dozen of our classes, and most calls succeed

    return json.loads


def _text_message(stderr: str) -> str:
    found = re.search(_TEXT_MESSAGE, stderr)
    return (found[1] if found else stderr).partition("\n\nUsage: ")[0].strip()


def _named(completed: Completed, message: str) -> errors.SmolvmError:
    opening = message[:_CAUSE]  # a guest's may be long, and made so that the patterns take long
    for pattern, error in PHRASES:
        if re.search(pattern, opening):
            return _explained(error, message, completed)
    if completed.returncode == USAGE:
        return errors.UsageError(message.partition("\n")[0], completed)
    said = message or f"the engine exited with status {completed.returncode} without a message"
    return errors.UnknownEngineError(said, completed)

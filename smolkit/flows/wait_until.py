"""Waiting until something in the guest is ready. Generators, as in `smolkit.flows.teardown`."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from smolkit.commands.exec import Exec
from smolkit.commands.lifecycle import DataDir
from smolkit.errors import EngineTimeoutError, ExecTimeoutError, ProgramNotFoundError, QueueTimeoutError, WaitTimeoutError
from smolkit.flows.provision import add_logs
from smolkit.flows.steps import Clock, Pause, Planning, ReadLog, Settle
from smolkit.values import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smolkit.commands.secret_args import Secrets
    from smolkit.flows.steps import Steps
    from smolkit.values.results import ExecResult

    # Given the seconds that are left: whether it is ready.
    Probe = Callable[[float], Steps[bool]]

_PAUSES = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0)  # seconds between two looks; the last one for ever
_PARTS = 16  # of a log (a MiB each) that are read before the clock is looked at: a guest may write without end
_LONGEST_LINE = 65_536  # bytes of a log that are kept for its next part
LOGS = ("workload.log", "agent-console.log")  # in a machine's data directory; the first is what `machine logs` shows


def probe(  # noqa: PLR0917  (as wait_until has them)
    name: str,
    command: Sequence[str] | None,
    path: str | None,
    port: int | None,
    log: str | re.Pattern[str] | None,
    machine_secrets: Secrets,
) -> tuple[str, Probe]:
    """The one condition that is given: what it is, for people to read, and how to look.

    Raises:
        ValueError: none is given, or several.
    """
    given = [what for what in (command, path, port, log) if what is not None]
    if len(given) != 1:
        raise ValueError(f"wait_until takes one of command=, path=, port= and log=, not {len(given) or 'none'} of them")
    exec_of = partial(Exec, name, machine_secrets=machine_secrets)
    if command is not None:
        words = validate.words("command", command)
        return f"{words} did not exit with 0", lambda left: _succeeds(exec_of, words, left)
    if path is not None:
        test = ("test", "-e", validate.utf8("path", validate.guest_path("path", path)))
        return f"{path} did not exist", lambda left: _is_ok(exec_of, test, left)
    if port is not None:
        number = validate.integer("port", port, 1, 65_535)
        return f"nothing listened on port {port}", lambda left: _listens(exec_of, number, left)
    pattern = _compiled(log)
    return f"no line of its logs matched {pattern.pattern!r}", _LogReader(name, pattern).look


def _compiled(log: object) -> re.Pattern[str]:
    if isinstance(log, re.Pattern) and isinstance(log.pattern, str):
        return log
    try:
        return re.compile(validate.text("log", log))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"log is no regular expression: {error}") from None


def wait_until(name: str, what: str, look: Probe, timeout: float) -> Steps[None]:
    """Looks again and again. On a timeout the end of the machine's logs goes on the error as a note."""
    deadline = (yield Clock()) + timeout
    pauses = iter(_PAUSES)
    left = timeout
    while not (yield from _in_time(look(left))) and not (yield Planning()):
        left = deadline - (yield Clock())
        if left <= 0:
            error = WaitTimeoutError(f"machine {name!r}: {what} within {timeout:g} s")
            yield from add_logs(error, name, LOGS)
            raise error
        pause = min(next(pauses, _PAUSES[-1]), left)
        yield Pause(pause)
        yield Settle()
        left -= pause


def _in_time(look: Steps[bool]) -> Steps[bool]:
    """Whether it is ready. An engine that gave no answer in the time that is left said neither."""
    try:
        return (yield from look)
    except (ExecTimeoutError, EngineTimeoutError, QueueTimeoutError):
        return False


def _run(exec_of: Callable[..., Exec], words: tuple[str, ...], left: float) -> Steps[ExecResult]:
    result: ExecResult = yield exec_of(words, timeout=max(1.0, left))
    return result


def _is_ok(exec_of: Callable[..., Exec], words: tuple[str, ...], left: float) -> Steps[bool]:
    result = yield from _run(exec_of, words, left)
    return result.ok


def _succeeds(exec_of: Callable[..., Exec], words: tuple[str, ...], left: float) -> Steps[bool]:
    try:
        return (yield from _is_ok(exec_of, words, left))
    except ProgramNotFoundError:
        return False  # it may be on its way


def _listens(exec_of: Callable[..., Exec], port: int, left: float) -> Steps[bool]:
    """As the guest's kernel has it: also where no such port is published, and with every network backend (1.32.2)."""
    result = yield from _run(exec_of, ("cat", "/proc/net/tcp", "/proc/net/tcp6"), left)
    return bool(re.search(rf"(?m)^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F:]+ 0A ", result.stdout))


class _LogReader:
    """Reads on in a machine's logs, each time from where it was."""

    def __init__(self, name: str, pattern: re.Pattern[str]) -> None:
        self._name, self._pattern = name, pattern
        self._places = dict.fromkeys(LOGS, 0)
        self._rests = dict.fromkeys(LOGS, b"")
        self._folder = ""

    def look(self, left: float) -> Steps[bool]:  # noqa: ARG002  (reading takes no time)
        """Whether a line that came since the last look matches."""
        self._folder = self._folder or (yield DataDir(self._name))
        found = False
        for file in LOGS:
            for _ in range(_PARTS):
                chunk = yield ReadLog(f"{self._folder}/{file}", self._places[file])
                if not chunk:
                    break
                self._places[file] += len(chunk)
                found = found or self._has_match(file, chunk)
        return found

    def _has_match(self, file: str, chunk: bytes) -> bool:
        lines = (self._rests[file] + chunk).split(b"\n")
        self._rests[file] = lines[-1][-_LONGEST_LINE:]
        # The agent writes what it is told to run: a command that says the words is no sign that they came true.
        said = (line for line in lines if not line.startswith(b'{"timestamp":'))
        return any(self._pattern.search(line.decode("utf-8", "replace")) for line in said)

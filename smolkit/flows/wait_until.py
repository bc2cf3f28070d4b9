"""Workflow that waits until something in the guest is ready."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from smolkit.commands.exec import Exec
from smolkit.commands.lifecycle import DataDir
from smolkit.errors import EngineTimeoutError, ExecTimeoutError, ProgramNotFoundError, QueueTimeoutError, WaitTimeoutError
from smolkit.flows.steps import Clock, InterruptPoint, Pause, Planning, ReadLog
from smolkit.values import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from smolkit.commands.secret_args import Secrets
    from smolkit.flows.steps import Steps
    from smolkit.values.exec_result import ExecResult

    # Takes the seconds that are left; the answer is whether it is ready.
    Probe = Callable[[float], Steps[bool]]

_PAUSES = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0)  # seconds between two probes; the last pause is repeated
_PARTS = 16  # parts of a log, of a MiB each, that are read before the clock is read: a guest may write without end
_LONGEST_LINE = 65_536  # bytes of an unfinished line that are kept until its rest is read
LOGS = ("workload.log", "agent-console.log")  # in a machine's data directory; `machine logs` shows the first


def probe(  # noqa: PLR0917  (as wait_until has them)
    name: str,
    command: Sequence[str | PathLike[str]] | None,
    path: str | None,
    port: int | None,
    log: str | re.Pattern[str] | None,
    machine_secrets: Secrets,
) -> tuple[str, Probe]:
    """The condition that was given: a description of its absence, for messages, and its probe.

    Raises:
        ValueError: none was given, or several.
    """
    given = [condition for condition in (command, path, port, log) if condition is not None]
    if len(given) != 1:
        raise ValueError(f"wait_until needs exactly one of command=, path=, port= and log=, not {len(given)}")
    exec_of = partial(Exec, name, machine_secrets=machine_secrets)
    if command is not None:
        argv = validate.words("command", command)
        return f"{argv} did not exit with 0", lambda left: _succeeds(exec_of, argv, left)
    if path is not None:
        test = ("test", "-e", validate.utf8("path", validate.guest_path("path", path)))
        return f"{path} did not exist", lambda left: _is_ok(exec_of, test, left)
    if port is not None:
        number = validate.port("port", port)
        return f"nothing listened on port {port}", lambda left: _listens(exec_of, number, left)
    pattern = _compiled(log)
    return f"no line of its logs matched {pattern.pattern!r}", _LogReader(name, pattern).look


def _compiled(log: object) -> re.Pattern[str]:
    if isinstance(log, re.Pattern) and isinstance(log.pattern, str):
        return log
    try:
        return re.compile(validate.text("log", log))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"log must be a regular expression: {error}") from None


def wait_until(name: str, what: str, look: Probe, timeout: float) -> Steps[None]:
    """Probe until it is ready.

    Raises:
        WaitTimeoutError: it did not become ready in time.
    """
    deadline = (yield Clock()) + timeout
    pauses = iter(_PAUSES)
    left = timeout
    while not (yield from _in_time(look(left))) and not (yield Planning()):
        left = deadline - (yield Clock())
        if left <= 0:
            raise WaitTimeoutError(f"machine {name!r}: {what} within {timeout:g} s")
        pause = min(next(pauses, _PAUSES[-1]), left)
        yield Pause(pause)
        yield InterruptPoint()
        left -= pause


def _in_time(look: Steps[bool]) -> Steps[bool]:
    """True if it is ready. A probe that timed out is one that failed."""
    try:
        return (yield from look)
    except (ExecTimeoutError, EngineTimeoutError, QueueTimeoutError):
        return False


def _probe_once(exec_of: Callable[..., Exec], argv: tuple[str, ...], left: float) -> Steps[ExecResult]:
    result: ExecResult = yield exec_of(argv, timeout=max(1.0, left))
    return result


def _is_ok(exec_of: Callable[..., Exec], argv: tuple[str, ...], left: float) -> Steps[bool]:
    result = yield from _probe_once(exec_of, argv, left)
    return result.ok


def _succeeds(exec_of: Callable[..., Exec], argv: tuple[str, ...], left: float) -> Steps[bool]:
    try:
        return (yield from _is_ok(exec_of, argv, left))
    except ProgramNotFoundError:
        return False  # it may be installed later


def _listens(exec_of: Callable[..., Exec], port: int, left: float) -> Steps[bool]:
    """True if the guest's kernel has a listener: works for unpublished ports and every network backend (1.32.2)."""
    result = yield from _probe_once(exec_of, ("cat", "/proc/net/tcp", "/proc/net/tcp6"), left)
    return bool(re.search(rf"(?m)^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F:]+ 0A ", result.stdout))


class _LogReader:
    """Reads a machine's logs, each time from where it stopped before."""

    def __init__(self, name: str, pattern: re.Pattern[str]) -> None:
        self._name, self._pattern = name, pattern
        self._places = dict.fromkeys(LOGS, 0)
        self._rests = dict.fromkeys(LOGS, b"")
        self._directory = ""

    def look(self, left: float) -> Steps[bool]:  # noqa: ARG002  (reading takes no time)
        """True if a line that was written since the last call matches."""
        self._directory = self._directory or (yield DataDir(self._name))
        found = False
        for file in LOGS:
            for _ in range(_PARTS):
                chunk = yield ReadLog(f"{self._directory}/{file}", self._places[file])
                if not chunk:
                    break
                self._places[file] += len(chunk)
                found = found or self._has_match(file, chunk)
        return found

    def _has_match(self, file: str, chunk: bytes) -> bool:
        lines = (self._rests[file] + chunk).split(b"\n")
        self._rests[file] = lines[-1][-_LONGEST_LINE:]
        # The agent logs the commands that it is told to run: a match in one of those lines means nothing.
        written = (line for line in lines if not line.startswith(b'{"timestamp":'))
        return any(self._pattern.search(line.decode("utf-8", "replace")) for line in written)

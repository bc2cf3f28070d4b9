"""Program that a watchdog runs when its owner has ended with machines left: it removes them, without any output."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

from smolkit.errors import SmolvmError
from smolkit.flows import reap
from smolkit.flows.steps import perform
from smolkit.runners import blocking
from smolkit.runners.local.identity import is_alive
from smolkit.runners.local.subprocess import SubprocessRunner
from smolkit.values.ownership import Owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smolkit.runners.base import Runner

_BRIEFLY = (0.01, 1.0)  # seconds between two looks at an owner that lives on: the first pause, and the longest
# Seconds before each further look, 17 minutes in all: a create that was under way outlives its caller, and takes up to 15.
_PAUSES = tuple(0.5 * 2**number for number in range(11))


def main(told: str) -> None:
    """Wait until the owner is gone, and remove its machines.

    Args:
        told: The state of its machines when its socket was closed, and a line for each engine.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the engine would inherit
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()  # each engine's variables are in its line
    state, *lines = told.splitlines()
    engines = [json.loads(line) for line in lines]
    owner = Owner.parse(engines[0]["owner"])
    assert owner is not None  # noqa: S101  (for the type checker: it was written by one)
    wait_for_end(owner)
    remove([_runner(engine) for engine in engines], owner, _PAUSES, int(state) if state.startswith("+") else 0)


def _runner(engine: dict[str, Any]) -> SubprocessRunner:
    return SubprocessRunner(engine["program"], prefix=engine["prefix"], env=engine["env"], version=engine["version"])


def wait_for_end(owner: Owner) -> None:
    """Wait until the owner has ended. Its socket may be closed before: by an exec, or by closing all descriptors."""
    pause, longest = _BRIEFLY
    while is_alive(owner.pid, owner.started):
        blocking.sleep(pause)
        pause = min(2 * pause, longest)


def remove(runners: Sequence[Runner], owner: Owner, pauses: Iterable[float], expected: int) -> None:
    """Remove the owner's machines.

    Args:
        runners: One for each engine.
        owner: A process that has ended.
        pauses: Seconds before each further look, while one fails or finds fewer machines than expected.
        expected: The number of machines, those that are still being made among them.
    """
    removed = 0
    for pause in (0.0, *pauses):
        blocking.sleep(pause)
        found = [_remove(runner, owner) for runner in runners]
        removed += sum(number or 0 for number in found)
        if None not in found and removed >= expected:
            return


def _remove(runner: Runner, owner: Owner) -> int | None:
    """The number of machines that were removed; None if one could not be, or could not be found."""
    try:
        dialect = runner.engine.dialect
        labels = dialect.supports("machine create --label")
        found = perform(runner, reap.reapable(runner.here(), dialect))
        theirs = [item for item in found if Owner.of(item.machine, labels=labels) == owner]
        perform(runner, reap.reap(theirs, dialect))
    except SmolvmError:
        return None
    return len(theirs)

"""What a watchdog runs when its process has ended with machines left: removes them. Nobody reads what it would say."""

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

_BRIEFLY = (0.01, 1.0)  # seconds between two looks at a process that goes on: the first, and the longest
# Seconds before each further look, 17 minutes in all: a create that was under way outlives its caller, and may take 15.
_PAUSES = tuple(0.5 * 2**number for number in range(11))


def main(told: str) -> None:
    """Waits until the owner is gone, and removes its machines.

    Args:
        told: What it held when its link was closed, and a line for each engine.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # unlike SIG_IGN, the engine does not inherit it
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()  # the engines' are told
    holds, *lines = told.splitlines()
    engines = [json.loads(line) for line in lines]
    owner = Owner.parse(engines[0]["owner"])
    assert owner is not None  # noqa: S101  (for the type checker: it was written by one)
    wait_for_end(owner)
    remove([_runner(engine) for engine in engines], owner, _PAUSES, int(holds) if holds.startswith("+") else 0)


def _runner(engine: dict[str, Any]) -> SubprocessRunner:
    return SubprocessRunner(engine["program"], prefix=engine["prefix"], env=engine["env"], version=engine["version"])


def wait_for_end(owner: Owner) -> None:
    """Returns when the owner has ended: it may go on without its link, after an exec or having closed all descriptors."""
    pause, longest = _BRIEFLY
    while is_alive(owner.pid, owner.started):
        blocking.sleep(pause)
        pause = min(2 * pause, longest)


def remove(runners: Sequence[Runner], owner: Owner, pauses: Iterable[float], expected: int) -> None:
    """Removes the owner's machines.

    Args:
        runners: One for each engine.
        owner: A process that is gone.
        pauses: Seconds before each further look, while one fails or fewer were found than expected.
        expected: How many there are, those that are still being made among them.
    """
    removed = 0
    for pause in (0.0, *pauses):
        blocking.sleep(pause)
        found = [_remove(runner, owner) for runner in runners]
        removed += sum(number or 0 for number in found)
        if None not in found and removed >= expected:
            return


def _remove(runner: Runner, owner: Owner) -> int | None:
    """How many were removed; None where one was not, or it is not known."""
    try:
        dialect = runner.engine.dialect
        labels = dialect.supports("machine create --label")
        found = perform(runner, reap.reapable(runner.here(), dialect))
        theirs = [item for item in found if Owner.of(item.machine, labels=labels) == owner]
        perform(runner, reap.reap(theirs, dialect))
    except SmolvmError:
        return None
    return len(theirs)

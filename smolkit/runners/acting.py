"""The runner that acts for another one: in the block of a dry run one that plans, and everywhere else the runner itself.

This is where the rest of smolkit meets dry runs; what they do is in `smolkit.runners.dry_run`.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TypeVar

from smolkit import runners

S = TypeVar("S")

# The innermost first. A context variable rather than an attribute of the runner: other threads and tasks that share the
# runner, and are not in the block, must not find their calls planned.
dry_runs: ContextVar[tuple[runners.DryRun, ...]] = ContextVar("smolkit dry runs", default=())


def acting(runner: runners.AnyRunner) -> runners.AnyRunner:
    """The runner that acts for this one in the calling code."""
    for dry_run in dry_runs.get():
        if dry_run.real is runner:
            return dry_run
    return runner


def is_planning(runner: runners.AnyRunner) -> bool:
    """True if calls of this runner are only planned here: there is nothing to check or to wait for then."""
    return any(acting(runner) is dry_run for dry_run in dry_runs.get())


def apart(runner: runners.AnyRunner, state: S) -> S:
    """A handle's knowledge of its machine, to be read and changed: in a dry run a copy, which ends with it.

    So a machine that was only planned is not deleted after the block, and one that was made still is.
    """
    found = state
    for dry_run in reversed(dry_runs.get()):
        if dry_run.real is runner:
            found = dry_run.copy_of(found)
    return found

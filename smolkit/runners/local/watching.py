"""Context managers around calls of the engine, which report machines to the watchdog."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from smolkit.commands.admin import Branch
from smolkit.commands.create import Create
from smolkit.commands.lifecycle import Delete
from smolkit.errors import MachineNotFoundError, OutcomeUnknownError, SmolvmError
from smolkit.runners.local import watchdog
from smolkit.values.ownership import NONE, OWNER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from smolkit.commands.base import Command


def watching(host: str, describe: Callable[[], str], command: Command[Any]) -> AbstractContextManager[None]:
    """Context manager around a call of the engine: reports created and deleted machines to the watchdog.

    Args:
        host: The runner's host.
        describe: Returns the engine's line.
        command: The command that is run.
    """
    if isinstance(command, Delete):
        return _deleting((host, command.name))
    if names := made_by(command):
        return _making([(host, name) for name in names], describe)
    return nullcontext()


def made_by(command: Command[Any] | None) -> list[str]:
    """The names of the machines that it makes, unless they are to outlive this process."""
    if isinstance(command, Create):
        return [] if (OWNER, NONE) in command.marks else [command.name]
    if not isinstance(command, Branch):
        return []
    chosen = dict(command.chosen)
    if f"{OWNER}={NONE}" in chosen.get("labels", ()):
        return []
    if command.name is not None:
        return [command.name]
    return [f"{chosen['name_prefix'][0]}-{number}" for number in range(int(str(chosen["count"][0])))]


@contextmanager
def _making(machines: list[watchdog.Held], describe: Callable[[], str]) -> Iterator[None]:
    mine = watchdog.mine()
    mine.begin_making(machines, describe())
    try:
        yield
    except OutcomeUnknownError:
        mine.end_making(machines, made=True)
        raise
    except SmolvmError:
        mine.end_making(machines, made=False)
        raise
    except BaseException:
        mine.end_making(machines, made=True)  # an interrupt: they may have been
        raise
    mine.end_making(machines, made=True)


@contextmanager
def _deleting(machine: watchdog.Held) -> Iterator[None]:
    try:
        yield
    except MachineNotFoundError:
        watchdog.mine().forget(machine)
        raise
    watchdog.mine().forget(machine)

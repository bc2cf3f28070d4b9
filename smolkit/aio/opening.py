"""The beginning of a machine's lifetime on the async side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from smolkit.aio.greenlets import drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.handles.machine import Machine


async def before_opening(machine: Machine) -> None:
    """Raise a cancellation that is already pending: there is nothing to undo yet.

    Not if this handle has created its machine before: only the end of the block deletes that one, so the block has to be
    entered.
    """
    if machine._known.made is None:  # noqa: SLF001  (the other side of it)
        await checkpoint()


async def open_machine(machine: Machine, function: Callable[[], object], begun: list[bool]) -> None:
    """Run what opens a machine.

    Args:
        machine: The machine.
        function: Opens it, or waits for who does.
        begun: Has an item once it is this call that opens it.
    """
    try:
        await drive(function, None)
    except GeneratorExit:
        # The coroutine was closed before its end. If that was in another thread, the greenlet cannot be resumed here, not
        # even to undo what it did: this does so in its place. (Otherwise it has, and this is a no-op.)
        if begun:
            machine._abandon()  # noqa: SLF001
        raise

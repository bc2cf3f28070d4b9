"""The runner, for engines that are reached by async code of one's own."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, final

from smolkit.aio.greenlets import hand_over
from smolkit.runners.base import AnyRunner

if TYPE_CHECKING:
    from smolkit.values.results import Completed, Invocation


class AsyncRunner(AnyRunner):
    """Runs commands on one engine, for an AsyncSmolvm only.

    A subclass supplies `execute`, as a coroutine. All else is as in Runner, sync: what waits in it (an `open` of its own,
    the reading of its Live) waits by `smolkit.aio.wait_for`.
    """

    @abstractmethod
    async def execute(self, invocation: Invocation) -> Completed:
        """As in Runner; but a call with `invocation.finish` is not cancelled: smolkit shields it, to its end. (override)"""

    @final
    def execute_sync(self, invocation: Invocation) -> Completed:
        """`execute`, for sync code. (call)"""
        return hand_over(partial(self.execute, invocation), finish=invocation.finish)  # type: ignore[no-any-return]

"""A base class for runners that reach the engine by async code."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import final

from smolkit.aio.greenlets import await_in_task
from smolkit.runners.base import AnyRunner
from smolkit.values.results import Completed, Invocation


class AsyncRunner(AnyRunner):
    """Base class of runners that are async. It serves AsyncSmolvm only.

    A subclass supplies `execute`, a coroutine function. The rest is as in Runner, and sync: its own `open`, and the Live
    that this returns, wait for coroutines by `smolkit.aio.wait_for`.
    """

    @abstractmethod
    async def execute(self, invocation: Invocation) -> Completed:
        """Run one engine call, as `Runner.execute`. (override)

        If `invocation.finish` is true the call is shielded: a cancellation is raised only after its end.
        """

    @final
    def execute_sync(self, invocation: Invocation) -> Completed:
        """`execute`, for sync code. (call)"""
        return await_in_task(partial(self.execute, invocation), finish=invocation.finish)  # type: ignore[no-any-return]

"""The async side of the client of a fleet. Needs `pip install 'smolkit[async,ray]'`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Any, Self, TypeVar, final

from smolkit.aio.greenlets import drive, drive_exit, in_loop
from smolkit.aio.handles import AsyncMachine
from smolkit.aio.twins import Twin, awaited, direct, giving
from smolkit.handles.machine import Machine
from smolkit.ray.client import RaySmolvm

T = TypeVar("T")
R = TypeVar("R")

_OVER = object()


@final
class AsyncRaySmolvm(Twin[RaySmolvm]):
    """A client of the engines on all hosts of a Ray cluster: the async side of `RaySmolvm`, with the same arguments."""

    def __init__(self, **options: Any) -> None:
        super().__init__(RaySmolvm(**options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036
        await drive_exit(self._sync.__exit__, *error)

    machine = direct(giving(AsyncMachine, RaySmolvm.machine))
    hosts = awaited(RaySmolvm.hosts)
    close = awaited(RaySmolvm.close)

    def map(
        self, function: Callable[[Machine, T], R], tasks: Iterable[T], **options: Any
    ) -> AsyncGenerator[tuple[int, Any]]:
        """The async generator of what `RaySmolvm.map` yields, with the same arguments and errors.

        The function is sync: it runs in a process of Ray. A `break` ends what runs once Python drops the generator; to wait
        for that, use `async with contextlib.aclosing(client.map(...)) as results`.
        """
        return _results(self._sync.map(function, tasks, **options))


async def _results(results: Generator[tuple[int, Any]]) -> AsyncGenerator[tuple[int, Any]]:
    try:
        while (found := await in_loop(next, results, _OVER)) is not _OVER:
            yield found  # type: ignore[misc]  # it is not _OVER
    finally:
        await drive(results.close, [])

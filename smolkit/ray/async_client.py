"""The async side of the client of a fleet. Needs `pip install 'smolkit[async,ray]'`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Any, Self, TypeVar, Unpack, final

from smolkit.aio.greenlets import drive, drive_exit, in_loop
from smolkit.aio.handles import AsyncMachine
from smolkit.aio.twins import Twin
from smolkit.handles.machine import Machine
from smolkit.options import ClientOptions
from smolkit.ray.client import RaySmolvm
from smolkit.ray.hosts import RayHost
from smolkit.values.hidden import hide_options

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

    def machine(self, name: str | None = None, **rest: Unpack[ClientOptions]) -> AsyncMachine:
        """As `RaySmolvm.machine`."""
        rest = hide_options(rest)
        return AsyncMachine(self._sync.machine(name, **rest))

    async def hosts(self) -> list[RayHost]:
        """As `RaySmolvm.hosts`."""
        return await in_loop(self._sync.hosts)

    async def close(self) -> None:
        """As `RaySmolvm.close`."""
        await in_loop(self._sync.close)

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

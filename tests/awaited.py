"""The async side with sync methods, so that one test suite runs on both sides."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from smolkit import AsyncSmolvm, Smolvm
from smolkit.aio.twins import Twin


@contextmanager
def awaited(client: Smolvm, backend: str) -> Iterator[Any]:
    """Yield the async twin of a client, in an event loop of its own."""
    with start_blocking_portal(backend) as portal:
        yield Awaited(AsyncSmolvm(runner=client.runner), portal)


class Awaited:
    """A proxy of an AsyncSmolvm or of what it made. Each call is awaited in the event loop of another thread."""

    def __init__(self, twin: Any, portal: BlockingPortal) -> None:
        self._twin, self._portal = twin, portal

    def __getattr__(self, name: str) -> Any:
        return self._seen(getattr(self._twin._sync if name.startswith("_") else self._twin, name))

    def _seen(self, found: Any) -> Any:
        if inspect.iscoroutine(found):
            found = self._portal.call(lambda: found)
        if isinstance(found, (Twin, AsyncIterator)):
            return Awaited(found, self._portal)
        if isinstance(found, list):
            return [self._seen(item) for item in found]
        if inspect.ismethod(found):
            return lambda *args, **kwargs: self._seen(found(*args, **kwargs))
        return found

    def __enter__(self) -> Any:
        return self._seen(self._twin.__aenter__())

    def __exit__(self, *error: object) -> None:
        self._seen(self._twin.__aexit__(*error))

    def __iter__(self) -> Iterator[Any]:
        pieces = self._twin.__aiter__()

        async def piece() -> Any:
            return await anext(pieces, None)

        while (found := self._portal.call(piece)) is not None:
            yield found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Awaited) and self._twin == other._twin

    def __hash__(self) -> int:
        return hash(self._twin)

    def __repr__(self) -> str:
        return repr(self._twin)

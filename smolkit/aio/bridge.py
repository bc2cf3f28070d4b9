"""How a sync call waits in an event loop: it runs in a greenlet, which hands each of its waits to the task that called it.

Nothing of smolkit is written twice this way (SQLAlchemy's asyncio side is made so, too), and there is no thread. anyio
brings asyncio and trio. Its own subprocesses are not used: they take neither `process_group` nor `executable`, and are read
by tasks, which asyncio's `cancel()` would end in the middle of a call that has to come to its end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from functools import partial, wraps
from importlib import import_module
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, final

try:
    import anyio.lowlevel
    from greenlet import GreenletExit, getcurrent, greenlet
except ModuleNotFoundError as error:
    error.add_note("smolkit's async side needs them: pip install 'smolkit[async]'")
    raise

from smolkit.runners import waiting
from smolkit.runners.base import InterruptedCall

S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T")
A = TypeVar("A")
P = ParamSpec("P")


@final
class _Event:
    def __init__(self) -> None:
        self._event, self._tell = anyio.Event(), _teller()

    def set(self) -> None:
        self._tell(self._event.set)

    def wait(self, timeout: float | None = None) -> object:
        return wait_for(partial(_happens, self._event, timeout))


@final
class _Call(greenlet):
    """A call of the sync library, a `waiting.Loop` to it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._thread = threading.get_ident()
        self.gr_context = copy_context()
        self.is_left = False  # by its event loop, in the middle
        self.event = _Event

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is not its thread: a coroutine that is closed in another one cannot go on there with its call."""
        return self._thread != threading.get_ident()

    @property
    def task(self) -> object:
        return anyio.get_current_task().id

    @property
    def is_gone(self) -> Callable[[], bool]:
        if _library() == "asyncio":
            coroutine = import_module("asyncio").current_task().get_coro()
        else:
            coroutine = import_module("trio").lowlevel.current_task().coro
        thread = threading.current_thread()
        return lambda: coroutine.cr_frame is None or not thread.is_alive()

    def readable(self, fd: int | None, timeout: float | None) -> None:
        wait_for(partial(_readable, fd, timeout))


def _current() -> _Call | None:
    call = getcurrent()
    return call if isinstance(call, _Call) and not call.is_left else None


waiting.cooperate(_current)


def wait_for(what: Callable[[], Awaitable[T]]) -> T:
    """What a coroutine function gives, for sync code that AsyncSmolvm calls: of a runner, or a handler of a fake."""
    return hand_over(what, finish=False)  # type: ignore[no-any-return]


def hand_over(what: Callable[[], Awaitable[Any]], *, finish: bool) -> Any:
    """The same; with finish, a cancellation waits for its end, and is an InterruptedCall then."""
    call = _current()
    if call is None or call.parent is None:
        raise RuntimeError("this waits for an event loop, and no call of AsyncSmolvm leads here")
    return call.parent.switch((what, finish))


class _Dropped(GeneratorExit):
    """The task was dropped while a call waited: nothing can be awaited in it any more."""


def _library() -> str:
    """Whose event loop runs here: asyncio, trio, or "" for none."""
    with suppress(RuntimeError):
        return anyio.get_cancelled_exc_class().__module__.partition(".")[0]
    return ""


def _teller() -> Callable[[Callable[[], object]], object]:
    """What has this event loop call something soon, from any thread."""
    if _library() == "asyncio":
        return import_module("asyncio").get_running_loop().call_soon_threadsafe  # type: ignore[no-any-return]
    return import_module("trio").lowlevel.current_trio_token().run_sync_soon  # type: ignore[no-any-return]


async def _happens(event: anyio.Event, seconds: float | None) -> None:
    with anyio.move_on_after(seconds):
        await event.wait()


async def _readable(fd: int | None, seconds: float | None) -> None:
    with anyio.move_on_after(seconds):
        if fd is None:
            await anyio.sleep_forever()
            return
        own = os.dup(fd)  # one task may write while another reads: each waits by itself
        try:
            await anyio.wait_readable(own)
        finally:
            os.close(own)


async def in_loop(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls sync code that uses smolkit, one's own too; while it waits for the engine, the event loop goes on.

    A cancellation is raised in it where it waits, once. What it then does to clean up is not cancelled again: it is bounded
    by the engine's own times. If the event loop goes away in the middle, the cleaning up blocks the thread.
    """
    await anyio.lowlevel.checkpoint()
    return await drive(partial(function, *args, **kwargs), None)


async def leave(end: Callable[..., None], *error: Any) -> None:
    """The end of a block, which is not cancelled at all: its caller is, after it."""
    late: list[BaseException] = []
    if isinstance(error[1], _Dropped) or (isinstance(error[1], GeneratorExit) and not _library()):
        end(*error)
        return
    try:
        await drive(partial(end, *error), late)
    finally:
        if late:
            raise late[0]


async def drive(function: Callable[[], T], late: list[BaseException] | None) -> T:
    """Does what the call waits for, until its end. Given a list for them, cancellations are kept there."""
    call, cleans = _Call(function), late is not None
    resume, wanted = call.switch, call.switch()
    while not call.dead:
        wait, finish = wanted
        try:
            if cleans or finish:
                given, interrupt = await _to_its_end(wait)
                if interrupt is not None and late is not None:
                    late.append(interrupt)
                elif interrupt is not None and not cleans:
                    raise InterruptedCall(given, interrupt)  # noqa: TRY301  (the call decides about that, too)
            else:
                given = await wait()
            resume = call.switch
        except BaseException as error:  # noqa: BLE001  (the call decides)
            call.is_left = call.is_elsewhere or GeneratorExit in {type(error), type(error.__context__)}
            if call.is_elsewhere:
                break
            cleans = cleans or call.is_left or isinstance(error, (anyio.get_cancelled_exc_class(), InterruptedCall))
            resume, given = call.throw, GreenletExit() if call.is_left else error
        wanted = resume(given)
    if call.is_left:
        raise _Dropped
    return wanted  # type: ignore[no-any-return]  # what the function gave


async def _to_its_end(wait: Callable[[], Awaitable[T]]) -> tuple[T, BaseException | None]:
    """Waits through all cancellations; what it gives, and the first of them that asyncio sent."""
    late = None
    with anyio.CancelScope(shield=True):
        if _library() != "asyncio":
            answer = await wait()
        else:  # asyncio's cancel() knows no shields, but it does not reach into another task
            import asyncio

            task = asyncio.ensure_future(wait())
            while not task.done():
                try:
                    await asyncio.wait([task])
                except asyncio.CancelledError as error:
                    late = late or error
            answer = task.result()
    return answer, late


class Twin(Generic[S_co]):
    """The async side of an object: its methods are the object's, awaited. What is only annotated is read from it."""

    def __init__(self, sync: S_co) -> None:
        self._sync = sync

    def __getattr__(self, name: str) -> Any:
        if name in type(self).__annotations__:
            return getattr(self._sync, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return repr(self._sync).replace("<", "<Async", 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Twin) and type(other) is type(self) and bool(self._sync == other._sync)

    def __hash__(self) -> int:
        return hash(self._sync)


def awaited(method: Callable[Concatenate[S_co, P], T]) -> Callable[Concatenate[Twin[S_co], P], Coroutine[Any, Any, T]]:
    """The async side of a method that may reach the engine."""

    @wraps(method)
    async def call(self: Twin[S_co], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await in_loop(method, self._sync, *args, **kwargs)

    return call


def direct(method: Callable[Concatenate[S_co, P], T]) -> Callable[Concatenate[Twin[S_co], P], T]:
    """The async side of a method that asks nothing: there is nothing to await."""

    @wraps(method)
    def call(self: Twin[S_co], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(self._sync, *args, **kwargs)

    return call


def giving(twin: Callable[[T], A], method: Callable[P, T]) -> Callable[P, A]:
    """The method, with what it gives made a twin."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> A:
        return twin(method(*args, **kwargs))

    return call

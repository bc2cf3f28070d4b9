"""How a sync call waits in an event loop: it runs in a greenlet, which hands each of its waits to the task that called it.

Nothing of smolkit is written twice this way (SQLAlchemy's asyncio side is made so, too), and there is no thread. anyio
brings asyncio and trio. Its own subprocesses are not used: they take neither `process_group` nor `executable`, and are read
by tasks, which asyncio's `cancel()` would end in the middle of a call that has to come to its end.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from importlib import import_module
from typing import Any, ParamSpec, TypeVar, final

from smolkit.extras import missing

try:
    import anyio.lowlevel
    from greenlet import GreenletExit, getcurrent, greenlet
except ModuleNotFoundError as _error:
    raise missing("smolkit's async side", "async", _error) from _error

from smolkit.runners import blocking
from smolkit.runners.attempts import InterruptedCall

_LOOK = 0.02  # seconds between two looks at a file that cannot be waited for

T = TypeVar("T")
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
    try:
        call = getcurrent()
    except RuntimeError:  # the interpreter exits, and greenlets are gone before generators are closed
        return None
    return call if isinstance(call, _Call) and not call.is_left else None


blocking.cooperate(_current)


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
        try:
            own = os.dup(fd)  # one task may write while another reads: each waits by itself
        except OSError:  # this program has used up its descriptors
            await anyio.sleep(_LOOK)
            return
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
    begun: list[bool] = []

    def work() -> None:
        begun.append(True)
        end(*error)

    try:
        await drive(work, late)
    except BaseException:
        if not begun:  # a signal handler's, before there was anybody to bear it
            await drive(work, late)
        raise
    finally:
        if late:
            raise late[0]


async def drive(  # noqa: C901, PLR0912  (a helper's entry would be one more line for a signal to strike in)
    function: Callable[[], T], late: list[BaseException] | None
) -> T:
    """Does what the call waits for, until its end. Given a list for them, cancellations are kept there."""
    call, cleans, outer = _Call(function), late is not None, sys.exc_info()[1]
    struck: list[BaseException] = []  # what signal handlers raised in the call
    resume: Callable[..., Any] = call.switch
    arguments: tuple[Any, ...] = ()
    while True:
        try:
            wanted = _resume(resume, arguments, struck)
        except BaseException as error:
            if call.dead:
                raise
            struck.append(error)  # it came before the call could go on
            continue
        if call.dead:
            break
        wait, finish = wanted
        resume = call.switch
        try:
            if struck and not cleans:
                raise struck.pop(0)  # noqa: TRY301  (as if it had come while the call waits)
            if cleans or finish:
                given, interrupt = await _to_its_end(wait)
                if interrupt is not None and late is not None:
                    late.append(interrupt)
                # A scope's cancellation comes again at the next wait; but a call whose result it is to undo ends here.
                interrupt = interrupt or (None if cleans else await _pending())
                if interrupt is not None and not cleans:
                    raise InterruptedCall(given, interrupt)  # noqa: TRY301  (the call decides about that, too)
            else:
                given = await wait()
        except BaseException as error:  # noqa: BLE001  (the call decides)
            call.is_left = call.is_elsewhere or _is_left(error, outer)
            if call.is_elsewhere:
                break
            cleans = cleans or call.is_left or not isinstance(error, Exception)
            resume, given = call.throw, GreenletExit() if call.is_left else error
        arguments = (given,)
    if call.is_left:
        raise _Dropped
    if struck:
        wanted = None  # a process that nobody gets is killed when it is dropped: the traceback would keep it
        raise struck[0]
    return wanted  # type: ignore[no-any-return]  # what the function gave


def _resume(resume: Callable[..., Any], given: tuple[Any, ...], struck: list[BaseException]) -> Any:
    """Lets the call go on until it waits. A signal handler's exception (the second Ctrl-C in `asyncio.run`) is kept."""
    held = blocking.hold()
    try:
        return resume(*given)
    finally:
        held.release()
        struck += held.kept


def _is_left(error: BaseException, outer: BaseException | None) -> bool:
    """Whether the task was dropped: what it awaits is closed, and may say so by an error of its own.

    An exception that was being handled before, as in the `finally` of an async generator that is closed, is none of that.
    """
    inner = error.__context__ if error.__context__ is not outer else None
    return GeneratorExit in {type(error), type(inner)}


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
                except (asyncio.CancelledError, KeyboardInterrupt) as error:
                    late = late or error
            answer = task.result()
    return answer, late


async def _pending() -> BaseException | None:
    """The cancellation by a scope that waited while there was a shield."""
    try:
        await anyio.lowlevel.checkpoint_if_cancelled()
    except anyio.get_cancelled_exc_class() as error:
        return error
    return None

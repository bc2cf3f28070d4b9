"""Run sync code in an event loop: in a greenlet, whose waits are awaited by the task that called it.

This way nothing of smolkit is written twice, and there are no threads (SQLAlchemy's asyncio side works like this, too).
anyio stands for asyncio and trio. Its own subprocesses are not used: they take neither `process_group` nor `executable`,
and are read by tasks, which asyncio's `cancel()` would end in the middle of a call that must come to its end.

A wait goes like this: sync code waits for a file (`blocking.readable`), which finds its greenlet (`_current`) and switches
to the task, giving it what is to be awaited (`await_in_task`); the task awaits it and switches back (`drive`). How
cancellations fit in is told in flows/steps.py, "How interrupts work".
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

_POLL = 0.02  # seconds between two polls of a file that cannot be waited for

T = TypeVar("T")
P = ParamSpec("P")


@final
class _Event:
    def __init__(self) -> None:
        self._event, self._call_soon = anyio.Event(), _call_soon()

    def set(self) -> None:
        self._call_soon(self._event.set)  # from any thread

    def wait(self, timeout: float | None = None) -> object:
        return wait_for(partial(_until_set, self._event, timeout))


@final
class _SyncCall(greenlet):
    """A greenlet in which sync code runs; to that code it is its event loop (`blocking.Loop`)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._thread = threading.get_ident()
        self.gr_context = copy_context()
        self.is_abandoned = False  # by its task, in the middle: it waits as in a thread from then on
        self.event = _Event

    @property
    def is_elsewhere(self) -> bool:
        """True if another thread runs this: a greenlet cannot go on there. (Some thread may close the coroutine.)"""
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


def _current() -> _SyncCall | None:
    try:
        call = getcurrent()
    except RuntimeError:  # at the interpreter's exit, greenlets are gone before generators are closed
        return None
    return call if isinstance(call, _SyncCall) and not call.is_abandoned else None


blocking.cooperate(_current)


def wait_for(what: Callable[[], Awaitable[T]]) -> T:
    """Await what a coroutine function returns, in sync code that AsyncSmolvm calls: a runner's, or a handler of a fake.

    Raises:
        RuntimeError: no call of AsyncSmolvm leads here.
    """
    return await_in_task(what, finish=False)  # type: ignore[no-any-return]


def await_in_task(what: Callable[[], Awaitable[Any]], *, finish: bool) -> Any:
    """As `wait_for`. With `finish` a cancellation waits until it has ended, and is raised as an InterruptedCall then."""
    call = _current()
    if call is None or call.parent is None:
        raise RuntimeError("this waits for an event loop, and no call of AsyncSmolvm leads here")
    return call.parent.switch((what, finish))  # `drive` awaits it, and switches back with the result or an exception


class _Abandoned(GeneratorExit):
    """The task was dropped while its greenlet waited: nothing can be awaited in it any more."""


def _library() -> str:
    """The library of the event loop that runs here: asyncio, trio, or "" for none."""
    with suppress(RuntimeError):
        return anyio.get_cancelled_exc_class().__module__.partition(".")[0]
    return ""


def _call_soon() -> Callable[[Callable[[], object]], object]:
    """A function that has this event loop call something soon, from any thread."""
    if _library() == "asyncio":
        return import_module("asyncio").get_running_loop().call_soon_threadsafe  # type: ignore[no-any-return]
    return import_module("trio").lowlevel.current_trio_token().run_sync_soon  # type: ignore[no-any-return]


async def _until_set(event: anyio.Event, seconds: float | None) -> None:
    with anyio.move_on_after(seconds):
        await event.wait()


async def _readable(fd: int | None, seconds: float | None) -> None:
    with anyio.move_on_after(seconds):
        if fd is None:
            await anyio.sleep_forever()
            return
        try:
            own = os.dup(fd)  # two tasks may wait for one file, and an event loop takes a descriptor only once
        except OSError:  # this program has used up its descriptors
            await anyio.sleep(_POLL)
            return
        try:
            await anyio.wait_readable(own)
        finally:
            os.close(own)


async def in_loop(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call sync code that uses smolkit, your own too; the event loop goes on while that waits for the engine.

    A cancellation is raised in it where it waits, once. What it then does to clean up is not cancelled again; it is bounded
    by the engine's own timeouts. If the event loop goes away in the middle, the cleaning up blocks the thread.
    """
    await anyio.lowlevel.checkpoint()
    return await drive(partial(function, *args, **kwargs), None)


async def drive_exit(end: Callable[..., None], *error: Any) -> None:
    """Run the end of a block, an `__exit__`, which is not cancelled: a cancellation is raised after it."""
    late: list[BaseException] = []
    # The coroutine is being closed, and no event loop waits for it: `__exit__` runs as in a thread.
    if isinstance(error[1], _Abandoned) or (isinstance(error[1], GeneratorExit) and not _library()):
        end(*error)
        return
    begun: list[bool] = []

    def run_end() -> None:
        begun.append(True)
        end(*error)

    try:
        await drive(run_end, late)
    except BaseException:
        if not begun:  # a signal handler's exception struck before there was code to keep it: the machine is still there
            await drive(run_end, late)
        raise
    finally:
        if late:
            raise late[0]


async def drive(  # noqa: C901, PLR0912  (one function: a helper's entry would be one more line for a signal to strike in)
    function: Callable[[], T], late: list[BaseException] | None
) -> T:
    """Run sync code in a greenlet, and await what it waits for, until it returns.

    Args:
        function: The sync code.
        late: A list that takes the cancellations; the code is then not cancelled. None: the first one is thrown into it.
    """
    # `is_cleaning_up`: from the first interrupt on nothing else may interrupt the code, which undoes what it did.
    call, is_cleaning_up, outer = _SyncCall(function), late is not None, sys.exc_info()[1]
    struck: list[BaseException] = []  # what signal handlers raised while the greenlet ran
    resume: Callable[..., Any] = call.switch
    arguments: tuple[Any, ...] = ()
    while True:
        try:
            wanted = _run_until_it_waits(resume, arguments, struck)
        except BaseException as error:
            if call.dead:  # the sync code itself failed
                raise
            # A signal handler's, before the greenlet was switched to: it is where it was, and the same switch is due.
            struck.append(error)
            continue
        if call.dead:  # it returned, and `wanted` is its result
            break
        wait, finish = wanted
        resume = call.switch
        try:
            if struck and not is_cleaning_up:
                raise struck.pop(0)  # noqa: TRY301  (as if it had struck in this wait, which the code is prepared for)
            if is_cleaning_up or finish:
                given, interrupt = await _await_shielded(wait)
                if interrupt is not None and late is not None:
                    late.append(interrupt)
                # The shield kept a scope's cancellation out. While cleaning up it is left to come again at a wait of the
                # caller's; but a call whose result it has to undo ends with this wait, and must hear of it now.
                interrupt = interrupt or (None if is_cleaning_up else await _pending_cancellation())
                if interrupt is not None and not is_cleaning_up:
                    raise InterruptedCall(given, interrupt)  # noqa: TRY301  (thrown into the greenlet, too)
            else:
                given = await wait()
        except BaseException as error:  # noqa: BLE001  (the sync code decides what becomes of it)
            call.is_abandoned = call.is_elsewhere or _is_abandoned(error, outer)
            if call.is_elsewhere:
                break  # its greenlet cannot be switched to from this thread, not even to clean up
            is_cleaning_up = is_cleaning_up or call.is_abandoned or not isinstance(error, Exception)
            # GreenletExit: the sync code cleans up, without an event loop, and its end is no error.
            resume, given = call.throw, GreenletExit() if call.is_abandoned else error
        arguments = (given,)
    if call.is_abandoned:
        raise _Abandoned
    if struck:
        wanted = None  # the traceback would keep it alive: a process that nobody gets is killed when it is dropped
        raise struck[0]
    return wanted  # type: ignore[no-any-return]  # what the function returned


def _run_until_it_waits(resume: Callable[..., Any], given: tuple[Any, ...], struck: list[BaseException]) -> Any:
    """Switch to the greenlet until it waits or ends. What signal handlers raise meanwhile is kept in `struck`.

    In `asyncio.run` that is the second Ctrl-C; the first one is a cancellation.
    """
    held = blocking.hold()
    try:
        return resume(*given)
    finally:
        held.release()
        struck += held.kept


def _is_abandoned(error: BaseException, outer: BaseException | None) -> bool:
    """True if the task was dropped: what it awaits was closed, and may have raised an error of its own from that.

    An exception that was being handled before (`outer`), as in the `finally` of an async generator that is closed, does not
    count.
    """
    inner = error.__context__ if error.__context__ is not outer else None
    return GeneratorExit in {type(error), type(inner)}


async def _await_shielded(wait: Callable[[], Awaitable[T]]) -> tuple[T, BaseException | None]:
    """Await it to its end, whatever is cancelled; its result, and the first `cancel()` of asyncio's, if one came."""
    late = None
    with anyio.CancelScope(shield=True):
        if _library() != "asyncio":
            answer = await wait()
        else:  # asyncio's cancel() ignores anyio's shields, but it does not reach into another task
            import asyncio

            task = asyncio.ensure_future(wait())
            while not task.done():
                try:
                    await asyncio.wait([task])
                except (asyncio.CancelledError, KeyboardInterrupt) as error:
                    late = late or error
            answer = task.result()
    return answer, late


async def _pending_cancellation() -> BaseException | None:
    """The cancellation of a scope that the shield kept out, if there is one."""
    try:
        await anyio.lowlevel.checkpoint_if_cancelled()
    except anyio.get_cancelled_exc_class() as error:
        return error
    return None

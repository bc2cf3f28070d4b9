"""The gate at which threads and tasks wait for their turn."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from smolkit import errors
from smolkit.aio import in_loop
from smolkit.runners import blocking
from smolkit.runners.blocking import Gate, Ticket
from tests.processes import LONGEST, until


def hold(gate: Gate) -> Callable[[], None]:
    """Let another thread take a place, which calling the result frees."""
    taken, enough = threading.Event(), threading.Event()

    def work() -> None:
        with gate.turn():
            taken.set()
            enough.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    taken.wait(60)

    def release() -> None:
        enough.set()
        thread.join()

    return release


def test_turns_come_in_order() -> None:
    """Places are given in the order of waiting, and a free one at once."""
    gate, came = Gate(1), []
    release = hold(gate)

    def wait(number: int) -> None:
        with gate.turn():
            came.append(number)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while len(gate._line) <= number + 1:
            time.sleep(0.001)
    assert [] == came
    release()
    for thread in threads:
        thread.join()
    assert [0, 1, 2, 3, 4] == came


def test_no_limit_is_no_wait() -> None:
    """A gate without a limit lets everybody through."""
    gate = Gate(None)
    for _ in range(1000):
        gate.acquire(ticket := Ticket(), 0)
    gate.release(ticket)


def test_an_interrupted_waiter_takes_no_place(ctrl_c: None) -> None:
    """A waiter that is interrupted takes no place, and the others proceed."""
    gate = Gate(1)
    release = hold(gate)

    def interrupt() -> None:
        until(lambda: len(gate._line) > 1)
        time.sleep(0.05)  # lets it get from there to its wait
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        with gate.turn(60):
            pass
    thread.join()
    release()
    gate.acquire(Ticket(), 0)


def test_a_wait_has_a_timeout() -> None:
    """A waiter whose time is over takes no place of its own or of others."""
    gate = Gate(1)
    release = hold(gate)
    with pytest.raises(errors.QueueTimeoutError, match=r"within 0\.05 s; nothing was run"), gate.turn(0.05):
        pass
    release()
    with gate.turn(0):
        pass


def test_a_call_that_waits_for_itself_is_a_deadlock() -> None:
    """A call that could only wait for calls below it in its own thread or task raises DeadlockError at once."""
    gate = Gate(2)
    with gate.turn(), gate.turn(), pytest.raises(errors.DeadlockError, match="one of 2 places"), gate.turn():
        pass

    def nested() -> None:
        with gate.turn(), gate.turn(), gate.turn():
            pass

    def sleepy() -> None:
        with gate.turn():
            blocking.sleep(0.05)

    async def main() -> None:
        with pytest.raises(errors.DeadlockError):
            await in_loop(nested)
        tasks = [asyncio.create_task(in_loop(sleepy)) for _ in range(5)]
        while len(gate._line) < 5:
            await checkpoint()
        with pytest.raises(errors.DeadlockError), gate.turn():  # a wait would stop the loop, and all of its tasks
            pass
        await asyncio.gather(*tasks)

    asyncio.run(main())
    with gate.turn(0), gate.turn(0):
        pass


def test_a_thread_waits_for_another_one_that_has_a_place() -> None:
    """A thread that has a place may wait for another thread's without DeadlockError."""
    gate = Gate(2)
    release = hold(gate)
    with gate.turn():
        threading.Timer(0.05, release).start()
        with gate.turn(60):
            pass


def test_an_ended_holder_is_skipped() -> None:
    """A holder that ended without leaving is skipped when others wait, and its late leave takes no place."""
    gate, over = Gate(1), threading.Event()
    ticket = Ticket(over.is_set)
    gate.acquire(ticket)
    ticket.holder = None
    threading.Timer(0.05, over.set).start()
    with gate.turn(60):
        gate.release(ticket)
        assert 1 == len(gate._line)


def test_a_forked_child_has_all_places() -> None:
    """A forked child has all places, since its parent's threads do not exist there."""
    gate = Gate(1)
    release = hold(gate)
    child = os.fork()
    if not child:
        with suppress(BaseException), gate.turn(5):
            os._exit(7)
        os._exit(1)
    assert 7 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    release()


def test_an_exception_at_any_line_loses_no_place() -> None:
    """A signal handler's exception at any line of a turn loses no place."""
    gate, moment, taken = Gate(1), 0, threading.Event()

    class Struck(Exception):  # noqa: N818
        """The exception of the handler."""

    def is_struck_at(moment: int) -> bool:
        lines = 0

        def trace(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal lines
            if frame.f_code.co_filename != blocking.__file__:
                return None
            lines += event == "line"
            if lines == moment:
                sys.settrace(None)
                raise Struck
            return trace

        release = hold(gate)
        timer = threading.Timer(0.02, release)
        timer.start()
        sys.settrace(trace)
        try:
            with gate.turn(60):
                taken.set()
        except Struck:
            return True
        finally:
            sys.settrace(None)
            timer.join()
        return False

    while is_struck_at(moment + 1):
        moment += 1
        assert [] == gate._line
    assert moment > 20
    assert taken.is_set()


def test_a_turn_of_a_cancelled_task_goes_to_the_next() -> None:
    """A task that is cancelled as its turn comes passes the place on."""

    async def main() -> None:
        def turn() -> None:
            with gate.turn():
                pass

        gate = Gate(1)
        release = hold(gate)
        first, second = (asyncio.create_task(in_loop(turn)) for _ in range(2))
        while len(gate._line) < 3:
            await checkpoint()
        release()
        first.cancel()
        await asyncio.wait_for(second, LONGEST)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())


def test_a_waiter_of_a_closed_event_loop_is_skipped() -> None:
    """A waiting task whose event loop is gone is skipped."""
    gate = Gate(1)
    release = hold(gate)
    loop = asyncio.new_event_loop()
    task = loop.create_task(in_loop(gate.acquire, Ticket()))
    while len(gate._line) < 2:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    release()
    gate.acquire(Ticket(), 0)
    task._log_destroy_pending = False  # type: ignore[attr-defined]

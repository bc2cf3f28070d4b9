"""Turns that threads and tasks wait for."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from smolkit.aio import in_loop
from smolkit.runners.waiting import Gate
from tests.processes import LONGEST, until


def test_turns_come_in_order() -> None:
    """Who waits longer is first; a place that is free is taken at once."""
    gate, came = Gate(1), []
    gate.enter()

    def wait(number: int) -> None:
        with gate.turn():
            came.append(number)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while len(gate._queue) <= number:
            time.sleep(0.001)
    assert [] == came
    gate.leave()
    for thread in threads:
        thread.join()
    assert [0, 1, 2, 3, 4] == came
    gate.enter()


def test_no_bound_is_no_wait() -> None:
    """None lets everybody through."""
    gate = Gate(None)
    for _ in range(1000):
        gate.enter()
    gate.leave()


def test_who_is_interrupted_takes_no_place(ctrl_c: None) -> None:
    """Ctrl-C while it waits: the others go on as if it had not come."""
    gate = Gate(1)
    gate.enter()

    def interrupt() -> None:
        until(lambda: gate._queue)
        time.sleep(0.05)  # from there to its wait
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        gate.enter()
    thread.join()
    gate.leave()
    gate.enter()


def test_a_turn_that_came_too_late_goes_on_to_the_next() -> None:
    """A task that is cancelled just as its turn comes leaves the place to others."""

    async def main() -> None:
        gate = Gate(1)
        gate.enter()
        first, second = (asyncio.create_task(in_loop(gate.enter)) for _ in range(2))
        for _ in range(5):
            await asyncio.sleep(0)
        assert 2 == len(gate._queue)
        gate.leave()
        first.cancel()
        await asyncio.wait_for(second, LONGEST)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())


def test_an_event_loop_that_is_gone_is_passed_over() -> None:
    """Its waiting task can take no turn: the next one does."""
    gate = Gate(1)
    gate.enter()
    loop = asyncio.new_event_loop()
    task = loop.create_task(in_loop(gate.enter))
    while not gate._queue:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gate.leave()
    gate.enter()
    task._log_destroy_pending = False  # type: ignore[attr-defined]

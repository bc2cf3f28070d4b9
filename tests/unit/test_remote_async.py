"""Interrupts, cancellation and the async side over a link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
import trio

from smolkit import AsyncSmolvm, RemoteRunner, Smolvm, errors
from smolkit.testing import NamespaceEngine
from tests import far as far_ends
from tests.far import far_pid
from tests.processes import running, struck_after, until


class StruckError(Exception):
    """What the test's signal handler raises."""


@pytest.fixture
def runner(engine: NamespaceEngine) -> Iterator[RemoteRunner]:
    """A runner of the stand-in engine at a far end."""
    made = far_ends.runner(engine)
    yield made
    made.close()


def test_an_interrupt_ends_the_command_there(runner: RemoteRunner, engine: NamespaceEngine) -> None:
    """What a signal handler raises comes out of exec, and the command has ended at the far end."""
    with pytest.raises(StruckError), Smolvm(runner=runner).machine("agent") as machine:
        machine.exec(["true"])
        with struck_after(0.5, StruckError()):
            machine.exec(["sleep", "65.5"])

    assert not running("65.5")
    assert [] == engine.left


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.15, 0.2, 0.3])
def test_an_interrupt_lets_a_step_end_and_undoes_it(runner: RemoteRunner, engine: NamespaceEngine, seconds: float) -> None:
    """An interrupt in the middle of a machine's life waits for the current step's end, and the machine is removed."""
    runner.here()
    began = time.monotonic()
    with pytest.raises(StruckError), struck_after(seconds, StruckError()):
        while time.monotonic() - began < 30:
            with Smolvm(runner=runner).machine("agent"):
                pass

    assert [] == engine.left


def test_ctrl_c_while_the_link_opens(engine: NamespaceEngine) -> None:
    """An interrupt while the far process starts ends that, and a later call starts another one."""
    runner = far_ends.runner(engine, 0.2)
    with pytest.raises(StruckError), struck_after(0.1, StruckError()):
        Smolvm(runner=runner).ls()

    assert [] == Smolvm(runner=runner).ls()
    runner.close()


async def many(runner: RemoteRunner) -> list[str]:
    """Sixteen commands at once on the async side."""
    client = AsyncSmolvm(runner=runner)
    async with client.machine("agent") as machine:
        found = await asyncio.gather(*(machine.exec(["sh", "-c", f"sleep 0.2; echo {number}"]) for number in range(16)))
        async with await machine.popen(["cat"], stdin=True, text=True) as process:
            assert process.stdin is not None
            await process.stdin.write("live\n")
            await process.stdin.close()
            lines = [line async for _, line in process]
    return [*(result.stdout for result in found), *lines]


def test_the_async_side_shares_the_link(runner: RemoteRunner, engine: NamespaceEngine) -> None:
    """The async twin runs over the link unchanged; the event loop goes on meanwhile, also while the link opens."""
    ticks = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def main() -> list[str]:
        ticking = asyncio.create_task(tick())
        found = await many(runner)
        ticking.cancel()
        return found

    assert [*(f"{number}\n" for number in range(16)), "live\n"] == asyncio.run(main())
    assert len(ticks) > 20
    assert [] == engine.left


def test_a_cancellation_ends_the_command_there(runner: RemoteRunner, engine: NamespaceEngine) -> None:
    """A cancelled command has ended at the far end; the machine is removed."""

    async def main() -> None:
        async with AsyncSmolvm(runner=runner).machine("agent") as machine:
            with trio.move_on_after(0.5):
                await machine.exec(["sleep", "66.5"])
            assert "hi\n" == (await machine.exec(["echo", "hi"])).stdout

    trio.run(main)

    assert not running("66.5")
    assert [] == engine.left


def test_threads_and_loops_share_one_far_process(runner: RemoteRunner) -> None:
    """Sync code, asyncio and trio use one session one after the other."""
    assert [] == Smolvm(runner=runner).ls()
    before = far_pid(runner)

    async def ls() -> list[object]:
        return list(await AsyncSmolvm(runner=runner).ls())

    assert [] == asyncio.run(ls())
    assert [] == trio.run(ls)
    assert before == far_pid(runner)


def test_a_machine_without_a_name_opens_no_link(runner: RemoteRunner) -> None:
    """Making a handle runs nothing, also with a fresh name: the async side does not await it."""
    assert "smolkit-" == Smolvm(runner=runner).machine().name[:8]
    assert runner._session is None


def test_max_processes_bounds_calls_over_the_link(engine: NamespaceEngine) -> None:
    """max_processes bounds the calls that run there at once; further ones wait, within their timeout."""
    runner = far_ends.runner(engine, max_processes=1)
    with Smolvm(runner=runner).machine("agent") as machine:
        process = machine.popen(["sleep", "67.5"])
        until(lambda: running("67.5"))
        with pytest.raises(errors.QueueTimeoutError):
            machine.exec(["true"], timeout=0.2)
        process.kill()
        process.wait()
        machine.exec(["true"], timeout=60)
    runner.close()


def test_a_link_with_latency_is_used_well(engine: NamespaceEngine) -> None:
    """With 40 ms of round trip a command takes little more, and a stream has the link's own speed, in little memory."""
    runner = far_ends.runner(engine, 0.02)
    size = 200 * 10**6
    with Smolvm(runner=runner).machine("agent") as machine:
        machine.exec(["true"])
        before = far_ends.most_memory(far_pid(runner))
        began = time.monotonic()
        for _ in range(5):
            machine.exec(["true"])
        each = (time.monotonic() - began) / 5
        began = time.monotonic()
        with machine.popen(["head", "-c", str(size), "/dev/zero"]) as process:
            got = sum(len(piece) for _, piece in process)
        took = time.monotonic() - began
        most = far_ends.most_memory(far_pid(runner))
    runner.close()

    assert size == got
    assert 64 * 2**20 > most - before
    assert 0.04 <= each < 0.5
    assert took < 30  # a question for each MiB would take 8 s more, a window of 64 KiB 120 s

"""Cancellation of the async client: wherever it strikes, it leaves nothing and is not lost."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from smolkit import AsyncMachine, AsyncRunner, AsyncSmolvm, Completed, Invocation, SubprocessRunner
from smolkit.testing import FakeSmolvm, NamespaceEngine
from tests.processes import LONGEST, of_each_process, running, until_gone

NAP = f"0.0198{os.getpid()}"  # seconds, which nobody else on this host sleeps
LONG = f"6{os.getpid()}"
Work = Callable[[], Coroutine[Any, Any, object]]


async def by_task_cancel(work: Work, wait: Callable[[], Coroutine[Any, Any, object]], times: int) -> bool:
    """Run as an asyncio task and cancel it this many times after a wait. Returns True if it was cancelled."""
    task = asyncio.ensure_future(work())
    await wait()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def by_scope(work: Work, wait: Callable[[], Coroutine[Any, Any, object]], times: int) -> bool:
    """Run in an anyio cancel scope that cancels every wait from some point on. Returns True if it was cancelled."""
    async with anyio.create_task_group() as group:

        async def cancel() -> None:
            await wait()
            scope.cancel()

        with anyio.CancelScope() as scope:
            group.start_soon(cancel)
            await work()
            group.cancel_scope.cancel()
    return scope.cancelled_caught


WAYS = [
    pytest.param("asyncio", by_task_cancel, 1, id="cancel()"),
    pytest.param("asyncio", by_task_cancel, 50, id="cancel() again and again"),
    pytest.param("asyncio", by_scope, 1, id="anyio on asyncio"),
    pytest.param("trio", by_scope, 1, id="trio"),
]


@pytest.mark.parametrize(("backend", "cancelled", "times"), WAYS)
def test_cancelled_at_every_await_of_a_life(backend: str, cancelled: Any, times: int) -> None:
    """A life on the fake that is cancelled at any await leaves no machine and no half-booted VM, and does not hang."""

    async def after(steps: int) -> bool:
        fake = FakeSmolvm()

        async def life() -> None:
            async with AsyncSmolvm(runner=fake).machine("agent", branchable=True) as m:
                await m.exec(["echo", "hi"])
                await m.write_text("/root/a", "x")
                async with await m.popen(["cat"], stdin=True) as process:
                    assert process.stdin is not None
                    await process.stdin.write("hi")
                    await process.stdin.close()
                    async for _ in process:
                        pass
                async with await m.branch():
                    await m.stop()

        async def wait() -> None:
            for _ in range(steps):
                await checkpoint()

        with anyio.fail_after(LONGEST):
            struck: bool = await cancelled(life, wait, times)
        assert ({}, []) == (fake.machines, fake.leaked), steps
        return struck

    steps = 0
    while anyio.run(after, steps, backend=backend):
        steps += 1
    assert steps > 12


@pytest.mark.parametrize(("backend", "cancelled", "times"), WAYS)
def test_cancelled_at_any_time_of_a_life_with_processes(backend: str, cancelled: Any, times: int, tmp_path: Path) -> None:
    """A life with real processes that is cancelled at any time leaves no process, of engine or guest, and no machine."""
    engine = NamespaceEngine(tmp_path / "engine")

    async def after(seconds: float) -> bool:
        async def life() -> None:
            async with AsyncSmolvm(engine.program).machine("agent") as m:
                await m.exec(["sh", "-c", f"sleep 0.02; exec sleep {NAP}"])
                async with await m.popen(["sleep", NAP]):
                    pass

        with anyio.fail_after(LONGEST):
            struck: bool = await cancelled(life, lambda: anyio.sleep(seconds), times)
        until_gone(NAP)
        assert [] == engine.left, seconds
        return struck

    tries = 0
    while anyio.run(after, tries * 0.02, backend=backend):
        tries += 1
    assert tries > 5


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_command_is_killed_in_the_guest(backend: str, engine: NamespaceEngine) -> None:
    """A command cancelled by a timeout of anyio or asyncio is killed in the guest, and the machine runs on."""

    async def main() -> None:
        async with AsyncSmolvm(engine.program).machine("agent") as m:
            with anyio.move_on_after(0.1) as scope:
                await m.exec(["sleep", LONG])
            assert scope.cancelled_caught
            until_gone(LONG)
            with pytest.raises(TimeoutError), anyio.fail_after(0.1):
                await m.exec(["sleep", LONG])
            with anyio.move_on_after(0.1):
                async with await m.popen(["sleep", LONG]):
                    pass
            if backend == "asyncio":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await m.exec(["sleep", LONG])
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(m.exec(["sleep", LONG]), 0.1)
            until_gone(LONG)
            assert (await m.exec(["true"])).ok

    anyio.run(main, backend=backend)
    assert [] == engine.left


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_failed_block_ends_its_task_group(backend: str, engine: NamespaceEngine) -> None:
    """An exception in one block of a task group tears down the machines of all blocks."""

    async def main() -> None:
        client = AsyncSmolvm(engine.program)

        async def live(number: int) -> None:
            async with client.machine(f"m{number}") as m:
                await m.exec(["sleep", "0.2" if number == 3 else "60"])
                raise KeyError(number)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(live, number)

    with pytest.raises(ExceptionGroup) as caught:
        anyio.run(main, backend=backend)
    assert "[KeyError(3)]" == str(list(caught.value.exceptions))
    assert [] == engine.left


@pytest.mark.parametrize("cancels", [1, 3])
@pytest.mark.parametrize("body_fails", [False, True])
def test_asyncios_cancellation_in_a_teardown_comes_out_after_it(
    engine: NamespaceEngine, cancels: int, body_fails: bool
) -> None:
    """An asyncio cancellation during teardown comes out after the machine is gone, also if the delete is tried again."""

    async def main() -> None:
        torn = asyncio.Event()

        async def life() -> None:
            async with AsyncSmolvm(engine.program).machine("agent"):
                engine.fault("delete", "busy")
                torn.set()
                if body_fails:
                    raise KeyError

        task = asyncio.create_task(life())
        await torn.wait()
        for _ in range(cancels):
            await asyncio.sleep(0.03)
            task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert body_fails == isinstance(caught.value.__context__, KeyError)
        assert task.cancelled()

    asyncio.run(main())
    assert ([], 2) == (engine.left, engine.calls.count("delete"))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_teardown_that_fails_under_a_cancellation_is_a_note(backend: str) -> None:
    """A teardown that fails during a cancellation is a note on the exception."""
    fake = FakeSmolvm()
    fake.fail("delete", "locked", times=99)
    notes: list[str] = []

    async def main() -> None:
        with anyio.CancelScope() as scope:
            try:
                async with AsyncSmolvm(runner=fake).machine("agent"):
                    scope.cancel()
                    await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class() as error:
                notes.extend(error.__notes__)
                raise

    anyio.run(main, backend=backend)
    assert [True] == ["machine 'agent' is left" in note for note in notes]


def test_a_coroutine_that_is_dropped_still_tears_down(engine: NamespaceEngine) -> None:
    """A dropped coroutine whose event loop is gone still tears down, and blocks the thread for it."""

    async def life() -> None:
        async with AsyncSmolvm(engine.program).machine("agent") as m:
            await m.exec(["sleep", "0.05"])

    async def drive(coroutine: Any, seconds: float) -> bool:
        """Run a coroutine like an event loop, for a limited time. Returns True if it ended."""
        until, go_on = time.monotonic() + seconds, partial(coroutine.send, None)
        with suppress(StopIteration):
            while True:
                future, go_on = go_on(), partial(coroutine.send, None)
                try:
                    if future is None:
                        await asyncio.sleep(0)
                        continue
                    future._asyncio_future_blocking = False
                    await asyncio.wait([future], timeout=max(0, until - time.monotonic()))
                    if not future.done():
                        return False
                except asyncio.CancelledError as error:  # a timeout of the coroutine's own
                    go_on = partial(coroutine.throw, error)
        return True

    coroutine = life()
    tries = 0
    while not asyncio.run(drive(coroutine, tries * 0.005)):
        coroutine.close()
        assert [] == engine.left
        coroutine = life()
        tries += 1
    assert tries > 5
    assert [] == engine.left


@pytest.mark.parametrize(("backend", "cancelled", "times"), WAYS)
def test_a_custom_runner_is_not_cancelled_in_create_and_delete(backend: str, cancelled: Any, times: int) -> None:
    """`execute` of a runner of one's own is not cancelled during create and delete, which are then undone."""
    fake = FakeSmolvm()

    class Slow(AsyncRunner):
        async def execute(self, invocation: Invocation) -> Completed:
            for _ in range(3):
                await checkpoint()
            done = fake.execute(invocation)
            for _ in range(3):
                await checkpoint()
            return done

    async def after(steps: int) -> bool:
        async def life() -> None:
            async with AsyncSmolvm(runner=Slow(version="1.32.2")).machine("agent") as m:
                await m.exec(["true"])

        async def wait() -> None:
            for _ in range(steps):
                await checkpoint()

        with anyio.fail_after(LONGEST):
            struck: bool = await cancelled(life, wait, times)
        assert {} == fake.machines, steps
        return struck

    steps = 0
    while anyio.run(after, steps, backend=backend):
        steps += 1
    assert steps > 16


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_start_that_is_cancelled_is_undone(backend: str, engine: NamespaceEngine) -> None:
    """A cancelled start is undone by `async with`, and completes on its own."""

    async def main() -> AsyncMachine:
        machine = AsyncSmolvm(engine.program).machine("agent")
        await machine.create()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await machine.start()
        assert "start" not in engine.calls  # cancelled before it began
        return machine

    anyio.run(main, backend=backend)
    assert ["m-agent"] == engine.left


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_shell_is_ended(backend: str, tmp_path: Path) -> None:
    """A cancelled shell is ended, and gives the terminal back."""
    program = tmp_path / "smolvm"
    program.write_text(f"#!/bin/sh\nexec sleep {LONG}\n")
    program.chmod(0o755)

    async def main() -> None:
        client = AsyncSmolvm(runner=SubprocessRunner(program, version="1.32.2"))
        with anyio.move_on_after(0.2) as scope:
            await client.machine("agent").shell()
        assert scope.cancelled_caught
        until_gone(LONG)

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("where", ["create", "start", "exec", "body"])
@pytest.mark.parametrize("limit", [None, 1])
def test_a_coroutine_that_is_closed_in_another_thread_leaves_nothing(
    engine: NamespaceEngine, where: str, limit: int | None
) -> None:
    """A coroutine closed in another thread, its own loop and thread gone, is torn down by that thread."""
    if where in {"create", "start"}:
        engine.fault(where, "hang-late")

    async def life() -> None:
        async with AsyncSmolvm(engine.program, max_processes=limit).machine("m") as m:
            if where == "exec":
                await m.exec(["sleep", LONG])
            await asyncio.sleep(60)

    coroutine, tasks, loop = life(), list[Any](), asyncio.new_event_loop()

    def run() -> None:
        async def until_there() -> None:
            tasks.append(asyncio.ensure_future(coroutine))
            while (engine.calls or [""])[-1] != ("start" if where == "body" else where) or not is_there():
                await checkpoint()

        loop.run_until_complete(until_there())

    def is_there() -> bool:
        found = {"create": "m-m", "start": "running-m", "exec": "running-m", "body": "running-m"}[where] in engine.left
        return found and (where != "exec" or bool(running(LONG)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    coroutine.close()
    tasks[0]._log_destroy_pending = False
    loop.close()
    assert [] == engine.left
    for pid in [int(path.parent.name) for path in of_each_process("cmdline") if is_of(path, engine, LONG)]:
        os.kill(pid, signal.SIGKILL)  # hung processes, and the engine guest's: a real VM's end with their machine


def is_of(path: Path, engine: NamespaceEngine, word: str) -> bool:
    """True if this process belongs to the engine engine or its guest."""
    with suppress(OSError):
        words = path.read_bytes()
        return str(engine.folder).encode() in words or word.encode() in words
    return False

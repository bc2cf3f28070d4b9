"""The lifetime of a machine without `with`: open, ensure and close."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from smolkit import AsyncSmolvm, Machine, Smolvm, errors
from smolkit.runners import Completed, Invocation, Runner
from smolkit.testing import FakeSmolvm

LOOPS = ["asyncio", "trio"]


class Gated(Runner):
    """A fake whose creates wait until they may go on, and are counted.

    Args:
        strikes: What each create in turn raises instead of being run; None is run.
    """

    def __init__(self, *strikes: BaseException | None) -> None:
        super().__init__(version="1.32.2")
        self.fake = FakeSmolvm("1.32.2")
        self.strikes, self.creates = list(strikes), 0
        self.started, self.may_go = threading.Event(), threading.Event()

    def execute(self, invocation: Invocation) -> Completed:
        """Run a call on the fake."""
        if "create" in invocation.argv:
            self.creates += 1
            self.started.set()
            assert self.may_go.wait(60)
            if strike := self.strikes.pop(0) if self.strikes else None:
                raise strike
        return self.fake.execute_sync(invocation)


def verbs(fake: FakeSmolvm) -> list[str]:
    """The subcommands that were called."""
    found = [argv[argv.index("machine") + 1] for argv in fake.argvs]
    return [verb for verb in found if verb != "status"]  # the end of a block that failed looks whose the machine is


def test_open_and_close_are_the_two_ends_of_a_with() -> None:
    """open creates and starts, close deletes, and the same handle may be opened again."""
    fake = FakeSmolvm()
    machine = Smolvm(runner=fake).machine("m")
    for _ in range(2):
        assert machine is machine.open()
        assert machine.exec(["true"]).ok
        assert machine is machine.ensure()
        with pytest.raises(RuntimeError, match="is open already"):
            machine.open()
        machine.close()
        machine.close()
        assert {} == fake.machines
    assert ["create", "start", "exec", "delete"] * 2 == verbs(fake)


def test_a_machine_that_was_created_before_is_started() -> None:
    """open of a machine that this handle has created starts it, and close deletes it."""
    fake = FakeSmolvm()
    machine = Smolvm(runner=fake).machine("m")
    machine.create()
    machine.ensure()
    machine.close()

    assert ["create", "start", "delete"] == verbs(fake)


def test_a_start_that_fails_leaves_nothing() -> None:
    """What open has made is gone when it fails, close is a no-op then, and the next call tries again."""
    fake = FakeSmolvm()
    fake.fail("start", "boot timeout", nth=1)
    machine = Smolvm(runner=fake).machine("m")
    with pytest.raises(errors.BootFailedError):
        machine.ensure()
    assert {} == fake.machines
    machine.close()
    assert machine.ensure().exec(["true"]).ok
    machine.close()


@pytest.mark.parametrize("error", [None, ValueError("what went wrong")])
def test_keep_on_error(error: Exception | None) -> None:
    """close(error) is the end of a block that has failed: with keep="on_error" the machine stays, with a note."""
    fake = FakeSmolvm()
    machine = Smolvm(runner=fake).machine("m", keep="on_error").open()
    machine.close(error)

    assert (["m"] if error else []) == list(fake.machines)
    assert (error is not None) == any("was kept" in note for note in getattr(error, "__notes__", ()))


def test_what_fails_at_the_end() -> None:
    """close raises what fails; after an error that it is told, it adds a note to that."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    fake.fail("delete", "locked", times=100)
    with pytest.raises(errors.CleanupError):
        client.machine("a").open().close()
    error = ValueError("mine")
    client.machine("b").open().close(error)
    assert "while the machine was being removed" in error.__notes__[0]


def test_a_handle_that_is_dropped_open_warns() -> None:
    """Nobody is left to close a machine whose handle is dropped."""
    machine = Smolvm(runner=FakeSmolvm()).machine("m").open()
    with pytest.warns(ResourceWarning, match=r"or close\(\): it still runs"):
        del machine


def at_once(runner: Gated, call: Callable[[], Any], number: int = 8) -> list[Any]:
    """What so many threads get that call while the first create is under way: a value, or an exception."""

    def caught() -> Any:
        try:
            return call()
        except BaseException as error:  # noqa: BLE001  (also an interrupt)
            return error

    with ThreadPoolExecutor(number) as pool:
        futures = [pool.submit(caught)]
        assert runner.started.wait(60)
        futures += [pool.submit(caught) for _ in range(number - 1)]
        time.sleep(0.1)  # for them to wait; one that comes later gets the same where the create succeeds
        runner.may_go.set()
        return [future.result() for future in futures]


def test_the_first_of_many_threads_opens_it() -> None:
    """All threads get the machine that one of them made."""
    runner = Gated()
    machine = Smolvm(runner=runner).machine("m")
    assert [machine] * 8 == at_once(runner, machine.ensure)
    machine.close()

    assert (1, {}) == (runner.creates, runner.fake.machines)


def test_a_failure_reaches_all_who_wait() -> None:
    """Those who wait for a call that fails get its exception, and the next call tries again."""
    runner = Gated(OSError("the disk is full"))
    machine = Smolvm(runner=runner).machine("m")
    found = at_once(runner, machine.ensure, 3)

    assert isinstance(found[0], Exception)
    assert [found[0]] * 3 == found or runner.creates > 1  # on a host under load one may have come too late
    machine.ensure()
    machine.close()
    assert {} == runner.fake.machines


def test_an_interrupt_is_not_theirs_who_wait() -> None:
    """If the one who opens the machine is interrupted, another one opens it."""
    runner = Gated(KeyboardInterrupt())
    machine = Smolvm(runner=runner).machine("m")
    first, *others = at_once(runner, machine.ensure, 4)

    assert isinstance(first, KeyboardInterrupt)
    assert [machine] * 3 == others
    machine.close()
    assert (2, {}) == (runner.creates, runner.fake.machines)


def test_close_waits_for_who_opens_it() -> None:
    """A close that comes while another thread opens the machine waits for that, and removes it."""
    runner = Gated()
    machine = Smolvm(runner=runner).machine("m")
    with ThreadPoolExecutor(2) as pool:
        opening = pool.submit(machine.ensure)
        assert runner.started.wait(60)
        closing = pool.submit(machine.close)
        runner.may_go.set()
        assert machine is opening.result()
        closing.result()
    machine.close()
    assert {} == runner.fake.machines


@pytest.mark.parametrize("loop", LOOPS)
def test_the_first_of_many_tasks_opens_it(loop: str) -> None:
    """All tasks get the machine that one of them made, and close removes it."""
    fake = FakeSmolvm()

    async def main() -> None:
        machine = AsyncSmolvm(runner=fake).machine("m")

        async def ask() -> None:
            assert machine == await machine.ensure()
            assert (await machine.exec(["true"])).ok

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
        with pytest.raises(RuntimeError, match="is open already"):
            await machine.open()
        await machine.close()
        await machine.close()
        assert machine == await machine.open()
        await machine.close(ValueError())

    anyio.run(main, backend=loop)
    assert ["create", "start", *["exec"] * 5, "delete", "create", "start", "delete"] == verbs(fake)
    assert {} == fake.machines


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("cancelled", [0, 1])
def test_a_cancelled_task(loop: str, cancelled: int) -> None:
    """A cancelled task that opens the machine undoes that, and the next one opens it; one that waits changes nothing."""
    fake = FakeSmolvm()

    async def main() -> None:
        machine, done = AsyncSmolvm(runner=fake).machine("m"), list[int]()
        scopes = [anyio.CancelScope() for _ in range(3)]

        async def ask(number: int) -> None:
            with scopes[number]:
                await machine.ensure()
                done.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(ask, number)
            await anyio.lowlevel.checkpoint()
            scopes[cancelled].cancel()
        assert {0, 1, 2} - {cancelled} <= set(done)
        assert (await machine.exec(["true"])).ok
        await machine.close()

    anyio.run(main, backend=loop)
    assert {} == fake.machines


def test_a_coroutine_that_is_dropped() -> None:
    """A task that is dropped while it waits for another one that opens the machine leaves that one alone."""
    fake = FakeSmolvm()
    machine: Machine = Smolvm(runner=fake).machine("m")
    with machine:
        twin = AsyncSmolvm(runner=fake).machine("m")
        for coroutine in (twin.ensure(), twin.open(), twin.close()):
            coroutine.close()
        assert ["m"] == list(fake.machines)

"""The interrupt protocol of smolkit.flows.steps: the moments of an interrupt, what it leaves, and what comes out."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from types import FrameType
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from smolkit import AsyncRunner, AsyncSmolvm, Completed, Invocation, Smolvm, errors
from smolkit.runners.blocking import Gate
from smolkit.testing import FakeSmolvm, NamespaceEngine


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, even if the tests were started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def interrupt(*_: object) -> None:
    """Send Ctrl-C to this process."""
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("fault", ["busy", "fail", "die", "fail-late", "die-late"])
@pytest.mark.parametrize("body", [None, ValueError("mine")])
def test_an_interrupt_of_a_delete_that_fails(
    engine: NamespaceEngine, local: Smolvm, fault: Any, body: Exception | None
) -> None:
    """An interrupt of a failing delete lets teardown finish, and comes out with the body's exception as its context."""
    with pytest.raises(KeyboardInterrupt) as caught, local.machine("m"):
        engine.fault("delete", fault)
        engine.strike("delete", "INT")
        if body is not None:
            raise body
    assert caught.value.__context__ is body or body is None
    left = ["m-m", "running-m"] if fault == "fail" else []
    assert left == engine.left
    assert bool(left) == ("machine 'm' is left" in "".join(getattr(caught.value, "__notes__", [])))


@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_an_interrupt_of_a_rollback_comes_out(engine: NamespaceEngine, local: Smolvm, verb: str) -> None:
    """An interrupt while a failed start is undone comes out with the start's failure as its context, and leaves nothing."""
    engine.fault("start", "fail")
    engine.strike(verb, "INT")

    with pytest.raises(KeyboardInterrupt) as caught, local.machine("m"):
        raise AssertionError("the body ran")
    assert isinstance(caught.value.__cause__, errors.SmolvmError)
    assert ([], ["create", "start", "stop", "delete"]) == (engine.left, engine.calls)


def test_an_interrupt_in_a_pause(engine: NamespaceEngine, local: Smolvm) -> None:
    """An interrupt ends a pause, the delete is tried again, and then the interrupt comes out."""
    runner = local.runner
    pause, paused = runner.pause, []

    def struck(seconds: float) -> None:
        paused.append(seconds)
        interrupt()
        pause(seconds)

    runner.pause = struck  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), local.machine("m"):
        engine.fault("delete", "busy")
    assert ([0.2], []) == (paused, engine.left)


@pytest.mark.parametrize("verb", ["Create", "Start", "Delete"])
def test_an_interrupt_in_an_observer(verb: str) -> None:
    """An interrupt in an observer comes out once the call's result is known."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake, on_call=lambda call: interrupt() if type(call.command).__name__ == verb else None)

    with pytest.raises(KeyboardInterrupt), client.machine("m"):
        pass
    assert ({}, []) == (fake.machines, fake.leaked)


@pytest.mark.parametrize("verb", ["create", "start", "delete"])
def test_an_interrupt_that_loses_the_answer(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an interrupt loses the answer (no InterruptedCall), a create is looked up and undone, a delete repeated."""
    fake, struck = FakeSmolvm(), Counter[str]()
    execute = fake.execute

    def losing(invocation: Invocation) -> Completed:
        done = execute(invocation)
        struck[verb] += verb in invocation.argv
        if verb in invocation.argv and struck[verb] == 1:
            interrupt()
        return done

    monkeypatch.setattr(fake, "execute", losing)
    with pytest.raises(KeyboardInterrupt) as caught, Smolvm(runner=fake).machine("m"):
        pass
    assert ({}, [], []) == (fake.machines, fake.leaked, getattr(caught.value, "__notes__", []))


def points(life: Callable[[], object], strike: Callable[[FrameType], bool]) -> int:
    """Run lives with `strike` called at each function call of smolkit's. Returns the number of calls."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        name = frame.f_code.co_filename
        if "/smolkit/" in name and "/testing/" not in name and event == "call":
            count += 1
            if strike(frame):
                sys.settrace(None)
                interrupt()

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        life()
    finally:
        sys.settrace(before)
    return count


class Strike:
    """Send a signal at the nth call, except where no code of smolkit could handle it."""

    # The first line of a block's end, and finalizers, whose exceptions Python drops.
    BARE = frozenset({"__exit__", "__aexit__", "drive_exit", "__del__"})

    def __init__(self, at: int) -> None:
        self.at, self.asked, self.done = at, 0, False

    def __call__(self, frame: FrameType) -> bool:
        """Return True when the signal is due."""
        self.asked += 1
        self.done = self.done or (self.asked == self.at and frame.f_code.co_name not in self.BARE)
        return self.done and self.asked == self.at


def struck_life(fake: FakeSmolvm, strike: Strike) -> bool:
    """Run a life with this signal. Returns True if the interrupt came out."""

    def life() -> None:
        with Smolvm(runner=fake).machine("m"):
            pass

    try:
        points(life, strike)
    except KeyboardInterrupt:
        return True
    except errors.SmolvmError:
        return False
    return False


@pytest.mark.parametrize("fault", [None, ("delete", "locked"), ("start", "boot timeout"), ("create", "killed")])
def test_a_signal_at_each_function_call_of_a_life(fault: tuple[Any, Any] | None) -> None:
    """Ctrl-C at any function call of a life comes out, leaves nothing, and frees all places at the gates."""
    wrong, at, strike = [], 0, Strike(0)
    while strike.asked >= at:
        at += 1
        fake, strike = FakeSmolvm(), Strike(at)
        if fault is not None:
            fake.fail(*fault)
        came_out = struck_life(fake, strike)
        if came_out != strike.done or fake.machines or fake.leaked or fake._smolkit.starts._line:
            wrong.append((at, strike.done, came_out))
    assert at > 100
    assert [] == wrong


def test_an_interrupt_at_a_gate_loses_no_place() -> None:
    """An interrupt before, while and after a call has a place at a gate loses no place."""
    gate, at, strike = Gate(2), 0, Strike(0)
    while strike.asked >= at:
        at += 1
        strike = Strike(at)
        with suppress(KeyboardInterrupt):
            points(lambda: gate.during(lambda: None), strike)
        assert [] == gate._line
    assert at > 8


class Cancelling(AsyncRunner):
    """A custom runner on a fake, whose scope is cancelled during create."""

    def __init__(self, fake: FakeSmolvm, scope: anyio.CancelScope) -> None:
        super().__init__(version="1.32.2")
        self.fake, self.scope = fake, scope

    async def execute(self, invocation: Invocation) -> Completed:
        """Give the fake's answer, after an await."""
        done = self.fake.execute(invocation)
        if "create" in invocation.argv:
            self.scope.cancel()
        await checkpoint()
        return done


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_create_that_a_scope_cancels_is_undone(backend: str) -> None:
    """A create cancelled by its scope runs to its end and is undone, and the cancellation comes out."""
    fake, after = FakeSmolvm(), []

    async def main() -> None:
        with anyio.CancelScope() as scope:
            await AsyncSmolvm(runner=Cancelling(fake, scope)).machine("m").create()
            after.append("returned")
        assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    assert ({}, []) == (fake.machines, after)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancellation_in_a_closing_generator_comes_out(backend: str, engine: NamespaceEngine) -> None:
    """A cancellation in the `finally` of a closing generator comes out, and is not taken for a dropped task."""
    after = []

    async def main() -> None:
        async with AsyncSmolvm(engine.program).machine("m") as m:

            async def pieces() -> AsyncGenerator[int, None]:
                try:
                    yield 1
                finally:
                    await m.exec(["sleep", "60"])

            with anyio.move_on_after(0.2) as scope:
                async with aclosing(pieces()) as generator:
                    await anext(generator)
                after.append("returned")
            assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    assert ([], []) == (after, engine.left)


def test_asyncios_cancellation_of_a_rollback_is_not_lost(engine: NamespaceEngine) -> None:
    """An asyncio cancellation while a failed start is undone comes out, with the start's failure as its context."""
    engine.fault("start", "fail")
    engine.fault("stop", "busy")

    async def main() -> None:
        task = asyncio.create_task(AsyncSmolvm(engine.program).machine("m").__aenter__())
        while "stop" not in engine.calls:  # noqa: ASYNC110  (another process tells)
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert isinstance(caught.value.__cause__, errors.SmolvmError)

    asyncio.run(main())
    assert [] == engine.left


def test_a_second_interrupt_in_an_event_loop() -> None:
    """A second Ctrl-C under asyncio.run, which raises in whatever runs, leaves nothing unmentioned."""
    wrong, at, strike = [], 0, Strike(0)
    while strike.asked >= at:
        at += 1
        fake, strike = FakeSmolvm(), Strike(at)

        async def main(fake: FakeSmolvm = fake) -> None:
            async with AsyncSmolvm(runner=fake).machine("m"):
                interrupt()
                await asyncio.sleep(60)

        notes: list[str] = []
        try:
            points(lambda main=main: asyncio.run(main()), strike)  # type: ignore[misc]
        except KeyboardInterrupt as error:
            notes = getattr(error, "__notes__", [])
        if fake.machines and "machine 'm' may" not in "".join(notes):
            wrong.append(at)
    assert at > 100
    assert [] == wrong

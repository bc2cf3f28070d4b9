"""The interrupt protocol of smolkit.flows.steps: what an interrupt meets, what it leaves, and what comes out."""

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
from smolkit.testing import FakeSmolvm, PretendEngine


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """SIGINT raises, however the tests were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def interrupt(*_: object) -> None:
    """Ctrl-C, now."""
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("fault", ["busy", "fail", "die", "fail-late", "die-late"])
@pytest.mark.parametrize("body", [None, ValueError("mine")])
def test_an_interrupt_of_a_delete_that_fails(
    engine: PretendEngine, pretend: Smolvm, fault: Any, body: Exception | None
) -> None:
    """The rest of the teardown is done; the interrupt comes out, and has the body's exception."""
    with pytest.raises(KeyboardInterrupt) as caught, pretend.machine("m"):
        engine.fault("delete", fault)
        engine.strike("delete", "INT")
        if body is not None:
            raise body
    assert caught.value.__context__ is body or body is None
    left = ["m-m", "running-m"] if fault == "fail" else []
    assert left == engine.left
    assert bool(left) == ("machine 'm' is left" in "".join(getattr(caught.value, "__notes__", [])))


@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_an_interrupt_of_a_rollback_comes_out(engine: PretendEngine, pretend: Smolvm, verb: str) -> None:
    """A start fails, Ctrl-C while it is undone: the interrupt, from the start's failure, and nothing is left."""
    engine.fault("start", "fail")
    engine.strike(verb, "INT")

    with pytest.raises(KeyboardInterrupt) as caught, pretend.machine("m"):
        raise AssertionError("the body ran")
    assert isinstance(caught.value.__cause__, errors.SmolvmError)
    assert ([], ["create", "start", "stop", "delete"]) == (engine.left, engine.calls)


def test_an_interrupt_in_a_pause(engine: PretendEngine, pretend: Smolvm) -> None:
    """It ends the pause, the delete is tried again, and it comes out then."""
    runner = pretend.runner
    pause, paused = runner.pause, []

    def struck(seconds: float) -> None:
        paused.append(seconds)
        interrupt()
        pause(seconds)

    runner.pause = struck  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), pretend.machine("m"):
        engine.fault("delete", "busy")
    assert ([0.2], []) == (paused, engine.left)


@pytest.mark.parametrize("verb", ["Create", "Start", "Delete"])
def test_an_interrupt_in_an_observer(verb: str) -> None:
    """What the call did is known by then."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake, on_call=lambda call: interrupt() if type(call.command).__name__ == verb else None)

    with pytest.raises(KeyboardInterrupt), client.machine("m"):
        pass
    assert ({}, []) == (fake.machines, fake.leaked)


@pytest.mark.parametrize("verb", ["create", "start", "delete"])
def test_an_answer_that_an_interrupt_lost(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that knows no InterruptedCall: a create is looked up by its marks and undone, a delete is repeated."""
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
    """Lives, with a signal at each function call of smolkit's in turn; how often `strike` was asked."""
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
    """A signal at the so-and-so-many-th call; not where no line of ours could bear it."""

    # At the very entry of a block's end; in a finalizer, whose exceptions Python drops.
    BARE = frozenset({"__exit__", "__aexit__", "leave", "__del__"})

    def __init__(self, at: int) -> None:
        self.at, self.asked, self.done = at, 0, False

    def __call__(self, frame: FrameType) -> bool:
        """Whether it comes now."""
        self.asked += 1
        self.done = self.done or (self.asked == self.at and frame.f_code.co_name not in self.BARE)
        return self.done and self.asked == self.at


def struck_life(fake: FakeSmolvm, strike: Strike) -> bool:
    """A life with this signal. Whether it came out."""

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
def test_a_signal_at_each_call_of_a_life(fault: tuple[Any, Any] | None) -> None:
    """Ctrl-C wherever Python looks for signals in smolkit: it comes out, nothing is left, gates have their places."""
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
    """Before it has a place, while it has it, and after."""
    gate, at, strike = Gate(2), 0, Strike(0)
    while strike.asked >= at:
        at += 1
        strike = Strike(at)
        with suppress(KeyboardInterrupt):
            points(lambda: gate.during(lambda: None), strike)
        assert [] == gate._line
    assert at > 8


class Cancelling(AsyncRunner):
    """A runner of one's own, on a fake, whose scope is cancelled while it creates."""

    def __init__(self, fake: FakeSmolvm, scope: anyio.CancelScope) -> None:
        super().__init__(version="1.32.2")
        self.fake, self.scope = fake, scope

    async def execute(self, invocation: Invocation) -> Completed:
        """The fake's answer, after a moment."""
        done = self.fake.execute(invocation)
        if "create" in invocation.argv:
            self.scope.cancel()
        await checkpoint()
        return done


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_create_that_a_scope_cancels_is_undone(backend: str) -> None:
    """Its `execute` comes to its end; the cancellation is not lost for that."""
    fake, after = FakeSmolvm(), []

    async def main() -> None:
        with anyio.CancelScope() as scope:
            await AsyncSmolvm(runner=Cancelling(fake, scope)).machine("m").create()
            after.append("returned")
        assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    assert ({}, []) == (fake.machines, after)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancellation_in_a_closing_generator_comes_out(backend: str, engine: PretendEngine) -> None:
    """Its `finally` uses a machine and is cancelled there: no sign that the task was dropped."""
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


def test_asyncios_cancellation_of_a_rollback_is_not_lost(engine: PretendEngine) -> None:
    """A start fails, and the task is cancelled while that is undone: it ends as cancelled, from the start's failure."""
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
    """asyncio.run cancels at the first Ctrl-C and raises at the second, in whatever runs: nothing is left in silence."""
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

"""Followed commands whose block ends, or whose caller is interrupted, at any moment."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import smolkit
from smolkit import AsyncSmolvm, Machine, Runner, Smolvm, SubprocessRunner, errors
from smolkit.runners.live import Live, Replayed
from smolkit.testing import FakeSmolvm, GuestCall, NamespaceEngine
from smolkit.values import Completed, Invocation

ON_AND_ON = ["sh", "-c", "while :; do echo x; sleep 0.01; done"]
STUBBORN = ["sh", "-c", "trap '' TERM; while :; do echo x; sleep 0.01; done"]


@pytest.fixture
def m(program: Path) -> Machine:
    """A running machine of a client with max_processes=1."""
    machine = Smolvm(runner=SubprocessRunner(program, version="1.32.2", max_processes=1)).machine("m")
    machine.create()
    machine.start()
    return machine


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """Disable garbage collection, so that an object is freed only by its reference count."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("fails", [True, False])
def test_a_block_is_left_while_another_thread_reads(m: Machine, fails: bool) -> None:
    """A block that ends while another thread reads lets the reader finish, and raises the block's exception."""
    began = threading.Event()
    ends: list[int | None] = []

    def read() -> None:
        for _ in process:
            began.set()
        ends.append(process.returncode)

    expected = ValueError if fails else ZeroDivisionError
    with pytest.raises(expected):
        with m.popen(STUBBORN, grace=0) as process:
            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            assert began.wait(60)
            if fails:
                raise ValueError
        raise ZeroDivisionError
    reader.join(60)
    assert [-signal.SIGKILL] == ends
    assert m.exec(["true"], timeout=30).ok


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_block_fails_while_another_task_reads(backend: str, m: Machine, program: Path) -> None:
    """A block that fails while another task reads raises its exception, and the command is gone."""

    async def read(process: Any, began: anyio.Event) -> None:
        async for _ in process:
            began.set()

    async def main() -> None:
        client = AsyncSmolvm(runner=SubprocessRunner(program, version="1.32.2", max_processes=1))
        machine, began = client.machine("m"), anyio.Event()
        async with anyio.create_task_group() as tasks:
            try:
                async with await machine.popen(ON_AND_ON) as process:
                    tasks.start_soon(read, process, began)
                    await began.wait()
                    raise ValueError
            except ValueError:
                seen.append(process.returncode)
                tasks.cancel_scope.cancel()
        assert (await machine.exec(["true"], timeout=30)).ok

    seen: list[int | None] = []
    anyio.run(main, backend=backend)
    assert [-signal.SIGKILL] == seen


@pytest.mark.usefixtures("no_garbage")
def test_a_process_with_an_input_ends_when_it_is_dropped(m: Machine) -> None:
    """A dropped process is ended by its reference count, without garbage collection."""
    with pytest.warns(ResourceWarning, match="was left without waiting for its end"):
        m.popen(["cat"], stdin=True)
    assert m.exec(["true"], timeout=30).ok


def interrupted_at(moment: int, function: Callable[[], object]) -> BaseException | None:
    """Send a SIGINT at the nth point at which Python checks for signals in smolkit's code, and return the exception."""
    points = 0
    source = str(Path(smolkit.__file__).parent)

    def profile(frame: Any, event: str, argument: object) -> None:
        nonlocal points
        if event in {"call", "c_return"} and frame.f_code.co_filename.startswith(source):
            points += 1
            if points == moment:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.setprofile(profile)
    try:
        try:
            function()
        finally:
            sys.setprofile(None)
            signal.signal(signal.SIGINT, before)
    except KeyboardInterrupt as interrupt:
        return interrupt
    if points < moment:
        raise EOFError
    return None


@pytest.mark.filterwarnings("ignore:.*was left without waiting for its end:ResourceWarning")
def test_an_interrupt_while_a_command_is_started_leaves_none(m: Machine) -> None:
    """An interrupt at any point of popen leaves no command, and frees its place even while the traceback is alive."""
    moment, left = 1, []
    with suppress(EOFError):
        while True:
            started: list[Any] = []
            interrupt = interrupted_at(moment, lambda: started.append(m.popen(["sleep", "60"], timeout=1)))  # noqa: B023
            for process in started:
                process.kill()
                process.wait()
            try:
                m.exec(["true"], timeout=1)
            except errors.QueueTimeoutError:
                left.append(moment)
            del interrupt
            moment += 3  # every third moment, for speed
    assert [] == left
    assert moment > 100


def test_an_endless_command_of_a_fake_can_be_left() -> None:
    """A fake's command that writes endlessly, in no time, is ended after the grace period."""
    fake = FakeSmolvm()

    @fake.on("yes")
    def yes(call: GuestCall) -> Iterator[str]:
        while True:
            yield "y\n"

    with Smolvm(runner=fake).machine("m") as machine:
        with machine.popen(["yes"]) as process:
            for _ in process:
                break
        assert -signal.SIGTERM == process.returncode
        process = machine.popen(["yes"])
        with pytest.raises(TimeoutError, match="did not end within 3 s"):
            process.wait(3)
        process.kill()
        process.wait()


def test_a_timeout_holds_against_a_flood_of_output() -> None:
    """A timeout holds also while output arrives faster than it is discarded."""

    class Endless(Replayed):
        def read(self, timeout: float | None) -> tuple[str, bytes] | None:  # noqa: ARG002
            return None if self.poll() is not None else ("stdout", b"y")

    class Flooded(Runner):
        def execute(self, invocation: Invocation) -> Completed:
            return Completed(invocation.argv, 0)

        def open(self, invocation: Invocation, *, stdin: bool) -> Live:
            return Endless(self.execute, invocation, stdin=stdin)

    process = Smolvm(runner=Flooded(version="1.32.2")).machine("m").popen(["yes"])
    with pytest.raises(TimeoutError, match=r"did not end within 0\.2 s"):
        process.wait(0.2)
    process.kill()
    assert 0 == process.wait()


def test_a_log_handler_that_raises_affects_no_call(engine: NamespaceEngine) -> None:
    """A log handler that raises, or whose own call would deadlock, does not affect a call."""
    client = Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2", max_processes=1))

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            client.ls() if "create" in record.getMessage() else 1 / 0  # type: ignore[unused-ignore]

    log, broken = logging.getLogger("smolkit"), Broken()
    log.addHandler(broken)
    log.setLevel(logging.DEBUG)
    try:
        with client.machine("m") as machine:
            assert machine.exec(["true"]).ok
    finally:
        log.removeHandler(broken)
        log.setLevel(logging.NOTSET)
    assert [] == engine.left

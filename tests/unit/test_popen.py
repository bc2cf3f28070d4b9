"""Followed commands shared by threads, tasks and processes."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from smolkit import AsyncSmolvm, Machine, Smolvm, SubprocessRunner, errors
from smolkit.commands import Exec
from smolkit.handles.process import Process
from smolkit.testing import FakeRunner, FakeSmolvm, NamespaceEngine

MIB = 2**20


@pytest.fixture
def m(program: Path) -> Machine:
    """A running machine of a client with max_processes=1."""
    machine = Smolvm(runner=SubprocessRunner(program, version="1.32.2", max_processes=1)).machine("m")
    machine.create()
    machine.start()
    return machine


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Run a function in another thread, and collect its result or exception in the list."""
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            results.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, results


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def received(process: Process[bytes]) -> bytes:
    """All of the process's stdout."""
    return b"".join(chunk for stream, chunk in process if stream == "stdout")


@pytest.mark.parametrize("reader_first", [True, False])
def test_one_thread_feeds_and_another_one_reads(m: Machine, reader_first: bool) -> None:
    """One thread writes and another reads, as with subprocess, and every byte arrives whoever starts first."""
    data = bytes(range(256)) * 4096 * 8
    with m.popen(["cat"], stdin=True) as process:
        assert process.stdin is not None
        live: Any = process._live
        if reader_first:
            thread, results = in_thread(lambda: received(process))
            until(live._serving.locked)
        for start in range(0, len(data) if reader_first else MIB, MIB):
            process.stdin.write(data[start : start + MIB])
        if not reader_first:
            feeder, _ = in_thread(partial(process.stdin.write, data[MIB:]))
            thread, results = in_thread(lambda: received(process))
            feeder.join(60)
        process.stdin.close()
        assert 0 == process.wait(60)
        thread.join(60)
    assert [True] == [data == found for found in results]


def test_unread_output_blocks_the_writer(m: Machine) -> None:
    """64 MiB to `cat` that nobody reads block the writer with bounded memory, and arrive completely once read."""
    process = m.popen(["cat"], stdin=True)
    live: Any = process._live
    assert process.stdin is not None
    written = 0

    def feed() -> None:
        nonlocal written
        for number in range(64):
            assert process.stdin is not None
            process.stdin.write(bytes([number]) * MIB)
            written += 1
        assert process.stdin is not None
        process.stdin.close()

    feeder, results = in_thread(feed)
    until(lambda: live._kept >= 16 * MIB)
    assert live._kept < 17 * MIB
    assert written < 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sizes = dict.fromkeys(range(64), 0)
    for _, chunk in process:
        for number in set(chunk):
            sizes[number] += chunk.count(number)
    feeder.join(60)
    assert [None] == results
    assert dict.fromkeys(range(64), MIB) == sizes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_a_second_reader_or_writer_is_refused(m: Machine) -> None:
    """A second reader or writer is refused, and the first one is not disturbed."""
    with m.popen(["sh", "-c", "read a; head -c 100000 /dev/zero; sleep 60"], stdin=True) as process:
        assert process.stdin is not None
        live: Any = process._live
        read: list[int] = []
        reader, _ = in_thread(lambda: read.extend(len(chunk) for _, chunk in process))
        until(live._serving.locked)
        with pytest.raises(RuntimeError, match="another thread or task reads from this process"):
            next(iter(process))
        writer, wrote = in_thread(partial(process.stdin.write, b"\n" + bytes(MIB)))
        until(lambda: live._alarm and sum(read) == 100_000)
        with pytest.raises(RuntimeError, match="another thread or task writes to this process"):
            process.stdin.write(b"x")
        process.kill()
        for thread in (reader, writer):
            thread.join(60)
        assert -9 == process.wait(60)
    assert "BrokenPipeError" == type(wrote[0]).__name__


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_task_feeds_and_another_one_reads(backend: str, program: Path) -> None:
    """One task writes and another reads on the async side, and a second one of either is refused."""

    async def main() -> None:
        async with (
            AsyncSmolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m") as m,
            await m.popen(["cat"], stdin=True) as process,
        ):
            assert process.stdin is not None
            sizes = []

            async def read() -> None:
                async for _, chunk in process:
                    sizes.append(len(chunk))

            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    group.start_soon(read)
                    while not process._sync._live._serving.locked():  # type: ignore[attr-defined]
                        await checkpoint()
                    with pytest.raises(RuntimeError, match="another thread or task reads"):
                        async for _ in process:
                            pass
                    for _ in range(8):
                        await process.stdin.write(bytes(MIB))
                    await process.stdin.close()
            assert 8 * MIB == sum(sizes)

    anyio.run(main, backend=backend)


def test_pieces_are_awaited_by_different_tasks(program: Path) -> None:
    """Tasks may take turns to read pieces, as `wait_for(anext(...))` makes a task for each, and any of them may wait."""

    async def next_of(pieces: Any) -> Any:
        return await anext(pieces)

    async def main() -> None:
        async with (
            AsyncSmolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m") as m,
            await m.popen(["cat"], stdin=True) as process,
        ):
            assert process.stdin is not None
            pieces = aiter(process)
            for text in (b"one", b"two"):
                await process.stdin.write(text)
                assert ("stdout", text) == await asyncio.create_task(next_of(pieces))
            await process.stdin.close()
            assert 0 == await asyncio.wait_for(process.wait(), 60)

    asyncio.run(main())


class Hasty(SubprocessRunner):
    """A runner whose clock is a hundred times as fast: half a minute is over in 0.3 s."""

    def clock(self) -> float:
        """As in Runner."""
        return 100 * time.monotonic()


@pytest.fixture
def hasty(m: Machine, program: Path) -> Machine:
    """The running machine of `m`, on a client whose timeouts are soon over."""
    return Smolvm(runner=Hasty(program, version="1.32.2")).machine(m.name)


def test_a_timeout_bounds_writes_too(hasty: Machine) -> None:
    """A write to a command that reads nothing is ended by its timeout and the grace, with exec's error."""
    with pytest.raises(errors.ExecTimeoutError), hasty.popen(["sleep", "600"], stdin=True, timeout=0.2) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(MIB))


def test_the_error_of_a_followed_command_has_the_end_of_its_output() -> None:
    """The error of a followed command has the end of each stream, as far as it was read."""
    fake = FakeRunner()
    fake.answer(Exec, stdout="out", stderr="error\n", returncode=-15, ended_by="timeout")
    process = Smolvm(runner=fake).machine("m").popen(["make"], timeout=1)
    with pytest.raises(errors.ExecTimeoutError) as caught:
        process.wait()

    assert ("out", "error\n") == (caught.value.stdout, caught.value.stderr)


@pytest.mark.parametrize("command", ["trap '' TERM; exec >&- 2>&-; while :; do sleep 0.1; done"])
def test_a_timeout_holds_for_an_engine_that_ignores_signals(hasty: Machine, command: str) -> None:
    """`wait(timeout)` raises for an engine that closes its pipes and ignores signals, which its own timeout kills."""
    process = hasty.popen(["sh", "-c", command], timeout=1)
    with pytest.raises(TimeoutError, match=r"did not end within 0\.2 s"):
        process.wait(0.2)
    with pytest.raises(errors.ExecTimeoutError):
        process.wait(6000)
    assert -9 == process.returncode


def test_leaving_the_block_ends_an_endless_writer(m: Machine) -> None:
    """The end of a block ends a command that writes endlessly, after the grace, and frees its place."""
    for grace in (0, 0.2):
        started = time.monotonic()
        with m.popen(["yes"], grace=grace) as process:
            for _ in process:
                break
        assert grace <= time.monotonic() - started < 4
        assert -signal.SIGTERM == process.returncode
        assert m.exec(["true"], timeout=30).ok


def test_leaving_the_block_kills_a_command_that_ignores_sigterm(m: Machine) -> None:
    """The end of a block kills a command that ignores SIGTERM."""
    with m.popen(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], grace=0) as process:
        for _ in process:
            break
    assert -signal.SIGKILL == process.returncode


def test_leaving_the_block_closes_stdin(m: Machine) -> None:
    """The end of a block closes stdin, and with grace=None waits as long as it takes."""
    with m.popen(["sh", "-c", "cat >/dev/null; sleep 0.3; exit 3"], stdin=True, grace=None) as process:
        assert process.stdin is not None
        process.stdin.write("x")
    assert 3 == process.returncode
    with pytest.raises(ValueError, match="grace"):
        m.popen(["true"], grace=-1)


def test_a_place_is_freed_however_a_process_ends(m: Machine) -> None:
    """A process frees its place without a wait, however it ends: by itself, killed, dropped, or left in a loop."""
    kept = m.popen(["true"])
    assert m.exec(["true"], timeout=30).ok
    killed = m.popen(["sleep", "60"])
    killed.kill()
    assert m.exec(["true"], timeout=30).ok
    with pytest.warns(ResourceWarning, match="was left without waiting for its end"):
        m.popen(["sleep", "61"])
    assert m.exec(["true"], timeout=30).ok
    with pytest.warns(ResourceWarning, match="was left without waiting for its end"):
        next(iter(m.popen(["yes"])))
    assert m.exec(["true"], timeout=30).ok
    assert (0, -9) == (kept.wait(30), killed.wait(30))
    assert m.exec(["true"], timeout=30).ok


def test_a_call_waits_for_a_place_within_its_timeout(engine: NamespaceEngine) -> None:
    """A call that waits for a process's place gives up within its own timeout, having run nothing."""
    with Smolvm(engine.program, max_processes=1).machine("m") as m, m.popen(["sleep", "60"], grace=0):
        for call in (lambda: m.exec(["true"], timeout=0.1), lambda: m.popen(["true"], timeout=0.1)):
            with pytest.raises(errors.QueueTimeoutError, match="nothing was run"):
                call()
        assert ["create", "start", "exec"] == engine.calls


def test_a_signal_handler_that_waits_for_its_interrupted_call_gets_an_error(m: Machine) -> None:
    """A signal handler whose call waits for the interrupted call's place gets DeadlockError, and that call goes on."""
    seen: list[BaseException] = []

    def handler(number: int, frame: object) -> None:
        try:
            m.delete()
        except errors.DeadlockError as error:
            seen.append(error)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        assert 3 == m.exec(["sh", "-c", "kill -USR1 $PPID; sleep 0.5; exit 3"]).returncode
        with m.popen(["sh", "-c", "kill -USR1 $PPID; sleep 0.5; echo"], grace=None) as process:
            assert b"\n" == received(process)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert 2 == len(seen)
    assert "nothing was run" in str(seen[0])


def forked(function: Callable[[], int]) -> int:
    """Run a function in a forked child, and return its result."""
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os._exit(function())
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_has_no_part_in_an_open_process(m: Machine) -> None:
    """A forked child neither keeps a command's stdin open, nor ends the command, nor finds its place taken."""
    process = m.popen(["cat"], stdin=True)
    assert process.stdin is not None
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(ready[1], b"x")
        os.close(go[1])
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    process.stdin.write("x")
    process.stdin.close()  # the command sees the end while the forked child lives
    assert 0 == process.wait(30)
    for fd in (*ready, *go):
        os.close(fd)
    os.waitpid(child, 0)

    with m.popen(["cat"], stdin=True) as process:

        def use() -> int:
            with process, pytest.raises(RuntimeError, match="a fork of that must not use it"):
                next(iter(process))
            process.kill()
            return 5 if m.exec(["true"], timeout=30).ok else 1

        assert 5 == forked(use)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.write("still")
        assert ("stdout", b"still") == next(iter(process))


def test_a_fork_in_another_thread_does_not_keep_stdin_open(m: Machine, tmp_path: Path) -> None:
    """A forked child does not keep open the pipe of an exec(input=...) in another thread."""
    mark = tmp_path / "mark"
    thread, results = in_thread(lambda: m.exec(["sh", "-c", f"echo >{mark}; sleep 0.3; wc -c"], input=b"x" * 500_000))
    until(mark.exists)
    go = os.pipe()
    child = os.fork()
    if not child:
        os.close(go[1])
        os.read(go[0], 1)
        os._exit(0)
    thread.join(30)
    for fd in go:
        os.close(fd)
    os.waitpid(child, 0)
    assert ["500000"] == [result.stdout.strip() for result in results]


@pytest.mark.parametrize("how", ["exec", "popen"])
def test_a_program_with_sigpipes_default_action_lives(m: Machine, how: str) -> None:
    """With SIGPIPE's default action, as command line tools set it, a command that does not read kills nobody."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        if how == "exec":
            assert m.exec(["sh", "-c", "exec <&-; sleep 0.1"], input=b"x" * MIB).ok
        else:
            with m.popen(["sh", "-c", "exec <&-; sleep 60"], stdin=True, grace=0) as process:
                assert process.stdin is not None
                with pytest.raises(BrokenPipeError):
                    process.stdin.write(b"x" * MIB)
        assert set() == signal.sigpending()
        assert mask == signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGPIPE, before)


def test_without_a_pidfd_it_is_the_same(m: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pidfd, the end of a command is seen by a writer and by a waiter, too."""
    monkeypatch.setattr("os.pidfd_open", lambda pid: (_ for _ in ()).throw(OSError(38, "no such call")))
    with m.popen(["sh", "-c", "exec 3<&0; sleep 4321 <&3 >/dev/null 2>&1 & echo $!"], stdin=True) as process:
        assert process.stdin is not None
        pid = int(next(iter(process))[1])
        with pytest.raises(BrokenPipeError):
            process.stdin.write(bytes(MIB))
    os.kill(pid, signal.SIGKILL)
    assert 4 == m.popen(["sh", "-c", "exec >&- 2>&-; sleep 0.1; exit 4"]).wait(30)


def test_the_end_of_a_block_tells_that_the_command_took_too_long() -> None:
    """The error of its timeout is not taken for that of the wait."""
    machine = Smolvm(runner=FakeSmolvm()).machine("m")
    with machine, pytest.raises(errors.ExecTimeoutError), machine.popen(["sleep", "60"], timeout=3, grace=None):
        pass

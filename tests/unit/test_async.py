"""The async client in use, under asyncio and trio."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import create_task_group

from smolkit import AsyncMachine, AsyncRunner, AsyncSmolvm, Completed, Invocation, Smolvm
from smolkit.aio import in_loop, wait_for
from smolkit.errors import ConnectionLostError, ExecTimeoutError, MachineNotFoundError
from smolkit.runners.live import Live
from smolkit.runners.local.capture import terminate_and_reap
from smolkit.runners.local.pipes import Pipes
from smolkit.runners.local.posix import ChildProcess
from smolkit.testing import FakeRunner, FakeSmolvm, GuestCall, NamespaceEngine, Recorder, Replayer
from tests.processes import LONGEST, shared, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each event loop."""
    return str(request.param)


async def at_once(number: int, work: Callable[[int], Any]) -> None:
    """Run this many in a task group."""
    async with create_task_group() as group:
        for each in range(number):
            group.start_soon(work, each)


async def test_a_life(tmp_path: Path) -> None:
    """A machine is created, started, used, branched and deleted."""
    fake = FakeSmolvm()
    client = AsyncSmolvm(runner=fake)
    (tmp_path / "here").write_text("from here")
    async with client.machine("agent", branchable=True) as m:
        assert "hi\n" == (await m.exec(["echo", "hi"], check=True)).stdout
        assert 3 == (await m.sh("exit 3")).returncode
        await m.write_text("/root/a", "one")
        await m.cp(tmp_path / "here", m.path("/root/b"))
        await m.upload(tmp_path / "here", "/root/c")
        await m.download("/root/c", tmp_path / "back")
        assert ["a", "b", "c"] == await m.listdir("/root")
        assert ("one", "from here") == (await m.read_text("/root/a"), (tmp_path / "back").read_text())
        async with await m.branch("child") as child:
            assert isinstance(child, AsyncMachine)
            assert "one" == await child.read_text("/root/a")
        assert [m] == [client.machine(info.name) for info in await client.ls()]
        assert (True, True) == (await m.exists(), (await m.status()).running)
        await m.wait_until(path="/root/a")
    assert {} == fake.machines
    with pytest.raises(MachineNotFoundError):
        await m.exec(["true"])
    assert ("1.32.2", True) == ((await client.engine).version, client.is_available())


async def test_machines_of_dead_owners_are_reaped() -> None:
    """reap removes machines of dead owners, as on the sync side."""
    fake = FakeSmolvm()
    client = AsyncSmolvm(runner=fake)
    machine = client.machine("old", lifetime=10)
    await machine.create()
    fake.sleep(60)

    assert ["old"] == [item.machine.name for item in await client.reap(dry_run=True)]
    assert ["old"] == [item.machine.name for item in await client.reap()]
    assert [] == await client.owned()


async def test_several_branches() -> None:
    """branch_many returns async machines."""
    fake = FakeSmolvm()
    async with AsyncSmolvm(runner=fake).machine(branchable=True) as source:
        both = await source.branch_many(2, "b")
        assert ["b-0", "b-1"] == [child.name for child in both]
        for child in both:
            await child.delete()


async def test_200_lives_at_once() -> None:
    """200 lives at once each have their own machine, take turns for their calls, and leave nothing."""
    fake = FakeSmolvm()
    client = AsyncSmolvm(runner=fake)
    most = 0

    async def live(number: int) -> None:
        nonlocal most
        async with client.machine(f"m{number}") as m:
            most = max(most, len(fake.machines))
            assert f"{number}\n" == (await m.exec(["echo", str(number)])).stdout

    await at_once(200, live)
    assert {} == fake.machines
    assert most > 100


async def test_commands_at_once_on_one_machine(engine: NamespaceEngine, tmp_path: Path) -> None:
    """Commands run at once on one machine, as real processes and without new threads."""
    threads = set()
    met = f"echo >>{tmp_path}/met; while [ $(wc -l <{tmp_path}/met) -lt 20 ]; do sleep 0.02; done"
    async with AsyncSmolvm(engine.program).machine("agent", volumes=shared(tmp_path)) as m:

        async def command(number: int) -> None:
            result = await m.exec(["sh", "-c", f"echo {number}; {met}; head -c 100000 /dev/zero"])
            threads.add(threading.active_count())
            assert (f"{number}\n", 100_000) == (result.stdout[:-100_000], result.stdout.count("\0"))

        with anyio.fail_after(LONGEST):
            await at_once(20, command)
    assert {threading.active_count()} == threads


class Gathering:
    """A command that counts its starts and ends, and ends only when enough of them run and the test allows it.

    Attributes:
        command: It.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._log, self._go, self._number = folder / "log", folder / "go", number
        full = f'[ "$(grep -c + {self._log})" -ge {number} ] && [ -e {self._go} ]'
        self.command = ["sh", "-c", f"echo + >>{self._log}; until {full}; do sleep 0.01; done; echo - >>{self._log}"]

    @property
    def started(self) -> int:
        """The number of commands that have started."""
        return self._log.read_text().count("+") if self._log.exists() else 0

    @property
    def complete(self) -> bool:
        """True if as many run as were waited for."""
        return self.started >= self._number

    def release(self) -> None:
        """Let the commands end."""
        self._go.touch()

    @property
    def most_at_once(self) -> int:
        """The highest number that ran at once."""
        signs = self._log.read_text().split()
        return max(signs[:end].count("+") - signs[:end].count("-") for end in range(len(signs) + 1))


@pytest.mark.parametrize("number", [1, 3])
async def test_max_processes(engine: NamespaceEngine, number: int, tmp_path: Path) -> None:
    """`max_processes` bounds calls and followed commands, and a cancelled waiter takes no place."""
    gathering = Gathering(tmp_path, number)
    async with AsyncSmolvm(engine.program, max_processes=number).machine("agent", volumes=shared(tmp_path)) as m:

        async def command(each: int) -> None:
            if each % 2:
                await m.exec(gathering.command)
            else:
                async with await m.popen(gathering.command):
                    pass

        with anyio.fail_after(LONGEST):
            async with create_task_group() as group:
                for each in range(6 + number):
                    group.start_soon(command, each)
                await anyio.to_thread.run_sync(until, lambda: gathering.complete)
                with anyio.move_on_after(0.1) as scope:
                    await m.exec(gathering.command)
                assert (True, number) == (scope.cancelled_caught, gathering.started)
                gathering.release()
    assert (number, 6 + number) == (gathering.most_at_once, gathering.started)


def test_max_processes_holds_for_threads_too(engine: NamespaceEngine, tmp_path: Path) -> None:
    """`max_processes` bounds threads of the sync client too."""
    client = Smolvm(engine.program, max_processes=2)
    gathering = Gathering(tmp_path, 2)
    with client.machine("agent", volumes=shared(tmp_path)) as m:
        threads = [threading.Thread(target=m.exec, args=(gathering.command,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: gathering.complete)
        gathering.release()
        for thread in threads:
            thread.join()
    assert (2, 8) == (gathering.most_at_once, gathering.started)
    with pytest.raises(TypeError, match="pass max_processes to the runner"):
        Smolvm(runner=FakeRunner(), max_processes=2)
    with pytest.raises(ValueError, match="max_processes"):
        Smolvm(max_processes=0)


async def test_threads_and_tasks_wait_for_the_same_turns(engine: NamespaceEngine) -> None:
    """Threads and tasks wait for the same places of one runner, and free them for each other."""
    client = Smolvm(engine.program, max_processes=1)
    with client.machine("agent") as m:
        done: list[str] = []

        def in_thread() -> None:
            for _ in range(3):
                m.exec(["sleep", "0.1"])
                done.append("thread")

        async def in_task(number: int) -> None:
            await m.to_async().exec(["sleep", "0.1"])
            done.append("task")

        thread = threading.Thread(target=in_thread)
        thread.start()
        with anyio.fail_after(LONGEST):
            await at_once(3, in_task)
        await anyio.to_thread.run_sync(thread.join)
    assert ["task"] * 3 + ["thread"] * 3 == sorted(done)


async def test_a_command_is_followed(engine: NamespaceEngine) -> None:
    """Lines arrive as they are written, and one task writes while another reads."""
    async with AsyncSmolvm(engine.program).machine("agent") as m:
        process = await m.popen(["sh", "-c", "while read line; do echo got $line; done; exit 7"], stdin=True, text=True)
        lines: list[tuple[str, str]] = []
        came = anyio.Semaphore(0)

        async def write() -> None:
            assert process.stdin is not None
            for number in range(3):
                await process.stdin.write(f"{number}\n")
                await came.acquire()
            await process.stdin.close()
            assert process.stdin.closed

        with anyio.fail_after(LONGEST):
            async with process, create_task_group() as group:
                group.start_soon(write)
                async for line in process:
                    lines.append(line)
                    came.release()
        assert [("stdout", f"got {number}\n") for number in range(3)] == lines
        assert (7, 7, 7) == (process.returncode, process.poll(), await process.wait())
        assert ("sh", "-c") == process.args[:2]


async def test_a_flood_leaves_other_tasks_their_turn() -> None:
    """While there is always something to read, other tasks run in between."""
    child = ChildProcess()
    child.open_pipes(stdin=False)
    writes = os.dup(child._theirs[1].fileno())
    os.write(writes, b"x" * 65_536)
    child.start("/bin/sleep", ("sleep", "60"), {})
    pipes = await in_loop(Pipes, child, partial(next, count()))  # seconds pass from one look at the clock to the next
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    def read() -> None:
        for _ in range(10):
            os.write(writes, b"x" * len(pipes.serve(None)[0][1]))

    async with create_task_group() as group:
        group.start_soon(take_turns)
        await in_loop(read)
        group.cancel_scope.cancel()
    assert turns >= 5
    os.close(writes)
    terminate_and_reap(child, time.monotonic)
    pipes.close()


async def test_a_process_that_is_ended(engine: NamespaceEngine) -> None:
    """A process is ended by terminate, by kill or by the end of its block, and wait takes a timeout."""
    async with AsyncSmolvm(engine.program).machine("agent") as m:
        process = await m.popen(["sleep", "60"])
        with pytest.raises(TimeoutError):
            await process.wait(0.05)
        await process.terminate()
        assert -15 == await process.wait()
        process = await m.popen(["sleep", "60"])
        await process.kill()
        assert -9 == await process.wait()
        with pytest.raises(KeyError):
            async with await m.popen(["sleep", "60"]) as process:
                raise KeyError
        assert -9 == process.returncode


async def test_a_cancelled_iteration_loses_no_output(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A cancelled iteration loses no output: the next one continues where it stopped."""
    async with AsyncSmolvm(engine.program).machine("agent", volumes=shared(tmp_path)) as m:
        script = f"echo one; until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo two"
        process = await m.popen(["sh", "-c", script], text=True)
        lines = []
        for bound in (0.3, LONGEST):
            with anyio.move_on_after(bound):
                async for _, line in process:
                    lines.append(line)
            (tmp_path / "go").touch()
        assert (["one\n", "two\n"], 0) == (lines, process.returncode)


async def test_a_spawned_command() -> None:
    """A spawned command knows its machine, and tells if it is running."""
    fake = FakeSmolvm()
    async with AsyncSmolvm(runner=fake).machine("agent") as m:
        spawned = await m.spawn(["sleep", "100"])
        assert (m, True) == (spawned.machine, await spawned.is_running())
        await spawned.kill()
        assert not await spawned.is_running()
        assert (16, True) == (len(spawned.mark), spawned.pid > 0)


async def test_timeouts_of_the_guest() -> None:
    """Timeouts in the guest raise the same errors as on the sync side."""
    fake = FakeSmolvm()
    async with AsyncSmolvm(runner=fake).machine("agent") as m:
        with pytest.raises(ExecTimeoutError):
            await m.exec(["sleep", "5"], timeout=1)


class Pieces(Live):
    """A Live whose output comes in pieces."""

    def __init__(self, invocation: Invocation) -> None:
        self.invocation, self.left = invocation, [b"one ", b"two"]

    def read(self, timeout: float | None) -> tuple[str, bytes] | None:  # noqa: ARG002
        """The next piece."""
        wait_for(partial(anyio.sleep, 0.001))
        return ("stdout", self.left.pop(0)) if self.left else None

    def write(self, data: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Discard the data."""
        raise BrokenPipeError(data)

    def close_stdin(self) -> None:
        """No-op."""

    def poll(self) -> int | None:
        """0 once all output is read."""
        return None if self.left else 0

    def end(self, *, kill: bool = False) -> None:
        """No-op: it ends by itself."""

    def close(self) -> Completed:
        """The completed call."""
        return Completed(self.invocation.argv, 0)


class AsyncEngine(AsyncRunner):
    """An async runner."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, ...]] = []
        self.live = False

    async def execute(self, invocation: Invocation) -> Completed:
        """Answer with the version, or `hi`."""
        self.asked.append(invocation.argv)
        await anyio.sleep(0.001)
        return Completed(invocation.argv, 0, b"smolvm 1.32.2" if invocation.argv == ("--version",) else b"hi\n")

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """Follow the call with `Pieces`."""
        return Pieces(invocation) if self.live else super().open(invocation, stdin=stdin)


async def test_a_custom_runner() -> None:
    """An AsyncRunner supplies `execute`, and its `Live` waits with `wait_for`."""
    runner = AsyncEngine()
    m = AsyncSmolvm(runner=runner).machine("agent")
    assert "hi\n" == (await m.exec(["true"])).stdout
    for live, expected in ((False, b"hi\n"), (True, b"one two")):
        runner.live = live
        async with await m.popen(["true"]) as process:
            assert expected == b"".join([piece async for _, piece in process])
    assert ("--version",) == runner.asked[0]


async def test_many_tasks_ask_the_version_once() -> None:
    """Many tasks ask for the engine's version once, and wait for the one answer."""
    fake = FakeRunner()
    fake._smolkit.version = None
    fake.answer(["--version"], stdout="smolvm 1.32.2")
    fake.answer(["machine", "exec"])
    m = AsyncSmolvm(runner=fake).machine("agent")

    await at_once(10, lambda _: m.exec(["true"]))
    assert 1 == fake.argvs.count(("--version",))


async def test_in_loop_runs_sync_code() -> None:
    """`in_loop` runs a function that uses sync handles without blocking the event loop."""
    fake = FakeSmolvm()
    seen: list[str] = []
    other = anyio.Event()

    def life(name: str) -> str:
        with Smolvm(runner=fake).machine(name) as m:
            return m.exec(["echo", name]).stdout

    async def meanwhile() -> None:
        seen.append("meanwhile")
        other.set()

    async with create_task_group() as group:
        group.start_soon(meanwhile)
        seen.append(await in_loop(life, name="agent"))
    assert (["meanwhile", "agent\n"], True) == (seen, other.is_set())


async def test_a_handler_of_a_fake_may_wait() -> None:
    """A fake's handler may wait with `wait_for`, so that a test decides when a command ends."""
    fake, go = FakeSmolvm(), anyio.Event()

    @fake.on("agent")
    def agent(call: GuestCall) -> str:
        wait_for(go.wait)
        return "done"

    async with AsyncSmolvm(runner=fake).machine() as m, create_task_group() as group:
        with anyio.move_on_after(0.02) as scope:
            await m.exec(["agent"])
        assert scope.cancelled_caught
        group.start_soon(anyio.lowlevel.checkpoint)
        go.set()
        assert "done" == (await m.exec(["agent"])).stdout


async def test_a_cassette_is_recorded_and_played(tmp_path: Path) -> None:
    """Recorder and Replayer work with the async client."""
    fake = FakeSmolvm()
    with Recorder(fake, tmp_path / "tape.json") as recorder:
        async with AsyncSmolvm(runner=recorder).machine("agent") as m:
            await m.exec(["echo", "hi"])
    async with AsyncSmolvm(runner=Replayer(tmp_path / "tape.json")).machine("agent") as m:
        assert "hi\n" == (await m.exec(["echo", "hi"])).stdout


async def test_observers_and_dry_runs() -> None:
    """Observers and dry runs work as on the sync side, and an observer runs in the caller's context."""
    calls: list[str] = []
    fake = FakeSmolvm()
    span: ContextVar[str] = ContextVar("span", default="none")
    client = AsyncSmolvm(runner=fake, on_call=lambda call: calls.append(f"{call.verb} in {span.get()}"))
    span.set("mine")
    async with client.machine("agent") as m:
        with client.dry_run(echo=False) as plan:
            await m.exec(["rm", "-r", "/"])
            await m.delete()
    assert ["machine create in mine", "machine start in mine", "machine delete in mine"] == calls
    assert ["Exec", "Delete"] == [type(command).__name__ for command in plan.commands]


async def test_a_machine_that_dies() -> None:
    """A machine that dies raises the same errors as on the sync side."""
    fake = FakeSmolvm()
    fake.fail("exec", "dies")
    async with AsyncSmolvm(runner=fake).machine("agent") as m:
        with pytest.raises(ConnectionLostError):
            await m.exec(["echo", "hi"])
    assert {} == fake.machines

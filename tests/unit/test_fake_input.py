"""Input of a fake's commands that is written while they run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smolkit import AsyncSmolvm, Machine, Smolvm, SubprocessRunner, errors
from smolkit.handles.process import Process
from smolkit.testing import FakeSmolvm, GuestCall, NamespaceEngine, UnexpectedCommandError


@pytest.fixture
def smolvm() -> FakeSmolvm:
    """A fake whose program `upper` answers line by line."""
    fake = FakeSmolvm(patience=60)

    @fake.on("upper")
    def upper(call: GuestCall) -> Iterator[bytes]:
        for line in call.lines():
            yield line.upper()

    fake.on("sort", lambda call: b"".join(sorted(call.stdin.splitlines(keepends=True))))
    return fake


@pytest.fixture
def machine(smolvm: FakeSmolvm) -> Iterator[Machine]:
    """A running machine of the fake."""
    with Smolvm(runner=smolvm).machine("agent") as m:
        yield m


@pytest.fixture(params=["fake", "program"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """A machine of the fake, and one whose commands are real processes."""
    program = NamespaceEngine(tmp_path / "engine").program
    runner = FakeSmolvm(patience=60) if request.param == "fake" else SubprocessRunner(program, version="1.32.2")
    with Smolvm(runner=runner).machine("agent") as m:
        yield m


def fed(process: Process[bytes], data: str) -> None:
    """Write to the stdin of a process."""
    assert process.stdin is not None
    process.stdin.write(data)


def received(process: Process[bytes], length: int) -> bytes:
    """Read this many bytes of stdout."""
    found, pieces = b"", iter(process)
    while len(found) < length:
        found += next(pieces)[1]
    return found


@pytest.mark.parametrize("command", [["cat"], ["sh", "-c", "cat; exit 3"]])
def test_a_conversation(either: Machine, command: list[str]) -> None:
    """Input written after the first answer is answered too, and the command ends when its stdin is closed."""
    with either.popen(command, stdin=True) as process:
        for word in ("one", "two", "three"):
            fed(process, word)
            assert word.encode() == received(process, len(word))
        assert process.stdin is not None
        assert process.poll() is None
        process.stdin.close()
        assert [] == list(process)
    assert (3 if command[0] == "sh" else 0) == process.returncode


def test_a_reader_waits_for_a_later_writer(machine: Machine) -> None:
    """A reader waits for a thread that writes later."""
    process = machine.popen(["cat"], stdin=True)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(data for _, data in process), daemon=True)
    reader.start()
    for word in ("one", "two"):
        assert reader.is_alive()
        fed(process, word)
        until(lambda: b"".join(found).endswith(word.encode()))  # noqa: B023  (called at once)
    assert process.stdin is not None
    process.stdin.close()
    reader.join(60)
    assert (False, b"onetwo", 0) == (reader.is_alive(), b"".join(found), process.returncode)


def until(condition: object) -> None:
    """Wait until the condition is true, for a minute at most."""
    assert callable(condition)
    tick = threading.Event()
    for _ in range(6000):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("the condition did not become true")


def test_writing_to_an_ended_command_raises(either: Machine) -> None:
    """Writing to a command that has ended raises BrokenPipeError."""
    with either.popen(["true"], stdin=True) as process:
        assert [] == list(process)
        with pytest.raises(BrokenPipeError):
            fed(process, "more")


def test_a_wait_times_out(either: Machine) -> None:
    """`wait(timeout=...)` raises for a command that waits for input, and lets it run on."""
    with either.popen(["cat"], stdin=True) as process:
        with pytest.raises(TimeoutError):
            process.wait(timeout=0.2)
        fed(process, "late")
        assert b"late" == received(process, 4)
        process.kill()
        assert -9 == process.wait()


def test_a_command_that_waits_is_ended_by_another_thread(either: Machine) -> None:
    """A reader sees the end of a waiting command that another thread ends."""
    process = either.popen(["cat"], stdin=True)
    reader = threading.Thread(target=process.wait, daemon=True)
    reader.start()
    process.kill()
    reader.join(60)
    assert (False, -9) == (reader.is_alive(), process.returncode)


@pytest.mark.parametrize("command", ["cat", "upper", "sort"])
def test_a_timeout_ends_a_waiting_command(machine: Machine, smolvm: FakeSmolvm, command: str) -> None:
    """A timeout ends a command that waits for input, and advances the fake's clock by as much."""
    smolvm.patience = 0.05
    with pytest.raises(errors.ExecTimeoutError):
        machine.popen([command], stdin=True, timeout=300).wait()
    assert 300 == smolvm.clock()


@pytest.mark.parametrize("command", ["cat", "upper", "sort"])
def test_an_endless_wait_is_an_error(machine: Machine, smolvm: FakeSmolvm, command: str) -> None:
    """A command that reads a stdin to which nobody writes raises UnexpectedCommandError."""
    smolvm.patience = 0.05
    with (
        pytest.raises(UnexpectedCommandError, match=rf"\['{command}'\] reads its stdin, and nobody writes to it"),
        machine.popen([command], stdin=True) as process,
    ):
        process.wait()


def test_a_handler_answers_line_by_line(machine: Machine) -> None:
    """`lines()` yields complete lines as they are written, the last one possibly without a newline."""
    with machine.popen(["upper"], stdin=True, text=True) as process:
        pieces = iter(process)
        assert process.stdin is not None
        process.stdin.write("o")
        process.stdin.write("ne\ntwo\nth")
        assert [("stdout", "ONE\n"), ("stdout", "TWO\n")] == [next(pieces), next(pieces)]
        process.stdin.write("ree")
        process.stdin.close()
        assert [("stdout", "THREE")] == list(pieces)
    assert ["A\n", "B"] == machine.exec(["upper"], input="a\nb").stdout.splitlines(keepends=True)


def test_stdin_waits_for_the_end(machine: Machine, smolvm: FakeSmolvm) -> None:
    """`stdin` waits for the end of the input, and can be read again."""
    with machine.popen(["sort"], stdin=True) as process:
        fed(process, "b\n")
        fed(process, "a\n")
        assert process.stdin is not None
        process.stdin.close()
        assert [("stdout", b"a\nb\n")] == list(process)
    assert b"b\na\n" == smolvm.machines["agent"].calls[-1].stdin


def test_an_interrupted_handler_cannot_be_resumed(machine: Machine, smolvm: FakeSmolvm) -> None:
    """A handler interrupted while waiting for stdin cannot be resumed, and can be ended."""
    smolvm.patience = 0.05
    with machine.popen(["sort"], stdin=True) as process:
        with pytest.raises(TimeoutError):
            process.wait(timeout=600)
        assert 600 <= smolvm.clock() < 601
        fed(process, "late")
        with pytest.raises(UnexpectedCommandError, match="was waiting for stdin when a read timed out"):
            process.wait()
        process.kill()
        assert -9 == process.wait()


def test_commands_of_a_script_share_stdin(machine: Machine) -> None:
    """Commands of a script share one stdin, and the commands of a pipe have one of their own."""
    assert "one" == machine.sh("cat; cat", input="one").stdout
    with machine.popen(["sh", "-c", "cat | upper"], stdin=True) as process:
        fed(process, "one\n")
        fed(process, "two\n")
        assert process.stdin is not None
        process.stdin.close()
        assert b"ONE\nTWO\n" == b"".join(data for _, data in process)


async def conversation(smolvm: FakeSmolvm) -> list[tuple[str, str]]:
    """Write in one task while reading in another."""
    async with AsyncSmolvm(runner=smolvm).machine("tasks") as m, await m.popen(["upper"], stdin=True, text=True) as process:
        answers: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        async def read() -> None:
            async for piece in process:
                await answers.put(piece)

        reader = asyncio.create_task(read())
        assert process.stdin is not None
        found = []
        for number in range(3):
            await process.stdin.write(f"n{number}\n")
            found.append(await answers.get())
        await process.stdin.close()
        await reader
        return found


def test_tasks_talk_with_a_command(smolvm: FakeSmolvm) -> None:
    """A task that reads a command's output lets the writing task run."""
    assert [("stdout", f"N{number}\n") for number in range(3)] == asyncio.run(conversation(smolvm))

"""What is written to a fake's commands while they run: they wait for it, as real ones do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smolkit import AsyncSmolvm, Machine, Smolvm, SubprocessRunner, errors
from smolkit.handles.process import Process
from smolkit.testing import FakeSmolvm, GuestCall, PretendEngine, UnexpectedCommandError


@pytest.fixture
def smolvm() -> FakeSmolvm:
    """An engine in memory, whose `upper` answers line by line."""
    fake = FakeSmolvm(patience=60)

    @fake.on("upper")
    def upper(call: GuestCall) -> Iterator[bytes]:
        for line in call.lines():
            yield line.upper()

    fake.on("sort", lambda call: b"".join(sorted(call.stdin.splitlines(keepends=True))))
    return fake


@pytest.fixture
def machine(smolvm: FakeSmolvm) -> Iterator[Machine]:
    """A machine of it."""
    with Smolvm(runner=smolvm).machine("agent") as m:
        yield m


@pytest.fixture(params=["fake", "program"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """A machine of the fake, and one whose commands are real processes."""
    program = PretendEngine(tmp_path / "engine").program
    runner = FakeSmolvm(patience=60) if request.param == "fake" else SubprocessRunner(program, version="1.32.2")
    with Smolvm(runner=runner).machine("agent") as m:
        yield m


def fed(process: Process[bytes], data: str) -> None:
    """Writes to its stdin."""
    assert process.stdin is not None
    process.stdin.write(data)


def received(process: Process[bytes], length: int) -> bytes:
    """So much of its stdout."""
    found, pieces = b"", iter(process)
    while len(found) < length:
        found += next(pieces)[1]
    return found


@pytest.mark.parametrize("command", [["cat"], ["sh", "-c", "cat; exit 3"]])
def test_a_conversation(either: Machine, command: list[str]) -> None:
    """What is written after the first answer is answered too, and the end of the input is the end of the command."""
    with either.popen(command, stdin=True) as process:
        for word in ("one", "two", "three"):
            fed(process, word)
            assert word.encode() == received(process, len(word))
        assert process.stdin is not None
        assert process.poll() is None
        process.stdin.close()
        assert [] == list(process)
    assert (3 if command[0] == "sh" else 0) == process.returncode


def test_a_reader_waits_for_who_writes_later(machine: Machine) -> None:
    """One thread reads, and another one writes once the reader waits."""
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
    """Waits until it is true, a minute at most."""
    assert callable(condition)
    tick = threading.Event()
    for _ in range(6000):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("it did not come true")


def test_a_command_that_is_over_takes_no_more(either: Machine) -> None:
    """BrokenPipeError, as a program's pipe has it."""
    with either.popen(["true"], stdin=True) as process:
        assert [] == list(process)
        with pytest.raises(BrokenPipeError):
            fed(process, "more")


def test_the_time_of_who_reads_is_over(either: Machine) -> None:
    """`wait(timeout=...)` of a command that waits for input raises, and leaves it to run on."""
    with either.popen(["cat"], stdin=True) as process:
        with pytest.raises(TimeoutError):
            process.wait(timeout=0.2)
        fed(process, "late")
        assert b"late" == received(process, 4)
        process.kill()
        assert -9 == process.wait()


def test_a_command_that_waits_is_ended_by_another_thread(either: Machine) -> None:
    """The reader sees its end."""
    process = either.popen(["cat"], stdin=True)
    reader = threading.Thread(target=process.wait, daemon=True)
    reader.start()
    process.kill()
    reader.join(60)
    assert (False, -9) == (reader.is_alive(), process.returncode)


@pytest.mark.parametrize("command", ["cat", "upper", "sort"])
def test_a_command_is_out_of_time(machine: Machine, smolvm: FakeSmolvm, command: str) -> None:
    """A timeout ends a command that waits for input; the fake's clock is then where it would be."""
    smolvm.patience = 0.05
    with pytest.raises(errors.ExecTimeoutError):
        machine.popen([command], stdin=True, timeout=300).wait()
    assert 300 == smolvm.clock()


@pytest.mark.parametrize("command", ["cat", "upper", "sort"])
def test_what_would_wait_for_ever_is_said(machine: Machine, smolvm: FakeSmolvm, command: str) -> None:
    """A guest that reads its stdin, and nobody who writes to it."""
    smolvm.patience = 0.05
    with (
        pytest.raises(UnexpectedCommandError, match=rf"\['{command}'\] reads its stdin, and nobody writes to it"),
        machine.popen([command], stdin=True) as process,
    ):
        process.wait()


def test_a_handler_answers_line_by_line(machine: Machine) -> None:
    """`lines()` has them as they come, whole; the last one may lack its end."""
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


def test_a_handler_that_wants_all_waits_for_the_end(machine: Machine, smolvm: FakeSmolvm) -> None:
    """`stdin` is all of it, of several writes; and stays to be looked at."""
    with machine.popen(["sort"], stdin=True) as process:
        fed(process, "b\n")
        fed(process, "a\n")
        assert process.stdin is not None
        process.stdin.close()
        assert [("stdout", b"a\nb\n")] == list(process)
    assert b"b\na\n" == smolvm.machines["agent"].calls[-1].stdin


def test_a_handler_that_was_left_in_the_middle_cannot_go_on(machine: Machine, smolvm: FakeSmolvm) -> None:
    """It says so; and it can be ended."""
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


def test_a_program_reads_on_where_the_one_before_it_stopped(machine: Machine) -> None:
    """The commands of a script share one stdin, and a pipe is another one's."""
    assert "one" == machine.sh("cat; cat", input="one").stdout
    with machine.popen(["sh", "-c", "cat | upper"], stdin=True) as process:
        fed(process, "one\n")
        fed(process, "two\n")
        assert process.stdin is not None
        process.stdin.close()
        assert b"ONE\nTWO\n" == b"".join(data for _, data in process)


async def conversation(smolvm: FakeSmolvm) -> list[tuple[str, str]]:
    """One task writes while another reads."""
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
    """The reader's wait leaves the event loop to the writer."""
    assert [("stdout", f"N{number}\n") for number in range(3)] == asyncio.run(conversation(smolvm))

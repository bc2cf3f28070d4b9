"""Tests of the interpreter, the CI runner and the rollouts, on the fake."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from ci import Suite
from interpreter import MOST_OUTPUT, Interpreter, interpreter
from rollouts import Rollout, rollouts

from smolkit import AsyncSmolvm, Smolvm
from smolkit.testing import FakeSmolvm, GuestCall, GuestResult


@pytest.fixture
def python(smolvm: Smolvm, fake_smolvm: FakeSmolvm) -> Iterator[Interpreter]:  # noqa: ARG001  (asked for first: it may skip)
    """An interpreter, whose machine is gone afterwards."""
    with interpreter(smolvm) as made:
        yield made
    assert smolvm.ls() == []


def test_a_program_sees_its_files_and_is_seen(python: Interpreter, fake_smolvm: FakeSmolvm, tmp_path: Path) -> None:
    """What it prints comes live; what it leaves is downloaded."""

    @fake_smolvm.on("python3")
    def program(call: GuestCall) -> GuestResult:
        data = call.files.read_text("/root/work/data.csv")
        call.files.write_text("/root/work/plot.svg", "<svg/>")
        return GuestResult(1, data, "Traceback\n")

    pieces: list[str] = []
    outcome = python.run("import data", files={"data.csv": b"1,2\n"}, write=pieces.append)
    python.download(tmp_path / "outputs")

    assert (outcome.output, outcome.returncode, pieces) == ("1,2\nTraceback\n", 1, ["1,2\n", "Traceback\n"])
    assert (tmp_path / "outputs/plot.svg").read_bytes() == b"<svg/>"


def test_a_program_that_does_not_end_is_killed(python: Interpreter, fake_smolvm: FakeSmolvm) -> None:
    """It has no exit status; what it wrote is there, and the next program runs."""

    @fake_smolvm.on("python3")
    def program(call: GuestCall) -> Iterator[str]:
        yield "once\n"
        call.sleep(1000)
        yield "never\n"

    outcome = python.run("while True: pass")
    assert (outcome.output[:5], outcome.returncode) == ("once\n", None)


def test_a_program_that_writes_for_ever_is_stopped(python: Interpreter, fake_smolvm: FakeSmolvm) -> None:
    """Its output has a bound."""

    @fake_smolvm.on("python3")
    def program(_: GuestCall) -> Iterator[str]:
        while True:
            yield "x" * 1000 + "\n"

    assert len(python.run("print('x' * 1000)").output) == MOST_OUTPUT


def test_a_suite_passes_although_machines_die(async_smolvm: AsyncSmolvm, fake_smolvm: FakeSmolvm, tmp_path: Path) -> None:
    """The file of a machine that died is tried again; a file that fails is told."""
    fake_smolvm.on("python3", lambda call: 1 if call.args[-1] == "test_3.py" else 0)
    fake_smolvm.fail("exec", "dies", nth=2)
    done: list[int] = []
    suite = Suite(async_smolvm, tmp_path, progress=done.append)
    files = [f"test_{number}.py" for number in range(6)]

    assert False is asyncio.run(suite.run(files, machines=2))
    assert {file: 1 if file == "test_3.py" else 0 for file in files} == {
        file: getattr(result, "returncode", result) for file, result in suite.results.items()
    }
    assert (done[-1], [*fake_smolvm.machines]) == (6, [])


def test_a_suite_gives_up_where_nothing_boots(async_smolvm: AsyncSmolvm, fake_smolvm: FakeSmolvm, tmp_path: Path) -> None:
    """It has not passed."""
    fake_smolvm.fail("start", "no hypervisor", times=99)

    assert False is asyncio.run(Suite(async_smolvm, tmp_path).run(["test_a.py"]))


def test_rollouts_leave_nothing(async_smolvm: AsyncSmolvm, fake_smolvm: FakeSmolvm) -> None:
    """Sixteen branches of one machine, each with its seed; one that dies has no reward."""
    fake_smolvm.on("python3", lambda call: call.args[-1] if call.args[-1] != "7" else GuestResult(1))
    played = asyncio.run(rollouts(async_smolvm, range(16)))

    assert [Rollout(seed, None if seed == 7 else float(seed)) for seed in range(16)] == played
    assert not fake_smolvm.machines

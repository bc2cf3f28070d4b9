"""Machines that are made for one command: in this program's terminal, or left to run."""

from __future__ import annotations

import json

import pytest

from smolkit import Completed, Smolvm, errors
from smolkit.commands import Delete, Ls, RunDetached, RunTerminal, Shell, Stop
from smolkit.runners.attempts import InterruptedCall
from smolkit.testing import FakeRunner, FakeSmolvm, UnexpectedCommandError
from tests.recorded import as_json


def test_a_command_that_is_left_in_a_machine_of_its_own() -> None:
    """The handle made it: its block ends it; without one it stays. A name that is taken is not touched."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    with client.run_detached(["serve", "-p", "80"], "web", cpus=2, memory=512, env={"A": "b"}) as m:
        info = m.status()
        assert (True, 2, ("serve", "-p", "80")) == (info.running, info.cpus, info.cmd)
        assert "b\n" == m.sh("echo $A").stdout
        with pytest.raises(errors.MachineExistsError):
            client.run_detached(["serve"], "web")
        assert m.exists()
    assert not fake.machines

    assert client.run_detached().name in fake.machines
    fake.fail("run", "no hypervisor")
    with pytest.raises(errors.HypervisorUnavailableError):
        client.run_detached(name="other")
    assert "other" not in fake.machines


@pytest.mark.parametrize("recorded", ["10.0.0.0/8", "0.0.0.0/0"])
def test_a_command_that_is_left_never_runs_without_its_policy(client: Smolvm, fake: FakeRunner, recorded: str) -> None:
    """It is read back, as after create; and the machine goes where it is another."""
    fake.answer(Ls, stdout=json.dumps([{"name": "m", "network": True, "allowed_cidrs": [recorded]}]))
    fake.answer(RunDetached, stdout="Machine 'm' running in background\n")
    if recorded == "10.0.0.0/8":
        assert "m" == client.run_detached(name="m", allow_cidrs=["10.0.0.0/8"]).name
        return
    fake.answer(Delete, times=1)
    with pytest.raises(errors.PolicyNotRecordedError):
        client.run_detached(name="m", allow_cidrs=["10.0.0.0/8"])
    fake.assert_done()


def test_an_interrupt_while_a_command_is_left(client: Smolvm, fake: FakeRunner) -> None:
    """The engine comes to its end, and what it made is gone."""
    fake.answer(RunDetached, error=InterruptedCall(Completed((), 0), KeyboardInterrupt()))
    fake.answer(Delete, times=1)
    with pytest.raises(KeyboardInterrupt):
        client.run_detached(["serve"], "m")
    fake.assert_done()


STARTING = "Starting ephemeral machine (vm-00c0ffee)...\n"


@pytest.mark.parametrize("status", [0, 1, 7])
def test_a_terminal_in_a_machine_of_its_own(
    client: Smolvm, fake: FakeRunner, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """Its status comes back, and nothing is left of the machine."""
    fake.answer(RunTerminal, stdout="hi\n", stderr=STARTING, returncode=status)
    fake.answer(Delete("vm-00c0ffee"), times=1)

    assert status == client.terminal(["python3"], cpus=1)
    assert "hi\n" == capsys.readouterr().out
    fake.assert_done()


def test_a_terminal_whose_machine_does_not_start(client: Smolvm, fake: FakeRunner) -> None:
    """The engine's failure, with its half-booted VM ended; and a terminal has no other input."""
    kvm = as_json("SMOLVM_ERROR", "agent operation failed: start machine: KvmOpen(Error(13))")
    fake.answer(RunTerminal, stderr=STARTING + kvm, returncode=1)
    fake.answer(Stop("vm-00c0ffee"), times=1)
    fake.answer(Delete("vm-00c0ffee"), times=1)
    with pytest.raises(errors.HypervisorUnavailableError):
        client.terminal()
    fake.assert_done()
    with pytest.raises(TypeError, match="what is typed there"):
        client.terminal(["cat"], input="x")


def test_a_terminal_that_cannot_be_cleaned_up_after(client: Smolvm, fake: FakeRunner) -> None:
    """The command ran, and its machine is left: that is an error."""
    fake.answer(RunTerminal, stderr=STARTING)
    fake.answer(Delete, returncode=1, stderr=as_json("X", "it broke"))
    fake.answer(Ls, stdout='[{"name": "vm-00c0ffee"}]')
    with pytest.raises(errors.CleanupError, match="vm-00c0ffee"):
        client.terminal(["true"])


def test_a_fakes_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """What its guest writes is this program's output; what it does not do can be scripted."""
    fake = FakeSmolvm()
    with Smolvm(runner=fake).machine("m") as m:
        assert 3 == m.terminal(["sh", "-c", "echo $A; exit 3"], env={"A": "b"})
        with pytest.raises(UnexpectedCommandError, match=r"fake.answer\(\['machine', 'shell'\]"):
            m.shell()
        fake.answer(Shell, [7])
        assert 7 == m.shell()
    with pytest.raises(errors.MachineNotFoundError):
        m.terminal(["true"])
    with Smolvm(runner=fake).dry_run(echo=False) as plan:
        assert 0 == m.shell()
    assert "b\n" == capsys.readouterr().out
    assert ["smolvm --error-format json machine shell --name m"] == plan.lines

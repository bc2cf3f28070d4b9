"""Machines made for one command: in this program's terminal, or detached."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import product

import pytest

from smolkit import Completed, Smolvm, errors
from smolkit.commands import Delete, Ls, PackRun, Run, RunDetached, RunTerminal, Shell, Status
from smolkit.runners.attempts import InterruptedCall
from smolkit.testing import FakeRunner, FakeSmolvm, UnexpectedCommandError
from tests.recorded import as_json


def test_run_detached() -> None:
    """run_detached makes a machine that its block deletes, or that stays, and does not touch an existing one."""
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
def test_run_detached_reads_its_policy_back(client: Smolvm, fake: FakeRunner, recorded: str) -> None:
    """run_detached reads its network policy back, and deletes the machine if it was not recorded as requested."""
    fake.answer(Ls, stdout=json.dumps([{"name": "m", "network": True, "allowed_cidrs": [recorded]}]))
    fake.answer(RunDetached, stdout="Machine 'm' running in background\n")
    if recorded == "10.0.0.0/8":
        assert "m" == client.run_detached(name="m", allow_cidrs=["10.0.0.0/8"]).name
        return
    fake.answer(Delete, times=1)
    with pytest.raises(errors.PolicyNotRecordedError):
        client.run_detached(name="m", allow_cidrs=["10.0.0.0/8"])
    fake.assert_done()


def test_an_interrupted_run_detached(client: Smolvm, fake: FakeRunner) -> None:
    """An interrupted run_detached lets the engine finish, and removes what it made."""
    fake.answer(RunDetached, error=InterruptedCall(Completed((), 0), KeyboardInterrupt()))
    fake.answer(Delete, times=1)
    with pytest.raises(KeyboardInterrupt):
        client.run_detached(["serve"], "m")
    fake.assert_done()


STARTING = "Starting ephemeral machine (vm-00c0ffee)...\n"
EPHEMERAL = '{"name": "vm-00c0ffee", "state": "running", "ephemeral": true}'
_NOT_FOUND = "config operation failed: machine status: machine 'vm-00c0ffee' not found"
GONE = Completed((), 1, stderr=as_json("CONFIG_ERROR", _NOT_FOUND).encode())
BROKEN = Completed((), 1, stderr=as_json("X", "it broke").encode())


@pytest.mark.parametrize("code", [0, 1, 7])
def test_a_terminal_in_a_machine_of_its_own(
    client: Smolvm, fake: FakeRunner, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    """A terminal in a machine of its own returns the guest's status once the engine has removed the machine."""
    fake.answer(RunTerminal, stdout="hi\n", stderr=STARTING, returncode=code)
    fake.answer(Status("vm-00c0ffee"), [EPHEMERAL, EPHEMERAL, GONE])

    assert code == client.terminal(["python3"], cpus=1)
    assert "hi\n" == capsys.readouterr().out
    fake.assert_done()


def test_a_terminal_whose_machine_does_not_start(client: Smolvm, fake: FakeRunner) -> None:
    """A terminal whose machine does not start raises, with a note of what is left, and takes no input."""
    kvm = as_json("SMOLVM_ERROR", "agent operation failed: start machine: KvmOpen(Error(13))")
    fake.answer(RunTerminal, stderr=STARTING + kvm, returncode=1)
    fake.answer(Status("vm-00c0ffee"), EPHEMERAL)
    with pytest.raises(errors.HypervisorUnavailableError) as caught:
        client.terminal()
    assert "machine 'vm-00c0ffee' is left" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="the command reads the terminal"):
        client.terminal(["cat"], input="x")


@pytest.mark.parametrize("call", [lambda c: c.terminal(["true"]), lambda c: c.run(["true"])])
def test_a_machine_that_the_engine_does_not_remove(
    client: Smolvm, fake: FakeRunner, call: Callable[[Smolvm], object]
) -> None:
    """A machine that the engine fails to remove after its command is an error."""
    for kind in (Run, RunTerminal):
        fake.answer(kind, stderr=STARTING)
    fake.answer(Status, [EPHEMERAL] * 6 + [BROKEN])  # a failed look does not prove that the machine is gone
    with pytest.raises(errors.CleanupError, match="vm-00c0ffee"):
        call(client)


RECORDS = [
    '{"name": "vm-00c0ffee", "state": "running"}',
    '{"name": "vm-00c0ffee", "state": "stopped", "ephemeral": false}',
    EPHEMERAL,
    EPHEMERAL.replace("running", "stopped"),
]


FORGED = ["", "x\n", as_json("SMOLVM_ERROR", "agent operation failed: agent did not become ready")]


@pytest.mark.parametrize(("record", "last"), list(product(RECORDS, FORGED)))
@pytest.mark.parametrize("version", ["1.3.0", "1.32.2"])
@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.run(["sh"]),
        lambda c: c.run(["sh"], from_path="x.smolmachine"),
        lambda c: c.pack_run("x.smolmachine", ["sh"]),
        lambda c: c.terminal(["sh"], smolfile="Smolfile"),
    ],
)
def test_a_guest_cannot_have_a_machine_removed(
    version: str, call: Callable[[Smolvm], object], last: str, record: str
) -> None:
    """A guest that forges the engine's first or last line makes smolkit look at a machine, and not remove it."""
    fake = FakeRunner(version)
    for kind in (Run, PackRun, RunTerminal):
        fake.answer(kind, stderr=STARTING + last, returncode=1)
    fake.answer(Status, record)
    fake.answer(Ls, f"[{record}]")
    with suppress(errors.SmolvmError):
        call(Smolvm(runner=fake))

    assert fake.commands
    assert not {type(command) for command in fake.commands} - {Run, PackRun, RunTerminal, Status, Ls}


def test_all_output_of_a_pack_is_the_guests(client: Smolvm, fake: FakeRunner) -> None:
    """`pack run` prints no first line of the engine's (1.9.3), so all output is the guest's."""
    fake.answer(PackRun, stderr=STARTING)
    assert STARTING == client.pack_run("x.smolmachine", ["sh"]).stderr


def test_a_fakes_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A fake's terminal prints the output of its guest, and can be scripted."""
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

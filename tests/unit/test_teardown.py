"""The rules of smolkit.flows.teardown for what is left after a failure, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smolkit import Smolvm, SmolvmError, errors
from smolkit.commands import Create, DataDir, Delete, Exec, Ls, Start, Status, Stop
from smolkit.testing import FakeRunner
from tests.recorded import as_json
from tests.samples import create, stays_ours

FAILED: dict[str, Any] = {"returncode": 1, "stderr": as_json("SMOLVM_ERROR", "agent operation failed: it broke")}
NOT_FOUND: dict[str, Any] = {"returncode": 1, "stderr": as_json("NOT_FOUND", "vm not found: m")}
BUSY: dict[str, Any] = {"returncode": 1, "stderr": as_json("SMOLVM_ERROR", "database error: database is locked")}
BOOT: dict[str, Any] = {
    "returncode": 1,
    "stderr": as_json("SMOLVM_ERROR", "agent operation failed: agent did not become ready within 30 seconds"),
}


def notes(error: BaseException) -> str:
    """The notes on an error, joined."""
    return "\n".join(getattr(error, "__notes__", []))


def test_a_name_that_is_taken_is_not_deleted(client: Smolvm, fake: FakeRunner) -> None:
    """Rule 1: a name that is taken is not deleted, since only what this handle made is undone."""
    fake.answer(Create, returncode=1, stderr=as_json("CONFIG_ERROR", "create machine: machine 'm' already exists"))

    with pytest.raises(errors.MachineExistsError), client.machine("m"):
        raise AssertionError("the body ran")
    assert [Create("m")] == fake.commands


def test_a_start_that_fails_rolls_back(client: Smolvm, fake: FakeRunner) -> None:
    """Rule 3: a failed start is rolled back by stop and delete, without a note if that succeeds."""
    fake.answer(Start, **FAILED)
    fake.answer(["machine"])

    with pytest.raises(errors.UnknownEngineError, match="it broke") as caught, client.machine("m"):
        raise AssertionError("the body ran")
    assert [Create("m"), Start("m"), Stop("m"), Delete("m")] == fake.commands
    assert "" == notes(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), OSError("pipe")])
def test_a_start_that_is_interrupted_rolls_back(client: Smolvm, fake: FakeRunner, error: BaseException) -> None:
    """Rule 3: a start that raises something else than SmolvmError is rolled back, and raises the same exception."""
    fake.answer(Start, error=error)
    fake.answer(["machine"])

    with pytest.raises(type(error)) as caught, client.machine("m"):
        raise AssertionError("the body ran")
    assert caught.value is error
    assert [Create("m"), Start("m"), Stop("m"), Delete("m")] == fake.commands


def test_every_step_of_a_rollback_is_tried(client: Smolvm, fake: FakeRunner) -> None:
    """Rule 4: a stop that fails three times does not prevent delete, and each failure is a note on the first."""
    fake.answer(Start, **BOOT)
    fake.answer(DataDir, **FAILED)
    fake.answer(Stop, **FAILED)
    fake.answer(Delete, **FAILED)
    fake.answer(Ls(), stdout='[{"name": "m"}]')
    fake.answer(["machine"])

    with pytest.raises(errors.BootFailedError) as caught, client.machine("m"):
        raise AssertionError("the body ran")
    assert [Create("m"), Start("m"), DataDir("m"), *[Stop("m")] * 3, Delete("m"), Ls()] == fake.commands
    assert "while the machine was being removed: agent operation failed: it broke" in notes(caught.value)
    assert "while the machine was being removed: machine 'm' is left: agent operation failed: it broke" in notes(
        caught.value
    )


def test_a_machine_that_is_gone_already(client: Smolvm, fake: FakeRunner) -> None:
    """Rule 4: "not found" during delete is success."""
    fake.answer(Delete, **NOT_FOUND)
    fake.answer(["machine"])

    with client.machine("m"):
        pass
    assert Delete("m") == fake.commands[-1]


def test_a_machine_that_the_body_deleted(client: Smolvm, fake: FakeRunner) -> None:
    """A machine that the body deleted is not deleted again, since the name may be another's by then."""
    stays_ours(fake)
    fake.answer(["machine"])

    with client.machine("m") as m:
        m.delete()
    assert [Create("m"), Start("m"), Status("m"), Delete("m")] == fake.commands


def test_a_machine_that_the_body_made_anew(client: Smolvm, fake: FakeRunner) -> None:
    """A machine that the body deleted and made anew is deleted."""
    stays_ours(fake)
    fake.answer(["machine"])

    with client.machine("m") as m:
        m.delete()
        m.create()
    assert [Create("m"), Start("m"), Status("m"), Delete("m"), Create("m"), Delete("m")] == fake.commands


@pytest.mark.parametrize(
    "words", ["database error: database is locked", "remove vm directory: Directory not empty (os error 39)"]
)
def test_a_busy_machine_is_tried_again(client: Smolvm, fake: FakeRunner, words: str) -> None:
    """Rule 4: a busy machine is tried again after a pause."""
    fake.answer(Delete, returncode=1, stderr=as_json("STORAGE_ERROR", words), times=2)
    fake.answer(["machine"])

    with client.machine("m"):
        pass
    assert [Delete("m")] * 3 == fake.commands[2:]
    assert [0.2, 0.5] == fake.pauses


def test_a_create_that_meets_a_lock_is_tried_again(client: Smolvm, fake: FakeRunner) -> None:
    """A create that meets a lock is tried again, as it had no effect, and an exec never is."""
    fake.answer(Create, **BUSY, times=3)
    fake.answer(Exec, **BUSY)
    fake.answer(["machine"])
    machine = client.machine("m")
    machine.create()
    with pytest.raises(errors.EngineBusyError):
        machine.exec(["true"])

    assert [*[Create("m")] * 4, Exec("m", ["true"])] == fake.commands
    assert [0.2, 0.5, 1.0] == fake.pauses


def test_a_machine_that_stays_busy_is_an_error(client: Smolvm, fake: FakeRunner) -> None:
    """Rule 4: after a limited number of tries, and an ls that still shows the machine, the error is raised."""
    fake.answer(Delete, **BUSY)
    fake.answer(Ls(), stdout='[{"name": "m"}]')
    fake.answer(["machine"])

    with pytest.raises(errors.CleanupError, match="machine 'm' is left: database error") as caught, client.machine("m"):
        pass
    assert isinstance(caught.value.__cause__, errors.EngineBusyError)
    assert [Delete("m")] * 5 + [Ls()] == fake.commands[2:]


def test_ls_decides_after_a_failed_delete(client: Smolvm, fake: FakeRunner) -> None:
    """Rule 4: an error of delete is ignored if ls shows that the machine is gone."""
    fake.answer(Delete, **FAILED)
    fake.answer(Ls(), stdout="[]")
    fake.answer(["machine"])

    with client.machine("m"):
        pass
    assert Ls() == fake.commands[-1]


def test_a_failed_ls_keeps_the_error_of_delete(client: Smolvm, fake: FakeRunner) -> None:
    """Rule 4: if ls fails too, delete's own error is raised."""
    fake.answer(Delete, **FAILED)
    fake.answer(Ls(), returncode=1, stderr=as_json("X", "ls broke"))
    fake.answer(["machine"])

    with pytest.raises(errors.CleanupError, match="it broke"), client.machine("m"):
        pass


@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_the_bodys_exception_wins(client: Smolvm, fake: FakeRunner, error: BaseException) -> None:
    """Rule 6: the body's exception comes out with a note for each failure after it."""
    stays_ours(fake)
    fake.answer(Delete, **FAILED)
    fake.answer(Ls(), stdout='[{"name": "m"}]')
    fake.answer(["machine"])

    with pytest.raises(type(error)) as caught, client.machine("m"):
        raise error
    assert caught.value is error
    assert "and then, while the machine was being removed: machine 'm' is left: agent operation failed" in notes(error)


def test_the_first_failure_is_raised_without_a_bodys_exception() -> None:
    """Rule 6: without a body's exception the first failure is raised, with the others as notes, and never a group."""
    fake = FakeRunner("0.8.0")
    fake.answer(Stop, returncode=1, stderr="Error: agent operation failed: stop broke\n")
    fake.answer(Delete, returncode=1, stderr="Error: agent operation failed: delete broke\n")
    fake.answer(Ls(), stdout='[{"name": "m"}]')
    fake.answer(["machine"])

    with pytest.raises(SmolvmError, match="stop broke") as caught, Smolvm(runner=fake).machine("m"):
        pass
    assert "delete broke" in notes(caught.value)
    assert not isinstance(caught.value, BaseExceptionGroup)


def test_old_engines_are_stopped_first() -> None:
    """Up to 0.8.0 a machine is stopped before delete, since `delete -f` of a running one left its process behind."""
    fake = FakeRunner("0.8.0")
    fake.answer(["machine"])
    with Smolvm(runner=fake).machine("m") as m:
        pass
    m.delete()

    assert [Create("m"), Start("m"), Stop("m"), Delete("m"), Stop("m"), Delete("m")] == fake.commands


def test_delete_of_a_missing_machine(client: Smolvm, fake: FakeRunner) -> None:
    """delete of a missing machine raises unless missing_ok is given, like pathlib's unlink."""
    fake.answer(Delete, **NOT_FOUND)

    with pytest.raises(errors.MachineNotFoundError):
        client.machine("m").delete()
    client.machine("m").delete(missing_ok=True)


def test_a_boot_that_fails_shows_the_console(client: Smolvm, fake: FakeRunner, tmp_path: Path) -> None:
    """A boot failure has the end of the machine's logs as a note, with escape sequences removed."""
    (tmp_path / "agent-console.log").write_bytes(b"early\n" * 10_000 + b"panic: \x1b[31mno root\n")
    fake.answer(Start, **BOOT)
    fake.answer(DataDir, stdout=f"{tmp_path}\n")

    with pytest.raises(errors.BootFailedError) as caught:
        client.machine("m").start()
    assert "the end of agent-console.log of machine 'm':" in notes(caught.value)
    assert "panic: \\x1b[31mno root" in notes(caught.value)
    assert "agent-startup-error.log" not in notes(caught.value)


POLICY: dict[str, Any] = {"allow_cidrs": ["10.0.0.0/8"], "allow_hosts": ["example.org"]}
RIGHT = '"network": true, "allowed_cidrs": ["10.0.0.0/8", "93.184.215.14/32"], "allowed_hosts": ["example.org"]'


@pytest.mark.parametrize(
    ("options", "recorded", "wrong"),
    [
        (POLICY, RIGHT, ""),
        (POLICY, '"network": false', "network: False, not True; allow_cidrs without 10.0.0.0/8; allow_hosts without"),
        (POLICY, RIGHT.replace("10.0.0.0/8", "10.0.0.0/9"), "allow_cidrs without 10.0.0.0/8"),
        (POLICY, RIGHT.replace("example.org", "example.com"), "allow_hosts without example.org"),
        ({"allow_cidrs": ["10.1.2.3/8"]}, '"network": true, "allowed_cidrs": ["10.0.0.0/8"]', ""),
        (
            {"allow_cidrs": ["10.0.0.0/8"]},
            '"network": true, "allowed_cidrs": ["10.0.0.0/8", "0.0.0.0/0"]',
            "allow_cidrs with 0.0.0.0/0 besides",
        ),
        (
            {"allow_cidrs": ["10.0.0.0/8"], "outbound_localhost_only": True},
            '"network": true, "allowed_cidrs": ["10.0.0.0/8", "127.0.0.0/8", "::1/128"]',
            "",
        ),
        ({"outbound_localhost_only": True}, '"network": true', "outbound_localhost_only without an allow list"),
        ({"block_private": True}, '"network": true', ""),
    ],
)
def test_a_policy_that_is_not_recorded_as_asked(
    client: Smolvm, fake: FakeRunner, options: dict[str, Any], recorded: str, wrong: str
) -> None:
    """A policy that is not recorded as requested raises before the machine runs, and deletes it."""
    fake.answer(Ls(), stdout=f'[{{"name": "m", {recorded}}}]')
    fake.answer(["machine"])
    machine = client.machine("m", **options)

    if not wrong:
        machine.create()
        assert [create("m", **options), Ls()] == fake.commands
        return
    with pytest.raises(errors.PolicyNotRecordedError, match=wrong):
        machine.create()
    assert [create("m", **options), Ls(), Delete("m")] == fake.commands


def test_a_policy_that_cannot_be_read_back(client: Smolvm, fake: FakeRunner) -> None:
    """A policy that cannot be read back deletes the machine, and failures of that are notes."""
    fake.answer(Ls(), stdout="[]", times=1)
    fake.answer(Ls(), **FAILED)
    fake.answer(Delete, times=1)
    fake.answer(Delete, **FAILED)
    fake.answer(["machine"])
    machine = client.machine("m", allow_cidrs=["10.0.0.0/8"])

    with pytest.raises(errors.MachineNotFoundError):
        machine.create()
    with pytest.raises(errors.UnknownEngineError) as caught:
        machine.create()
    assert "while the machine was being removed" in notes(caught.value)


@pytest.mark.parametrize(
    ("keep", "fails", "deleted"),
    [(True, False, False), (True, True, False), ("on_error", False, True), ("on_error", True, False), (False, True, True)],
)
def test_kept_machines(client: Smolvm, fake: FakeRunner, *, keep: Any, fails: bool, deleted: bool) -> None:
    """Rule 2: a kept machine is left as it is, and a note on the exception has the command line for a shell."""
    stays_ours(fake)
    fake.answer(["machine"])
    said = ""
    try:
        with client.machine("m", keep=keep):
            if fails:
                raise KeyError("mine")
    except KeyError as error:
        said = notes(error)

    assert deleted == (fake.commands[-1] == Delete("m"))
    assert (fails and not deleted) == ("smolvm machine shell --name m" in said)


def test_a_machine_that_did_not_boot_is_kept_without_its_process(client: Smolvm, fake: FakeRunner) -> None:
    """Rule 2: a kept machine that did not boot keeps record and logs, and its half-booted VM is ended."""
    fake.answer(Start, **FAILED)
    fake.answer(["machine"])

    with pytest.raises(errors.UnknownEngineError) as caught, client.machine("m", keep="on_error"):
        raise AssertionError("the body ran")
    assert [Create("m"), Start("m"), Stop("m")] == fake.commands
    assert "smolvm machine start --name m" in notes(caught.value)


def test_an_invalid_keep_is_refused(client: Smolvm) -> None:
    """A misspelt `keep` is refused."""
    with pytest.raises(ValueError, match="keep must be True, False or 'on_error'"):
        client.machine("m", keep="on-error")  # type: ignore[arg-type]


def test_a_handle_that_is_dropped_inside_its_with(client: Smolvm, fake: FakeRunner) -> None:
    """A handle dropped inside its `with` gives a ResourceWarning without engine calls, and one outside gives none."""
    fake.answer(["machine"])
    client.machine("n").create()
    machine = client.machine("m")
    machine.__enter__()

    with pytest.warns(ResourceWarning, match="<Machine 'm'> was left without the end of its `with`"):
        del machine
    assert [Create("n"), Create("m"), Start("m")] == fake.commands


def test_a_machine_with_branches() -> None:
    """A machine with branches is deleted only with cascade, also on engines that would delete it from under them."""
    fake = FakeRunner("1.20.2")
    fake.answer(Ls(), stdout='[{"name": "a", "parent_machine": "m"}, {"name": "b", "parent_machine": "a"}, {"name": "m"}]')
    fake.answer(["machine"])
    machine = Smolvm(runner=fake).machine("m")

    with pytest.raises(errors.MachineHasBranchesError, match="machine 'm' has branches: a"):
        machine.delete()
    assert [Ls()] == fake.commands
    machine.delete(cascade=True)
    assert [Ls(), Delete("m", cascade=True)] == fake.commands
    assert ("machine", "delete", "-f", "--cascade", "--name", "m") == fake.argvs[-1]


def test_an_engine_that_guards_its_branch_sources_is_not_asked_first(client: Smolvm, fake: FakeRunner) -> None:
    """1.32.2 refuses by itself to delete a branch's source, also with -f, and is not asked first."""
    words = "agent operation failed: delete: machine 'm' is the fork base for 1 clone(s) (c1); delete the clones first"
    fake.answer(Delete("m"), returncode=1, stderr=as_json("SMOLVM_ERROR", words))

    with pytest.raises(errors.MachineHasBranchesError, match=r"cascade=True"):
        client.machine("m").delete()


def test_cascade_needs_an_engine_that_knows_it() -> None:
    """cascade is refused before 1.7.0."""
    with pytest.raises(errors.UnsupportedByEngineError, match="--cascade"):
        Smolvm(runner=FakeRunner("1.6.0")).machine("m").delete(cascade=True)

"""Whose machines are they, and which may go: the judgement, and owners that are killed at every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from smolkit import Completed, Invocation, MachineInfo, Smolvm, SubprocessRunner, errors
from smolkit.commands import Command, Create, Delete, Ls, Status, Stop
from smolkit.ownership import CREATION, EXPIRES, OWNER, SESSION, Here, Owner
from smolkit.runners.here import here, is_alive
from smolkit.testing import FakeRunner, PretendEngine
from tests.processes import until_idle
from tests.recorded import as_json

ME = Owner("aa", "bb", 4026531836, 100, 5000)
HERE = Here(ME, 1_000_000.0, lambda pid, started: (pid, started) in {(100, 5000), (200, 7000), (200, 0)})


def judged(owner: Owner | str | None, *, name: str = "m", expires: str = "", labels: bool = True) -> str:
    """Why the machine of this owner may go."""
    marks = {OWNER: str(owner)} if owner else {}
    return HERE.reason_to_reap(MachineInfo(name, labels=marks | ({EXPIRES: expires} if expires else {})), labels=labels)


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        (ME, ""),
        (evolve(ME, pid=200, started=7000), ""),
        (evolve(ME, pid=300), "process 300 made it, and is gone"),
        (evolve(ME, pid=200, started=6999), "process 200 made it, and is gone"),
        (evolve(ME, boot="cc"), "process 100 made it before the host was booted"),
        (evolve(ME, host="dd", pid=300), ""),
        (evolve(ME, host="", pid=300), ""),
        (evolve(ME, space=1, pid=300), ""),
        ("somebody-else", ""),
        ("aa.bb.1.2", ""),
        ("aa.bb.1.2." + "9" * 5000, ""),
        (None, ""),
    ],
)
def test_only_machines_of_dead_processes_of_this_host_may_go(owner: Owner | str | None, reason: str) -> None:
    """A number that is used again, a reboot, another host, another container, another product: each is told apart."""
    assert reason == judged(owner)


def test_a_machine_whose_time_is_up_may_go() -> None:
    """Whoever lives; a time that is none is not one that is up."""
    assert "its time was up 10 s ago" == judged(ME, expires="999990")
    assert "" == judged(ME, expires="1000001")
    assert "" == judged(ME, expires="soon")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("smolkit-300-0a1b", "by its name, process 300 made it, and is gone"),
        ("smolkit-200-0a1b", ""),
        ("mine", ""),
        ("smolkit-x-1", ""),
    ],
)
def test_engines_without_labels_have_names(name: str, reason: str) -> None:
    """Weaker, and only for names that smolkit made up."""
    assert reason == judged(None, name=name, labels=False)


def test_owners_are_written_and_read() -> None:
    """As a label's value."""
    assert ME == Owner.parse(str(ME))


def test_this_process_is_alive_and_an_ended_one_is_not() -> None:
    """By number and by start."""
    now = here()
    child = subprocess.Popen(["sleep", "60"])
    started = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])

    assert (os.getpid(), True) == (now.me.pid, now.is_alive(now.me.pid, now.me.started))
    assert is_alive(child.pid, started)
    assert not is_alive(child.pid, started - 1)
    child.kill()
    child.wait()
    assert not is_alive(child.pid, started)
    assert not is_alive(child.pid, 0)
    assert is_alive(1, 0)


def record(name: str, **labels: str) -> dict[str, object]:
    """A machine as ls has it."""
    return {"name": name, "created_at": 1, "labels": labels}


def test_reap_says_what_it_does_and_does_it(client: Smolvm, fake: FakeRunner) -> None:
    """First dry, then stop and delete for each; what changed in between is left alone."""
    gone = str(evolve(here().me, pid=2**22 + 1))
    machines = [record("a", **{OWNER: gone}), record("b"), record("c", **{OWNER: gone}), record("d", **{OWNER: gone})]
    fake.answer(Ls(), stdout=json.dumps(machines))
    fake.answer(Status("a"), stdout=json.dumps(machines[0]))
    fake.answer(Status("c"), stdout=json.dumps(machines[2] | {"created_at": 2}))
    fake.answer(Status("d"), returncode=1, stderr=as_json("NOT_FOUND", "vm not found: d"))
    fake.answer(["machine"])

    found = client.reap(dry_run=True)
    assert [Ls()] == fake.commands
    assert ["a", "c", "d"] == [item.machine.name for item in found]
    assert f"process {2**22 + 1} made it, and is gone" == found[0].reason
    assert found == client.reap()
    assert [Ls(), Status("a"), Stop("a"), Delete("a"), Status("c"), Status("d")] == fake.commands[1:]


def test_reap_spares_what_living_machines_were_branched_from(client: Smolvm, fake: FakeRunner) -> None:
    """Their disks depend on it, through all generations; of a whole family that may go, branches go first."""
    gone = {OWNER: str(evolve(here().me, pid=2**22 + 1))}
    family = [("a", None), ("b", "a"), ("c", "b"), ("x", None), ("y", "x"), ("z", "y"), ("loop", "loop")]
    machines = [record(name, **gone) | {"parent_machine": parent} for name, parent in family]
    machines[2]["labels"] = {OWNER: str(here().me)}
    fake.answer(Ls(), stdout=json.dumps(machines))

    assert ["z", "loop", "y", "x"] == [item.machine.name for item in client.reap(dry_run=True)]


def test_reap_tries_every_machine(client: Smolvm, fake: FakeRunner) -> None:
    """The first failure is raised, the others are notes on it."""
    gone = str(evolve(here().me, pid=2**22 + 1))
    machines = [record("a", **{OWNER: gone}), record("b", **{OWNER: gone})]
    fake.answer(Ls(), stdout=json.dumps(machines))
    fake.answer(Status("a"), stdout=json.dumps(machines[0]))
    fake.answer(Status("b"), stdout=json.dumps(machines[1]))
    fake.answer(Delete, returncode=1, stderr=as_json("X", "it broke"))
    fake.answer(["machine"])

    with pytest.raises(errors.CleanupError, match="machine 'a' is left: it broke") as caught:
        client.reap()
    assert "machine 'b' is left: it broke" in caught.value.__notes__[0]
    assert [Delete("a"), Delete("b")] == [command for command in fake.commands if isinstance(command, Delete)]


def test_a_create_whose_outcome_is_not_known(client: Smolvm, fake: FakeRunner) -> None:
    """The name is looked up: what this create made is removed, anything else is not, and the error is the same."""
    made: list[dict[str, str]] = []

    def answered(command: Command[Any]) -> bool:
        if isinstance(command, Create):
            made.append(dict(command.marks))
        return isinstance(command, Create)

    class Looking(FakeRunner):
        def execute(self, invocation: Invocation) -> Completed:
            completed = super().execute(invocation)
            found = {0: [record("m", **made[-1])], 1: [record("m", **made[0])], 2: [record("m")], 3: []}
            return (
                evolve(completed, stdout=json.dumps(found[len(made) - 1]).encode())
                if "ls" in invocation.argv
                else completed
            )

    runner = Looking()
    runner.answer(answered, ended_by="timeout", duration=900)
    runner.answer(["machine"])
    said = []
    for _ in range(4):
        with pytest.raises(errors.EngineTimeoutError) as caught:
            Smolvm(runner=runner).machine("m").create()
        said.append("".join(getattr(caught.value, "__notes__", [])))

    assert [Delete("m")] == [command for command in runner.commands if isinstance(command, Delete)]
    assert ("", "") == (said[0], said[3])
    assert "was not touched" in said[1]
    assert "was not touched" in said[2]


def test_a_create_of_which_nothing_can_be_known(client: Smolvm, fake: FakeRunner) -> None:
    """An ls that fails too is a note on the error."""
    fake.answer(Create, returncode=-9)
    fake.answer(Ls(), returncode=1, stderr=as_json("X", "ls broke"))

    with pytest.raises(errors.EngineDiedError) as caught:
        client.machine("m").create()
    assert "whether machine 'm' was created is not known either: ls broke" in caught.value.__notes__[0]


def test_a_delete_whose_outcome_is_not_known_is_repeated(client: Smolvm, fake: FakeRunner) -> None:
    """It does no harm twice; gone by then is success."""
    fake.answer(Delete, returncode=-9, times=1)
    fake.answer(Delete, returncode=1, stderr=as_json("NOT_FOUND", "vm not found: m"), times=1)
    fake.answer(["machine"])
    client.machine("m").delete(missing_ok=True)

    assert [Delete("m"), Delete("m")] == fake.commands


def test_machines_to_be_kept_have_no_owner(client: Smolvm, fake: FakeRunner) -> None:
    """They are smolkit's, and nobody's to reap; a lifetime is a label too."""
    fake.answer(["machine"])
    client.machine("m", keep=True, lifetime=60).create()
    client.machine("n").create()
    labels = [[word.partition("=")[0] for word in argv if word.startswith("smolkit.")] for argv in fake.argvs]

    assert [[SESSION, CREATION, EXPIRES], [SESSION, CREATION, OWNER]] == labels
    with pytest.raises(ValueError, match="lifetime is a positive number"):
        client.machine("m", lifetime=0)


def test_engines_without_labels_are_not_given_any() -> None:
    """Their parser would not take them."""
    fake = FakeRunner("1.7.9")
    fake.answer(["machine"])
    Smolvm(runner=fake).machine("m").create()

    assert [("machine", "create", "--name", "m")] == fake.argvs


OWNER_PROGRAM = """
import sys; from smolkit import Smolvm, SubprocessRunner
with Smolvm(runner=SubprocessRunner(sys.argv[1], version="1.32.2")).machine("m") as machine:
    machine.exec(["true"])
"""


@pytest.mark.parametrize("verb", ["create", "start", "exec", "delete"])
def test_an_owner_that_is_killed_leaves_nothing_that_reap_does_not_find(tmp_path: Path, verb: str) -> None:
    """kill -9 at each step, then reap from another process: nothing is left, and a foreign machine is untouched."""
    engine = PretendEngine(tmp_path)
    (tmp_path / "state/m-foreign").write_text('"team":"ci"')
    engine.strike(verb, "KILL")
    owner = subprocess.run([sys.executable, "-c", OWNER_PROGRAM, str(engine.program)], check=False)
    assert -9 == owner.returncode
    until_idle(engine)  # its call outlives its caller

    client = Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2"))
    expected = [] if verb == "delete" else ["m"]
    assert expected == [item.machine.name for item in client.reap(dry_run=True)]
    assert expected == [item.machine.name for item in client.reap()]
    assert ["m-foreign"] == engine.left

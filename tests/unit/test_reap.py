"""Ownership of machines, reap, and owners that are killed at every step."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any, Literal

import pytest
from attrs import evolve

from smolkit import Completed, Invocation, MachineInfo, Smolvm, SubprocessRunner, errors
from smolkit.commands import Command, Create, Delete, Ls, Status, Stop
from smolkit.flows import reap
from smolkit.flows.steps import perform
from smolkit.runners.local.identity import here, is_alive
from smolkit.testing import FakeRunner, FakeSmolvm, NamespaceEngine
from smolkit.values.ownership import MACHINE, NONE, OWNER, Here, Owner, fresh_name
from tests.processes import add_foreign_machine, until_idle
from tests.recorded import as_json

ME = Owner("aaaaaaaa", "bbbbbbbb", 100, 5000)
HERE = Here(ME, 1_000_000.0, lambda pid, started: (pid, started) in {(100, 5000), (200, 7000), (200, 0)}, 500_000.0)
GONE = evolve(ME, pid=300)
EARLIER = evolve(GONE, boot="cccccccc")  # an owner of another boot


def reap_reason(owner: Owner | str, name: str = "m", *, labels: bool = True, **marks: str | int) -> str:
    """The reason to reap a machine of this owner, with these labels by keyword, or ""."""
    found = {MACHINE: name, OWNER: str(owner), **{f"smolkit.{key}": str(mark) for key, mark in marks.items()}}
    return HERE.reason_to_reap(MachineInfo(name, labels=found, created_at=499_999), labels=labels)


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        (ME, ""),
        (evolve(ME, pid=200, started=7000), ""),
        (GONE, "process 300, which created it, is gone"),
        (evolve(ME, pid=200, started=6999), "process 200, which created it, is gone"),
        (evolve(GONE, place="dddddddd"), ""),
        (evolve(EARLIER, place="dddddddd"), ""),
        ("somebody-else", ""),
        ("aa.bb.1.2", ""),
        ("aaaaaaaa-bbbbbbbb-1-" + "9" * 5000, ""),
        ("none", ""),
        ("", ""),
    ],
)
def test_only_machines_of_dead_processes_of_this_host_are_reaped(owner: Owner | str, reason: str) -> None:
    """Only machines of dead processes of this host are reaped: not with a reused PID, of another host or product."""
    assert reason == reap_reason(owner)


@pytest.mark.parametrize(
    ("owner", "created_at", "booted", "reason"),
    [
        (EARLIER, 499_999, 500_000.0, "process 300 created it before the last boot of this host"),
        (EARLIER, 500_000, 500_000.0, ""),  # made since this boot, by a container that has a boot id of its own
        (EARLIER, None, 500_000.0, ""),
        (EARLIER, 499_999, None, ""),
        (evolve(EARLIER, pid=200), 499_999, 500_000.0, ""),  # a process with this PID exists
    ],
)
def test_a_machine_of_an_earlier_boot(owner: Owner, created_at: int | None, booted: float | None, reason: str) -> None:
    """Another boot's id proves death only if the machine is older than this boot: containers have their own."""
    machine = MachineInfo("m", labels={MACHINE: "m", OWNER: str(owner)}, created_at=created_at)

    assert reason == evolve(HERE, booted=booted).reason_to_reap(machine, labels=True)


@pytest.mark.parametrize(
    ("owner", "created_at", "ended"),
    [
        (ME, None, False),
        (GONE, None, True),
        (evolve(GONE, place="dddddddd"), 1, None),  # on another host
        (EARLIER, 499_999, True),
        (EARLIER, 500_000, None),  # a container's own boot id
        (EARLIER, None, None),
    ],
)
def test_an_owner_has_ended_or_not_or_nobody_here_knows(owner: Owner, created_at: int | None, ended: bool | None) -> None:
    """One judgement for `reap` and for `smolkit ls`."""
    assert ended is HERE.has_ended(owner, created_at)
    assert (ended is True) is bool(
        HERE.reason_to_reap(MachineInfo("m", labels={MACHINE: "m", OWNER: str(owner)}, created_at=created_at), labels=True)
    )


def test_a_host_without_proc_reaps_nothing() -> None:
    """Without /proc a host reaps nothing, since it cannot tell a container from another."""
    machine = MachineInfo("m", labels={MACHINE: "m", OWNER: str(GONE)}, created_at=1)

    assert "" == evolve(HERE, me=None).reason_to_reap(machine, labels=True)


def test_a_machine_past_its_lifetime_is_reaped() -> None:
    """A machine whose lifetime is over is reaped whoever owns it, and an invalid lifetime is ignored."""
    assert "its lifetime ended 10 s ago" == reap_reason(ME, expires=999_990)
    assert "its lifetime ended 10 s ago" == reap_reason("none", expires=999_990)
    assert "" == reap_reason(ME, expires=1_000_001)
    assert "" == reap_reason(ME, expires="soon")


@pytest.mark.parametrize(
    ("name", "machine", "own"),
    [
        ("m", "m", True),
        ("twig", "m", False),
        ("m", "", False),
        ("b-0", "b-*3", True),
        ("b-2", "b-*3", True),
        ("b-3", "b-*3", False),
        ("b", "b-*3", False),
        ("b-x", "b-*3", False),
        ("c-0", "b-*3", False),
        ("c-0", "c", False),
    ],
)
def test_labels_inherited_by_a_branch_are_ignored(name: str, machine: str, own: bool) -> None:
    """A branch inherits its source's labels, and its owner and lifetime are not taken from them."""
    assert own == bool(reap_reason(GONE, name, machine=machine))
    assert own == bool(reap_reason("none", name, machine=machine, expires=1))


@pytest.mark.parametrize("suffix", ["", "-0", "-17"])
@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        (GONE, "process 300, which created it, is gone"),
        (ME, ""),
        (evolve(ME, pid=200, started=6999), "process 200, which created it, is gone"),
        (evolve(GONE, place="dddddddd"), ""),
        (None, ""),
    ],
)
def test_generated_names_tell_the_owner(owner: Owner | None, reason: str, suffix: str) -> None:
    """A generated name tells the owner where labels do not (older engines, branches), with the same proof."""
    name = fresh_name(owner) + suffix

    assert reason == reap_reason("none", name, labels=False)
    assert reason == reap_reason(ME, name, machine="golden")
    assert "" == reap_reason("none", name)


@pytest.mark.parametrize(
    "name", ["mine", "smolkit-x-1", "smolkit-300-0a1b2c3d4e5f", f"smolkit-{GONE}", f"{GONE}-0a1b2c3d4e5f"]
)
def test_other_names_tell_no_owner(name: str) -> None:
    """Other names say nothing about an owner."""
    assert "" == reap_reason("none", name, labels=False)


def test_owners_are_written_and_read() -> None:
    """An owner survives a label's value, and a part of a name that every engine accepts."""
    assert ME == Owner.parse(str(ME))
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}", fresh_name(evolve(ME, pid=2**32, started=2**63)))


def me() -> Owner:
    """This process as an owner."""
    found = here().me
    assert found is not None
    return found


def started(pid: int) -> int:
    """A process's start time, in ticks since the boot."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_this_process_is_alive_and_an_ended_one_is_not() -> None:
    """This process is alive and an ended one is dead, by PID and start time."""
    child = subprocess.Popen(["sleep", "60"])
    since = started(child.pid)

    assert (os.getpid(), True) == (me().pid, here().is_alive(me().pid, me().started))
    assert is_alive(child.pid, since)
    assert not is_alive(child.pid, since - 1)
    child.kill()
    child.wait()
    assert not is_alive(child.pid, since)
    assert not is_alive(child.pid, 0)
    assert is_alive(1, 0)


def test_a_zombie_is_dead() -> None:
    """A zombie is dead, since it holds nothing any more."""
    child = subprocess.Popen(["sleep", "60"])
    since = started(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert (False, False) == (is_alive(child.pid, since), is_alive(child.pid, 0))
    child.wait()


def test_a_process_whose_first_thread_ended_is_alive() -> None:
    """A process whose first thread has ended is alive, although the kernel shows it as a zombie."""
    code = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    code += "; ctypes.CDLL(None).pthread_exit(0)"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        stat = Path(f"/proc/{child.pid}/stat")
        deadline = time.monotonic() + 30
        while stat.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
            time.sleep(0.01)
        alive = is_alive(child.pid, started(child.pid))
        child.kill()

    assert alive


WHO = "from smolkit.runners.local.identity import here; print(here().me, here().booted, flush=True); input()"


@contextmanager
def process_elsewhere(*unshare: str) -> Iterator[str]:
    """A living process in namespaces of its own, and its identity there. Skips where namespaces are not allowed."""
    argv = ["unshare", *unshare, sys.executable, "-c", WHO]
    with subprocess.Popen(argv, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline().split()
        if not said:
            pytest.skip(f"no namespaces here: {' '.join(argv[:3])}")
        try:
            yield said[0]
        finally:
            process.communicate("\n")


@pytest.mark.parametrize(
    "unshare",
    [
        ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"],
        ["--user", "--map-root-user", "--pid", "--fork"],  # with the host's /proc, whose PIDs differ
        ["--user", "--map-root-user", "--time", "--boottime", "100000"],
        ["--user", "--map-root-user", "--uts", "sh", "-c", 'hostname other; exec "$@"', "sh"],
    ],
    ids=["pids", "pids with the host's proc", "time", "hostname"],
)
@pytest.mark.parametrize("labels", [True, False])
def test_a_living_process_in_other_namespaces_keeps_its_machines(unshare: list[str], labels: bool) -> None:
    """A living process in another PID or time namespace keeps its machines, although its PID or start time differs here."""
    with process_elsewhere(*unshare) as owner:
        name = "m" if labels else f"smolkit-{owner}-0a1b2c3d4e5f"
        machine = MachineInfo(name, created_at=1, labels={MACHINE: name, OWNER: owner})

        assert "" == here().reason_to_reap(machine, labels=labels)


def test_a_container_with_a_boot_id_of_its_own_keeps_its_machines(tmp_path: Path) -> None:
    """A container with a boot id of its own (systemd-nspawn) keeps its machines."""
    (tmp_path / "id").write_text("00000000-0000-0000-0000-000000000000")
    script = f'mount --bind {tmp_path}/id /proc/sys/kernel/random/boot_id && exec "$@"'
    with process_elsewhere("--user", "--map-root-user", "--mount", "sh", "-c", script, "sh") as owner:
        machine = MachineInfo("m", created_at=int(time.time()), labels={MACHINE: "m", OWNER: owner})

        assert me().boot not in owner
        assert "" == here().reason_to_reap(machine, labels=True)
        assert "" == here().reason_to_reap(evolve(machine, created_at=1), labels=True)


def record(name: str, **labels: str) -> dict[str, object]:
    """A machine's record in ls."""
    return {"name": name, "created_at": 1, "labels": {MACHINE: name, **labels}}


def test_reap_does_what_its_dry_run_lists(client: Smolvm, fake: FakeRunner) -> None:
    """reap stops and deletes what its dry run listed, except for machines that changed in between."""
    gone = str(evolve(me(), pid=2**22 + 1))
    machines = [record("a", **{OWNER: gone}), record("b"), record("c", **{OWNER: gone}), record("d", **{OWNER: gone})]
    fake.answer(Ls(), stdout=json.dumps(machines))
    fake.answer(Status("a"), stdout=json.dumps(machines[0]))
    fake.answer(Status("c"), stdout=json.dumps(machines[2] | {"created_at": 2}))
    fake.answer(Status("d"), returncode=1, stderr=as_json("NOT_FOUND", "vm not found: d"))
    fake.answer(["machine"])

    found = client.reap(dry_run=True)
    assert [Ls()] == fake.commands
    assert ["a", "c", "d"] == [item.machine.name for item in found]
    assert f"process {2**22 + 1}, which created it, is gone" == found[0].reason
    assert found == client.reap()
    assert [Ls(), Status("a"), Stop("a"), Delete("a"), Status("c"), Status("d")] == fake.commands[1:]


def test_reap_keeps_sources_of_living_branches(client: Smolvm, fake: FakeRunner) -> None:
    """reap keeps all ancestors of living branches, and deletes branches before their sources."""
    gone = {OWNER: str(evolve(me(), pid=2**22 + 1))}
    family = [("a", None), ("b", "a"), ("c", "b"), ("x", None), ("y", "x"), ("z", "y"), ("loop", "loop")]
    machines = [record(name, **gone) | {"parent_machine": parent} for name, parent in family]
    machines[2]["labels"] = {MACHINE: "c", OWNER: str(me())}
    fake.answer(Ls(), stdout=json.dumps(machines))

    assert ["z", "loop", "y", "x"] == [item.machine.name for item in client.reap(dry_run=True)]


def test_reap_tries_every_machine(client: Smolvm, fake: FakeRunner) -> None:
    """reap tries every machine, raises the first failure, and adds the others as notes."""
    gone = str(evolve(me(), pid=2**22 + 1))
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
    """A create of unknown outcome is looked up: its own machine is removed, any other stays, the error is kept."""
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


def test_a_create_whose_look_fails_too(client: Smolvm, fake: FakeRunner) -> None:
    """A failing ls after a create of unknown outcome is a note on the error."""
    fake.answer(Create, returncode=-9)
    fake.answer(Ls(), returncode=1, stderr=as_json("X", "ls broke"))

    with pytest.raises(errors.EngineDiedError) as caught:
        client.machine("m").create()
    assert "and it could not be looked up whether machine 'm' was created: ls broke" in caught.value.__notes__[0]


def test_a_delete_whose_outcome_is_not_known_is_repeated(client: Smolvm, fake: FakeRunner) -> None:
    """A delete of unknown outcome is repeated, and a machine that is gone by then is a success."""
    fake.answer(Delete, returncode=-9, times=1)
    fake.answer(Delete, returncode=1, stderr=as_json("NOT_FOUND", "vm not found: m"), times=1)
    fake.answer(["machine"])
    client.machine("m").delete(missing_ok=True)

    assert [Delete("m"), Delete("m")] == fake.commands


def labels_of(argv: tuple[str, ...]) -> dict[str, str]:
    """The labels in a command line, without their `smolkit.` prefix."""
    pairs = [argv[at + 1].partition("=") for at, word in enumerate(argv) if word == "--label"]
    return {key.removeprefix("smolkit."): value for key, _, value in pairs}


@pytest.mark.parametrize("keep", [True, "on_error"])
def test_kept_machines_have_no_owner(client: Smolvm, fake: FakeRunner, keep: bool | Literal["on_error"]) -> None:
    """Kept machines have no owner in label or name, also when an unpickled handle makes them, and are not reaped."""
    fake.answer(["machine"])
    made = client.machine("m", keep=keep)
    made.create()
    pickle.loads(pickle.dumps(client.machine("n", keep=keep)))._runner.answer(["machine"])
    kept, other = client.machine(keep=keep), client.machine()
    kept.create()
    other.create()
    first, second, third = (labels_of(argv) for argv in fake.argvs)

    assert (NONE, NONE, str(me())) == (first["owner"], second["owner"], third["owner"])
    assert ("m", kept.name) == (first["machine"], second["machine"])
    assert (False, True) == (str(me()) in kept.name, str(me()) in other.name)
    assert 1 == len({labels["session"] for labels in (first, second, third)})


def test_a_kept_machine_may_have_a_lifetime(client: Smolvm, fake: FakeRunner) -> None:
    """A kept machine with a lifetime outlives its block and process, and is reaped after its lifetime."""
    fake.answer(["machine"])
    client.machine("m", keep=True, lifetime=60).create()

    assert NONE == labels_of(fake.argvs[0])["owner"]
    assert 0 <= int(labels_of(fake.argvs[0])["expires"]) - time.time() <= 61
    with pytest.raises(ValueError, match="lifetime must be a positive number"):
        client.machine("m", lifetime=0)


def test_an_unpickled_handle_keeps_its_options() -> None:
    """An unpickled handle makes machines with the same keep and lifetime."""
    machine = Smolvm("/no/such/smolvm").machine("m", keep="on_error", lifetime=60)
    copy = pickle.loads(pickle.dumps(machine))

    assert (machine._keep, machine._lifetime, machine._session) == (copy._keep, copy._lifetime, copy._session)
    assert machine == copy.to_sync()


@pytest.mark.parametrize("version", ["1.7.9", "1.14.0", "1.28.1", "1.29.0", "1.32.2"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_branch_is_reaped_as_its_own_machine_and_no_other(version: str, keep: bool) -> None:
    """A branch is reaped by its own labels or name, and not by its source's owner or lifetime."""
    fake = FakeSmolvm(version)
    client = Smolvm(runner=fake)
    golden = client.machine("golden", lifetime=60 if version != "1.7.9" else None)  # it has no labels
    golden.create()
    golden.start(branchable=True)
    twigs = [golden.branch("twig", keep=keep), golden.branch(keep=keep)]
    if version == "1.32.2":
        twigs += golden.branch_many(2, "bough", keep=keep, no_wait_ready=True)
    names = {"golden", *(twig.name for twig in twigs)}
    fake.sleep(61)
    assert not {item.machine.name for item in client.reap(dry_run=True)} - {"golden"}

    able = {name for name in names if name.startswith("smolkit") or fake.engine.dialect.supports("machine branch --label")}
    found = {info.name for info in client.ls() if AFTER.reason_to_reap(info, labels=version != "1.7.9")}
    assert (set() if keep else able - {"golden"}) == found - {"golden"}


AFTER = Here(here().me, time.time(), lambda pid, started: False)  # a host on which every process has ended


@pytest.mark.parametrize(("version", "found"), [("1.7.9", []), ("1.13.1", []), ("1.14.0", ["golden"])])
def test_machines_with_unknown_branches_are_kept(version: str, found: list[str]) -> None:
    """A machine that may have branches is not reaped on engines that do not report parents."""
    fake = FakeRunner(version)
    name = fresh_name(GONE) if version == "1.7.9" else "golden"
    golden = {"name": name, "state": "frozen", "forkable": True, "labels": {MACHINE: name, OWNER: str(GONE)}}
    fake.answer(Ls(), stdout=json.dumps([golden, {"name": "twig"}]))
    reapable = perform(fake, reap.reapable(HERE, fake.engine.dialect))

    assert found == [item.machine.name for item in reapable]


def test_engines_without_labels_are_not_given_any() -> None:
    """Engines without labels get none."""
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
def test_reap_finds_what_a_killed_owner_left(tmp_path: Path, verb: str) -> None:
    """After kill -9 at any step, reap from another process leaves nothing, and does not touch another machine."""
    engine = NamespaceEngine(tmp_path)
    add_foreign_machine(engine)
    engine.strike(verb, "KILL")
    owner = subprocess.run([sys.executable, "-c", OWNER_PROGRAM, str(engine.program)], check=False)
    assert -9 == owner.returncode
    until_idle(engine)  # a call of the engine outlives its killed caller

    client = Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2"))
    expected = [] if verb == "delete" else ["m"]
    assert expected == [item.machine.name for item in client.reap(dry_run=True)]
    assert expected == [item.machine.name for item in client.reap()]
    assert ["m-foreign"] == engine.left

"""Verbs that few programs need: their command lines, their results, their care."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from smolkit import Completed, Invocation, Smolvm, errors
from smolkit.commands import Branch, Create, DataDir, Delete, Ls, Run, Start, Status, Update
from smolkit.runners.attempts import InterruptedCall
from smolkit.testing import FakeRunner
from smolkit.values.observed import EgressEvent, ExitInfo
from smolkit.values.ownership import CREATION
from tests.recorded import as_json
from tests.samples import marked, stays_ours

# Recorded from 1.32.2.
STATS = """{"cpu_percent": 11.9, "cpus": 1, "memory": {"available_bytes": 498003968, "cached_bytes": 12722176,
"free_bytes": 496599040, "swap_total_bytes": 0, "swap_used_bytes": 1, "total_bytes": 538513408, "used_bytes": 40509440},
"name": "a", "new": 1}"""
STATUS = """{"name": "a", "state": "stopped", "last_exit": {"cause": "stopped",
"exited_at_unix_ms": 1795380139232, "pid": 293, "signal": 15, "signal_name": "SIGTERM"},
"published_ports": [{"guest": 8080, "guest_listening": "listening", "host": 18080}]}"""


def test_stats(client: Smolvm, fake: FakeRunner) -> None:
    """stats returns bytes and shares, and keeps unknown keys in raw."""
    fake.answer(["machine", "stats"], stdout=STATS)
    stats = client.machine("a").stats()

    assert (11.9, 1, 538513408, 40509440, 496599040) == (
        *(stats.cpu_percent, stats.cpus, stats.memory_total),
        *(stats.memory_used, stats.memory_free),
    )
    assert (498003968, 12722176, 0, 1) == (
        *(stats.memory_available, stats.memory_cached),
        *(stats.swap_total, stats.swap_used),
    )
    assert 1 == stats.raw["new"]


def test_how_a_vm_ended_and_its_ports(client: Smolvm, fake: FakeRunner) -> None:
    """status shows how a VM ended and its ports, which ls does not show."""
    fake.answer(Status, stdout=STATUS)
    info = client.machine("a").status()

    assert ExitInfo("stopped", None, 15, 1795380139.232) == info.last_exit
    assert ((18080, 8080),) == info.ports
    assert "http://127.0.0.1:18080" == client.machine("a").url(8080)
    assert "ws://127.0.0.1:18080" == client.machine("a").url(8080, "ws")


def test_ports_of_engines_that_do_not_show_them(client: Smolvm, fake: FakeRunner) -> None:
    """On engines that do not show ports, url uses those of the handle, with ranges expanded and without UDP."""
    fake.answer(Status, stdout='{"name": "a"}')
    machine = client.machine("a", ports=[(1080, 80), 8080, "9000-9002:7000-7002", "53:53/udp"])

    assert ["1080", "8080", "9001"] == [machine.url(port).rpartition(":")[2] for port in (80, 8080, 7001)]
    for port in (53, 81):
        with pytest.raises(ValueError, match="is not published"):
            machine.url(port)


def test_a_machines_directory(client: Smolvm, fake: FakeRunner) -> None:
    """data_dir is the directory that the engine names."""
    fake.answer(DataDir("a"), "/home/me/.cache/smolvm/vms/6497e4b3d7bed169\n")

    assert "/home/me/.cache/smolvm/vms/6497e4b3d7bed169" == client.machine("a").data_dir()


def test_a_machines_disks_and_workload(client: Smolvm, fake: FakeRunner) -> None:
    """A machine's record has its disks and workload, as far as the engine shows them."""
    told = '{"name": "a", "storage_gb": 30, "overlay_gb": null, "cmd": ["sleep", "60"], "entrypoint": []}'
    fake.answer(Status, [told, '{"name": "a"}'])
    first, second = client.machine("a").status(), client.machine("a").status()

    assert (30, None, ("sleep", "60"), ()) == (first.storage_gb, first.overlay_gb, first.cmd, first.entrypoint)
    assert (None, None, None, None) == (second.storage_gb, second.overlay_gb, second.cmd, second.entrypoint)
    assert hash(first)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.machine("a").resize(),
        lambda client: client.machine("a").resize(cpus=None),
        lambda client: client.machine("a").update(),
        lambda client: client.machine("a").update(cpus=None, gpu=False, ports=[], env={}),
        lambda client: client.checkpoint_log(),
    ],
)
def test_a_call_without_an_effect_is_refused(client: Smolvm, fake: FakeRunner, call: Callable[[Smolvm], object]) -> None:
    """A call without an effect is refused before anything runs."""
    with pytest.raises(ValueError, match="must be given"):
        call(client)
    assert [] == fake.commands


def test_egress_events(client: Smolvm, fake: FakeRunner) -> None:
    """egress_events are in the engine's order, oldest first."""
    fake.answer(
        ["machine", "egress-events"],
        stdout='[{"timestamp": "2026-01-01T00:00:00Z", "operation": "connect", "dest": "1.2.3.4:443"}, {}]',
    )

    expected = [EgressEvent("2026-01-01T00:00:00Z", "connect", "1.2.3.4:443"), EgressEvent("", "", "")]
    assert expected == client.machine("a").egress_events()


JUNK = [
    "",
    "null",
    "7",
    "{",
    "[",
    "[1]",
    "[[]]",
    "{}",
    "[{}]",
    '{"a": [1, {"b": null}]}',
    "\udcff",
    "[" * 100_000,
    '{"name": 7}',
]
READERS: list[Callable[[Smolvm], Any]] = [
    lambda client: client.ls(),
    lambda client: client.machine("m").status(),
    lambda client: client.machine("m").stats(),
    lambda client: client.machine("m").mounts(),
    lambda client: client.machine("m").images(),
    lambda client: client.machine("m").egress_events(),
    lambda client: client.pack_list(),
    lambda client: client.pack_inspect("x"),
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize("read", READERS, ids=range(len(READERS)))
def test_a_malformed_answer_is_a_value_or_a_typed_error(read: Callable[[Smolvm], Any], junk: str) -> None:
    """Unknown or malformed answers are a value or a typed error."""
    fake = FakeRunner()
    fake.answer([], stdout=junk.encode("utf-8", "surrogateescape"))
    with suppress(errors.UnknownEngineError):
        read(Smolvm(runner=fake))


@pytest.mark.parametrize("wrong", [7, "x", None, True, [1], {"a": 1}, -1, 10**30], ids=str)
def test_wrong_types_are_none(client: Smolvm, fake: FakeRunner, wrong: object) -> None:
    """Record values of wrong types are None."""
    keys = ("state", "cpus", "memory_mib", "created_at", "pid", "image", "network", "labels", "parent_machine")
    more = ("allowed_cidrs", "allowed_hosts", "last_exit", "published_ports")
    fake.answer(Ls(), stdout=json.dumps([{"name": "m", **dict.fromkeys((*keys, *more), wrong)}]))

    (info,) = client.ls()
    assert "m" == info.name
    assert isinstance(info.labels, dict)
    fake.answer(["machine", "stats"], stdout=json.dumps({"cpu_percent": wrong, "cpus": wrong, "memory": wrong}))
    client.machine("m").stats()


def test_a_branch_is_labelled_as_its_own(client: Smolvm, fake: FakeRunner) -> None:
    """A branch has a creation label of its own, which tells it from others, and is deleted at the end."""
    stays_ours(fake)
    fake.answer(["machine"])
    with client.machine("source", branchable=True) as source, source.branch("twig", labels={"team": "ci"}) as twig:
        assert "twig" == twig.name

    assert [Create, Start, Branch, Status, Start, Delete, Delete] == [type(command) for command in fake.commands]
    marks = [[word for word in argv if word.startswith(CREATION)] for argv in fake.argvs[:3]]
    assert 1 == len(marks[2])
    assert marks[0] != marks[2]
    assert "team=ci" in fake.argvs[2]
    assert "--branchable" in fake.argvs[1]


def test_a_branch_that_fails_leaves_nothing(client: Smolvm, fake: FakeRunner) -> None:
    """A branch that fails or is interrupted leaves nothing, and a name that is taken is not touched."""
    fake.answer(Branch, returncode=1, stderr=as_json("CONFIG_ERROR", "create machine: machine 'b' already exists"), times=1)
    fake.answer(Branch, error=KeyboardInterrupt())
    fake.answer(Ls(), "[]", times=1)
    fake.answer(Ls(), lambda _: json.dumps([marked(fake, "b")]))
    fake.answer(Delete)
    source = client.machine("a")
    with pytest.raises(errors.MachineExistsError):
        source.branch("b")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt) as caught:
            source.branch("b")
        assert [] == getattr(caught.value, "__notes__", [])

    assert [Branch, Branch, Ls, Branch, Ls, Delete] == [type(command) for command in fake.commands]


def test_branch_many(client: Smolvm, fake: FakeRunner) -> None:
    """branch_many is one call, and its handles delete the branches."""
    stays_ours(fake)
    fake.answer(["machine"])
    children = client.machine("a").branch_many(3, "b", no_wait_ready=True)
    for child in children:
        with child:
            pass

    argv = fake.argvs[0]
    assert ("machine", "branch", "--count", "3", "--name-prefix", "b", "--no-wait-ready") == argv[:7]
    assert ("--from", "a") == argv[-2:]
    assert "smolkit.machine=b-*3" in argv
    assert ["b-0", "b-1", "b-2"] == [child.name for child in children]
    assert [Branch, *[Status, Start, Delete] * 3] == [type(command) for command in fake.commands]


def test_update_reads_allow_lists_back(client: Smolvm, fake: FakeRunner) -> None:
    """update tries again while busy, and raises if an allow list was not recorded."""
    fake.answer(Update, returncode=1, stderr=as_json("SMOLVM_ERROR", "database error: database is locked"), times=1)
    fake.answer(Ls(), stdout='[{"name": "m", "allowed_cidrs": ["10.0.0.0/8"]}]')
    fake.answer(["machine"])
    machine = client.machine("m")
    machine.update(cpus=1)
    machine.update(allow_cidrs=["10.0.0.0/8"])

    assert [Update, Update, Update, Ls] == [type(command) for command in fake.commands]
    with pytest.raises(errors.PolicyNotRecordedError, match=r"allow_cidrs without 10\.1\.0\.0/16"):
        machine.update(allow_cidrs=["10.1.0.0/16"])


def test_an_ephemeral_machine_that_fails_is_waited_for(client: Smolvm, fake: FakeRunner) -> None:
    """run waits until the engine has removed its machine, and takes the engine's first line out of the output."""
    first = "Starting ephemeral machine (vm-9c10cd20)...\n"
    boot = as_json("SMOLVM_ERROR", "agent operation failed: start machine: x (boot process exited (code 0) before)")
    fake.answer(Run, returncode=3, stdout="out", stderr=f"{first}err", times=1)
    fake.answer(Run, returncode=1, stderr=first + boot, times=1)
    fake.answer(Status, returncode=1, stderr=as_json("NOT_FOUND", "vm not found: vm-9c10cd20"))

    result = client.run(["sh", "-c", "echo out"], cpus=1)
    assert (3, "out", "err") == (result.returncode, result.stdout, result.stderr)
    with pytest.raises(errors.BootFailedError):
        client.run(["true"], timeout=5, input=b"x")
    assert [Run, Status, Run, Status] == [type(command) for command in fake.commands]


def test_logs_of_older_engines_are_the_console(tmp_path: Path) -> None:
    """On older engines without `logs`, the logs are the console."""
    (tmp_path / "agent-console.log").write_text("one\ntwo\nthree\n")
    fake = FakeRunner("1.27.3")
    fake.answer(DataDir, stdout=f"{tmp_path}\n")
    machine = Smolvm(runner=fake).machine("m")

    assert ("one\ntwo\nthree\n", "two\nthree\n") == (machine.logs(), machine.logs(tail=2))


def test_files_that_verbs_write_are_whole(client: Smolvm, fake: FakeRunner, tmp_path: Path) -> None:
    """Verbs that write a file return its absolute path, and leave no partial file."""
    fake.answer([])
    assert os.path.abspath("x.smolcheckpoint") == client.machine("m").checkpoint("x.smolcheckpoint")
    assert os.path.abspath("x") == client.pack_pull("localhost/x", "x")
    assert os.path.abspath("y") == client.checkpoint_export("x", "y", at="~1")


def test_small_verbs(client: Smolvm, fake: FakeRunner, tmp_path: Path) -> None:
    """Each small verb is one call with its arguments."""
    fake.answer([], stdout="said\n")
    machine = client.machine("m")
    machine.mount(tmp_path, "/mnt", read_only=True)
    machine.unmount("/mnt")
    machine.release({"K": "v"})
    machine.resume()
    assert ["said"] == [event.text for event in machine.monitor(interval=1)]
    assert "said\n" == machine.prune(everything=True) == machine.network_test("http://x") == client.pack_prune(keep=1)
    assert "said" == client.registries_path()
    assert (
        "said\n" == client.config_show() == client.registries_show() == client.checkpoint_log("x") == client.pack_info("p")
    )
    assert "said\n" == client.checkpoint_prune("s")
    client.registries_init()
    client.checkpoint_warm("x", restore_cache_gib=1)
    client.pack_push("p", "localhost/x")
    assert b"said\n" == client.cli("machine", "whatever").stdout
    assert "said\n" == client.pack_run("p", ["true"], cpus=1).stdout

    assert [
        f"machine mount add --volume {tmp_path}:/mnt:ro --name m",
        "machine mount remove --target /mnt --name m",
        "machine branch-release -e K=v --name m",
        "machine resume --name m",
        "machine monitor --interval 1 --name m",
    ] == [" ".join(argv) for argv in fake.argvs[:5]]
    with pytest.raises(ValueError, match="must not begin with '-'"):
        client.pack_push("p", "--help")
    with pytest.raises(ValueError, match="':'"):
        machine.mount("/a:b", "/mnt")
    with pytest.raises(TypeError, match="did you mean 'cpus'"):
        machine.update(cpu=1)  # type: ignore[call-arg]


def test_a_branch_of_unknown_outcome_touches_no_machine_of_another() -> None:
    """A branch of unknown outcome on engines without labels is left alone, with a note, since it may be another's."""
    fake = FakeRunner("1.20.2")
    fake.answer(Branch, returncode=-9)
    fake.answer(Ls(), '[{"name": "b", "created_at": 1}]')
    with pytest.raises(errors.EngineDiedError) as caught:
        Smolvm(runner=fake).machine("a").branch("b")

    assert [Branch, Ls] == [type(command) for command in fake.commands]
    assert "was not touched" in caught.value.__notes__[0]


@pytest.mark.parametrize("how", ["machine", "start"])
def test_the_end_of_a_block_keeps_a_source_of_branches(how: str) -> None:
    """The end of a block keeps a machine with living branches, and the error names them."""
    fake = FakeRunner("1.20.2")
    fake.answer(Ls(), '[{"name": "golden"}, {"name": "twig", "parent_machine": "golden"}]')
    stays_ours(fake)
    fake.answer(["machine"])
    golden = Smolvm(runner=fake).machine("golden", **({"branchable": True} if how == "machine" else {}))  # type: ignore[arg-type]
    with pytest.raises(errors.MachineHasBranchesError, match="twig"), golden:
        if how == "start":
            golden.stop()
            golden.start(branchable=True)

    assert Delete not in [type(command) for command in fake.commands]


def test_the_bodys_exception_wins_over_a_failed_look() -> None:
    """If a look for branches fails, the machine is kept, and a note on the body's exception says so."""
    fake = FakeRunner("1.20.2")
    fake.answer(Ls(), returncode=1, stderr="Error: database error: broken\n")
    fake.answer(Status, returncode=1, stderr="Error: database error: broken\n")
    fake.answer(["machine"])
    with pytest.raises(ZeroDivisionError) as caught, Smolvm(runner=fake).machine("golden", branchable=True):
        raise ZeroDivisionError

    assert Delete not in [type(command) for command in fake.commands]
    assert "broken" in caught.value.__notes__[0]
    assert "machine 'golden' is left: it could not be checked whether" in caught.value.__notes__[0]


class Interrupted(FakeRunner):
    """A fake whose branch is interrupted and completes."""

    def execute(self, invocation: Invocation) -> Completed:
        """Raise InterruptedCall after the call, as the real runner does."""
        completed = super().execute(invocation)
        if "branch" in invocation.argv:
            raise InterruptedCall(completed, KeyboardInterrupt())
        return completed


def test_an_interrupt_during_several_branches_leaves_none() -> None:
    """An interrupted branch_many completes, deletes all branches, and raises the interrupt."""
    fake = Interrupted()
    fake.answer(["machine"])
    with pytest.raises(KeyboardInterrupt):
        Smolvm(runner=fake).machine("a").branch_many(2, "b")

    assert [Delete("b-0"), Delete("b-1")] == fake.commands[1:]


def test_several_branches_of_unknown_outcome(client: Smolvm, fake: FakeRunner) -> None:
    """A branch_many of unknown outcome touches nothing, and a note names what may exist."""
    fake.answer(Branch, returncode=-9)
    with pytest.raises(errors.EngineDiedError) as caught:
        client.machine("a").branch_many(3, "b")

    assert ([Branch], True) == ([type(command) for command in fake.commands], "'b-0' to 'b-2'" in caught.value.__notes__[0])


def test_an_ephemeral_machine_is_waited_for_after_its_command(client: Smolvm, fake: FakeRunner) -> None:
    """run waits for the record of its machine to disappear (1.32.2), if a first line named it."""
    fake.answer(Run, stderr="Starting ephemeral machine (vm-9c10cd20)...\nerr", times=1)
    fake.answer(Run, stderr="forged\nStarting ephemeral machine (vm-00000000)...\n", times=1)
    fake.answer(Run, returncode=1, stderr="x\nStarting ephemeral machine (vm-00000000)...\n" + as_json("X", "it broke"))
    fake.answer(Status, returncode=1, stderr=as_json("NOT_FOUND", "vm not found: vm-9c10cd20"))

    assert "err" == client.run(["true"]).stderr
    assert client.run(["true"]).ok
    with pytest.raises(errors.UnknownEngineError):
        client.run(["true"])
    assert [Run, Status, Run, Run] == [type(command) for command in fake.commands]

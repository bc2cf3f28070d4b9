"""Live commands and the engine's other verbs, on real machines."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

import pytest

from smolkit import ExecResult, Machine, Secret, Smolvm, SubprocessRunner, errors
from smolkit.commands.call import Call
from tests.engine.conftest import Boot
from tests.engines import again

pytestmark = pytest.mark.engine
FAMILY = "sleep 4441 & setsid sleep 4442 & echo started; sleep 4443"


@pytest.fixture(params=["shared", "image"])
def machine(real: Smolvm, request: pytest.FixtureRequest) -> Machine:
    """A bare machine, and one made from an image. (With `real`: pytest sees what else a test has by its arguments only.)"""
    found: Machine = request.getfixturevalue(request.param)
    return found


def sleepers(machine: Machine) -> list[str]:
    """The guest's processes that sleep so long."""
    return [line for line in machine.sh("ps -o args 2>/dev/null || ps").stdout.splitlines() if "sleep 444" in line]


def gone(machine: Machine) -> bool:
    """Whether they are all gone, within some seconds."""
    for _ in range(10):
        if not sleepers(machine):
            return True
        time.sleep(1)
    return False


@pytest.mark.twin
@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_process_that_is_killed_is_gone_in_the_guest(machine: Machine, end: str) -> None:
    """With its children, also one that left for a session of its own."""
    process = machine.popen(["sh", "-c", FAMILY], text=True)
    assert ("stdout", "started\n") == next(iter(process))
    assert 3 <= len(sleepers(machine))
    getattr(process, end)()

    assert process.wait() < 0
    assert gone(machine)


def test_a_timeout_ends_the_whole_family(machine: Machine) -> None:
    """exec and popen alike."""
    with pytest.raises(errors.ExecTimeoutError):
        machine.exec(["sh", "-c", FAMILY], timeout=3)
    assert gone(machine)
    with pytest.raises(errors.ExecTimeoutError):
        machine.popen(["sh", "-c", FAMILY], timeout=3).wait()
    assert gone(machine)


@pytest.mark.twin
def test_a_conversation(machine: Machine) -> None:
    """What is written is answered before the input is closed; the status is the command's."""
    with machine.popen(["sh", "-c", "while read line; do echo got $line; done; exit 3"], stdin=True, text=True) as process:
        assert process.stdin is not None
        lines = iter(process)
        process.stdin.write("one\n")
        assert ("stdout", "got one\n") == next(lines)
        process.stdin.write("two\n")
        assert ("stdout", "got two\n") == next(lines)
        process.stdin.close()
        assert [] == list(lines)
    assert 3 == process.returncode


def test_output_beyond_the_engines_cap(image: Machine) -> None:
    """12 MiB through a Process, both streams whole."""
    totals = {"stdout": 0, "stderr": 0}
    for stream, chunk in image.popen(["sh", "-c", "head -c 11800000 /dev/zero; head -c 1000 /dev/zero >&2"]):
        totals[stream] += len(chunk)

    assert {"stdout": 11_800_000, "stderr": 1000} == totals


def test_failures_of_a_process(real: Smolvm, machine: Machine) -> None:
    """A missing program is the same error for both kinds of machine; a missing machine too."""
    with pytest.raises(errors.ProgramNotFoundError):
        machine.popen(["no-such-program"]).wait()
    with pytest.raises(errors.MachineNotFoundError):
        list(real.machine("missing").popen(["true"]))


def test_a_command_that_is_left_to_run(machine: Machine) -> None:
    """It outlives its call, is known, and is killed with all that it started."""
    spawned = machine.spawn(["sh", "-c", FAMILY], workdir="/")
    assert spawned.is_running()
    assert 3 <= len(sleepers(machine))
    spawned.kill()

    assert not spawned.is_running()
    assert gone(machine)


def test_a_published_port(boot: Boot) -> None:
    """A free port of the host, waited for, and asked by its address."""
    with boot("port", ports=[(18_765, 8080)]) as machine:
        script = r"printf 'HTTP/1.0 200 OK\r\n\r\nhi from the guest'"
        machine.spawn(["sh", "-c", f"while :; do {{ {script}; }} | nc -l -p 8080; done"])
        machine.wait_until(port=8080)
        assert "http://127.0.0.1:18765" == machine.url(8080)
        with urllib.request.urlopen(machine.url(8080), timeout=30) as answer:  # noqa: S310  (our own)
            assert b"hi from the guest" == answer.read()
        with pytest.raises(ValueError, match="port 81 of machine 'port' is not published"):
            machine.url(81)


def test_branches_of_a_running_machine(real: Smolvm, boot: Boot) -> None:
    """They go on from its files, are deleted at the end of their blocks, and leave it running."""
    with boot("source", branchable=True) as source:
        source.sh("echo before >/root/f; mount -t tmpfs none /mnt; echo memory >/mnt/f", check=True)
        with source.branch("twig") as twig:
            assert "before\nmemory\n" == twig.sh("cat /root/f /mnt/f").stdout
            twig.sh("echo after >/root/f", check=True)
            assert "source" == twig.status().parent
            with pytest.raises(errors.MachineHasBranchesError):
                real.machine("source").delete()
        assert not twig.exists()
        children = source.branch_many(2, "bough", no_wait_ready=True)
        for child in children:
            with child:
                assert "before\n" == child.sh("cat /root/f").stdout
        assert "before\n" == source.sh("cat /root/f").stdout
    assert not {"source", "twig", "bough-0", "bough-1"} & {info.name for info in real.ls()}


def test_a_machine_that_cannot_be_branched(real: Smolvm, shared: Machine) -> None:
    """The engine's own words, as a typed error; nothing is made."""
    with pytest.raises(errors.ConfigError, match="not started as branchable"):
        shared.branch("never")
    assert not real.machine("never").exists()


def test_what_a_machine_tells(shared: Machine) -> None:
    """Stats in bytes, logs, events, mounts: values, also where there is nothing to tell."""
    stats = shared.stats()
    assert stats.memory_total is not None
    assert 400 * 2**20 < stats.memory_total < 600 * 2**20
    assert 1 == stats.cpus
    assert "" == shared.logs()
    assert [] == shared.egress_events(limit=3)
    assert [] == shared.mounts()
    assert 0 == shared.images()["storage"]["image_count"]


def test_folders_of_the_host(shared: Machine, tmp_path: Path) -> None:
    """Seen while they are mounted, read-only if asked."""
    (tmp_path / "f").write_text("from the host\n")
    shared.mount(tmp_path, "/mnt/host", read_only=True)

    assert [("/mnt/host", True)] == [(mount["target"], mount["readOnly"]) for mount in shared.mounts()]
    assert "from the host\n" == shared.exec(["cat", "/mnt/host/f"]).stdout
    assert not shared.exec(["touch", "/mnt/host/g"]).ok
    shared.unmount("/mnt/host")
    assert [] == shared.mounts()


def test_a_machine_is_changed_while_it_stands(real: Smolvm, boot: Boot) -> None:
    """update() refuses while it runs, and holds from the next start on; allow lists are read back."""
    with boot("changed", allow_cidrs=["10.0.0.0/8"]) as machine:
        with pytest.raises(errors.MachineRunningError):
            machine.update(memory=640)
        machine.stop(timeout=1)
        machine.update(memory=640, env={"ADDED": "yes"}, allow_cidrs=["192.168.0.0/16"])
        assert ("stopped", 640) == (machine.status().state, machine.status().memory)
        assert {"10.0.0.0/8", "192.168.0.0/16"} == set(machine.status().allowed_cidrs or ())
        machine.resize(storage=21)
        again(machine.start)
        assert "yes\n" == machine.sh("echo $ADDED").stdout


def test_a_machine_for_one_command(real: Smolvm) -> None:
    """run(): the command's status, streams and input; nothing is left."""
    before = {info.name for info in real.ls()}
    found: list[ExecResult] = []
    again(lambda: found.append(real.run(["sh", "-c", "cat; echo err >&2; exit 3"], cpus=1, memory=512, input="in")))

    assert (3, "in", "err\n") == (found[0].returncode, found[0].stdout, found[0].stderr)
    assert before == {info.name for info in real.ls()}


def test_words_of_ones_own(real: Smolvm, shared: Machine) -> None:
    """cli(): what smolkit has no words for, with its errors."""
    assert b"shared" in real.cli("machine", "ls", "-q").stdout
    with pytest.raises(errors.MachineNotFoundError):
        real.cli("machine", "stats", "--name", "missing")


def test_secrets_of_a_machine(real: Smolvm, boot: Boot, tmp_path: Path) -> None:
    """Every start and command has them, the engine's record has none; a file's is as the file is then."""
    (tmp_path / "secret").write_text("from a file\n")
    with boot("keeper", secrets={"TOKEN": "t0p-s3cret", "FILE": Secret.file(tmp_path / "secret")}) as machine:
        assert "t0p-s3cret from a file\n" == machine.sh('echo "$TOKEN $FILE"').stdout
        (tmp_path / "secret").write_text("changed")
        assert "t0p-s3cret changed once\n" == machine.sh('echo "$TOKEN $FILE $MORE"', secrets={"MORE": "once"}).stdout
        assert "t0p-s3cret\n" == "".join(line for _, line in machine.popen(["sh", "-c", "echo $TOKEN"], text=True))
        assert "t0p-s3cret" not in repr(machine.status().raw)
        machine.stop()
        again(machine.start)
        assert "t0p-s3cret\n" == machine.sh("echo $TOKEN").stdout
        with pytest.raises(errors.SecretUnsetError, match="env_unset"):
            real.machine(machine.name).exec(["true"])


@pytest.mark.once
def test_calls_are_told(real: Smolvm, state_dir: Path, shared: Machine) -> None:
    """Verb, status and duration of real calls."""
    calls: list[Call] = []
    runner = SubprocessRunner(real.engine.path, state_dir=state_dir)
    machine = Smolvm(runner=runner, on_call=calls.append).machine(shared.name)
    machine.exec(["sh", "-c", "exit 3"])
    machine.popen(["true"]).wait()

    assert [("machine exec", 3), ("machine exec", 0)] == [(call.verb, call.returncode) for call in calls]
    assert all(call.duration > 0 for call in calls)

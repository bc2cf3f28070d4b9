"""Followed commands and the engine's other subcommands, on real machines."""

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
    """A bare machine, and one made from an image. (pytest needs `real` as an argument to see what else a test uses.)"""
    found: Machine = request.getfixturevalue(request.param)
    return found


def sleepers(machine: Machine) -> list[str]:
    """The guest's processes that sleep for so long."""
    return [line for line in machine.sh("ps -o args 2>/dev/null || ps").stdout.splitlines() if "sleep 444" in line]


def gone(machine: Machine) -> bool:
    """Wait some seconds until they are all gone."""
    for _ in range(10):
        if not sleepers(machine):
            return True
        time.sleep(1)
    return False


@pytest.mark.twin
@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_process_that_is_killed_is_gone_in_the_guest(machine: Machine, end: str) -> None:
    """Killing a process kills its children in the guest, also one with a session of its own."""
    process = machine.popen(["sh", "-c", FAMILY], text=True)
    assert ("stdout", "started\n") == next(iter(process))
    assert 3 <= len(sleepers(machine))
    getattr(process, end)()

    assert process.wait() < 0
    assert gone(machine)


def test_a_timeout_ends_a_command_and_its_children(machine: Machine) -> None:
    """A timeout of exec or popen ends the command and all its children."""
    with pytest.raises(errors.ExecTimeoutError):
        machine.exec(["sh", "-c", FAMILY], timeout=3)
    assert gone(machine)
    with pytest.raises(errors.ExecTimeoutError):
        machine.popen(["sh", "-c", FAMILY], timeout=3).wait()
    assert gone(machine)


@pytest.mark.twin
def test_a_conversation(machine: Machine) -> None:
    """Input is answered before it is closed, and the exit status is the command's."""
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
    """A Process delivers 12 MiB on both streams completely."""
    totals = {"stdout": 0, "stderr": 0}
    for stream, chunk in image.popen(["sh", "-c", "head -c 11800000 /dev/zero; head -c 1000 /dev/zero >&2"]):
        totals[stream] += len(chunk)

    assert {"stdout": 11_800_000, "stderr": 1000} == totals


def test_failures_of_a_process(real: Smolvm, machine: Machine) -> None:
    """popen raises the same errors for a missing program on both kinds of machine, and for a missing machine."""
    with pytest.raises(errors.ProgramNotFoundError):
        machine.popen(["no-such-program"]).wait()
    with pytest.raises(errors.MachineNotFoundError):
        list(real.machine("missing").popen(["true"]))


def test_a_spawned_command(machine: Machine) -> None:
    """A spawned command outlives its call, is found, and is killed with all its children."""
    spawned = machine.spawn(["sh", "-c", FAMILY], workdir="/")
    assert spawned.is_running()
    assert 3 <= len(sleepers(machine))
    spawned.kill()

    assert not spawned.is_running()
    assert gone(machine)


def test_a_published_port(boot: Boot) -> None:
    """A machine publishes a free port of the host, and answers at its URL."""
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
    """Branches start with the source's files, are deleted at the end of their blocks, and leave it running."""
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
    """A machine that was not started as branchable cannot be branched: a typed error, and nothing is made."""
    with pytest.raises(errors.ConfigError, match="not started as branchable"):
        shared.branch("never")
    assert not real.machine("never").exists()


def test_stats_logs_events_and_mounts(shared: Machine) -> None:
    """stats, logs, egress events and mounts return values, also where there are none."""
    stats = shared.stats()
    assert stats.memory_total is not None
    assert 400 * 2**20 < stats.memory_total < 600 * 2**20
    assert 1 == stats.cpus
    assert "" == shared.logs()
    assert [] == shared.egress_events(limit=3)
    assert [] == shared.mounts()
    assert 0 == shared.images()["storage"]["image_count"]


def test_directories_of_the_host(shared: Machine, tmp_path: Path) -> None:
    """Directories of the host are visible while mounted, read-only if asked for."""
    (tmp_path / "f").write_text("from the host\n")
    shared.mount(tmp_path, "/mnt/host", read_only=True)

    assert [("/mnt/host", True)] == [(mount["target"], mount["readOnly"]) for mount in shared.mounts()]
    assert "from the host\n" == shared.exec(["cat", "/mnt/host/f"]).stdout
    assert not shared.exec(["touch", "/mnt/host/g"]).ok
    shared.unmount("/mnt/host")
    assert [] == shared.mounts()


def test_update_of_a_stopped_machine(real: Smolvm, boot: Boot) -> None:
    """update refuses a running machine, takes effect at the next start, and reads allow lists back."""
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
    """run() returns the command's status and output, passes its input, and leaves nothing."""
    before = {info.name for info in real.ls()}
    found: list[ExecResult] = []
    again(lambda: found.append(real.run(["sh", "-c", "cat; echo err >&2; exit 3"], cpus=1, memory=512, input="in")))

    assert (3, "in", "err\n") == (found[0].returncode, found[0].stdout, found[0].stderr)
    assert before == {info.name for info in real.ls()}


def test_cli(real: Smolvm, shared: Machine) -> None:
    """cli() runs subcommands that smolkit has no method for, with typed errors."""
    assert b"shared" in real.cli("machine", "ls", "-q").stdout
    with pytest.raises(errors.MachineNotFoundError):
        real.cli("machine", "stats", "--name", "missing")


def test_secrets_of_a_machine(real: Smolvm, boot: Boot, tmp_path: Path) -> None:
    """Secrets of a machine reach every start and command, files as they are then, and are not in the engine's record."""
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
def test_calls_are_observed(real: Smolvm, state_dir: Path, shared: Machine) -> None:
    """on_call gets the verb, status and duration of real calls."""
    calls: list[Call] = []
    runner = SubprocessRunner(real.engine.path, state_dir=state_dir)
    machine = Smolvm(runner=runner, on_call=calls.append).machine(shared.name)
    machine.exec(["sh", "-c", "exit 3"])
    machine.popen(["true"]).wait()

    assert [("machine exec", 3), ("machine exec", 0)] == [(call.verb, call.returncode) for call in calls]
    assert all(call.duration > 0 for call in calls)

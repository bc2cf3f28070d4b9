"""Hosts that are full, or have another name; prefixes that lose secrets; cassettes over a link."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smolkit import Call, Invocation, RemoteRunner, Smolvm, SshRunner, StdioLink, SubprocessRunner, errors
from smolkit.runners.remote.links import SshLink
from smolkit.testing import NamespaceEngine, Recorder, Replayer
from tests import far as far_ends
from tests.far import far_pid
from tests.processes import struck_after, until

UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["-r"])]
has_namespaces = pytest.mark.skipif(
    bool(subprocess.run([*UNSHARE, "-mu", "true"], check=False, capture_output=True).returncode),
    reason="this host has no namespaces for this user",
)


@has_namespaces
def test_a_host_whose_disk_is_full(program: Path, tmp_path: Path) -> None:
    """Where the far disk is full, commands run all the same; a copy is an error that says so, and leaves nothing."""
    full = tmp_path / "full"
    full.mkdir()
    mount = 'mount -t tmpfs -o size=64k none "$1"; export TMPDIR="$1" XDG_CACHE_HOME="$1"; shift; exec "$@"'
    link = StdioLink([*UNSHARE, "-m", "sh", "-c", mount, "sh", str(full), *far_ends.link(full).arguments])
    runner = RemoteRunner(link, program=program, version="1.32.2")
    (tmp_path / "big").write_bytes(bytes(2**20))
    assert "hi\n" == Smolvm(runner=runner).machine("m").exec(["echo", "hi"]).stdout
    with pytest.raises(OSError, match="No space left") as caught, runner.source(str(tmp_path / "big")):
        pass
    assert errno.ENOSPC == caught.value.errno
    done = runner.execute(Invocation(("--", "sh", "-c", f"find {full} -type f -size +0 | grep -v smolkit/far; df {full}")))
    runner.close()

    assert b"source" not in done.stdout


def test_a_full_disk_here_keeps_the_old_file(program: Path, tmp_path: Path) -> None:
    """A copy from there that this host has no room for is an error, and the old file stays."""
    runner = far_ends.at(program.parent, version="1.32.2")
    target = tmp_path / "target"
    target.write_text("old")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match="too large"), runner.target(str(target)) as there:
        Path(there).write_bytes(bytes(2**20))
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    runner.close()

    assert "old" == target.read_text()
    assert ["target"] == [name for name in os.listdir(tmp_path) if "target" in name]


@has_namespaces
@pytest.mark.parametrize(
    "runner", ["SubprocessRunner({!r}, version='1.32.2')", "SubprocessRunner({!r}, version='1.32.2', prefix=['env'])"]
)
def test_a_local_handle_raises_on_another_host(program: Path, tmp_path: Path, runner: str) -> None:
    """A pickled handle of an engine of this host raises on another one, and is not equal to one of that host."""
    made = Smolvm(runner=eval(runner.format(str(program)))).machine("agent")  # noqa: S307
    (tmp_path / "handle").write_bytes(pickle.dumps(made))
    code = f"""import pickle, sys
from smolkit import Smolvm, SubprocessRunner, errors
copy, own = pickle.load(open(sys.argv[1], 'rb')), Smolvm(runner={runner.format(str(program))}).machine('agent')
try:
    copy.exec(['true'])
except errors.HostUnreachableError as error:
    print(copy == own, hash(copy) == hash(own), copy._runner.is_available(), error)
print(copy == pickle.loads(pickle.dumps(copy)), own.exec(['echo', 'hi']).stdout)
"""
    python = [sys.executable, "-c", code, str(tmp_path / "handle")]
    elsewhere = [*UNSHARE, "-u", "sh", "-c", 'hostname other; exec "$@"', "sh", *python]
    there = subprocess.run(elsewhere, capture_output=True, text=True, check=True).stdout
    here = subprocess.run(python, capture_output=True, text=True, check=True).stdout

    assert there.startswith(f"False False False the engine is on {os.uname().nodename} (")
    assert there.endswith("True hi\n\n")
    assert "True hi\n\n" == here


def test_secrets_behind_a_prefix_arrive_or_are_refused(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A prefix that passes variables on delivers secrets; behind others a call with secrets raises and runs nothing."""
    sudo = tmp_path / "sudo"
    sudo.write_text(f'#!/bin/sh\n[ "$1" = -n ] && shift\nexec env -i PATH=/usr/bin:/bin HOME={tmp_path} "$@"\n')
    sudo.chmod(0o755)
    clients = [Smolvm(runner=SubprocessRunner(engine.program, prefix=prefix)) for prefix in (["env"], [str(sudo), "-n"])]
    with clients[0].machine("agent"):
        passing, losing = (client.machine("agent") for client in clients)
        for _ in range(2):
            assert "x\n" == passing.exec(["sh", "-c", "echo $A"], secrets={"A": "x"}).stdout
        calls = engine.calls
        for _ in range(2):
            with pytest.raises(errors.SecretUnsetError, match="sudo does not pass variables on"):
                losing.exec(["sh", "-c", "echo $A"], secrets={"A": "x"})
            with pytest.raises(errors.SecretUnsetError):
                losing.popen(["sh", "-c", "echo $A"], secrets={"A": "x"})
        assert calls == engine.calls
        assert "\n" == losing.exec(["sh", "-c", "echo $A"]).stdout
        far = Smolvm(runner=RemoteRunner(StdioLink([str(sudo), "-n"]), program=engine.program))
        assert "x\n" == far.machine("agent").exec(["sh", "-c", "echo $A"], secrets={"A": "x"}).stdout


def test_a_cassette_over_a_link(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A Recorder records a far engine's calls and files; the machine's owner is the far process; a Replayer has both."""
    runner = far_ends.runner(engine)
    (tmp_path / "a").write_bytes(b"content")

    def session(client: Smolvm, folder: Path) -> tuple[str, bytes]:
        folder.mkdir()
        with client.machine("agent") as machine:
            machine.cp(tmp_path / "a", machine.path("/root/a"))
            machine.cp(machine.path("/root/a"), folder / "b")
            return machine.exec(["cat", "/root/a"]).stdout, (folder / "b").read_bytes()

    with Recorder(runner, tmp_path / "tape.json") as recorder:
        assert str(far_pid(runner)) in str(recorder.here().me)
        assert recorder.owner() == recorder.here().me
        assert recorder.free_port() > 0
        assert recorder.clock() > 0
        assert ("content", b"content") == session(Smolvm(runner=recorder), tmp_path / "one")
    assert ("content", b"content") == session(Smolvm(runner=Replayer(tmp_path / "tape.json")), tmp_path / "two")
    assert [] == engine.left
    runner.close()


def test_observers_see_the_calls(engine: NamespaceEngine) -> None:
    """on_call is told of each call over a link, as on one host."""
    seen: list[Call] = []
    runner = far_ends.runner(engine)
    with Smolvm(runner=runner, on_call=seen.append).machine("agent") as machine:
        machine.exec(["false"])
    runner.close()

    assert {"machine create", "machine start", "machine exec", "machine delete"} <= {call.verb for call in seen}
    assert [1] == [call.returncode for call in seen if call.verb == "machine exec"]


def test_wrong_arguments_are_named() -> None:
    """What a runner of another host cannot take is refused before anything runs."""
    link = StdioLink(["env"])
    for make, words in (
        (lambda: RemoteRunner("build1"), "link must be a link"),  # type: ignore[arg-type]
        (lambda: RemoteRunner(link, state_dir="here"), "absolute path of the engine's host"),
        (lambda: RemoteRunner(link, heartbeat=0), "heartbeat must"),
        (lambda: RemoteRunner(link, max_processes=0), "max_processes must"),
        (lambda: RemoteRunner(link, programm="x"), "program"),  # type: ignore[call-arg]
        (lambda: StdioLink("env"), "argv must be"),
        (lambda: StdioLink(["/usr/bin/ssh", "build1"]), "argv must not begin with ssh, .*use SshRunner"),
        (lambda: SshRunner("build1", programm="x"), "program"),  # type: ignore[call-arg]
        (lambda: SshRunner("build1", options=["-F", "cfg", "otherhost"]), "options must be those of ssh.*'otherhost'"),
        (lambda: SshRunner("build1", options=["--"]), "options must be those of ssh"),
        (lambda: SshRunner("build1", options=["-vN"]), "unlike -N"),
        (lambda: SshRunner("build1", options=["-tt"]), "unlike -t"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            make()

    assert "state_dir=/srv" in RemoteRunner(link, state_dir="/srv").host
    assert RemoteRunner(link, program="/a").host != RemoteRunner(link, program="/b").host
    assert "<RemoteRunner env: smolvm>" == repr(RemoteRunner(link))


def test_env_there_may_be_a_secret(program: Path) -> None:
    """Variables of the runner reach the engine there, and are neither shown nor pickled."""
    runner = far_ends.at(program.parent, version="1.32.2", env={"A": "s3cr3t"})
    assert "s3cr3t\n" == Smolvm(runner=runner).machine("m").exec(["sh", "-c", "echo $A"]).stdout
    assert ["A"] == list(runner.given())
    assert "s3cr3t" not in repr(vars(runner))
    assert b"s3cr3t" not in pickle.dumps(runner)
    copy = pickle.loads(pickle.dumps(runner))
    with pytest.raises(ValueError, match="not pickled"):
        copy.execute(Invocation(("--", "true")))
    runner.close()


def test_a_machine_of_a_closed_runner_opens_a_new_link(engine: NamespaceEngine) -> None:
    """A runner that was closed opens a new link with the next call."""
    runner = far_ends.runner(engine)
    client = Smolvm(runner=runner)
    client.ls()
    before = far_pid(runner)
    runner.close()
    runner.close()
    client.ls()

    assert before != far_pid(runner)
    runner.close()
    until(lambda: not Path(f"/proc/{before}").exists())


def test_a_program_ends_in_silence_after_a_link_that_never_began() -> None:
    """At its end a program waits for its links, and not for one whose program could not be started."""
    code = """
from smolkit import RemoteRunner, StdioLink, errors
try:
    RemoteRunner(StdioLink(["no-such-program"])).here()
except errors.HostUnreachableError as error:
    kept = error
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert b"" == done.stderr


def test_calls_are_logged_as_command_lines(program: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The DEBUG line of a call does the same when it is pasted into a shell."""
    caplog.set_level(logging.DEBUG, "smolkit")
    runner = far_ends.at(program.parent, version="1.32.2")
    machine = Smolvm(runner=runner).machine("m")
    machine.exec(["echo", "a  b", "$HOME"])
    with machine.popen(["echo", "live"]):
        pass
    runner.close()
    lines = [record.getMessage() for record in caplog.records if record.name == "smolkit"]

    assert b"a  b $HOME\n" == subprocess.run(lines[0], shell=True, capture_output=True, check=True).stdout
    assert "echo live" in lines[1]
    assert "ssh" in SshRunner("build1", program="/a b").link.argv(("/a b", "$x"))[0]
    assert "'/a b' '$x'" == SshRunner("build1").link.argv(("/a b", "$x"))[-1]


@pytest.mark.parametrize("prefix", [["ssh", "h"], ["wsl", "--"]])
def test_a_far_prefix_is_checked_here(prefix: list[str]) -> None:
    """What a runner there would refuse is refused here, before a link is opened."""
    with pytest.raises(ValueError, match="prefix must not"):
        RemoteRunner(StdioLink(["env"]), prefix=prefix)
    with pytest.raises(ValueError, match="SMOLVM_BOOT_BINARY"):
        RemoteRunner(StdioLink(["env"]), env={"SMOLVM_BOOT_BINARY": "x"})


def test_a_wait_for_the_first_start_there_can_be_interrupted(engine: NamespaceEngine) -> None:
    """An interrupt ends the wait for another program's first start on the far host; nothing was run."""
    other, runner = far_ends.runner(engine), far_ends.runner(engine)
    machine = Smolvm(runner=runner).machine("m")
    machine.create()
    with other.admission(), pytest.raises(KeyboardInterrupt), struck_after(1.0, KeyboardInterrupt()):
        machine.start(timeout=60)
    assert "start" not in engine.calls
    machine.delete()
    other.close()
    runner.close()


def test_a_call_that_goes_on_tells_when_its_machine_is_up(program: Path) -> None:
    """The first byte on stdout, and not what is on stderr, shows that a VM is up; without it nobody spins."""
    told: list[bool] = []
    runner = far_ends.at(program.parent, version="1.32.2")
    runner.here()
    script = "echo booting >&2; sleep 0.5; echo up; sleep 0.2"
    before = time.process_time()
    runner.execute(Invocation(("--", "sh", "-c", script), goes_on=True, booted=told.append))
    took = time.process_time() - before
    runner.close()

    assert [True] == told
    assert took < 0.4


def test_options_of_ssh_are_kept() -> None:
    """Options of ssh with values, glued or not, with letters in common with refused ones, are taken as they are."""
    options = ["-vvC", "-F", "-N", "-oProxyCommand=none", "-4p2222", "-i", "key file", "-J", "jump"]
    assert tuple(options) == SshLink("build1", options).options

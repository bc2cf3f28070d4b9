"""NamespaceEngine, where it is more than the engine: its isolation, images, injected trouble, and its end."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smolkit import Machine, Smolvm
from smolkit.testing import NamespaceEngine
from tests.inner_pytest import run_pytest
from tests.processes import running, until, until_gone

NAP = f"49{os.getpid()}"


@pytest.fixture
def machine(engine: NamespaceEngine) -> Machine:
    """A running machine."""
    machine = Smolvm(engine.program).machine("m")
    machine.create()
    machine.start()
    return machine


def test_a_guest_has_nothing_of_its_host(machine: Machine, tmp_path: Path) -> None:
    """A guest sees none of the host's files, processes and devices, and removing its own harms nobody."""
    (tmp_path / "precious").touch()
    machine.sh("rm -rf /tmp /root /home /srv", check=True)

    assert (tmp_path / "precious").exists()
    assert not machine.exists(tmp_path.as_posix())
    assert "m\n" == machine.exec(["hostname"]).stdout
    assert "1" == machine.sh("ls /proc | grep '^[0-9]' | sort -n").stdout.split()[0]
    assert str(os.getpid()) not in machine.sh("ls /proc").stdout.split()
    assert not machine.sh("mknod /x b 253 0").ok
    assert not machine.sh("echo 1 >/proc/sys/kernel/sysrq").ok


def changed(path: str) -> int:
    """Return when a file's permissions were changed last."""
    return os.stat(path).st_ctime_ns


def test_a_guest_changes_nothing_of_its_host(machine: Machine) -> None:
    """Root of the host is root of its guests, too: what these see of the host's kernel and devices is read-only."""
    before = changed("/dev/full")
    assert not machine.sh("chmod 666 /dev/full").ok
    assert before == changed("/dev/full")
    assert not machine.sh("chmod 444 /proc/version").ok
    assert "" == machine.sh("find /proc -path '/proc/[0-9]*' -prune -o -type f -perm -200 -exec touch {} + && echo").stdout
    assert machine.sh("echo >/dev/full").stderr
    assert machine.sh("echo >/dev/null && echo 500 >/proc/self/oom_score_adj").ok


def test_a_guest_does_not_see_its_callers_environment(machine: Machine) -> None:
    """The processes that hold a guest together show it neither the host's variables nor its program or files."""
    assert "PATH" not in machine.sh("cat /proc/1/environ").stdout
    assert "" == machine.sh("readlink /proc/1/exe /proc/1/fd/1; head -c 1 /proc/1/exe").stdout
    assert "" == machine.sh("cat /proc/$PPID/environ").stdout


def test_a_guests_symlinks_stay_in_it(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A symlink that is absolute leads to the guest's file, not the host's, also when the guest's root is mounted."""
    (tmp_path / "resolv.conf").touch()
    (tmp_path / "volume").mkdir()
    link = f"umount /data/inside && rm -rf /data /etc/resolv.conf && mkdir -p {tmp_path} && ln -s {tmp_path} /data"
    with Smolvm(engine.program).machine("m", net=True, volumes=[(tmp_path / "volume", "/data/inside")]) as machine:
        machine.sh(f"{link} && ln -s {tmp_path}/resolv.conf /etc", check=True)
        machine.stop()
        machine.start()
        machine.write_text("/data/inside/file", "guest's")
    assert "guest's" == (tmp_path / "volume/file").read_text()
    assert not (tmp_path / "inside").exists()
    assert "" == (tmp_path / "resolv.conf").read_text()


def test_a_guest_without_a_network_reaches_only_itself(machine: Machine) -> None:
    """A guest has its own loopback interface, and without `net` no other."""
    assert "lo" == machine.sh("ls /sys/class/net").stdout.strip()


def test_volumes_can_be_read_only(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A volume is a directory of the host, which the guest writes to unless it is read-only."""
    (tmp_path / "file").write_text("host's")
    volumes = [f"{tmp_path}:{tmp_path}", f"{tmp_path}:/ro:ro"]
    with Smolvm(engine.program).machine("m", volumes=volumes) as machine:
        assert "host's" == machine.read_text("/ro/file")
        assert not machine.exec(["touch", "/ro/new"]).ok
        machine.write_text(tmp_path / "new", "guest's")
    assert "guest's" == (tmp_path / "new").read_text()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_call_that_is_killed_ends_the_whole_family(engine: NamespaceEngine, machine: Machine, end: int) -> None:
    """A killed call takes its command along, with children that have sessions of their own and that go on forking."""
    script = f"setsid sleep {NAP} & (while :; do sleep {NAP} & sleep 0.01; done) & echo; sleep {NAP}"
    command = [str(engine.program), "machine", "exec", "-i", "--name", machine.name, "--", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as call:
        assert call.stdout is not None
        call.stdout.readline()
        call.send_signal(end)
    until_gone(NAP)


def test_what_a_command_leaves_in_the_background_stays(machine: Machine) -> None:
    """A background process outlives its command, until the machine ends."""
    assert machine.sh(f"sleep {NAP} & echo started", timeout=30).ok
    assert running(NAP)
    machine.stop()
    until_gone(NAP)


def test_output_without_a_stdin_is_capped(engine: NamespaceEngine, machine: Machine) -> None:
    """Buffered output has the engine's cap, in its words."""
    words = ["exec", "--name", machine.name, "--", "head", "-c", "12000000", "/dev/zero"]
    done = subprocess.run([engine.program, "machine", *words], capture_output=True, check=False)
    assert (1, b"") == (done.returncode, done.stdout)
    assert b"command output exceeded 11534336 bytes" in done.stderr


def test_a_shell_in_a_terminal(engine: NamespaceEngine, machine: Machine) -> None:
    """`shell` runs in a terminal of its own, and ends with the shell's status."""
    ours, theirs = pty.openpty()
    call = subprocess.Popen(
        [engine.program, "machine", "shell", "--name", machine.name], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, b"test -t 0 && echo is $((6 * 7)); exit 3\n")
    seen = b""
    while b"is 42" not in seen:
        seen += os.read(ours, 1000)
    assert 3 == call.wait(60)
    os.close(ours)


def test_many_children_are_collected_bit_by_bit() -> None:
    """A fork bomb cannot keep a supervisor from its deadline: it collects some children, and is told of more."""
    code = """
import os, select
from smolkit.testing.namespace.linux import Children
children = Children()
for _ in range(1500):
    if os.fork() == 0:
        os._exit(0)
found = []
while sum(found) < 1500:
    select.select([children], [], [])
    found.append(len(children.reap()))
print(max(found) <= 1000)
"""
    assert b"True\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60).stdout


def test_wrong_arguments_are_refused(engine: NamespaceEngine, tmp_path: Path) -> None:
    """An old version and an unknown subcommand are refused at once."""
    with pytest.raises(ValueError, match=r"version must be 1\.28\.1 or later"):
        NamespaceEngine(tmp_path / "old", version="1.20.2")
    with pytest.raises(ValueError, match="verb must be one of branch, cp, create"):
        engine.strike("strat", "INT")


def test_machines_end_with_the_process_that_made_the_engine(tmp_path: Path) -> None:
    """No VM outlives the process that made its engine, however that ends."""
    code = f"""
import os, signal, sys
from smolkit import Smolvm
from smolkit.testing import NamespaceEngine
machine = Smolvm(NamespaceEngine(sys.argv[1]).program).machine("m")
machine.create()
machine.start()
machine.spawn(["sleep", "{NAP}"])
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "engine")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert b"ready\n" == program.stdout.readline()
    until_gone(NAP)


def test_a_closed_engine_leaves_nothing() -> None:
    """`close` ends all machines, and removes a temporary directory."""
    with NamespaceEngine() as engine:
        machine = Smolvm(engine.program).machine("m", keep=True)
        machine.create()
        machine.start()
        machine.spawn(["sleep", NAP])
        assert ["m-m", "running-m"] == engine.left
    assert not engine.folder.exists()
    until_gone(NAP)


def test_an_engine_that_is_not_closed_leaves_nothing(tmp_path: Path) -> None:
    """A program that does not close its engine leaves no temporary directory when it exits; a fork of it ends nothing."""
    code = """
import os, sys
from smolkit.testing import NamespaceEngine
engine = NamespaceEngine()
if os.fork() == 0:
    sys.exit()
os.wait()
print(engine.program.exists())
"""
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True, text=True)
    assert "True\n" == done.stdout
    assert [] == list(tmp_path.iterdir())


def test_a_temporary_directory_without_programs_is_told(tmp_path: Path) -> None:
    """`unavailable` says so where the temporary directory is mounted noexec."""
    code = "from smolkit.testing import NamespaceEngine; print(NamespaceEngine.unavailable())"
    mounted = 'mount -t tmpfs -o noexec none "$TMPDIR" && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", sys.executable, "-c", code]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert "Permission denied" in done.stdout


def test_a_machine_that_changes_its_files_is_branched(engine: NamespaceEngine) -> None:
    """Processes of a machine stand still while its files are copied for a branch, and go on afterwards."""
    machine = Smolvm(engine.program).machine("m")
    machine.create()
    machine.start(branchable=True)
    machine.sh("mkdir /root/w")
    churn = "cd /root/w; while :; do for i in 1 2 3 4 5 6 7 8; do mkdir d$i; echo >d$i/f; done; rm -r d*; echo >>../n; done"
    machine.spawn(["sh", "-c", churn])
    until(lambda: machine.exists("/root/n"))
    for number in range(6):
        with machine.branch(f"b{number}") as branch:
            assert branch.exists("/root/n")
        machine.remove("/root/n")
        until(lambda: machine.exists("/root/n"))


def test_a_user_who_is_not_root_branches(tmp_path: Path) -> None:
    """A branch has files that nobody may read, also where the caller is not root."""
    code = """
from smolkit import Smolvm
from smolkit.testing import NamespaceEngine
with NamespaceEngine() as engine:
    machine = Smolvm(engine.program).machine("m")
    machine.create()
    machine.start(branchable=True)
    machine.sh("echo kept >/root/x; chmod 0 /root/x; rm -f /etc/passwd", check=True)
    with machine.branch("b") as branch:
        print(branch.sh("cat /root/x; test ! -e /etc/passwd && echo and gone").stdout)
"""
    command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", sys.executable, "-c", code]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "kept\nand gone\n" in done.stdout, done.stderr


def test_a_kernel_that_forbids_namespaces_is_told(tmp_path: Path) -> None:
    """`unavailable` and a start say that this kernel makes no namespaces, and pytest fails with that reason."""
    code = "from smolkit.testing import NamespaceEngine; print(NamespaceEngine.unavailable())"
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)})
    assert "namespaces: No space left on device (os error 28)" in done.stdout


def test_pytest_runs_tests_locally(tmp_path: Path) -> None:
    """`pytest --smolvm=local` really runs commands, says that they are not isolated, and skips what needs the fake."""
    (tmp_path / "test_it.py").write_text("""
def test_one(machine):
    assert "42" == machine.sh("printf $((6 * 7))").stdout

def test_two(smolvm, fake_smolvm):
    pass

def test_three(smolvm):
    assert [] == smolvm.ls()
""")
    status, said = run_pytest(tmp_path, "-c", "/dev/null", f"--rootdir={tmp_path}", "--smolvm=local")
    assert (0, True) == (status, "2 passed, 1 skipped" in said), said
    assert "machines are namespaces of this host (--smolvm=local); they isolate nothing" in said
    assert "this test needs the fake: run it without --smolvm=local" in said

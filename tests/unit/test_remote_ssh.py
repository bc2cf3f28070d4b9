"""A host behind a real OpenSSH server on the loopback."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smolkit import Machine, Smolvm, SshRunner, errors
from smolkit.runners.remote.forwards import Forwards
from smolkit.runners.remote.links import SshLink
from smolkit.testing import NamespaceEngine
from tests import sshd
from tests.far import link_pid
from tests.processes import running, until

pytestmark = pytest.mark.skipif(sshd.program() is None, reason="no sshd: apt install openssh-server")


@pytest.fixture(scope="module")
def config() -> Iterator[Path]:
    """An ssh configuration that knows the host `build1`."""
    # Not below /tmp/pytest-of-...: a socket's path and sshd's own checks want it short.
    with tempfile.TemporaryDirectory(prefix="sk-sshd-", dir="/tmp") as folder, sshd.server(Path(folder, "sshd")) as found:
        yield found


@pytest.fixture
def runner(config: Path, engine: NamespaceEngine) -> Iterator[SshRunner]:
    """A runner of the stand-in engine on that host."""
    made = SshRunner("build1", program=engine.program, options=["-F", str(config)])
    yield made
    made.close()


@pytest.fixture
def m(runner: SshRunner) -> Iterator[Machine]:
    """A machine there."""
    with Smolvm(runner=runner).machine("agent") as machine:
        yield machine


@pytest.fixture
def here_only() -> Iterator[Path]:
    """A directory that the other host does not see, where its server has mounts of its own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_no_shell_reads_what_is_sent(m: Machine, tmp_path: Path) -> None:
    """Words, empty ones too, reach the guest as they are; no shell of the host runs what is in them."""
    trap = tmp_path / "pwned"
    word = f"$HOME;id>{trap};`id>{trap}`$(id>{trap})"
    result = m.exec(["printf", "<%s>", word, "", "'\"\\!", "a\nb"])

    assert f"<{word}><><'\"\\!><a\nb>" == result.stdout
    assert not trap.exists()


def test_secrets_and_statuses_arrive(m: Machine) -> None:
    """A secret arrives (ssh would drop it), the guest's 255 is its own, and bytes are exact."""
    data = bytes(range(256)) * 1000
    result = m.exec(["sh", "-c", "cat; echo $TOKEN >&2; exit 255"], secrets={"TOKEN": "s3cr3t"}, input=data)

    assert (255, data, "s3cr3t\n") == (result.returncode, result.stdout_bytes, result.stderr)


def test_files_are_copied_between_the_hosts(m: Machine, runner: SshRunner, here_only: Path) -> None:
    """cp, upload and download are between the guest and this host; what the engine there reads and writes does not stay."""
    (here_only / "a").write_bytes(os.urandom(3 * 2**20))
    m.cp(here_only / "a", m.path("/root/a"))
    m.cp(m.path("/root/a"), here_only / "b")
    m.upload(here_only / "a", "/root/c")
    m.download("/root/c", here_only / "d")
    with runner.source(str(here_only / "a")) as there, runner.target(str(here_only / "e.tar")) as target:
        shutil.copy(there, target)  # the two hosts of this test share /tmp
        Path(target).chmod(0o750)

    for name in "b", "d", "e.tar":
        assert (here_only / "a").read_bytes() == (here_only / name).read_bytes()
    assert (".tar", 0o750) == (Path(target).suffix, (here_only / "e.tar").stat().st_mode & 0o777)
    until(lambda: not Path(there).exists() and not Path(target).exists())
    assert ["a", "b", "d", "e.tar"] == sorted(os.listdir(here_only))
    if os.geteuid() == 0:
        assert runner.read_log("/proc/sys/kernel/hostname", 0) == b"build1\n"
        assert runner.read_log(str(here_only / "a"), 0) == b""  # that host has another /dev/shm


def test_a_target_that_is_not_written_is_no_file(m: Machine, runner: SshRunner, here_only: Path) -> None:
    """A copy that failed replaces nothing here; a part that need not exist may be missing."""
    (here_only / "old").write_text("old")
    with pytest.raises(errors.SmolvmError):
        m.cp(m.path("/nonexistent"), here_only / "old")
    with pytest.raises(errors.SmolvmError, match="wrote no file"), runner.target(str(here_only / "old")):
        pass
    assert "old" == (here_only / "old").read_text()
    with runner.target(str(here_only / "old")) as part, runner.target(str(here_only / "side"), part + ".side"):
        Path(part).write_text("new")
    for source, error in (("none", FileNotFoundError), (".", IsADirectoryError)):
        with pytest.raises(error):
            m.cp(here_only / source, m.path("/root/x"))

    assert ["old"] == os.listdir(here_only)
    assert "new" == (here_only / "old").read_text()


def test_killing_ssh_is_a_lost_host(m: Machine, runner: SshRunner, engine: NamespaceEngine) -> None:
    """When ssh is killed, calls raise HostLostError, what ran there ends, and its machines are removed."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(m.exec, ["sleep", "81.5"])
        until(lambda: running("81.5"))
        os.kill(link_pid(runner), signal.SIGKILL)
        with pytest.raises(errors.HostLostError):
            call.result(60)
    until(lambda: not running("81.5"))
    until(lambda: not engine.left)


def test_ssh_says_why_it_cannot(config: Path) -> None:
    """What ssh says is in the error: an unknown host, a key that nobody knows."""
    for name, words in (
        ("nowhere.invalid", "(?s)exit status 255.*nowhere.invalid"),
        ("build1", "(?s)255.*ermission denied"),
    ):
        options = ["-F", str(config), "-o", "PubkeyAuthentication=no"]
        with pytest.raises(errors.HostUnreachableError, match=words):
            Smolvm(runner=SshRunner(name, options=options)).ls()


def test_a_handle_reaches_its_host_from_another_one(m: Machine, tmp_path: Path) -> None:
    """A handle that is pickled to another program reaches the same engine."""
    (tmp_path / "handle").write_bytes(pickle.dumps(m))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).exec(['echo', 'hi']).stdout)"
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "handle"], cwd="/", capture_output=True, text=True, check=True
    )

    assert "hi\n\n" == found.stdout


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/usr/bin/fish", "/bin/tcsh", "/bin/zsh"])
def test_any_login_shell_starts_the_far_end(
    shell: str, engine: NamespaceEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The line that starts the far end means the same to every login shell."""
    if not os.path.exists(shell):
        pytest.skip(f"no {shell}")
    with tempfile.TemporaryDirectory(prefix="sk-sshd-", dir="/tmp") as folder:
        force = f'{shell} -c "$SSH_ORIGINAL_COMMAND"'
        with sshd.server(Path(folder, "sshd"), ForceCommand=force) as config:
            runner = SshRunner("build1", program=engine.program, options=["-F", str(config)])
            assert [] == Smolvm(runner=runner).ls()
            runner.close()


@pytest.mark.parametrize("host", ["-oProxyCommand=id", "a b", "", "a\nb", "user@-oProxyCommand=id"])
def test_a_host_that_ssh_could_take_for_an_option_is_refused(host: str) -> None:
    """A host that begins with a dash, or has white space, is refused."""
    with pytest.raises(ValueError, match="host must"):
        SshRunner(host)


def test_options_are_words() -> None:
    """A str for options is refused, as for every list of words."""
    with pytest.raises(TypeError, match="options"):
        SshRunner("build1", options="-p 22")


def test_a_port_leads_there_until_the_machine_ends(m: Machine, runner: SshRunner, tmp_path: Path) -> None:
    """A published port is reached through a forward, which stands when `reach` returns and ends with the machine."""
    with socket.socket() as server, socket.socket() as taken:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        here = runner.reach("agent", port)
        assert here not in {port, 0}  # this host has the same loopback, so that the number is taken
        assert here == runner.reach("agent", port)
        with socket.create_connection(("127.0.0.1", here), 10) as near:
            far, _ = server.accept()
            near.sendall(b"hello")
            assert b"hello" == far.recv(5)
            far.close()
        m.stop()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", here), 10)
        del taken


def test_a_guest_is_reached_by_its_address_here(runner: SshRunner) -> None:
    """url() is an address of this host that leads to the guest's published port."""
    client = Smolvm(runner=runner)
    with client.machine("agent", ports=[(client.free_port(), 8080)], net=True) as machine:
        machine.spawn(["sh", "-c", "echo hello from the guest | nc -l -p 8080"])
        machine.wait_until(port=8080)
        host, _, port = machine.url(8080, "tcp").removeprefix("tcp://").partition(":")
        with socket.create_connection((host, int(port)), 10) as link, link.makefile("rb") as answer:
            assert b"hello from the guest\n" == answer.readline()


def test_a_forward_ends_with_its_program(config: Path, engine: NamespaceEngine) -> None:
    """A forward does not outlive the program that opened it, not even one that is killed."""
    code = """
import os, signal, sys
from smolkit import SshRunner
print(SshRunner("build1", options=["-F", sys.argv[1]]).reach("agent", 1), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(config)], stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    here = int(done.stdout)

    def is_open() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", here)) == 0

    until(lambda: not is_open())
    assert -signal.SIGKILL == done.returncode


def test_a_forward_that_fails_says_why(runner: SshRunner, m: Machine) -> None:
    """A forward that cannot be made is an error with ssh's words."""
    runner.link = SshLink("nowhere.invalid")
    runner._forwards = Forwards(runner.link)
    with pytest.raises(errors.HostUnreachableError, match=r"(?s)does not forward the port: .*nowhere\.invalid"):
        runner.reach("agent", 1)


def test_the_command_line_takes_a_host(config: Path, engine: NamespaceEngine, tmp_path: Path) -> None:
    """`smolkit --host build1 run ...` runs there; the host is one of ssh's own configuration."""
    # ssh reads no HOME, but that of the user database: its configuration is given by a program in its place.
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    ssh.chmod(0o755)
    env = {**os.environ, "PATH": f"{ssh.parent}:{os.environ['PATH']}"}
    words = [sys.executable, "-m", "smolkit", "--host", "build1", "--engine", str(engine.program)]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, *arguments], env=env, capture_output=True, text=True, check=False, timeout=120)

    assert (0, "hi\n") == ((done := run("run", "--", "sh", "-c", "echo hi")).returncode, done.stdout), done.stderr
    assert 7 == run("run", "--", "sh", "-c", "exit 7").returncode
    assert "NAME" in run("ls").stdout
    assert [] == engine.left
    refused = run("--host", "-oProxyCommand=id", "ls")
    assert 2 == refused.returncode
    assert 1 == (lost := run("--host", "nowhere.invalid", "ls")).returncode
    assert "cannot reach ssh nowhere.invalid" in lost.stderr

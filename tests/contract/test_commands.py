"""Commands in the guest behave the same on the fake and on real engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from smolkit import ExecResult, Machine, Secret, errors
from tests.contract.conftest import World

LISTED = "f\nq\n.\n..\nf\n\n.:\nf\nq\n\nq:\n"
# A script, its exit status, stdout and stderr (None: not compared).
SCRIPTS: list[tuple[str, int, str, str | None]] = [
    ("true", 0, "", ""),
    ("false", 1, "", ""),
    ("exit 7", 7, "", ""),
    ("exit 300", 44, "", ""),
    ("false; exit", 1, "", ""),
    ("echo a  b", 0, "a b\n", ""),
    ("echo 'a  b' \"c  d\" e\\ \\ f", 0, "a  b c  d e  f\n", ""),
    ("echo -n x", 0, "x", ""),
    ("echo '' \"\" x", 0, "  x\n", ""),
    ('echo "$GREETING"', 0, "hi there\n", ""),
    ('echo "<${GREETING}>" "$NOSUCH"', 0, "<hi there> \n", ""),
    ("echo '$GREETING' \\$GREETING \"\\$GREETING\"", 0, "$GREETING $GREETING $GREETING\n", ""),
    ("echo $NOSUCH x", 0, "x\n", ""),
    ("true && echo yes || echo no", 0, "yes\n", ""),
    ("false && echo yes || echo no", 0, "no\n", ""),
    ("false || false", 1, "", ""),
    ("false; echo $?", 0, "1\n", ""),
    ("echo a; echo b >&2", 0, "a\n", "b\n"),
    ("echo a >&2 2>&1", 0, "", "a\n"),
    ("echo a | cat | cat", 0, "a\n", ""),
    ("false | true", 0, "", ""),
    ("true | false", 1, "", ""),
    ("echo x >/tmp/f; echo y >>/tmp/f; cat /tmp/f; cat </tmp/f", 0, "x\ny\nx\ny\n", ""),
    ("echo a >/dev/null; echo b", 0, "b\n", ""),
    ("cat /no/such 2>/tmp/e; echo $?; cat /tmp/e", 0, "1\ncat: can't open '/no/such': No such file or directory\n", ""),
    ("cat /no/such", 1, "", "cat: can't open '/no/such': No such file or directory\n"),
    ("cat /root", 1, "", "cat: read error: Is a directory\n"),
    ("nosuchprogram", 127, "", "sh: nosuchprogram: not found\n"),
    ("nosuchprogram 2>/dev/null || echo fallback", 0, "fallback\n", ""),
    ("echo x >/no/such/place", 1, "", None),
    ("cat </no/such", 1, "", None),
    ("# a comment\necho after # another", 0, "after\n", ""),
    ("echo one\n\necho two", 0, "one\ntwo\n", ""),
    ("echo a \\\n b", 0, "a b\n", ""),
    ("sh -c 'echo deep; exit 4'", 4, "deep\n", ""),
    ("test -d /root && test -e /root && ! test -f /root || echo no", 0, "", None),
    ("test -f /no/such", 1, "", ""),
    ("pwd", 0, "/\n", ""),
    ("cd /root && pwd && cd .. && pwd; cd /tmp | true; pwd", 0, "/root\n/\n/\n", ""),
    ("cd /no/such; echo $?", 0, "2\n", "sh: cd: line 0: can't cd to /no/such: No such file or directory\n"),
    ("cd /etc/passwd/x", 2, "", None),
    ("mkdir -p /tmp/p/q /tmp/p; cd /tmp/p; echo x >f; ls; ls -a q; ls -1A . q f", 0, LISTED, ""),
    ("rm -rf /tmp/p; mkdir /tmp/p; mkdir /tmp/p", 1, "", "mkdir: can't create directory '/tmp/p': File exists\n"),
    ("mkdir /no/such/x", 1, "", "mkdir: can't create directory '/no/such/x': No such file or directory\n"),
    ("ls /no/such; ls ''", 1, "", "ls: /no/such: No such file or directory\nls: : No such file or directory\n"),
    ("rm /no/such; rm -f /no/such", 0, "", "rm: can't remove '/no/such': No such file or directory\n"),
    ("rm /tmp", 1, "", "rm: '/tmp' is a directory\n"),
    ("/bin/sh -c '/bin/echo a; /bin/pwd; /bin/mkdir -p /tmp/x && /bin/ls /no/such'", 1, "a\n/\n", None),
    ("printf '%s-%d|' a 1 b 2; printf '%5s|%-3s|%03d|%.1s%%\\101\\n' x y 7 zz", 0, "a-1|b-2|    x|y  |007|z%A\n", ""),
]
SCRIPTS = [row for row in SCRIPTS if "!" not in row[0]]


@pytest.mark.parametrize(("script", "returncode", "stdout", "stderr"), SCRIPTS, ids=range(len(SCRIPTS)))
def test_scripts(machine: Machine, script: str, returncode: int, stdout: str, stderr: str | None) -> None:
    """A script that the fake's small shell supports gives the same result in a real shell."""
    result = machine.sh(script)

    assert (returncode, stdout) == (result.returncode, result.stdout)
    assert stderr is None or stderr == result.stderr


def shown(result: ExecResult) -> tuple[int, str, str]:
    """The parts of a result that are compared."""
    return result.returncode, result.stdout, result.stderr


@pytest.mark.differs
def test_programs_without_a_shell(machine: Machine) -> None:
    """Arguments are passed on unchanged, without expansion by a shell."""
    assert (0, "a  b $GREETING *\n", "") == shown(machine.exec(["echo", "a  b", "$GREETING", "*"]))
    assert (1, "", "") == shown(machine.exec(["false"]))


@pytest.mark.differs
def test_input(machine: Machine) -> None:
    """Input and output are exact bytes, and without input stdin is empty."""
    data = bytes(range(256)) * 20
    assert data == machine.exec(["cat"], input=data).stdout_bytes
    assert (0, "", "") == shown(machine.exec(["cat"]))


@pytest.mark.differs
def test_variables_and_workdir(machine: Machine) -> None:
    """A command's variables take precedence over the machine's, and workdir is its working directory."""
    script = 'echo "$GREETING $MORE"; pwd; cat here'
    machine.write_text("/root/here", "found\n")
    result = machine.sh(script, env={"GREETING": "hello", "MORE": "a=b c"}, workdir="/root")
    assert (0, "hello a=b c\n/root\nfound\n", "") == shown(result)


@pytest.mark.differs
def test_secrets(machine: Machine) -> None:
    """Secrets are variables of their own command only."""
    assert (0, "s3cr3t\n", "") == shown(machine.sh('echo "$TOKEN"', secrets={"TOKEN": "s3cr3t"}))
    assert (0, "\n", "") == shown(machine.sh('echo "$TOKEN"'))


@pytest.mark.differs
def test_secrets_of_a_handle_that_did_not_make_the_machine(machine: Machine, world: World, tmp_path: Path) -> None:
    """A handle that did not make the machine passes its secrets with each command, files as they are then."""
    (tmp_path / "file").write_text("from a file\n")
    secrets: dict[str, str | Secret] = {"TOKEN": "s3cr3t", "D.B": "dotted", "FILE": Secret.file(tmp_path / "file")}
    other = world.client.machine(machine.name, secrets=secrets)

    assert (0, "s3cr3t from a file\n", "") == shown(other.sh('echo "$TOKEN $FILE"'))
    assert (0, "own\n", "") == shown(other.sh('echo "$TOKEN"', secrets={"TOKEN": "own"}))


@pytest.mark.differs
def test_missing_sources_of_secrets(machine: Machine, world: World, tmp_path: Path) -> None:
    """An unset variable, a missing file and a symlink are refused as sources of secrets."""
    (tmp_path / "link").symlink_to("/etc/hostname")
    for name in ("missing", "link"):
        with pytest.raises(errors.ConfigError, match="resolve secret 'A': file_read_failed"):
            machine.exec(["true"], secrets={"A": Secret.file(tmp_path / name)})
    made = world.client.machine(secrets={"B": "s3cr3t"}, **world.small)
    with made, pytest.raises(errors.SecretUnsetError, match="resolve secret 'B': env_unset"):
        world.client.machine(made.name).exec(["true"])


@pytest.mark.differs
def test_no_such_program(machine: Machine, world: World) -> None:
    """A missing program or path is an error of its own type, with the status that a shell would give."""
    live = world.supports("--error-format")
    words = "vm exec interactive: No such" if live else "vm exec: failed to spawn command: No such"
    for command, workdir in ((["nosuchprogram"], None), (["/no/such"], None), (["nosuchprogram"], "/root")):
        with pytest.raises(errors.ProgramNotFoundError, match=words) as caught:
            machine.exec(command, workdir=workdir)
        assert 127 == caught.value.shell_status


@pytest.mark.differs
def test_no_such_workdir(machine: Machine) -> None:
    """A working directory that is missing, or no directory, is not taken for a missing program, in no kind of call."""
    for command, workdir in ((["true"], "/no/such"), (["nosuchprogram"], "/no/such"), (["true"], "/etc/passwd")):
        with pytest.raises(errors.WorkdirNotFoundError, match=workdir) as caught:
            machine.exec(command, workdir=workdir)
        assert 127 == caught.value.shell_status
    with pytest.raises(errors.WorkdirNotFoundError):
        machine.popen(["true"], workdir="/no/such").wait()
    with pytest.raises(errors.WorkdirNotFoundError):
        machine.spawn(["true"], workdir="/no/such")


@pytest.mark.differs
def test_a_file_that_is_not_executable(machine: Machine) -> None:
    """A file that is not executable cannot be run."""
    machine.write_text("/root/text", "no program")
    with pytest.raises(errors.ProgramNotExecutableError, match="Permission denied") as caught:
        machine.exec(["/root/text"])
    assert 126 == caught.value.shell_status
    assert 126 == machine.sh("/root/text").returncode


@pytest.mark.differs
def test_timeouts(machine: Machine, world: World) -> None:
    """A timeout ends the command, and the error has its output so far."""
    with pytest.raises(errors.ExecTimeoutError) as caught:
        machine.sh("echo before; sleep 60; echo after", timeout=4)

    assert 124 == caught.value.returncode
    assert "after" not in str(caught.value.stdout)
    assert not world.supports("--error-format") or "before\n" == caught.value.stdout
    assert (0, "", "") == shown(machine.exec(["sleep", "0.1"], timeout=30))


@pytest.mark.differs
def test_an_early_status_of_124_is_a_result(machine: Machine) -> None:
    """Exit status 124 before the timeout is over is a result."""
    assert 124 == machine.sh("exit 124", timeout=300).returncode


@pytest.mark.differs
def test_a_process(machine: Machine) -> None:
    """A process's output can be read as it is written, and its exit status at the end."""
    with machine.popen(["sh", "-c", "echo out; echo err >&2; cat; exit 5"], stdin=True) as process:
        assert process.stdin is not None
        process.stdin.write(b"given")
        process.stdin.close()
        found: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        for stream, data in process:
            found[stream] += data
    assert (5, {"stdout": b"out\ngiven", "stderr": b"err\n"}) == (process.returncode, found)


def test_a_process_answers_its_input(machine: Machine) -> None:
    """A process answers each input, and a read that times out does not end it."""
    with machine.popen(["cat"], stdin=True) as process:
        assert process.stdin is not None
        pieces = iter(process)
        for word in (b"one", b"two"):
            process.stdin.write(word)
            assert ("stdout", word) == next(pieces)
        with pytest.raises(TimeoutError):
            process.wait(timeout=1)
        process.stdin.close()
        assert [] == list(pieces)
    assert 0 == process.returncode


@pytest.mark.differs
def test_a_process_of_a_missing_program(machine: Machine) -> None:
    """popen of a missing program raises the same error as exec."""
    with pytest.raises(errors.ProgramNotFoundError):
        machine.popen(["nosuchprogram"]).wait()


@pytest.mark.differs
def test_a_process_that_times_out(machine: Machine) -> None:
    """A process is ended when its timeout is over."""
    with pytest.raises(errors.ExecTimeoutError):
        machine.popen(["sleep", "60"], timeout=3).wait()


@pytest.mark.differs
def test_a_spawned_command(machine: Machine) -> None:
    """A spawned command runs until it ends or is killed."""
    spawned = machine.spawn(["sleep", "600"])
    assert spawned.pid > 0
    assert spawned.is_running()
    spawned.kill()
    assert not spawned.is_running()


def test_waiting_for_a_file_and_a_command(machine: Machine) -> None:
    """wait_until returns once a file exists or a command succeeds, and raises if that takes too long."""
    machine.wait_until(path="/root", timeout=30)
    machine.wait_until(command=["test", "-d", "/root"], timeout=30)
    with pytest.raises(errors.WaitTimeoutError, match="/no/such did not exist within 2 s"):
        machine.wait_until(path="/no/such", timeout=2)
    with pytest.raises(errors.WaitTimeoutError, match="nothing listened on port 4711"):
        machine.wait_until(port=4711, timeout=2)

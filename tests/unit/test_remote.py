"""An engine on another host: everything holds over one link that holds on one host."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smolkit import Invocation, Machine, RemoteRunner, Smolvm, SshRunner, StdioLink, SubprocessRunner, errors
from smolkit.testing import NamespaceEngine
from tests import far as far_ends
from tests.far import descendants, far_pid, link_pid
from tests.processes import running, until


@pytest.fixture
def runner(engine: NamespaceEngine) -> Iterator[RemoteRunner]:
    """A runner of the stand-in engine at a far end."""
    made = far_ends.runner(engine)
    yield made
    made.close()


@pytest.fixture
def far(runner: RemoteRunner) -> Smolvm:
    """A client of that."""
    return Smolvm(runner=runner)


@pytest.fixture
def m(far: Smolvm) -> Iterator[Machine]:
    """A machine that runs there."""
    with far.machine("agent") as machine:
        yield machine


def test_a_life(far: Smolvm, engine: NamespaceEngine) -> None:
    """A machine's life is the same calls as on one host, and leaves nothing."""
    with far.machine("agent") as machine:
        assert "hi\n" == machine.exec(["echo", "hi"]).stdout
        assert ["agent"] == [info.name for info in far.ls()]

    assert [] == engine.left
    assert {"create", "start", "exec", "ls", "delete"} == set(engine.calls)


@pytest.mark.parametrize(
    "word",
    [
        "",
        " ",
        "$HOME;id>/tmp/pwned",
        "'\"`\\",
        "a\nb",
        "-n",
        "--",
        "*",
        "~",
        "é漢🦀",
        "!!",
        "%s",
        "\x01\x7f",
        "x" * 100_000,
    ],
)
def test_words_arrive_as_they_are(m: Machine, word: str) -> None:
    """No shell on the way reads the words of a command, and none is lost."""
    assert f"<{word}><>".encode() == m.exec(["printf", "<%s>", word, ""]).stdout_bytes


def test_bytes_and_statuses_are_the_guests(m: Machine) -> None:
    """Input and output are exact, the streams apart, and 255 is the guest's own status."""
    data = bytes(range(256)) * 4000
    result = m.exec(["sh", "-c", "cat; echo err >&2; exit 255"], input=data)

    assert (255, data, b"err\n") == (result.returncode, result.stdout_bytes, result.stderr_bytes)


def test_secrets_are_in_no_argv_and_no_environment_there(m: Machine, runner: RemoteRunner) -> None:
    """A secret reaches the guest, and neither the argv nor the environment of the link and of the far process."""
    result = m.exec(["sh", "-c", "echo $TOKEN"], secrets={"TOKEN": "s3cr3t-of-this-test"})
    processes = descendants(link_pid(runner))
    shown = b"".join(Path(f"/proc/{pid}/{file}").read_bytes() for pid in processes for file in ("cmdline", "environ"))

    assert "s3cr3t-of-this-test\n" == result.stdout
    assert far_pid(runner) in processes
    assert b"s3cr3t" not in shown


def test_a_timeout_keeps_the_output(program: Path, tmp_path: Path) -> None:
    """A call that outlives its bound, by the runner's clock, is ended there, and its output until then is kept."""

    class Late(RemoteRunner):
        """A runner whose time is over once the command has begun."""

        def clock(self) -> float:
            """A hundred seconds later then."""
            return time.monotonic() + 100 * (tmp_path / "begun").exists()

    runner = Late(far_ends.link(tmp_path), program=program, version="1.32.2")
    script = f"echo begun; touch {tmp_path / 'begun'}; exec sleep 61.5"
    done = runner.execute(Invocation(("--", "sh", "-c", script), timeout=60))
    runner.close()

    assert ("timeout", b"begun\n") == (done.ended_by, done.stdout)
    assert not running("61.5")


def test_output_is_bounded(engine: NamespaceEngine) -> None:
    """A command that writes more than the limit is cut off."""
    client = Smolvm(runner=far_ends.runner(engine, output_limit=10_000))
    with client.machine("agent") as machine, pytest.raises(errors.OutputLimitError):
        machine.exec(["sh", "-c", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done"])


def test_many_calls_share_one_far_process(m: Machine, runner: RemoteRunner, tmp_path: Path) -> None:
    """64 commands at once run over one session: all run at the same time, and each gets its own output."""
    script = 'echo >>"$1"; while [ $(wc -l <"$1") -lt 64 ]; do sleep 0.1; done; cat'
    path = str(tmp_path / "gate")
    before = far_pid(runner)
    with ThreadPoolExecutor(64) as pool:
        calls = [pool.submit(m.exec, ["sh", "-c", script, "sh", path], input=b"%d" % number) for number in range(64)]
        outputs = [call.result().stdout for call in calls]

    assert [str(number) for number in range(64)] == outputs
    assert before == far_pid(runner)


def test_popen_is_live(m: Machine) -> None:
    """Output arrives as it is written, and input goes there while the command runs."""
    with m.popen(["sh", "-c", "read a; echo got $a; read b; echo and $b >&2"], stdin=True, text=True) as process:
        assert process.stdin is not None
        process.stdin.write("one\n")
        lines = iter(process)
        first = next(lines)
        process.stdin.write("two\n")
        rest = list(lines)

    assert [("stdout", "got one\n"), ("stderr", "and two\n")] == [first, *rest]
    assert 0 == process.returncode


def test_a_slow_reader_slows_the_command_down(m: Machine) -> None:
    """Output that nobody reads stops the command: little of it is in memory, here and there."""
    with m.popen(["sh", "-c", "head -c 200000000 /dev/zero; echo done >&2"]) as process:
        pieces = iter(process)
        next(pieces)
        time.sleep(1)
        assert process._live._channel.arrived < 2**25  # type: ignore[attr-defined]
        streams = {"stdout": 0, "stderr": 0}
        for stream, piece in pieces:
            streams[stream] += len(piece)

    assert 0 == process.returncode
    assert 200_000_000 - 65_536 <= streams["stdout"] < 200_000_000
    assert 5 == streams["stderr"]


def test_much_input_goes_through(m: Machine) -> None:
    """Input of many windows arrives, no faster than the command reads it."""
    with m.popen(["sh", "-c", "sleep 0.5; wc -c"], stdin=True) as process:
        assert process.stdin is not None
        for _ in range(60):
            process.stdin.write(bytes(2**20))
        process.stdin.close()
        out = b"".join(piece for _, piece in process)

    assert 60 * 2**20 == int(out)


def test_a_command_that_reads_no_more_breaks_the_pipe(m: Machine) -> None:
    """Writing to a command that has closed its input is a BrokenPipeError, as on one host."""
    with m.popen(["sh", "-c", "exec <&-; sleep 0.2"], stdin=True, grace=10) as process:
        assert process.stdin is not None
        with pytest.raises(BrokenPipeError):
            for _ in range(1000):
                process.stdin.write(bytes(2**18))


def test_killing_ends_the_command_there(m: Machine) -> None:
    """kill ends the command at the far end."""
    process = m.popen(["sleep", "62.5"])
    until(lambda: running("62.5"))
    process.kill()
    process.wait()

    assert -9 == process.returncode
    until(lambda: not running("62.5"))


def test_a_dropped_process_is_killed(m: Machine) -> None:
    """A command that nobody holds any more is ended at the far end."""
    process = m.popen(["sleep", "63.5"])
    until(lambda: running("63.5"))
    with pytest.warns(ResourceWarning):
        del process
    until(lambda: not running("63.5"))


def test_what_belongs_to_the_host_is_asked_there(far: Smolvm, runner: RemoteRunner) -> None:
    """The owner of machines is the far process; the doctor, ports and logs are the far host's."""
    with far.machine() as machine:
        owner = far.machine(machine.name).status().labels["smolkit.owner"]
        fresh = machine.name
    checks = {check.name: check.ok for check in far.doctor()}

    assert str(runner.here().me) == owner
    assert os.getpid() != far_pid(runner)
    assert runner.here().is_alive(os.getpid(), 0)
    assert not runner.here().is_alive(2**22 + 1, 0)
    assert {"host": True, "program": True, "version": True}.items() <= checks.items()
    assert far.free_port() != far.free_port()
    assert runner.read_log("/proc/self/cmdline", 0).startswith(b"python3")
    assert fresh.startswith("smolkit-")


def test_the_first_start_is_alone_over_all_clients(engine: NamespaceEngine) -> None:
    """The lock for the first start on a host is the far host's: it holds for two far processes, and for local starts."""
    engine.fault("start", "hang")
    first, second = far_ends.runner(engine), far_ends.runner(engine)

    def start_and_be_lost() -> None:
        with pytest.raises(errors.HostLostError):
            Smolvm(runner=first).machine("a").start()

    Smolvm(runner=first).machine("a").create()
    waiting = threading.Thread(target=start_and_be_lost)
    waiting.start()
    until(lambda: "start" in engine.calls)
    with pytest.raises(errors.QueueTimeoutError, match="first start"):
        other = Smolvm(runner=second).machine("b")
        other.create()
        other.start(timeout=1)
    first.close()
    waiting.join()
    second.close()


def test_files_go_to_and_from_this_host(m: Machine, far: Smolvm, engine: NamespaceEngine, tmp_path: Path) -> None:
    """upload and download copy trees over the link, with modes, times and symlinks."""
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep/file").write_bytes(os.urandom(3 * 2**20))
    (tree / "deep/file").chmod(0o741)
    (tree / "link").symlink_to("deep/file")
    m.upload(tree, engine.folder / "there")
    m.download(engine.folder / "there", tmp_path / "back")
    m.download(engine.folder / "there/deep/file", tmp_path / "one")

    assert (tree / "deep/file").read_bytes() == (tmp_path / "back/link").read_bytes() == (tmp_path / "one").read_bytes()
    assert 0o741 == (tmp_path / "one").stat().st_mode & 0o777


def test_an_engine_that_is_missing_there_is_an_error(engine: NamespaceEngine) -> None:
    """A program that the far host does not have is an EngineNotFoundError, which names the host."""
    runner = RemoteRunner(far_ends.link(engine.folder), program="/nonexistent/smolvm")
    with pytest.raises(errors.EngineNotFoundError, match=r"env .*no program /nonexistent/smolvm"):
        Smolvm(runner=runner).ls()

    assert not runner.is_available()
    assert [False] == [check.ok for check in runner.doctor() if check.name == "program"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/nonexistent/program"], "there is no program /nonexistent/program"),
        (["sh", "-c", "echo Connection refused >&2; exit 255"], r"(?s)exit status 255.*Connection refused"),
        (["env", "PATH=/nonexistent"], "(?s)exit status 127.*sh"),
        (["sh", "-c", "exit 0"], "exit status 0"),
        (["sh", "-c", "yes Welcome"], "it prints b'Welcome"),
    ],
)
def test_a_host_that_cannot_be_reached_is_an_error(argv: list[str], words: str) -> None:
    """A link that leads nowhere is a HostUnreachableError with its program's words: never a guest's status."""
    runner = RemoteRunner(StdioLink(argv))
    with pytest.raises(errors.HostUnreachableError, match=words):
        Smolvm(runner=runner).machine("m").exec(["true"])

    assert not runner.is_available()
    assert [("host", False)] == [(check.name, check.ok) for check in runner.doctor()]


def test_a_host_without_python_is_an_error(tmp_path: Path) -> None:
    """A host without Python, or with an old one, is an error that says what is needed."""
    for name, text in (("python3.12", "exit 127"), ("python3", "exit 97")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sh").symlink_to("/bin/sh")
    with pytest.raises(errors.HostUnreachableError, match=r"no Python 3\.11 or later on PATH"):
        Smolvm(runner=RemoteRunner(StdioLink(["env", f"PATH={tmp_path}"]))).ls()


def test_a_host_that_does_not_answer_is_an_error() -> None:
    """A link on which nobody answers is given up after connect_timeout, and its program ended."""
    runner = RemoteRunner(StdioLink(["sleep", "64.5"]), connect_timeout=0.3)
    with pytest.raises(errors.HostUnreachableError, match=r"no answer within 0\.3 s"):
        Smolvm(runner=RemoteRunner(StdioLink(["sh", "-c", "exec sleep 64.5"]), connect_timeout=0.3)).ls()
    until(lambda: not running("64.5"))

    assert not runner.is_available()


def test_words_of_a_login_shell_do_no_harm(engine: NamespaceEngine) -> None:
    """A login shell that prints a greeting does not disturb the link."""
    noisy = StdioLink(
        ["sh", "-c", 'echo Welcome; echo to build1 >&2; exec "$@"', "sh", *far_ends.link(engine.folder).arguments]
    )
    with Smolvm(runner=RemoteRunner(noisy, program=engine.program)).machine("agent") as machine:
        assert "hi\n" == machine.exec(["echo", "hi"]).stdout


def test_handles_know_their_host(engine: NamespaceEngine, far: Smolvm) -> None:
    """Machines of one name on two hosts are not equal; a pickled handle reaches the same engine."""
    local = Smolvm(runner=SubprocessRunner(engine.program)).machine("agent")
    with far.machine("agent") as machine:
        copy = pickle.loads(pickle.dumps(machine))
        assert copy == machine
        assert hash(copy) == hash(machine)
        assert "hi\n" == copy.exec(["echo", "hi"]).stdout

    assert local != machine
    assert SshRunner("build1").host == SshRunner("build1").host != SshRunner("build2").host


def test_a_link_that_leads_elsewhere_is_refused(runner: RemoteRunner) -> None:
    """A pickled runner whose link leads to another host than before raises, and reaches no machine there."""
    runner.here()
    copy = pickle.loads(pickle.dumps(runner))
    copy._place = "01234567"
    with pytest.raises(errors.HostUnreachableError, match="another host than before"):
        Smolvm(runner=copy).ls()


def test_a_dry_run_runs_nothing_there(far: Smolvm, engine: NamespaceEngine) -> None:
    """A dry run plans the calls of a far engine."""
    assert "1.32.2" == far.engine.version
    with far.dry_run(echo=False) as plan:
        far.machine("agent").start()

    assert "machine start --name agent" in plan.lines[-1]
    assert [] == engine.calls

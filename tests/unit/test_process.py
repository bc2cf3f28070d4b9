"""Followed commands, on the fake and with real processes as the engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smolkit import Completed, Invocation, Machine, Smolvm, SubprocessRunner, errors
from smolkit.commands import Exec, Logs, Spawn
from smolkit.commands.call import Call
from smolkit.runners.live import Live, Replayed
from smolkit.testing import FakeRunner
from tests.processes import running, until
from tests.recorded import as_json


def test_pieces_come_as_they_are_written(local_machine: Machine, tmp_path: Path) -> None:
    """Pieces arrive with their stream as they are written, and the exit status at the end of the iteration."""
    wait = f"until [ -e {tmp_path}/%s ]; do sleep 0.01; done"
    process = local_machine.popen(["sh", "-c", f"printf one; {wait % 1}; printf two >&2; {wait % 2}; exit 3"])
    pieces = []
    for number, piece in enumerate(process, 1):
        pieces.append(piece)
        (tmp_path / str(number)).touch()

    assert [("stdout", b"one"), ("stderr", b"two")] == pieces
    assert 3 == process.returncode == process.wait() == process.poll()
    assert ("sh", "-c") == process.args[:2]


def test_lines_of_text(local_machine: Machine) -> None:
    """Split characters and lines are joined, invalid UTF-8 is replaced, and a last line may lack its newline."""
    script = r"printf 'gr\303'; sleep 0.1; printf '\274n\nx\377y'; printf 'e\n' >&2"
    process = local_machine.popen(["sh", "-c", script], text=True)

    assert [("stderr", "e\n"), ("stdout", "grün\n"), ("stdout", "x\ufffdy")] == sorted(process)


def test_an_endless_line_arrives_in_parts(local_machine: Machine) -> None:
    """A line that never ends arrives in parts of bounded size."""
    process = local_machine.popen(["sh", "-c", "head -c 5000000 /dev/zero"], text=True)

    assert max(len(line) for _, line in process) <= 2**20 + 2**20


def test_an_input_to_write_to(local_machine: Machine) -> None:
    """Answers arrive before stdin is closed, and text is UTF-8."""
    with local_machine.popen(["cat"], stdin=True) as process:
        assert process.stdin is not None
        pieces = iter(process)
        process.stdin.write("grün")
        assert ("stdout", "grün".encode()) == next(pieces)
        process.stdin.write(b"more")
        assert ("stdout", b"more") == next(pieces)
        process.stdin.close()
        with pytest.raises(ValueError, match="closed"):
            process.stdin.write(b"x")
        assert [] == list(pieces)
    assert 0 == process.returncode


def test_without_an_input_there_is_none(local_machine: Machine) -> None:
    """Without stdin=True the command sees the end of its stdin at once."""
    process = local_machine.popen(["cat"])

    assert process.stdin is None
    assert 0 == process.wait()


@pytest.mark.parametrize(("end", "code"), [("terminate", -15), ("kill", -9)])
def test_a_process_can_be_ended(local_machine: Machine, end: str, code: int) -> None:
    """A process can be terminated and killed as with subprocess: the status is the signal's, and nothing is raised."""
    process = local_machine.popen(["sleep", "60"])
    assert process.poll() is None
    getattr(process, end)()

    assert code == process.wait()
    getattr(process, end)()
    assert f"<Process ['sleep', '60'] in 'm': returncode={code}>" == repr(process)


def test_wait_takes_a_timeout(local_machine: Machine) -> None:
    """wait takes a timeout, and the command runs on after it."""
    with pytest.raises(KeyError), local_machine.popen(["sh", "-c", "echo x; sleep 60"]) as process:
        with pytest.raises(TimeoutError, match=r"did not end within 0\.1 s"):
            process.wait(0.1)
        assert process.poll() is None
        raise KeyError("mine")
    assert -9 == process.returncode


def test_a_successful_block_waits(local_machine: Machine) -> None:
    """A block that succeeds waits for its command, and discards unread output of any size."""
    with local_machine.popen(["sh", "-c", "head -c 3000000 /dev/zero; exit 4"]) as process:
        pass
    assert 4 == process.returncode


def test_a_process_that_is_dropped(local_machine: Machine) -> None:
    """A dropped process gives a ResourceWarning, as in subprocess."""
    process = local_machine.popen(["sleep", "60"])
    live = process._live
    with pytest.warns(ResourceWarning, match="was left without waiting for its end"):
        del process
    live.end(kill=True)
    live.close()


class Stuck(FakeRunner):
    """A fake whose calls never end by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.now_is = 0.0

    def clock(self) -> float:
        """A clock that advances with each wait."""
        return self.now_is

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:
        """Follow a call that never ends."""
        runner = self

        class Call(Replayed):
            def read(self, timeout: float | None) -> tuple[str, bytes] | None:
                if self.poll() is None:
                    runner.now_is += timeout or 0
                    raise TimeoutError
                return super().read(timeout)

            def end(self, *, kill: bool = False) -> None:
                self._done = Completed(invocation.argv, -9 if kill else -15)

        return Call(self.execute, invocation, stdin=stdin)


def test_a_timeout_ends_it(fake: FakeRunner, client: Smolvm) -> None:
    """A timeout is the guest's first, and after the grace the engine is ended."""
    fake.answer(Exec, stdout="part", stderr="\ncommand timed out after 2000ms", returncode=124, duration=2.1)
    pieces = []
    with pytest.raises(errors.ExecTimeoutError) as caught:
        for piece in client.machine("m").popen(["sleep", "60"], timeout=2):
            pieces.append(piece)  # noqa: PERF402
    assert ("stdout", b"part") == pieces[0]
    assert caught.value.guest_ended

    stuck = Stuck()
    with pytest.raises(errors.ExecOutcomeUnknownError):
        Smolvm(runner=stuck).machine("m").popen(["sleep", "60"], timeout=2).wait()
    assert 32 == stuck.now_is


@pytest.mark.parametrize("cut", [0, 3, 20])
def test_the_engines_failure_is_raised(local_machine: Machine, cut: int) -> None:
    """The engine's JSON error line raises, also after output and in parts, and the guest's last output is delivered."""
    line = as_json("SMOLVM_ERROR", "io operation failed: connection closed").strip()
    script = f"printf out; printf 'mine ' >&2; printf %s '{line[:cut]}' >&2; sleep 0.1; echo '{line[cut:]}' >&2; exit 1"
    process = local_machine.popen(["sh", "-c", script])
    pieces: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    with pytest.raises(errors.ConnectionLostError):
        for stream, chunk in process:
            pieces[stream] += chunk

    assert {"stdout": b"out", "stderr": b"mine "} == pieces
    assert 1 == process.returncode


def test_an_error_line_in_the_middle_is_the_guests(local_machine: Machine) -> None:
    """An error line in the middle of the output, or with status 0, is the guest's output unchanged."""
    line = as_json("X", "y").strip()
    script = f"printf '%s\n' '{line}' >&2; printf '{{' >&2; sleep 0.1; printf 'more\n%s\n' '{line}' >&2"
    process = local_machine.popen(["sh", "-c", script])

    assert f"{line}\n{{more\n{line}\n".encode() == b"".join(chunk for _, chunk in process)


def test_a_renamed_engines_note_is_not_the_guests(tmp_path: Path) -> None:
    """The note of a renamed engine is removed, also if split, and a guest's own such line is kept."""
    program = tmp_path / "smol-vmm"
    program.write_text(
        "#!/bin/sh\nprintf 'note: no pack' >&2; sleep 0.1\n"
        "printf \"ed assets found for 'smol-vmm' (looked)\\nmine\\n\" >&2\n"
    )
    program.chmod(0o755)
    machine = Smolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m")

    assert [("stderr", b"mine\n")] == list(machine.popen(["x"]))


def test_a_background_child_that_holds_the_pipe_is_not_waited_for(local_machine: Machine) -> None:
    """A background child that holds the engine's pipes open is not waited for."""
    nap = f"9{os.getpid()}"
    process = local_machine.popen(["sh", "-c", f"sleep {nap} & echo $!"])
    ((_, pid),) = process

    assert [b"sleep"] == running(nap)
    os.kill(int(pid), signal.SIGKILL)


def test_a_slow_reader_slows_the_writer_down_and_memory_stays_flat(local_machine: Machine, tmp_path: Path) -> None:
    """A slow reader of 200 MB slows the writer down, and memory stays flat."""
    code = (
        "import sys; from smolkit import Smolvm, SubprocessRunner\n"
        "machine = Smolvm(runner=SubprocessRunner(sys.argv[1], version='1.32.2')).machine('m')\n"
        "total = sum(len(chunk) for _, chunk in machine.popen(['head', '-c', '200000000', '/dev/zero']))\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(total, int(peak.split()[1]) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "program/smolvm")], check=True, capture_output=True, text=True
    )
    total, megabytes = map(int, done.stdout.split())
    assert 200_000_000 == total
    assert megabytes < 64

    mark = tmp_path / "mark"
    process = local_machine.popen(["sh", "-c", f"head -c 10000000 /dev/zero; echo >{mark}"])
    next(iter(process))
    time.sleep(0.3)
    assert not mark.exists()
    process.wait()
    assert mark.exists()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """A missing program raises the same error as for exec."""
    with pytest.raises(errors.EngineNotFoundError):
        Smolvm(tmp_path / "none").machine("m").popen(["true"])


def test_popen_passes_all_options_of_exec(client: Smolvm, fake: FakeRunner) -> None:
    """popen passes all options of exec, and a fake takes what is written before the first read as input."""
    fake.answer(Exec, stdout="answer")
    process = client.machine("m").popen(["cat"], stdin=True, env={"A": "b"}, workdir="/tmp", timeout=5)
    assert process.stdin is not None
    process.stdin.write("question")
    process.stdin.close()

    assert [("stdout", b"answer")] == list(process)
    words = ("machine", "exec", "--name", "m", "-i", "-e", "A=b", "-w", "/tmp", "--timeout", "5s", "--", "cat")
    assert (words, b"question") == (fake.argvs[0], fake.invocations[0].stdin)


def test_a_write_after_a_scripted_answer_is_refused(client: Smolvm, fake: FakeRunner) -> None:
    """A write after a scripted answer was given is refused."""
    fake.answer(Exec, stdout="answer")
    with client.machine("m").popen(["cat"], stdin=True) as process:
        assert [("stdout", b"answer")] == list(process)
        assert process.stdin is not None
        with pytest.raises(BrokenPipeError, match="takes input only before the first read"):
            process.stdin.write("too late")


def test_spawned_commands_have_a_mark(client: Smolvm, fake: FakeRunner) -> None:
    """Spawned commands have a mark in their environment, by which they and all their children are found."""
    fake.answer(Spawn, stdout="615\n", times=1)
    fake.answer(Spawn, stdout="", times=1)
    fake.answer(Exec, stdout="/proc/615/environ\n", times=1)
    fake.answer(Exec)
    machine = client.machine("m", image="alpine")
    spawned = machine.spawn(["sleep", "60"], env={"A": "b"}, workdir="/tmp", user="root")

    assert 615 == spawned.pid
    words = ("machine", "exec", "--name", "m", "-d", "-e", "A=b", "-e", f"SMOLKIT_SPAWN={spawned.mark}", "-w", "/tmp")
    assert (*words, "--user", "root", "--", "sleep", "60") == fake.argvs[0]
    assert spawned.is_running()
    spawned.kill()
    spawned.kill("SIGTERM")
    assert not spawned.is_running()
    assert [f"SMOLKIT_MARK={spawned.mark}", "SMOLKIT_SIGNAL=TERM"] == [
        word for word in fake.argvs[3] if "SMOLKIT_" in word
    ][:2]
    with pytest.raises(ValueError, match="signal must be the name of a signal"):
        spawned.kill("; reboot")
    with pytest.raises(errors.UnknownEngineError, match="gave no PID"):
        machine.spawn(["x"])


def test_a_mark_finds_a_whole_family(local_machine: Machine) -> None:
    """A mark finds and kills real processes, also one in another process group."""
    from smolkit.commands.spawn import FIND, KILL  # the guest's side

    child = subprocess.Popen(
        ["sh", "-c", "sleep 61 & setsid sleep 62 & wait"],
        env={**os.environ, "SMOLKIT_SPAWN": "f00d"},
        start_new_session=True,
    )
    find = FIND.replace("$SMOLKIT_MARK", "f00d")
    until(lambda: 3 == len(local_machine.sh(find).stdout.split()))

    assert local_machine.sh(KILL.replace("$SMOLKIT_MARK", "f00d").replace("$SMOLKIT_SIGNAL", "KILL")).ok
    assert -9 == child.wait()
    until(lambda: "" == local_machine.sh(find).stdout)


def terminal(folder: Path, script: str, version: str = "1.32.2", **options: Any) -> Machine:
    """A machine whose engine is this shell script, under another name than smolvm."""
    program = folder / "other-name"
    program.write_text(f"#!/bin/sh\necho \"note: no packed assets found for 'other-name' (...)\" >&2\n{script}\n")
    program.chmod(0o755)
    return Smolvm(runner=SubprocessRunner(program, version=version)).machine("m", **options)


@pytest.mark.parametrize("status", [0, 1, 7])
def test_the_engine_gets_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str], status: int) -> None:
    """A terminal runs the engine in the foreground with the machine's secrets, and returns the guest's status."""
    script = f'echo "$* $SMOLKIT_MACHINE_SECRET_KEY"; exit {status}'
    machine = terminal(tmp_path, script, image="alpine", secrets={"KEY": "k"})

    assert status == machine.shell()
    assert status == machine.terminal(["python3", "-q"], env={"A": "b"}, workdir="/root", user="me", secrets={"S": "x"})
    captured = capfd.readouterr()
    secrets = "--secret-env KEY=SMOLKIT_MACHINE_SECRET_KEY --secret-env S=SMOLKIT_SECRET_S"
    words = f"exec --name m -i -t -e A=b {secrets} -w /root --user me -- python3 -q"
    shell = "exec --name m -i -t --secret-env KEY=SMOLKIT_MACHINE_SECRET_KEY -- /bin/sh"
    assert [f"{shell} k", f"{words} k"] == [line.partition(" machine ")[2] for line in captured.out.splitlines()]
    assert "" == captured.err


@pytest.mark.parametrize("hand_over", [Machine.shell, lambda machine: machine.terminal(["python3"])])
@pytest.mark.parametrize(
    ("version", "stderr"), [("1.32.2", as_json("NOT_FOUND", "vm not found: m")), ("1.8.3", "Error: vm not found: m\n")]
)
def test_a_terminal_that_the_engine_cannot_give(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    hand_over: Callable[[Machine], int],
    version: str,
    stderr: str,
) -> None:
    """An engine's failure to give a terminal raises, and prints nothing."""
    (tmp_path / "stderr").write_text(stderr)
    calls: list[Call] = []
    machine = terminal(tmp_path, f"cat '{tmp_path}/stderr' >&2; exit 1", version)
    machine._runner.observe(calls.append)

    with pytest.raises(errors.MachineNotFoundError) as caught:
        hand_over(machine)
    assert "note:" not in str(caught.value)
    assert ("", "") == capfd.readouterr()
    assert [(1, caught.value)] == [(call.returncode, call.error) for call in calls]


def test_warnings_beside_a_terminal_are_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A warning of an engine that succeeds beside a terminal is printed, without the note of a renamed program."""
    assert 3 == terminal(tmp_path, "echo warning >&2; exit 3").shell()
    assert ("", "warning\n") == capfd.readouterr()


def test_logs_are_followed(tmp_path: Path) -> None:
    """Logs are followed line by line until the reader stops, and failures are the engine's."""
    program = tmp_path / "smolvm"
    program.write_text('#!/bin/sh\necho "$*"; echo two; exec sleep 60\n')
    program.chmod(0o755)
    lines = []
    with Smolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m").follow_logs(tail=5) as process:
        for _, line in process:
            lines.append(line)
            if line == "two\n":
                process.kill()

    assert ["--error-format json machine logs --tail 5 --follow --name m\n", "two\n"] == lines
    fake = FakeRunner()
    fake.answer(Logs, returncode=1, stderr=as_json("NOT_FOUND", "vm not found: m"))
    with pytest.raises(errors.MachineNotFoundError):
        list(Smolvm(runner=fake).machine("m").follow_logs())


def test_output_is_buffered_while_input_is_written(local_machine: Machine) -> None:
    """Output is buffered while input is written, within a limit; a flood beyond it, which nobody reads, breaks the pipe."""
    script = "head -c 1000000 /dev/zero; wc -c >&2"
    with local_machine.popen(["sh", "-c", script], stdin=True) as process:
        assert process.stdin is not None
        process.stdin.write(b"x" * 1_000_000)
        process.stdin.close()
        pieces = list(process)
    assert 1_000_000 == sum(len(chunk) for stream, chunk in pieces if stream == "stdout")
    assert b"1000000" == b"".join(chunk for stream, chunk in pieces if stream == "stderr").strip()

    with pytest.raises(BrokenPipeError), local_machine.popen(["cat", "/dev/zero"], stdin=True) as process:
        assert process.stdin is not None
        process.stdin.write(b"x" * 1_000_000)

"""The real engine with real microVMs. Runs in place where KVM works, else by `python3 tests/emulated_host.py`."""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from smolkit import Invocation, Machine, RemoteRunner, Smolvm, SubprocessRunner, errors
from tests import far
from tests.engine.conftest import Boot, vmms
from tests.engines import again
from tests.processes import of_each_process

pytestmark = pytest.mark.engine
EVERY_BYTE = bytes(range(256))


@pytest.mark.once
def test_the_quickstart(real: Smolvm, capfd: pytest.CaptureFixture[str]) -> None:
    """The README's example prints the output of a real guest."""
    said: list[str] = []

    def run() -> None:
        done = subprocess.run([sys.executable, "examples/quickstart.py"], capture_output=True, text=True, check=True)
        said.append(done.stdout)
        if "agent did not become ready" in done.stdout:
            raise errors.BootFailedError(done.stdout)

    started = time.monotonic()
    again(run)
    with capfd.disabled():
        print(f"\n[quickstart, {time.monotonic() - started:.1f} s] {said[-1].strip()}")

    assert said[-1].startswith("0 hi from Linux "), said
    assert "fake" not in said[-1]


@pytest.mark.twin
def test_a_lifecycle_step_by_step(real: Smolvm, boot: Boot) -> None:
    """create, start, exec, stop and delete do what they say, and start of a running machine does nothing."""
    with boot("steps") as machine:
        machine.start()
        machine.sh("echo kept > /root/file", check=True)
        assert "running" == machine.status().state
        machine.stop()
        machine.stop()
        assert "stopped" == machine.status().state
        with pytest.raises(errors.MachineNotRunningError):
            machine.exec(["true"])
        again(machine.start)
        assert "kept\n" == machine.exec(["cat", "/root/file"]).stdout
        machine.delete()
        assert not machine.exists()


@pytest.mark.parametrize("status", [0, 1, 2, 42, 124, 255])
def test_an_exit_status_is_a_result(shared: Machine, status: int) -> None:
    """Every exit status of a guest's command is returned, also those that the engine uses itself."""
    result = shared.exec(["sh", "-c", f"exit {status}"], timeout=60)

    assert (status, b"", b"") == (result.returncode, result.stdout_bytes, result.stderr_bytes)
    assert (status == 0) == result.ok


def test_a_command_killed_by_a_signal(shared: Machine) -> None:
    """A command killed by a signal has 128 + the signal's number as its status."""
    assert 137 == shared.sh("kill -9 $$").returncode


def test_check_makes_a_status_an_error(shared: Machine) -> None:
    """check=True raises CommandFailedError with the result."""
    with pytest.raises(errors.CommandFailedError) as caught:
        shared.sh("echo out; echo err >&2; exit 3", check=True)

    assert (3, "out\n", "err\n") == (caught.value.returncode, caught.value.stdout, caught.value.stderr)


@pytest.mark.parametrize("command", [["no-such-program"], ["/no/such/program"]])
def test_a_program_that_the_guest_does_not_have(shared: Machine, image: Machine, command: list[str]) -> None:
    """A missing program is one typed error, for exit status 1 of bare machines and 255 of image machines."""
    for machine in (shared, image):
        with pytest.raises(errors.ProgramNotFoundError):
            machine.exec(command)


def test_a_program_that_is_not_executable(shared: Machine, image: Machine) -> None:
    """A program that is not executable is one typed error on both kinds of machine."""
    for machine in (shared, image):
        with pytest.raises(errors.ProgramNotExecutableError):
            machine.exec(["/etc/passwd"])


def test_a_workdir_that_the_guest_does_not_have(shared: Machine, image: Machine) -> None:
    """A missing workdir, or one that is a file, has an error of its own, also where the program is missing, too."""
    for machine in (shared, image):
        for command, workdir in ((["true"], "/no/such/folder"), (["nosuch"], "/no/such/folder"), (["true"], "/etc/passwd")):
            with pytest.raises(errors.WorkdirNotFoundError, match=workdir):
                machine.exec(command, workdir=workdir)
        with pytest.raises(errors.ProgramNotFoundError, match="no such program"):
            machine.exec(["nosuch"], workdir="/root")


def test_an_image_machine_runs_commands(image: Machine) -> None:
    """An image machine returns the same statuses and streams as a bare one."""
    result = image.sh("echo out; echo err >&2; exit 255")

    assert (255, "out\n", "err\n") == (result.returncode, result.stdout, result.stderr)
    assert "daemon\n" == image.exec(["id", "-un"], user="daemon").stdout


def test_users_of_a_bare_machine(shared: Machine, image: Machine) -> None:
    """A bare machine runs commands as a user of its /etc/passwd, by name or uid; one that is not there is an error."""
    uid = shared.exec(["id", "-u", "daemon"]).stdout.strip()
    assert "daemon\n" == shared.exec(["id", "-un"], user=uid).stdout
    script = 'id -un; id -gn; pwd; echo "$HOME $X $0"; exec 2>&1; touch /root/x && echo no'
    said = shared.sh(script, user="daemon", workdir="/tmp", env={"X": "a  b"}).stdout
    assert said.startswith("daemon\ndaemon\n/tmp\n/sbin a  b sh\n")
    assert said.endswith("Permission denied\n")
    shared.sh("mkdir /daemons && chown daemon /daemons", check=True)
    shared.write_text("/daemons/file", "x", user="daemon")
    assert (uid, "x") == (str(shared.stat("/daemons/file", user="daemon").uid), shared.read_text("/daemons/file"))
    shared.remove("/daemons", recursive=True)
    with pytest.raises(PermissionError):
        shared.write_text("/root/x", "x", user="daemon")
    for machine in (shared, image):
        with pytest.raises(errors.ConfigError, match="user 'nosuch'"):
            machine.exec(["id"], user="nosuch")
        with pytest.raises(errors.ConfigError, match="user 'nosuch'"):
            machine.read_text("/x", user="nosuch")
    assert 128 + 9 == shared.sh("kill -9 $$", user="daemon").returncode


@pytest.mark.twin
def test_a_timeout_ends_the_command_in_the_guest(shared: Machine) -> None:
    """A timeout ends the command in the guest, and its error has the output so far without the engine's own line."""
    with pytest.raises(errors.ExecTimeoutError) as caught:
        shared.sh("printf out; printf err >&2; sleep 4321", timeout=3)

    assert (True, 3, "out", "err") == (
        caught.value.guest_ended,
        caught.value.timeout,
        caught.value.stdout,
        caught.value.stderr,
    )
    assert "4321" not in shared.exec(["ps"]).stdout


@pytest.mark.twin
def test_output_is_exact_and_its_streams_apart(shared: Machine, image: Machine) -> None:
    """All 256 byte values arrive unchanged on both streams."""
    for machine in (shared, image):
        result = machine.sh("cat; dd if=/dev/zero bs=300 count=1 2>/dev/null | tr '\\0' '\\377' >&2", input=EVERY_BYTE * 5)

        assert EVERY_BYTE * 5 == result.stdout_bytes
        assert b"\xff" * 300 == result.stderr_bytes


def test_output_beyond_the_engines_cap(shared: Machine) -> None:
    """exec returns 13 MiB of output, where the engine's buffered exec stops at 11."""
    assert 13 * 2**20 == len(shared.exec(["dd", "if=/dev/zero", "bs=1M", "count=13"]).stdout_bytes)


@pytest.mark.once
def test_output_is_bounded(state_dir: Path, shared: Machine) -> None:
    """A guest that never stops writing is cut off, and does not fill the host's memory."""
    small = Smolvm(runner=SubprocessRunner(state_dir=state_dir, output_limit=100_000))

    with pytest.raises(errors.OutputLimitError) as caught:
        small.machine("shared").exec(["yes"])
    assert caught.value.stdout.startswith("y\ny\n")
    assert shared.exec(["true"]).ok


def test_input_env_and_workdir(shared: Machine) -> None:
    """1 MiB of input arrives completely, and the command has its variables and working directory."""
    assert EVERY_BYTE * 4096 == shared.exec(["cat"], input=EVERY_BYTE * 4096).stdout_bytes
    env = {"A": "b=c", "EMPTY": "", "LINES": "1\n2", "UNI": "ü"}
    assert (
        "b=c||1\n2|ü|/tmp"
        == shared.sh('printf "%s|%s|%s|%s|%s" "$A" "$EMPTY" "$LINES" "$UNI" "$PWD"', env=env, workdir="/tmp").stdout
    )
    assert "" == shared.exec(["cat"]).stdout


@pytest.mark.once
def test_secrets_are_in_the_guest_and_not_on_the_hosts_command_line(shared: Machine) -> None:
    """No command line on the host shows a secret while an exec uses it."""
    results: list[str] = []
    thread = threading.Thread(
        target=lambda: results.append(shared.sh('sleep 4; printf %s "$TOKEN"', secrets={"TOKEN": "s3cr3t-value"}).stdout)
    )
    thread.start()
    seen = b""
    while thread.is_alive():
        seen += b"".join(read(path) for path in of_each_process("cmdline"))
        time.sleep(0.2)
    thread.join()

    assert ["s3cr3t-value"] == results
    assert b"SMOLKIT_SECRET_" in seen
    assert b"s3cr3t-value" not in seen


@pytest.mark.twin
def test_cp_both_ways(shared: Machine, tmp_path: Path) -> None:
    """cp returns the same bytes from the guest that it sent, under any file name, and an empty side is a no-op."""
    source, back = tmp_path / "a:b c\n-ü", tmp_path / "-back: x"
    source.write_bytes(EVERY_BYTE * 5000)

    shared.cp(source, shared.path("/root") / "new dir" / "a:b")
    shared.cp(shared.path("/root/new dir/a:b"), back)
    shared.cp("", shared.path("/root/x"))
    shared.cp(shared.path("/root/x"), "")

    assert EVERY_BYTE * 5000 == back.read_bytes()
    assert {source, back} == set(tmp_path.iterdir())


def test_a_cp_that_fails_loses_nothing(shared: Machine, tmp_path: Path) -> None:
    """A cp that fails keeps the existing file of the host, and leaves nothing beside it."""
    kept = tmp_path / "kept"
    kept.write_text("precious")

    for bad in ("/no/such/file", "/root", "/dev/zero"):
        with pytest.raises(errors.CopyError):
            shared.cp(shared.path(bad), kept)
    with pytest.raises(errors.CopyError):
        shared.cp(kept, shared.path("/etc"))

    assert "precious" == kept.read_text()
    assert [kept] == list(tmp_path.iterdir())


def test_a_missing_machine(real: Smolvm, shared: Machine) -> None:
    """A machine that does not exist is an error, also while another one exists."""
    with pytest.raises(errors.MachineNotFoundError):
        real.machine("missing").exec(["true"])


def test_a_name_that_is_taken(real: Smolvm, shared: Machine) -> None:
    """A `with` on a name that is taken raises, and does not touch the running machine."""
    with pytest.raises(errors.MachineExistsError), real.machine("shared"):
        raise AssertionError("the body ran")
    assert shared.exec(["true"]).ok


@pytest.mark.twin
def test_a_body_that_raises(real: Smolvm, boot: Boot) -> None:
    """An exception in the block comes out without notes if teardown succeeds, and the machine is gone."""
    with pytest.raises(KeyError) as caught, boot("raises"):
        raise KeyError("mine")

    assert [] == getattr(caught.value, "__notes__", [])
    assert not real.machine("raises").exists()


def test_two_machines_at_once(boot: Boot) -> None:
    """Two machines have their own names and files."""
    with boot("one") as one, boot("two") as two:
        one.sh("echo one > /root/name", check=True)
        two.sh("echo two > /root/name", check=True)
        assert ("one\n", "two\n") == tuple(m.exec(["cat", "/root/name"]).stdout for m in (one, two))


def test_a_machine_that_is_stopped_under_a_command(boot: Boot) -> None:
    """A command whose machine is stopped raises a typed error with its output so far, also half a line."""
    with boot("vanishing") as machine:
        timer = threading.Timer(3, machine.stop)
        timer.start()
        with pytest.raises(errors.ConnectionLostError) as caught:
            machine.sh("printf half >&2; echo out; sleep 100")
        timer.join()
    assert "out\n" == caught.value.stdout
    assert caught.value.stderr.startswith("half")


def test_what_a_guest_can_forge(shared: Machine) -> None:
    """A guest that ends its stderr with the engine's own error line and exits 1 makes exec raise, and does nothing else."""
    line = '{"error":{"code":"NOT_FOUND","message":"vm not found: shared"}}'
    with pytest.raises(errors.MachineNotFoundError):
        shared.exec(["sh", "-c", 'echo "$1" >&2; exit 1', "sh", line])

    assert 1 == shared.exec(["sh", "-c", 'echo "$1" >&2; echo more >&2; exit 1', "sh", line]).returncode
    assert 3 == shared.exec(["sh", "-c", 'echo "$1" >&2; exit 3', "sh", line]).returncode
    assert shared.exec(["true"]).ok


def test_a_background_child_does_not_hold_exec(shared: Machine) -> None:
    """exec ends with its command, also if a background child holds the pipes."""
    result = shared.sh("sleep 1234 & echo started")

    assert "started\n" == result.stdout
    assert 60 > result.duration
    shared.sh("pkill sleep; true")


@pytest.mark.once
def test_a_pickled_handle_is_the_same_machine(shared: Machine) -> None:
    """The unpickled copy of a handle runs commands on the same machine."""
    copy = pickle.loads(pickle.dumps(shared))

    assert copy == shared
    assert copy.exec(["true"]).ok


def test_a_start_that_times_out_leaves_no_process(real: Smolvm) -> None:
    """A start that times out is ended, and stop then ends its half-booted VM, which delete -f alone does not."""
    before = len(vmms())
    machine = real.machine("given-up", cpus=1, memory=512)
    machine.create()
    with pytest.raises(errors.EngineTimeoutError):
        machine.start(timeout=1.5)
    machine.stop()
    machine.delete()

    assert before == len(vmms())


INTERRUPTED = """
import logging, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from smolkit import Smolvm, SubprocessRunner
logging.basicConfig(level=logging.DEBUG, format="%(message)s")
with Smolvm(runner=SubprocessRunner(state_dir=sys.argv[1])).machine("interrupted", cpus=1, memory=512) as m:
    print("started", flush=True)
    m.exec(["sleep", "4325"])
"""
INTERRUPTED_ASYNC = """
import asyncio, logging, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from smolkit import AsyncSmolvm, SubprocessRunner
logging.basicConfig(level=logging.DEBUG, format="%(message)s")
async def main():
    client = AsyncSmolvm(runner=SubprocessRunner(state_dir=sys.argv[1]))
    async with client.machine("interrupted", cpus=1, memory=512) as m:
        print("started", flush=True)
        await m.exec(["sleep", "4325"])
asyncio.run(main())
"""


def wait_for(during: str, program: subprocess.Popen[str], vms: int) -> None:
    """Wait until the program's machine runs, or one more VM process than these."""
    assert program.stdout
    if during == "exec":
        program.stdout.readline()
    while during == "start" and len(vmms()) == vms:
        time.sleep(0.1)


@pytest.mark.once
@pytest.mark.parametrize("during", ["start", "exec"])
@pytest.mark.parametrize("code", [INTERRUPTED, INTERRUPTED_ASYNC], ids=["sync program", "async program"])
def test_ctrl_c_leaves_nothing(real: Smolvm, state_dir: Path, code: str, during: str) -> None:
    """Ctrl-C during a boot or a command leaves no machine and no process."""
    before = len(vmms())
    program = subprocess.Popen(
        [sys.executable, "-c", code, str(state_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(during, program, before)
    time.sleep(1)
    program.send_signal(signal.SIGINT)
    _, stderr = program.communicate(timeout=300)

    assert -signal.SIGINT == program.returncode, stderr
    assert "KeyboardInterrupt" in stderr
    assert not real.machine("interrupted").exists()
    assert before == len(vmms())


@pytest.mark.once
@pytest.mark.parametrize("during", ["start", "exec"])
def test_an_owner_that_is_killed_is_reaped(real: Smolvm, state_dir: Path, shared: Machine, during: str) -> None:
    """reap in another process removes machine and VM of an owner killed by SIGKILL, and no machine of a living one."""
    before = len(vmms())
    program = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(state_dir)], stdout=subprocess.PIPE, text=True)
    wait_for(during, program, before)
    assert [] == real.reap(dry_run=True)
    program.kill()
    program.communicate()

    (found,) = real.reap()
    assert ("interrupted", f"process {program.pid}, which created it, is gone") == (found.machine.name, found.reason)
    assert not real.machine("interrupted").exists()
    assert shared.exec(["true"]).ok
    assert gone_to(before)


@pytest.mark.once
@pytest.mark.parametrize("during", ["start", "exec"])
def test_the_watchdog_removes_machines_of_a_killed_owner(
    real: Smolvm, state_dir: Path, shared: Machine, during: str
) -> None:
    """With a watchdog, machine and VM of a killed owner are removed without reap, and no machine of a living owner."""
    before = len(vmms())
    code = INTERRUPTED.replace("state_dir=sys.argv[1])", "state_dir=sys.argv[1]), watchdog=True")
    program = subprocess.Popen([sys.executable, "-c", code, str(state_dir)], stdout=subprocess.PIPE, text=True)
    wait_for(during, program, before)
    program.kill()
    program.communicate()

    deadline = time.monotonic() + 60
    while real.machine("interrupted").exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not real.machine("interrupted").exists()
    assert shared.exec(["true"]).ok
    assert gone_to(before)


def gone_to(number: int) -> bool:
    """Wait up to a minute until no more VMs than these are left, since the engine's start outlives its caller."""
    deadline = time.monotonic() + 60
    while len(vmms()) > number and time.monotonic() < deadline:
        time.sleep(0.5)
    return len(vmms()) == number


def test_a_machine_that_others_were_branched_from(real: Smolvm) -> None:
    """A machine that was branched can be deleted only together with its branches."""
    golden = real.machine("golden", cpus=1, memory=512)
    golden.create()
    engine_says(real, "machine", "start", "--branchable", "--name", "golden")
    engine_says(real, "machine", "branch", "--from", "golden", "--name", "branch")

    with pytest.raises(errors.MachineHasBranchesError, match="branch"):
        golden.delete()
    assert "golden" == real.machine("branch").status().parent
    assert real.machine("branch").exec(["true"]).ok
    golden.delete(cascade=True)
    assert not {"golden", "branch"} & {info.name for info in real.ls()}


def engine_says(real: Smolvm, *words: str) -> None:
    """Run the engine with arguments that smolkit does not have yet."""
    completed = real.runner.execute(Invocation(words))
    assert 0 == completed.returncode, completed.stderr


@pytest.mark.once
def test_a_boot_that_fails(state_dir: Path, image: Machine, tmp_path: Path) -> None:
    """A failed boot is a typed error with the end of the console log, escapes made harmless, and leaves nothing."""
    rootfs = tmp_path / "rootfs"
    shutil.copytree(next((state_dir / ".cache/smolvm/rootfs").iterdir()), rootfs, symlinks=True)
    (rootfs / "sbin/init").unlink()
    (rootfs / "sbin/init").write_text("#!/bin/sh\nprintf '\\033[31mno agent today\\n'; exit 1\n")
    (rootfs / "sbin/init").chmod(0o755)
    runner = SubprocessRunner(
        state_dir=state_dir, env={"SMOLVM_AGENT_ROOTFS": str(rootfs), "SMOLVM_START_TIMEOUT_SECS": "30"}
    )
    machine = Smolvm(runner=runner).machine("bootless", cpus=1, memory=512)

    with pytest.raises(errors.BootFailedError) as caught, machine:
        raise AssertionError("the body ran")
    assert "\\x1b[31mno agent today" in "".join(caught.value.__notes__)
    assert not machine.exists()


@pytest.mark.once
def test_an_engine_behind_a_prefix(real: Smolvm, state_dir: Path, shared: Machine) -> None:
    """An engine behind a prefix (`env`, as it could be `sudo`) drives the same machine."""
    path = real.engine.path
    prefix = ["env", f"SMOLVM_LIB_DIR={Path(path).parent}", f"SMOLVM_DATA_DIR={state_dir}"]
    client = Smolvm(runner=SubprocessRunner(path, prefix=prefix))

    assert (b"out", b"err") == (
        (result := client.machine("shared").sh("printf out; printf err >&2")).stdout_bytes,
        result.stderr_bytes,
    )


def test_a_network_policy_holds_for_a_machine_that_runs(boot: Boot) -> None:
    """A machine with an allow list boots, and its record has the list."""
    with boot("policy", allow_cidrs=["10.0.0.0/8"]) as machine:
        assert ("10.0.0.0/8",) == machine.status().allowed_cidrs
        assert machine.exec(["true"]).ok


def read(path: Path) -> bytes:
    """The content of a file in /proc, or nothing once its process is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.once
def test_a_life_behind_a_link(real: Smolvm, state_dir: Path, tmp_path: Path) -> None:
    """A machine's life by a far process: files, secrets, a live command, and nothing is left."""
    env = {"SMOLVM_LIB_DIR": str(Path(real.engine.path).parent)}
    runner = RemoteRunner(far.link(tmp_path), program=real.engine.path, state_dir=state_dir, env=env)
    (tmp_path / "here").write_bytes(b"\x00\xff")
    with Smolvm(runner=runner).machine("far", cpus=1, memory=512) as machine:
        machine.cp(tmp_path / "here", machine.path("/root/there"))
        assert b"\x00\xff" == machine.exec(["cat", "/root/there"]).stdout_bytes
        assert "s3cr3t\n" == machine.sh("echo $TOKEN", secrets={"TOKEN": "s3cr3t"}).stdout
        machine.download("/root/there", tmp_path / "back")
        with machine.popen(["cat"], stdin=True, text=True) as process:
            assert process.stdin is not None
            process.stdin.write("live\n")
            process.stdin.close()
            assert [("stdout", "live\n")] == list(process)
    runner.close()

    assert b"\x00\xff" == (tmp_path / "back").read_bytes()
    assert "far" not in [info.name for info in real.ls()]

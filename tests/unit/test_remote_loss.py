"""A link that breaks: calls end with HostLostError, what ran there ends, and the machines are removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smolkit import Machine, RemoteRunner, Smolvm, StdioLink, errors
from smolkit.testing import NamespaceEngine
from tests import far as far_ends
from tests.far import far_pid, link_pid
from tests.processes import running, shared, until


@pytest.fixture
def runner(engine: NamespaceEngine) -> Iterator[RemoteRunner]:
    """A runner at a far end, which notices a dead peer after three seconds."""
    made = far_ends.runner(engine, 0.0, heartbeat=3)
    yield made
    made.close()


@pytest.fixture
def m(runner: RemoteRunner) -> Machine:
    """A machine that runs there. No test removes it."""
    machine = Smolvm(runner=runner).machine("agent")
    machine.create()
    machine.start()
    return machine


def end_far_process(runner: RemoteRunner) -> None:
    """Kill the far process."""
    os.kill(far_pid(runner), signal.SIGKILL)


def end_link(runner: RemoteRunner) -> None:
    """Kill the link's program, and so the link, as if `ssh` were killed."""
    os.kill(link_pid(runner), signal.SIGKILL)


def freeze_far_process(runner: RemoteRunner) -> None:
    """Stop the far process, as if its host were frozen."""
    os.kill(far_pid(runner), signal.SIGSTOP)


@pytest.mark.parametrize("end", [end_far_process, end_link])
def test_a_lost_link_ends_calls_and_removes_machines(
    m: Machine, runner: RemoteRunner, engine: NamespaceEngine, end: Callable[[RemoteRunner], None]
) -> None:
    """Calls that run raise HostLostError, their commands end, the machines go, and the next call opens a new link."""
    before = far_pid(runner)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(m.exec, ["sleep", "71.5"])
        until(lambda: running("71.5"))
        end(runner)
        with pytest.raises(errors.HostLostError, match=r"the link to .* was lost") as caught:
            call.result(30)

    assert isinstance(caught.value, errors.OutcomeUnknownError)
    until(lambda: not running("71.5"))
    until(lambda: not engine.left)
    assert [] == Smolvm(runner=runner).ls()
    assert before != far_pid(runner)


def test_a_command_is_not_repeated(runner: RemoteRunner, tmp_path: Path) -> None:
    """A command whose link was lost is never run again."""
    log = tmp_path / "log"
    m = Smolvm(runner=runner).machine("agent", volumes=shared(tmp_path))
    m.create()
    m.start()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(m.exec, ["sh", "-c", 'echo ran >>"$1"; sleep 72.5', "sh", str(log)])
        until(lambda: running("72.5") or log.exists())
        end_link(runner)
        with pytest.raises(errors.HostLostError):
            call.result(30)
    until(lambda: not running("72.5"))

    assert "ran\n" == log.read_text()


def test_a_process_that_is_followed_is_lost(m: Machine, runner: RemoteRunner) -> None:
    """A command of popen ends with HostLostError, for who reads and for who writes."""
    with pytest.raises(errors.HostLostError), m.popen(["sh", "-c", "echo begun; exec sleep 73.5"], stdin=True) as process:
        assert ("stdout", b"begun\n") == next(iter(process))
        end_link(runner)
        process.wait()

    assert process.stdin is not None
    with pytest.raises(errors.HostLostError):
        process._live.write(b"x")
    assert -9 == process.returncode
    until(lambda: not running("73.5"))


def test_a_frozen_host_is_noticed(m: Machine, runner: RemoteRunner, engine: NamespaceEngine) -> None:
    """A far end that says nothing for `heartbeat` seconds is lost; once it goes on, it ends and removes its machines."""
    pid = far_pid(runner)
    freeze_far_process(runner)
    began = time.monotonic()
    try:
        with pytest.raises(errors.HostLostError, match="silent for 3 s"):
            m.exec(["true"])
        assert time.monotonic() - began < 30
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: not engine.left)


def test_a_far_end_notices_that_nobody_listens(m: Machine, runner: RemoteRunner, engine: NamespaceEngine) -> None:
    """The far end, too, takes a link that is silent for lost, although nobody has closed it."""
    os.kill(link_pid(runner), signal.SIGSTOP)
    try:
        until(lambda: not engine.left)
    finally:
        os.kill(link_pid(runner), signal.SIGCONT)


def test_a_link_is_lost_with_its_program(engine: NamespaceEngine) -> None:
    """A link whose program has ended is lost, although others hold its pipes open."""
    runner = far_ends.runner(engine)
    Smolvm(runner=runner).machine("agent").create()
    end_link(runner)
    with pytest.raises(errors.HostLostError, match="its program has ended"):
        for _ in range(1000):
            Smolvm(runner=runner).ls()
            time.sleep(0.01)
            assert runner._session is not None
            if runner._session.ended:
                raise runner._session.lost()
    until(lambda: not engine.left)
    runner.close()


def test_a_machine_in_a_with_is_gone_after_a_loss(runner: RemoteRunner, engine: NamespaceEngine) -> None:
    """The block's own exception comes out of a `with` whose link was lost, and no machine is left."""
    with pytest.raises(errors.HostLostError), Smolvm(runner=runner).machine("agent") as machine:
        end_far_process(runner)
        machine.exec(["true"])
    until(lambda: not engine.left)


def test_a_create_that_is_lost_leaves_nothing(runner: RemoteRunner, engine: NamespaceEngine) -> None:
    """A link that breaks while the engine creates a machine: the watchdog there removes it when it appears."""
    engine.fault("create", "hang-late")
    runner.here()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(Smolvm(runner=runner).machine("agent").create)
        until(lambda: "m-agent" in engine.left)
        end_link(runner)
        with pytest.raises(errors.SmolvmError):
            call.result(60)
    until(lambda: not engine.left)


def test_an_orderly_end_leaves_machines_to_others(engine: NamespaceEngine) -> None:
    """Closing a runner ends the far process and leaves its machines, as the end of a process does on one host."""
    runner = far_ends.runner(engine)
    machine = Smolvm(runner=runner).machine("agent")
    machine.create()
    pid = far_pid(runner)
    runner.close()
    until(lambda: not Path(f"/proc/{pid}").exists())

    assert ["m-agent"] == engine.left
    other = far_ends.runner(engine)
    reaped = Smolvm(runner=other).reap()
    assert [f"process {pid}, which created it, is gone"] == [item.reason for item in reaped]
    assert [] == engine.left
    other.close()


def test_a_watchdog_removes_machines_at_an_orderly_end(engine: NamespaceEngine) -> None:
    """With watchdog=True the machines go at every end of the runner."""
    runner = far_ends.runner(engine)
    Smolvm(runner=runner, watchdog=True).machine("agent").create()
    runner.close()
    until(lambda: not engine.left)


def test_a_fork_has_a_link_of_its_own(m: Machine, runner: RemoteRunner) -> None:
    """A forked child does not touch its parent's link, and opens its own."""
    before = far_pid(runner)
    if (child := os.fork()) == 0:
        try:
            os._exit(0 if m.exec(["echo", "hi"]).stdout == "hi\n" and far_pid(runner) != before else 1)
        finally:
            os._exit(2)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert "hi\n" == m.exec(["echo", "hi"]).stdout
    assert before == far_pid(runner)


def test_files_of_a_lost_copy_are_removed(m: Machine, runner: RemoteRunner, tmp_path: Path) -> None:
    """What a copy has put on the far host goes with the far process, also where that is killed."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(errors.HostLostError), runner.source(str(tmp_path / "file")) as there:
        assert Path(there).read_bytes() == b"x"
        end_far_process(runner)
        m.exec(["true"])
    until(lambda: not Path(there).parent.parent.exists())


PROGRAM = """
import os, signal, sys
from pathlib import Path
from smolkit import Smolvm
from tests import far
machine = Smolvm(runner=far.at(Path(sys.argv[1]))).machine("agent")
machine.create()
print("made", flush=True)
"""


@pytest.mark.parametrize(
    ("end", "left"),
    [
        ("", ["m-agent"]),
        ("sys.exit(3)", ["m-agent"]),
        ("raise ValueError", ["m-agent"]),
        ("os._exit(0)", []),
        ("os.kill(os.getpid(), signal.SIGKILL)", []),
    ],
)
def test_machines_of_a_program_that_ends(engine: NamespaceEngine, end: str, left: list[str]) -> None:
    """A program that ends in order leaves its machines, as on one host, and soon; one that is killed has broken a link."""
    argv = [sys.executable, "-c", PROGRAM + end, str(engine.folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        began = time.monotonic()
        process.wait(60)
        took = time.monotonic() - began
    until(lambda: engine.left == left)

    assert took < 20
    assert left == engine.left


def test_what_a_login_prints_is_no_reason_of_a_loss(engine: NamespaceEngine) -> None:
    """What the other host's shell has written before the far process began is not in the error of a lost link."""
    link = StdioLink(["sh", "-c", 'echo gree""tings >&2; exec "$@"', "sh"])
    runner = RemoteRunner(link, program=engine.program, heartbeat=1)
    machine = Smolvm(runner=runner).machine("agent")
    machine.create()
    freeze_far_process(runner)
    with pytest.raises(errors.HostLostError) as caught:
        machine.start()
    assert "the other end was silent for 1 s" == caught.value.message.partition(" was lost: ")[2]

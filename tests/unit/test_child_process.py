"""Child processes are never lost, mistaken for another or wrongly successful."""

from __future__ import annotations

import fcntl
import itertools
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from smolkit import Machine, Smolvm, SubprocessRunner
from smolkit.runners.local.capture import CapturedCall
from smolkit.runners.local.child import LiveChild
from smolkit.runners.local.pipes import Pipes
from smolkit.runners.local.posix import LOST, ChildProcess
from smolkit.runners.local.watchdog import Watchdog
from smolkit.testing import NamespaceEngine
from tests.processes import of_each_process, until

SLEEP = ("/bin/sleep", ("sleep", "60"))


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    """A child that sleeps for a minute."""
    child = ChildProcess()
    child.open_pipes(stdin=False)
    child.start(*SLEEP, {})
    yield child
    child.signal(signal.SIGKILL)
    child.wait()
    child.reap()
    child.close()


def run_true() -> None:
    """Run another child from start to end."""
    child = ChildProcess()
    child.start("/bin/true", ("true",), {})
    child.wait()
    child.reap()
    child.close()


def test_a_pipe_that_others_hold_is_dropped_after_all_that_an_ended_child_wrote() -> None:
    """Also where the last piece is as long as a pipe usually is."""
    child = ChildProcess()
    child.open_pipes(stdin=False)
    assert child.stdout is not None
    held = os.dup(child._theirs[1].fileno())
    fcntl.fcntl(child.stdout.fileno(), fcntl.F_SETPIPE_SZ, 2**17)
    os.write(held, b"x" * 2**17)
    child.start("/bin/true", ("true",), {})
    child.wait()
    pipes = Pipes(child, partial(next, itertools.count()))
    for _ in range(5):
        pipes.serve(0)
    os.close(held)

    assert not pipes.open
    pipes.close()


def children(states: str = "RSDTtZ") -> set[int]:
    """The children of this process, zombies included."""
    found = set()
    for stat in of_each_process("stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has ended
            continue
        if int(parent) == os.getpid() and state in states:
            found.add(int(stat.parent.name))
    return found


def living() -> set[int]:
    """The children that are alive, and stay so."""
    deadline = time.monotonic() + 0.8
    while (found := children("RSDTt")) and time.monotonic() < deadline:
        time.sleep(0.001)
    return found


def interrupted_at(point: int, codes: set[CodeType]) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that raises KeyboardInterrupt before the nth instruction in these functions."""
    seen = 0

    def instruction(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal seen
        if event == "opcode":
            seen += 1
            if seen == point:
                raise KeyboardInterrupt
        return instruction

    def call(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code not in codes:
            return None
        frame.f_trace = instruction  # Python 3.13 needs this before the next event
        frame.f_trace_opcodes = True
        return instruction

    return call


def create(machine: Machine) -> None:
    """A create, which is undone."""
    machine.create()


def command(machine: Machine) -> None:
    """A command, which is ended early."""
    machine.exec(["sleep", "1"])


def followed(machine: Machine) -> None:
    """A followed command, which is ended early."""
    with machine.popen(["sleep", "1"]) as process:
        process.wait()


START = [ChildProcess.open_pipes, ChildProcess.start, CapturedCall.run_to_end]


@pytest.mark.parametrize(
    ("work", "functions"),
    [(create, START), (command, START), (followed, [*START[:2], LiveChild.__init__, SubprocessRunner.open])],
)
def test_an_interrupt_at_any_instruction_of_a_start(
    tmp_path: Path, work: Callable[[Machine], None], functions: list[Any]
) -> None:
    """An interrupt at any instruction of a start leaves no unknown child and no machine."""
    engine = NamespaceEngine(tmp_path)
    machine = Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2")).machine("m")
    if work is not create:
        machine.create()
        machine.start()
    sys._getframe().f_trace_opcodes = True  # from Python 3.12 on, opcode events need it in the calling frame
    others = children()
    expected, codes, point, over = (engine.left, living()), {function.__code__ for function in functions}, 0, False
    while not over:
        point += 1
        before = sys.gettrace()
        sys.settrace(interrupted_at(point, codes))
        try:
            work(machine)
            over = True
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if over and work is create:
            machine.delete()
        assert expected == (engine.left, living()), f"instruction {point}"
    assert point > 100
    run_true()  # reaps a child that was just killed
    assert set() == children("Z") - others


def waiting_shells(place: Path) -> list[str]:
    """The waiting watchdogs of this test, recognised by its own PATH."""
    found = []
    for file in of_each_process("environ"):
        try:
            argv, env = file.with_name("cmdline").read_bytes(), file.read_bytes()
        except OSError:  # gone by now
            continue
        if b"\0smolkit-watchdog\0" in argv and f"PATH={place}:".encode() in env:
            found.append(file.parent.name)
    return found


@pytest.mark.filterwarnings("ignore:unclosed <socket")  # which was made and had no name yet: Python closes it
def test_an_interrupt_at_any_instruction_of_a_watchdogs_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt at any instruction of a watchdog's start leaves a working or replaceable watchdog, and no child."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    functions: list[Any] = [Watchdog._start, Watchdog._start_shell, ChildProcess.open_session, ChildProcess.start]
    sys._getframe().f_trace_opcodes = True  # as above
    others, codes, point, over = living(), {function.__code__ for function in functions}, 0, False
    while not over:
        point += 1
        watchdog, machine = Watchdog(), [("host", "m")]
        before = sys.gettrace()
        sys.settrace(interrupted_at(point, codes))
        try:
            watchdog.begin_making(machine, "{}")
            over = True
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if not over:
            watchdog.begin_making(machine, "{}")
        assert waiting_shells(tmp_path)
        watchdog.end_making(machine, made=False)
        assert "0" == watchdog._sent_state
        watchdog.close()
        assert others == living(), f"instruction {point}"
    assert point > 100
    until(lambda: not waiting_shells(tmp_path))


def test_a_dead_child_keeps_its_pid_until_it_is_reaped(child: ChildProcess) -> None:
    """A dead child keeps its PID until it is reaped, so that waits repeat its status and signals reach no other process."""
    child.signal(signal.SIGTERM)

    assert -signal.SIGTERM == child.wait() == child.poll() == child.wait(0)
    child.signal(signal.SIGKILL)
    assert ") Z" in Path(f"/proc/{child.pid}/stat").read_text()
    child.reap()
    assert not Path(f"/proc/{child.pid}").exists()


def test_no_signal_is_sent_to_a_reaped_pid(child: ChildProcess, mocker: Any) -> None:
    """No signal is sent to a PID that was reaped, by this code or by other code."""
    other = ChildProcess()
    other.start("/bin/true", ("true",), {})
    os.waitpid(other.pid, 0)
    child.signal(signal.SIGKILL)
    child.wait()
    child.reap()
    killers = [mocker.patch(f"os.{name}") for name in ("kill", "killpg")]
    child.signal(signal.SIGKILL)
    other.signal(signal.SIGKILL)

    assert [0, 0] == [killer.call_count for killer in killers]
    assert (LOST, True) == (other.poll(), other.lost)


def test_a_signal_handler_during_a_reap_signals_no_other_process(child: ChildProcess, mocker: Any) -> None:
    """A signal handler that kills the child while it is being reaped signals no other process."""
    child.signal(signal.SIGKILL)
    child.wait()
    kill, waitpid = mocker.patch("os.killpg"), os.waitpid

    def struck(*args: int) -> tuple[int, int]:
        answer = waitpid(*args)
        child.signal(signal.SIGKILL)
        return answer

    mocker.patch("os.waitpid", struck)
    child.reap()
    assert 0 == kill.call_count


def test_a_child_that_is_dropped_is_killed() -> None:
    """A dropped child is killed and reaped, at once or when the next one starts."""
    child = ChildProcess()
    child.open_pipes(stdin=True)
    child.start(*SLEEP, {})
    pid = child.pid
    del child
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        run_true()
    assert not Path(f"/proc/{pid}").exists()


def test_a_wait_for_a_child_has_a_timeout(child: ChildProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child is waited for with a timeout, with and without pidfd."""
    with pytest.raises(TimeoutError):
        child.wait(0.05)
    child.close()
    with pytest.raises(TimeoutError):
        child.wait(0.05)


def test_where_python_cannot_look_without_reaping(child: ChildProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without os.waitid (macOS before Python 3.13) the status is exact, and no signal is sent after it."""
    monkeypatch.delattr(os, "waitid")
    assert child.poll() is None
    child.signal(signal.SIGTERM)

    assert -signal.SIGTERM == child.wait() == child.poll()
    child.signal(signal.SIGKILL)
    child.reap()


def test_what_a_child_inherits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child inherits three files, no blocked signals and no ignored ones that it needs, and the other signal settings."""
    script = "ls /dev/fd/ | wc -l; cat /proc/self/status | grep -E 'SigBlk|SigIgn'; cat"
    extra = os.dup(2)
    os.set_inheritable(extra, True)  # noqa: FBT003  (as it is)
    ignored = [signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP]
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    child = ChildProcess()
    try:
        child.open_pipes(stdin=False)
        child.start("/bin/sh", ("sh", "-c", script), {"PATH": os.environ["PATH"]})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in zip(ignored, before, strict=True):
            signal.signal(number, handler)
        os.close(extra)
    assert child.stdout is not None
    files, blocked, ignoring = child.stdout.readall().decode().splitlines()
    child.wait()
    child.reap()
    child.close()

    assert 4 == int(files)  # three, and the directory that ls reads
    assert 0 == int(blocked.split()[1], 16)
    ours = int(ignoring.split()[1], 16)
    assert [False, False, False, True] == [bool(ours & (1 << (number - 1))) for number in ignored]


def test_a_limit_below_an_open_descriptor_keeps_no_child_from_starting() -> None:
    """A limit lowered below an open descriptor that children inherit does not keep a child from starting."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    high = fcntl.fcntl(2, fcntl.F_DUPFD, 200)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (high, limits[1]))
        run_true()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(high)

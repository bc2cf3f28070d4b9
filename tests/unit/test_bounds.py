"""A timeout bounds its call, whatever the call waits for, and no call blocks others longer than it must."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smolkit import Smolvm, SubprocessRunner, errors
from smolkit.testing import NamespaceEngine
from tests.unit.test_popen import in_thread, until


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NamespaceEngine:
    """A program that stands in for the engine, on a host where no machine was ever started."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return NamespaceEngine(tmp_path / "engine")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def lock_file(tmp_path: Path) -> int:
    """The lock of the host's first start, held as if by another program."""
    (tmp_path / "cache/smolkit").mkdir(parents=True, exist_ok=True)
    lock = os.open(tmp_path / "cache/smolkit/first-start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def test_a_start_waits_for_the_lock_within_its_timeout(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A start that waits for another program's first start gives up within its timeout, having run nothing."""
    machine = Smolvm(engine.program).machine("m")
    machine.create()
    lock = lock_file(tmp_path)
    with at_most(20), pytest.raises(errors.QueueTimeoutError, match="first start"):
        machine.start(timeout=0.3)
    assert ["create"] == engine.calls
    os.close(lock)
    machine.start(timeout=60)
    assert ["create", "start"] == engine.calls


@pytest.mark.parametrize("option", ["max_starts", "max_processes"])
def test_a_start_waits_for_others_within_its_timeout(engine: NamespaceEngine, option: str) -> None:
    """A start that waits for a place (of starts or processes) gives up within its timeout."""
    runner = SubprocessRunner(engine.program, version="1.32.2", **{option: 1})  # type: ignore[arg-type]
    client = Smolvm(runner=runner)
    with client.machine("slow") as slow:
        engine.fault("start", "hang")
        thread, _ = in_thread(lambda: slow.start(timeout=5))
        until(lambda: not (engine.folder / "fault-start").exists())
        with at_most(4), pytest.raises(errors.QueueTimeoutError):
            client.machine("late").start(timeout=0.3)
        thread.join()


@pytest.mark.parametrize("what", ["version", "exec", "data-dir"])
def test_wait_until_ends_in_its_time_on_an_engine_that_hangs(tmp_path: Path, what: str) -> None:
    """wait_until ends within its timeout if the engine hangs in any call (version, look, logs). It took 151 s."""
    program = tmp_path / "smolvm"
    hangs = "--version" if what == "version" else what
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *{hangs}*) exec sleep 600;; *--version*) echo smolvm 1.32.2; exit;;\n'
        "*data-dir*) echo /x; exit;; esac\nexit 1\n"
    )
    program.chmod(0o755)
    machine = Smolvm(program).machine("m")
    with at_most(12), pytest.raises(errors.WaitTimeoutError):
        machine.wait_until(command=["true"], timeout=1)
    with at_most(12), pytest.raises(errors.WaitTimeoutError):
        machine.wait_until(log="never", timeout=1)


def test_the_host_timeout_of_exec_includes_its_wait(tmp_path: Path) -> None:
    """exec's host timeout includes the wait for a place, while the default one starts after it."""
    seen: list[float | None] = []

    class Seen(SubprocessRunner):
        def execute(self, invocation):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            seen.extend([invocation.timeout, invocation.patience])
            return super().execute(invocation)

    engine = NamespaceEngine(tmp_path / "engine")
    runner = Seen(engine.program, version="1.32.2")
    with Smolvm(runner=runner).machine("m") as m:
        seen.clear()
        m.exec(["true"], timeout=5)
        assert [35, 5] == [round(bound or 0) for bound in seen]
        seen.clear()
        m.exec(["true"])
        m.status()
        assert [None, None, 120, None] == seen


def test_run_lets_others_start_once_its_vm_is_up(engine: NamespaceEngine, tmp_path: Path) -> None:
    """`client.run` lets others boot, in all processes, once its first output shows that its VM is up."""
    go = tmp_path / "go"
    program = tmp_path / "runs"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *" run "*) echo up; while [ ! -e {go} ]; do sleep 0.02; done;;\n'
        f'*) exec {engine.program} "$@";; esac\n'
    )
    program.chmod(0o755)
    client = Smolvm(runner=SubprocessRunner(program, version="1.32.2", max_starts=1))
    thread, results = in_thread(lambda: client.run(["sleep", "infinity"]))
    try:
        with at_most(30), client.machine("m") as m:
            m.start(timeout=20)
            assert thread.is_alive()
    finally:
        go.touch()
        thread.join(30)
    assert ["up\n"] == [result.stdout for result in results]
    assert not client.runner._smolkit.starts._line


class Ahead(SubprocessRunner):
    """A runner whose clock can be set forward."""

    ahead = 0.0  # seconds

    def clock(self) -> float:
        """As in Runner."""
        return super().clock() + self.ahead


def test_a_silent_run_lets_others_start_after_a_while(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A silent `client.run` lets others boot after a while, without taking the host's first start for successful."""
    program = tmp_path / "runs"
    begun, go = tmp_path / "begun", tmp_path / "go"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *" run "*) touch {begun}; while [ ! -e {go} ]; do sleep 0.02; done;;\n'
        f'*) exec {engine.program} "$@";; esac\n'
    )
    program.chmod(0o755)
    runner = Ahead(program, version="1.32.2", max_starts=1, state_dir=tmp_path / "state")
    client = Smolvm(runner=runner)
    thread, _ = in_thread(lambda: client.run(["sleep", "infinity"]))
    try:
        until(begun.exists)
        assert runner._smolkit.starts._line
        runner.ahead = 61
        until(lambda: not runner._smolkit.starts._line)
        assert [] == list(tmp_path.glob("state/.cache/smolvm/.smolkit-started-*"))
        with client.machine("m"):
            assert thread.is_alive()
    finally:
        go.touch()
        thread.join(30)
    assert 1 == len(list(tmp_path.glob("state/.cache/smolvm/.smolkit-started-*")))


def test_a_forked_child_does_not_keep_the_lock(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A child forked during a first start does not keep the lock after its parent has ended."""
    code = (
        "import os, sys, threading, time; from smolkit import Smolvm\n"
        "m = Smolvm(sys.argv[1]).machine('m'); m.create()\n"
        "threading.Thread(target=m.start, daemon=True).start()\n"
        "while os.path.exists(sys.argv[2]): time.sleep(0.005)\n"
        "os.fork() or print(os.getpid(), flush=True); time.sleep(600)"
    )
    engine.fault("start", "hang")
    fault = engine.folder / "fault-start"
    command = [sys.executable, "-c", code, str(engine.program), str(fault)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    try:
        lock = os.open(tmp_path / "cache/smolkit/first-start.lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(lock)
    finally:
        os.kill(child, signal.SIGKILL)

"""SubprocessRunner with real processes: scripts in place of the engine."""

from __future__ import annotations

import _thread
import logging
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from smolkit import Invocation, Smolvm, SubprocessRunner, errors
from smolkit.commands import Exec, Ls, Start
from smolkit.commands.dialect import Dialect
from smolkit.testing import NamespaceEngine
from smolkit.values.hidden import Hidden
from tests.processes import LONGEST, until
from tests.recorded import NOTE

Pretend = Callable[[str], Path]


@pytest.fixture
def pretend(tmp_path: Path) -> Pretend:
    """Create a program named smolvm from a shell script."""

    def make(script: str, name: str = "smolvm") -> Path:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return make


def test_bytes_and_status_are_exact(pretend: Pretend) -> None:
    """All 256 byte values arrive unchanged on stdin, stdout and stderr."""
    runner = SubprocessRunner(pretend("cat; printf '\\377\\0' >&2; exit 42"))
    done = runner.execute(Invocation(("x",), stdin=bytes(range(256)) * 4))

    assert (42, bytes(range(256)) * 4, b"\xff\0") == (done.returncode, done.stdout, done.stderr)
    assert ("", ("x",)) == (done.ended_by, done.argv)
    assert 0 < done.duration < 30


def test_stdin_is_dev_null(pretend: Pretend) -> None:
    """stdin is /dev/null by default, whatever this program's is."""
    assert b"" == SubprocessRunner(pretend("exec cat")).execute(Invocation(())).stdout


def test_no_deadlock_on_large_pipes(pretend: Pretend) -> None:
    """Megabytes on all three pipes at once do not deadlock."""
    runner = SubprocessRunner(pretend("cat >&2 & head -c 3000000 /dev/zero; wait"))
    data = b"y" * 3_000_000
    done = SubprocessRunner(pretend("head -c 3000000 /dev/zero; cat >&2")).execute(Invocation((), stdin=data))

    assert (3_000_000, data) == (len(done.stdout), done.stderr)
    assert 3_000_000 == len(runner.execute(Invocation(())).stdout)


def test_a_program_that_does_not_read_its_stdin(pretend: Pretend) -> None:
    """A program may end without reading a megabyte of stdin, or close it and go on."""
    runner = SubprocessRunner(pretend("exec <&-; sleep 0.2; echo done"))

    assert b"done\n" == runner.execute(Invocation((), stdin=b"x" * 10**6)).stdout


def test_the_hosts_timeout_terminates_and_keeps_what_there_is(pretend: Pretend) -> None:
    """A timeout sends SIGTERM first, and keeps the output, also what the program writes then."""
    runner = SubprocessRunner(pretend("trap 'echo bye; exit 3' TERM; echo hi; while :; do sleep 0.05; done"))
    done = runner.execute(Invocation((), timeout=2))

    assert ("timeout", b"hi\nbye\n", 3) == (done.ended_by, done.stdout, done.returncode)


def test_the_hosts_timeout_kills_a_program_that_ignores_sigterm(pretend: Pretend) -> None:
    """A timeout sends SIGKILL to the process group after SIGTERM, and reaps the program."""
    runner = SubprocessRunner(pretend("trap '' TERM; sleep 4322 & echo $!; wait; while :; do sleep 0.1; done"))
    done = runner.execute(Invocation((), timeout=2))

    assert ("timeout", -signal.SIGKILL) == (done.ended_by, done.returncode)
    assert gone(int(done.stdout))


@pytest.mark.parametrize("hidden", ["", ">/dev/null 2>&1"])
def test_the_hosts_timeout_kills_surviving_children(pretend: Pretend, hidden: str) -> None:
    """A timeout kills children that outlive the program and ignore SIGTERM, whether they hold the pipes or not."""
    stubborn = f"trap '' TERM; echo $$ >pid; exec sleep 4328 {hidden}"
    script = f'cd "$(dirname "$0")"; sh -c "{stubborn.replace("$", chr(92) + "$")}" & echo hi; wait'
    program = pretend(script)
    done = SubprocessRunner(program).execute(Invocation((), timeout=1))

    assert ("timeout", b"hi\n", -signal.SIGTERM) == (done.ended_by, done.stdout, done.returncode)
    assert gone(int((program.parent / "pid").read_text()))


def test_a_reaped_program_is_not_signalled(pretend: Pretend, mocker: object) -> None:
    """A program that has been reaped is not signalled, since its PID may be another process's."""
    call = SubprocessRunner(pretend("exit 3"), version="1.32.2").open(Invocation(()), stdin=False)
    while call.poll() is None:
        time.sleep(0.01)
    call.end(kill=True)
    assert 3 == call.close().returncode == call.poll()
    kill = mocker.patch("os.killpg")  # type: ignore[attr-defined]
    call.end(kill=True)
    call.end()

    assert 0 == kill.call_count


def test_a_call_does_not_wait_for_a_child_that_holds_the_pipes(pretend: Pretend) -> None:
    """A call ends with its program, also if a child holds the pipes."""
    runner = SubprocessRunner(pretend("sleep 4323 & echo $!; exit 5"))
    done = runner.execute(Invocation(()))

    assert 5 == done.returncode
    os.kill(int(done.stdout), signal.SIGKILL)  # it still ran


@contextmanager
def looking_away(seconds: float) -> Iterator[None]:
    """A signal handler that keeps the main thread busy for so long, shortly after its wait begins."""

    def away(number: int, frame: object) -> None:
        time.sleep(seconds)

    before = signal.signal(signal.SIGUSR1, away)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.fixture(params=["pidfd", "no pidfd"])
def pidfd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pidfd, and on hosts without it."""
    if request.param == "no pidfd":
        monkeypatch.delattr(os, "pidfd_open", raising=False)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("timeout", [None, 0.4])
def test_output_just_before_the_end_is_read(pretend: Pretend, pidfd: None, timeout: float | None, *, live: bool) -> None:
    """Output written just before a program's end is read, also after all timeouts of the wait have passed."""
    runner = SubprocessRunner(pretend("sleep 0.2; echo out; echo err >&2"), version="1.32.2")
    invocation = Invocation((), timeout=timeout)
    found = {"stdout": b"", "stderr": b""}
    with looking_away(1.5):
        if live:
            call = runner.open(invocation, stdin=False)
            while (piece := call.read(None)) is not None:
                found[piece[0]] += piece[1]
            done = call.close()
        else:
            done = runner.execute(invocation)
            found = {"stdout": done.stdout, "stderr": done.stderr}

    assert {"stdout": b"out\n", "stderr": b"err\n"} == found
    assert (0, "") == (done.returncode, done.ended_by)


@pytest.mark.parametrize("live", [False, True])
def test_a_programs_output_is_complete_beside_an_endless_child(pretend: Pretend, pidfd: None, *, live: bool) -> None:
    """A program's output is complete, and the call ends, although a child writes endlessly after it."""
    script = "head -c 60000 /dev/zero; echo 'the end' >&2; { sleep 0.1; exec yes; } & echo $! >&2"
    runner = SubprocessRunner(pretend(script), version="1.32.2")
    if live:
        call = runner.open(Invocation(()), stdin=False)
        pieces = list(iter(lambda: call.read(None), None))
        call.close()
        out, err = (b"".join(chunk for name, chunk in pieces if name == stream) for stream in ("stdout", "stderr"))
    else:
        done = runner.execute(Invocation(()))
        out, err = done.stdout, done.stderr
    with suppress(ProcessLookupError):  # ended by a broken pipe
        os.kill(int(err.split()[-1]), signal.SIGKILL)

    assert out.startswith(b"\0" * 60_000)
    assert err.startswith(b"the end\n")


def test_a_child_that_takes_over_the_stdin_does_not_hold_the_writer(pretend: Pretend) -> None:
    """A child that takes over stdin and never reads it gives a broken pipe once the program has ended."""
    runner = SubprocessRunner(pretend("exec 3<&0; sleep 4327 <&3 >/dev/null 2>&1 & echo $!"), version="1.32.2")
    call = runner.open(Invocation(()), stdin=True)
    piece = call.read(None)
    assert piece is not None
    with pytest.raises(BrokenPipeError):
        call.write(b"x" * 1_000_000)
    os.kill(int(piece[1]), signal.SIGKILL)
    assert 0 == call.close().returncode


def test_a_program_that_closes_its_pipes_is_waited_for(pretend: Pretend) -> None:
    """A program that closes its pipes is waited for, within the timeout."""
    assert 7 == SubprocessRunner(pretend("exec >&- 2>&-; sleep 0.3; exit 7")).execute(Invocation(())).returncode
    done = SubprocessRunner(pretend("exec >&- 2>&-; exec sleep 4324")).execute(Invocation((), timeout=0.3))
    assert ("timeout", -signal.SIGTERM) == (done.ended_by, done.returncode)


def test_output_is_bounded(pretend: Pretend) -> None:
    """Output beyond the limit ends the program, and what was read is kept."""
    runner = SubprocessRunner(pretend("exec yes"), output_limit=1_000_000, version="1.32.2")

    with pytest.raises(errors.OutputLimitError) as caught:
        runner.run(Exec("m", ["yes"]))
    assert 1_000_000 <= len(caught.value.stdout) <= 1_000_000 + 2**20


def gone(pid: int) -> bool:
    """True once the process is gone, within a time that the kernel needs to end it."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        try:
            if ") Z" in Path(f"/proc/{pid}/stat").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_and_reaps_the_program(pretend: Pretend, tmp_path: Path, error: type[BaseException]) -> None:
    """An exception of a signal handler comes out after the program is ended and reaped."""

    def strike(number: int, frame: object) -> None:
        raise error

    def strike_once_it_runs() -> None:
        until((tmp_path / "ready").exists)
        os.kill(os.getpid(), signal.SIGUSR1)

    runner = SubprocessRunner(pretend(f"echo $$ >{tmp_path}/pid; echo >{tmp_path}/ready; exec sleep 4325"))
    before = signal.signal(signal.SIGUSR1, strike)
    thread = threading.Thread(target=strike_once_it_runs)
    try:
        thread.start()
        with pytest.raises(error):
            runner.execute(Invocation(()))
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)

    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("live", [False, True])
def test_a_signal_that_came_just_before_the_wait(pretend: Pretend, *, live: bool) -> None:
    """A signal just before the wait, which does not interrupt it (interrupt_main never does), is handled soon."""
    runner = SubprocessRunner(pretend("exec sleep 100"), version="1.32.2")
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    timer = threading.Timer(0.5, _thread.interrupt_main, (signal.SIGUSR1,))
    started = time.monotonic()
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            if live:
                with Smolvm(runner=runner).machine("m").popen(["sleep"]) as process:
                    process.wait()
            runner.execute(Invocation(()))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert 60 > time.monotonic() - started


def test_the_program_has_a_process_group_of_its_own(pretend: Pretend) -> None:
    """The program has a process group of its own, so that a terminal's Ctrl-C does not reach it."""
    out = SubprocessRunner(pretend("ps -o pgid= -p $$")).execute(Invocation(())).stdout

    assert int(out) != os.getpgrp()


def test_the_environment_is_an_allow_list(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's environment has only what it needs and what the caller adds."""
    ours = {"SECRET_OF_OURS": "1", "HTTPS_PROXY": "http://p", "no_proxy": "x", "SMOLVM_BOOT_BINARY": "/bin/evil"}
    ours |= {
        "HOME": "/home/x",
        "SMOLVM_MACHINE_NAME": "victim",
        "SMOLVM_LOG_FORMAT": "text",
        "LC_ALL": "C",
        "XDG_RUNTIME_DIR": "/run/x",
    }
    for key, value in ours.items():
        monkeypatch.setenv(key, value)
    runner = SubprocessRunner(pretend("env"), env={"MINE": "2", "RUST_LOG": "debug"})
    seen = dict(
        line.split("=", 1) for line in runner.execute(Invocation((), (("CALL", Hidden("3")),))).stdout.decode().splitlines()
    )

    assert {"MINE": "2", "CALL": "3", "NO_COLOR": "1", "RUST_LOG": "debug", "LC_ALL": "C"}.items() <= seen.items()
    assert {"SMOLVM_LOG_FORMAT", "XDG_RUNTIME_DIR", "PATH", "HOME"} <= seen.keys()
    assert not {"SECRET_OF_OURS", "HTTPS_PROXY", "no_proxy", "SMOLVM_BOOT_BINARY", "SMOLVM_MACHINE_NAME"} & seen.keys()


def test_proxies_are_inherited_only_on_request(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables are inherited only on request, since engines from 1.9.1 on use them for their own pulls."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    runner = SubprocessRunner(pretend("echo $HTTPS_PROXY"), inherit_proxy=True)

    assert b"http://proxy\n" == runner.execute(Invocation(())).stdout


def test_pass_env(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    """pass_env passes variables with their value at each call, also to terminals and after unpickling; env wins."""
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("WON", "ours")
    program = pretend('echo "$PASSED,$WON,$RUST_LOG,${NOT_SET-unset}"')
    runner = SubprocessRunner(program, pass_env=["PASSED", "WON", "RUST_LOG", "NOT_SET"], env={"WON": "theirs"})
    monkeypatch.setenv("PASSED", "one")
    monkeypatch.delenv("RUST_LOG", raising=False)
    first = runner.execute(Invocation(())).stdout
    monkeypatch.setenv("PASSED", "two")
    monkeypatch.setenv("RUST_LOG", "info")

    assert (b"one,theirs,off,unset\n", b"two,theirs,info,unset\n") == (first, runner.execute(Invocation(())).stdout)
    copy = pickle.loads(pickle.dumps(SubprocessRunner(program, pass_env=("PASSED",))))
    assert b"two,,off,unset\n" == copy.execute(Invocation(())).stdout


@pytest.mark.parametrize(
    ("names", "kind", "words"),
    [
        ("TOKEN", TypeError, r"write \['TOKEN'\]"),
        (["A=b"], ValueError, "must be names of variables, and 'A=b' has an '='"),
        ([""], ValueError, "pass_env"),
        ([1], TypeError, "pass_env"),
    ],
)
def test_names_of_variables_are_checked(names: Any, kind: type[Exception], words: str) -> None:
    """Invalid names of variables are refused before anything runs."""
    with pytest.raises(kind, match=words):
        SubprocessRunner(pass_env=names)


@pytest.mark.parametrize("key", ["SMOLVM_BOOT_BINARY", "SMOLVM_MACHINE_NAME"])
def test_variables_that_would_redirect_the_engine_are_refused(key: str) -> None:
    """Variables that would redirect the engine are refused."""
    with pytest.raises(ValueError, match=key):
        SubprocessRunner(env={key: "x"})
    with pytest.raises(ValueError, match=key):
        SubprocessRunner(pass_env=[key])


def test_one_debug_line_that_can_be_pasted(pretend: Pretend, caplog: pytest.LogCaptureFixture) -> None:
    """Each process has one DEBUG line that can be pasted into a shell, with the values of env hidden."""
    caplog.set_level(logging.DEBUG, logger="smolkit")
    program = pretend("exit 0")
    SubprocessRunner(program, version="1.0.1").run(Exec("m", ["echo", "a b"], env={"K": "s3cr3t"}))
    (record,) = caplog.records
    line, comment = record.getMessage().split("  # ")

    assert f"{program} machine exec --name m -e 'K=***' -- echo 'a b'" == line
    assert comment.startswith("exit 0, 0.")


def test_a_prefix_stands_before_the_program(pretend: Pretend) -> None:
    """A prefix (`sudo -n`) precedes the program, which is then looked up by the prefix's program."""
    sudo = pretend('printf "%s " "$@"', name="sudo")  # type: ignore[call-arg]
    runner = SubprocessRunner(prefix=[str(sudo), "-n"], version="1.0.1")

    assert b"-n smolvm machine start --name m " == runner.execute(Start("m").invocation(Dialect.of("1.0.1"))).stdout
    assert runner.is_available()
    assert not SubprocessRunner(prefix=["no-such-prefix"]).is_available()
    assert ["program", "version"] == [check.name for check in runner.doctor()]
    with pytest.raises(errors.EngineNotFoundError, match=r"(?s)cannot run no-such-prefix.*hint: the prefix runs"):
        SubprocessRunner(prefix=["no-such-prefix"], version="1.0.1").run(Ls())


def test_the_version_is_asked_once_per_runner(pretend: Pretend, tmp_path: Path) -> None:
    """The version is asked once per runner, from any number of threads."""
    program = pretend(f'echo "$1" >>{tmp_path}/calls; [ "$1" = --version ] && sleep 0.2 && echo smolvm 1.0.1 || echo "[]"')
    client = Smolvm(program)
    threads = [threading.Thread(target=client.ls) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ["--version", *["machine"] * 4] == (tmp_path / "calls").read_text().split()


def test_a_pinned_version_is_not_asked(pretend: Pretend) -> None:
    """A pinned version is used without asking the engine."""
    client = Smolvm(runner=SubprocessRunner(pretend('[ "$1" = --version ] && exit 9; echo "[]"'), version="0.8.0"))

    assert [] == client.ls()
    assert ("0.8.0", True) == (client.engine.version, client.engine.dialect.classic)
    with pytest.raises(ValueError, match="version must be like"):
        SubprocessRunner(version="newest")


@pytest.mark.parametrize(
    "script",
    ["echo smolvm 0.0.36", "echo something else", "exit 0", "echo 'smolvm version 1.2.3'"],
)
def test_another_products_smolvm_is_refused(pretend: Pretend, script: str) -> None:
    """Another product's `smolvm` (PyPI has one) is refused by its answer to --version, and the error names the file."""
    program = pretend(script)

    with pytest.raises(errors.ForeignProgramError, match=str(program)):
        Smolvm(program).ls()
    checks = {check.name: check for check in Smolvm(program).doctor()}
    assert not checks["version"].ok
    assert "SMOLKIT_SMOLVM" in checks["version"].hint


def test_another_products_smolvm_with_a_plausible_version(pretend: Pretend) -> None:
    """Another product's `smolvm` with a plausible version is refused at its first usage error (as 0.0.36 writes it)."""
    program = pretend(
        "[ $1 = --version ] && echo smolvm 1.0.0 && exit\necho \"Error: No such command 'machine'.\" >&2; exit 2"
    )

    with pytest.raises(errors.ForeignProgramError, match="SMOLKIT_SMOLVM"):
        Smolvm(program).ls()


def test_a_program_that_cannot_run(pretend: Pretend, tmp_path: Path) -> None:
    """A missing or unusable program is told from one that fails."""
    (tmp_path / "text").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(errors.EngineNotFoundError, match="cannot run"):
        Smolvm(tmp_path / "text").ls()
    with pytest.raises(ValueError, match="longer than this host takes"):
        SubprocessRunner(pretend("exit 0"), version="1.0.1").execute(Invocation(("x" * 3_000_000,)))


def test_the_note_of_a_renamed_engine_is_not_the_guests(pretend: Pretend) -> None:
    """The note of a renamed engine is removed once, and only where the engine prints it."""
    script = f"printf '%s' \"{NOTE}\" >&2; printf '%s' \"{NOTE}\" >&2"
    renamed, own = pretend(script, "smol-vmm"), pretend(script)  # type: ignore[call-arg]

    assert NOTE.encode() == SubprocessRunner(renamed).execute(Invocation(())).stderr
    assert NOTE.encode() * 2 == SubprocessRunner(own).execute(Invocation(())).stderr


def test_argv_0_is_the_engines_name() -> None:
    """argv[0] is `smolvm` whatever the file's name, since the engine's usage texts begin with it."""
    done = SubprocessRunner("/bin/cat").execute(Invocation(("/proc/self/cmdline",)))

    assert b"smolvm\0/proc/self/cmdline\0" == done.stdout


def test_a_runner_that_may_not_signal_gives_up(pretend: Pretend, mocker: object) -> None:
    """A call ends at its timeout although the runner may not signal sudo's child."""
    kill = mocker.patch("os.killpg", side_effect=PermissionError)  # type: ignore[attr-defined]
    runner = SubprocessRunner(pretend("echo $$; exec sleep 4326"))
    done = runner.execute(Invocation((), timeout=0.2))
    os.kill(int(done.stdout), signal.SIGKILL)

    assert ("timeout", 2) == (done.ended_by, kill.call_count)


def test_hosts_of_runners(pretend: Pretend) -> None:
    """Runners of different programs, prefixes or state directories have different hosts; secrets make no difference."""
    base = SubprocessRunner("/bin/a")

    assert base.host == SubprocessRunner("/bin/a", env={"TOKEN": "x"}).host
    assert base.host != SubprocessRunner("/bin/b").host
    assert base.host != SubprocessRunner("/bin/a", prefix=["sudo"]).host
    assert base.host != SubprocessRunner("/bin/a", state_dir="/srv/state").host
    assert "<SubprocessRunner /bin/a>" == repr(base)


def test_a_state_directory(pretend: Pretend, tmp_path: Path) -> None:
    """state_dir is passed to the engine, and refused for engines that would ignore it."""
    runner = SubprocessRunner(pretend("echo $SMOLVM_DATA_DIR"), state_dir=tmp_path, version="1.2.5")

    assert f"{tmp_path}\n".encode() == runner.execute(Invocation(())).stdout
    with pytest.raises(ValueError, match="state_dir does not work with a prefix"):
        SubprocessRunner(prefix=["sudo"], state_dir=tmp_path)
    with pytest.raises(errors.UnsupportedByEngineError, match="state_dir"):
        SubprocessRunner(pretend("exit 0"), state_dir=tmp_path, version="1.2.4").run(Ls())


def test_cp_targets_are_written_beside_and_renamed(tmp_path: Path) -> None:
    """cp writes to a temporary file and renames it, so that only a complete file replaces the target, through symlinks."""
    runner = SubprocessRunner("/bin/true")
    kept, link = tmp_path / "kept", tmp_path / "link"
    kept.write_text("old")
    link.symlink_to(kept)

    with pytest.raises(OSError, match="engine"), runner.target(str(link)) as name:
        Path(name).write_text("half")
        raise OSError("engine")
    assert ("old", {kept, link}) == (kept.read_text(), set(tmp_path.iterdir()))

    with runner.target(str(link)) as name:
        Path(name).write_text("new")
    assert ("new", True) == (kept.read_text(), link.is_symlink())
    assert kept.stat().st_mode & stat.S_IROTH


def test_impossible_cp_targets(tmp_path: Path, mocker: object) -> None:
    """An impossible target of cp is refused before any process starts."""
    runner = SubprocessRunner("/bin/true")
    for path, error in ((tmp_path, IsADirectoryError), (tmp_path / "no/x", FileNotFoundError)):
        with pytest.raises(error), runner.target(str(path)):
            raise AssertionError("the body ran")
    mocker.patch("os.access", return_value=False)  # type: ignore[attr-defined]
    with pytest.raises(PermissionError), runner.target(str(tmp_path / "x")):
        raise AssertionError("the body ran")


def test_read_log_offsets(tmp_path: Path) -> None:
    """read_log reads from an offset, or for a negative one from the end, and a missing file is empty."""
    runner = SubprocessRunner("/bin/true")
    (tmp_path / "log").write_bytes(b"x" * 2**20 + b"the end")
    log = str(tmp_path / "log")

    assert b"end" == runner.read_log(log, -3)
    assert b"the end" == runner.read_log(log, 2**20)
    assert 2**20 == len(runner.read_log(log, -(2**30)))
    assert b"" == runner.read_log(log, 2**21)
    assert b"" == runner.read_log(str(tmp_path / "none"), 0)


def test_pauses_are_waited(pretend: Pretend) -> None:
    """A pause of 50 ms takes about that."""
    started = time.monotonic()
    SubprocessRunner("/bin/true").pause(0.05)

    assert 0.75 * 0.05 <= time.monotonic() - started


def test_no_shell_is_involved(pretend: Pretend) -> None:
    """Arguments reach the program unchanged, without a shell."""
    words = ("$(id)", "a b", "*", "'", '"', "\n", "")
    out = SubprocessRunner(pretend('printf "<%s>" "$@"')).execute(Invocation(words)).stdout.decode()

    assert "".join(f"<{word}>" for word in words) == out


FEW_FILES = """
import resource, sys, threading
from smolkit import Smolvm
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
failures = []
def command(machine):
    try:
        machine.exec(["sleep", "0.5"])
    except BaseException as error:
        failures.append(error)
for options in ({}, {"max_processes": 4}):
    with Smolvm(sys.argv[1], **options).machine("agent") as machine:
        threads = [threading.Thread(target=command, args=(machine,)) for _ in range(30)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    print({type(error).__name__ for error in failures}, any("max_processes" in str(error) for error in failures))
    failures.clear()
"""


def test_a_host_without_descriptors_is_an_error_of_its_own(tmp_path: Path) -> None:
    """A host without free descriptors raises HostLimitError with the limit to raise, and not a missing engine."""
    program = NamespaceEngine(tmp_path / "engine").program
    done = subprocess.run([sys.executable, "-c", FEW_FILES, program], capture_output=True, text=True, check=True)

    assert "{'HostLimitError'} True\nset() False\n" == done.stdout


def test_runners_of_different_state_drive_different_machines() -> None:
    """HOME and SMOLVM_DATA_DIR in env= select a state directory like state_dir, and are refused together with it."""
    plain = SubprocessRunner()
    hosts = [SubprocessRunner(env={key: "/srv/a"}).host for key in ("HOME", "XDG_DATA_HOME", "SMOLVM_DATA_DIR")]

    assert 4 == len({plain.host, *hosts})
    assert SubprocessRunner(state_dir="/srv/a").host == hosts[2]
    assert SubprocessRunner(env={"HOME": "/b", "SMOLVM_DATA_DIR": "/srv/a"}).host == hosts[2]
    assert SubprocessRunner(env={"TOKEN": "x"}).host == plain.host
    assert Smolvm(runner=plain).machine("m") != Smolvm(runner=SubprocessRunner(env={"HOME": "/b"})).machine("m")
    with pytest.raises(ValueError, match="mean the same"):
        SubprocessRunner(state_dir="/a", env={"SMOLVM_DATA_DIR": "/b"})

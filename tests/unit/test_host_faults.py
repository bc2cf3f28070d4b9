"""Lack of descriptors, processes or exit statuses on this host leaves nothing and masks no exception."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import anyio
import pytest

from smolkit import AsyncSmolvm, Smolvm, SubprocessRunner, errors
from smolkit.commands import Create, Delete, Exec, Start
from smolkit.testing import FakeRunner, NamespaceEngine
from tests.samples import stays_ours


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Exhaust the descriptors of this process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[0]), limits[1]))
    used: list[int] = []
    try:
        while True:
            used.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in used:
            os.close(fd)


def test_a_program_without_descriptors_removes_its_machine(engine: NamespaceEngine, local: Smolvm) -> None:
    """A program without descriptors removes its machine with those kept in reserve, and raises the body's exception."""
    for _ in range(3):
        with ExitStack() as stack, pytest.raises(ValueError, match="mine") as caught, local.machine("m") as machine:
            stack.enter_context(no_descriptors())
            with pytest.raises(errors.HostLimitError, match="Too many open files"):
                machine.exec(["true"])
            with pytest.raises(errors.HostLimitError):
                machine.popen(["true"])
            raise ValueError("mine")
        assert ([], []) == (engine.left, getattr(caught.value, "__notes__", []))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_program_without_descriptors_removes_its_machine(
    engine: NamespaceEngine, local: Smolvm, backend: str
) -> None:
    """An async program without descriptors removes its machine, too."""

    async def main() -> None:
        machine = AsyncSmolvm(runner=local.runner).machine("m")
        await machine.__aenter__()
        with no_descriptors():
            await machine.__aexit__(ValueError, ValueError("mine"), None)

    anyio.run(main, backend=backend)
    assert [] == engine.left


def failing(times: int, number: int, verbs: Collection[str] = ()) -> Callable[..., int]:
    """posix_spawn that fails this many times, as with too many processes, or this many times for each of these verbs."""
    spawn, seen = os.posix_spawn, Counter[str]()

    def fail(program: str, argv: tuple[str, ...], env: dict[str, str], **options: Any) -> int:
        verb = next((verb for verb in verbs if verb in argv), "")
        seen[verb] += 1
        if seen[verb] <= times and bool(verb) == bool(verbs):
            raise OSError(number, os.strerror(number))
        return spawn(program, argv, env, **options)

    return fail


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_passing_fault_is_tried_again(
    engine: NamespaceEngine, local: Smolvm, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A spawn that fails for a moment is tried again in delete, in a rollback's stop and delete, and in create."""
    monkeypatch.setattr("os.posix_spawn", failing(2, number))
    with local.machine("m"):
        monkeypatch.setattr("os.posix_spawn", failing(2, number))
    assert [] == engine.left

    engine.fault("start", "fail")
    machine = local.machine("m")
    machine.create()
    monkeypatch.setattr("os.posix_spawn", failing(1, number, {"stop", "delete"}))
    with pytest.raises(errors.UnknownEngineError, match="it broke"), machine:
        raise AssertionError("the body ran")
    assert [] == engine.left


def test_a_lasting_fault_masks_no_exception(
    engine: NamespaceEngine, local: Smolvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spawn that keeps failing is a note on the body's exception, or without one a CleanupError."""
    monkeypatch.setattr(local.runner, "pause", lambda seconds: None)
    spawn = os.posix_spawn
    with pytest.raises(ValueError, match="mine") as caught, local.machine("m"):
        monkeypatch.setattr("os.posix_spawn", failing(10**6, errno.EAGAIN))
        raise ValueError("mine")
    assert "this host has nothing left" in "".join(caught.value.__notes__)

    monkeypatch.setattr("os.posix_spawn", spawn)
    local.machine("m").delete()
    with pytest.raises(errors.CleanupError, match="is left: this host") as cleanup, local.machine("m"):
        monkeypatch.setattr("os.posix_spawn", failing(10**6, errno.EAGAIN))
    assert isinstance(cleanup.value.__cause__, errors.HostLimitError)


@pytest.mark.parametrize("kind", [errno.EMFILE, errno.EAGAIN])
def test_a_custom_runners_host_faults_are_recognised(client: Smolvm, fake: FakeRunner, kind: int) -> None:
    """A host's error that a custom runner raises is a HostLimitError, and tried again where that is harmless."""
    fault = OSError(kind, "used up")
    fake.answer(Create, [fault, ""])
    fake.answer(Delete, [fault, ""])
    fake.answer(Exec, [fault])
    stays_ours(fake)
    fake.answer(["machine"])
    with pytest.raises(errors.HostLimitError) as caught, client.machine("m") as machine:
        machine.exec(["true"])

    assert fault is caught.value.__cause__
    assert [Create("m")] * 2 + [Start("m")] == fake.commands[:3]
    assert [Delete("m")] * 2 == fake.commands[-2:]


def test_another_exception_in_teardown_masks_no_exception(client: Smolvm, fake: FakeRunner) -> None:
    """A custom runner's own exception during teardown does not mask the body's exception."""
    fake.answer(Delete, OSError("the transport broke"))
    stays_ours(fake)
    fake.answer(["machine"])

    with pytest.raises(ValueError, match="mine") as caught, client.machine("m"):
        raise ValueError("mine")
    assert "the transport broke" in "".join(caught.value.__notes__)
    with pytest.raises(errors.CleanupError, match="the transport broke"), client.machine("m"):
        pass


@dataclass(frozen=True)
class FrozenError(Exception):
    """An exception without assignable attributes, and so without notes."""

    number: int = 1


class RefusingError(Exception):
    """An exception whose add_note raises."""

    def add_note(self, text: str) -> NoReturn:  # noqa: ARG002
        """Refuse the note."""
        raise RuntimeError("no notes, please")


@pytest.mark.parametrize("error", [FrozenError(), RefusingError()])
def test_an_exception_without_notes_comes_out(
    engine: NamespaceEngine, local: Smolvm, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that cannot take notes comes out, and what would have been noted is logged."""
    engine.fault("delete", "fail")
    with pytest.raises(type(error)) as caught, local.machine("m"):
        raise error
    assert caught.value is error
    assert "while the machine was being removed: machine 'm' is left" in caplog.text

    with pytest.raises(type(error)), local.machine("k", keep="on_error"):
        raise error
    assert "smolvm machine shell --name k" in caplog.text


def test_the_output_limit_in_create_leaves_nothing(tmp_path: Path) -> None:
    """A create whose engine is ended for too much output is looked up and undone."""
    engine = NamespaceEngine(tmp_path)
    noisy = tmp_path / "noisy"
    noisy.write_text(f'#!/bin/sh\n{engine.program} "$@" || exit\ncase "$*" in *" create "*) exec yes;; esac\n')
    noisy.chmod(0o755)
    client = Smolvm(runner=SubprocessRunner(noisy, version="1.32.2", output_limit=10_000))

    with pytest.raises(errors.OutputLimitError) as caught, client.machine("m"):
        raise AssertionError("the body ran")
    assert isinstance(caught.value, errors.OutcomeUnknownError)
    assert [] == engine.left


LOST = """
import os, signal, sys
from contextlib import suppress
from smolkit import Smolvm, SubprocessRunner, SmolvmError
def reap(number, frame):
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
signal.signal(signal.SIGCHLD, {handler})
client = Smolvm(runner=SubprocessRunner(sys.argv[1]))
try:
    with client.machine("m") as machine:
        print("entered")
except SmolvmError as error:
    print(type(error).__name__, getattr(error, "__notes__", []))
"""


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "reap"])
@pytest.mark.parametrize(("taken", "expected"), [(True, "MachineExistsError []\n"), (False, "StatusLostError []\n")])
def test_a_lost_status_is_no_success(engine: NamespaceEngine, handler: str, expected: str, *, taken: bool) -> None:
    """A lost exit status (other code reaps all children) is an error that leaves no machine and touches no other's."""
    if taken:
        (engine.folder / "state/m-m").touch()
    code = LOST.format(handler=handler)
    done = subprocess.run([sys.executable, "-c", code, engine.program], capture_output=True, text=True, check=True)

    assert (expected, ["m-m"] if taken else []) == (done.stdout, engine.left)


def test_sigchld_ignored_during_a_block(engine: NamespaceEngine, local: Smolvm) -> None:
    """With SIGCHLD ignored, teardown works without statuses, and a command's lost status is an error rather than 0."""
    before = signal.getsignal(signal.SIGCHLD)
    try:
        with local.machine("m") as machine:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            with pytest.raises(errors.StatusLostError, match="other code of this program took"):
                machine.exec(["true"])
            with pytest.raises(errors.StatusLostError):
                machine.popen(["true"]).wait()
            assert ["m"] == [info.name for info in local.ls()]
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert [] == engine.left


FORKED = """
import os, sys
from smolkit import Smolvm, SubprocessRunner
local = Smolvm(runner=SubprocessRunner(sys.argv[1], version="1.32.2"))
pid = None
try:
    with local.machine("m") as machine, machine.popen(["sh", "-c", "read x; echo $x"], stdin=True) as process:
        if (pid := os.fork()) == 0:
            {ends}
        assert os.waitpid(pid, 0)[1] == 0
        assert machine.exec(["true"]).ok
        process.stdin.write("lives\\n")
        print(b"".join(chunk for _, chunk in process))
except BaseException as error:
    if pid != 0:
        raise
    print("child", error, flush=True)
    os._exit(0)
print("end", flush=True)
"""


@pytest.mark.parametrize("ends", ["raise ValueError('mine')", "sys.exit('mine')"])
def test_a_fork_that_leaves_the_block_leaves_the_machine(engine: NamespaceEngine, ends: str) -> None:
    """A fork that leaves the block leaves machine and commands to its parent, like an unpickled handle."""
    code = FORKED.format(ends=ends)
    done = subprocess.run([sys.executable, "-c", code, engine.program], capture_output=True, text=True, check=False)

    assert ("child mine\nb'lives\\n'\nend\n", "") == (done.stdout, done.stderr)
    assert ["create", "start", "exec", "exec", "delete"] == sorted(engine.calls, key=engine.calls.index)
    assert [] == engine.left

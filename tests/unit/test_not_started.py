"""Why a command was not started: its program, or its working directory."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from smolkit import Smolvm, errors
from smolkit.testing import FakeRunner, FakeSmolvm

NOT_FOUND = "agent operation failed: vm exec interactive: No such file or directory (os error 2)"
IN_JSON = f'{{"error":{{"code":"SMOLVM_ERROR","message":"{NOT_FOUND}"}}}}\n'


def calls(runner: FakeRunner) -> list[tuple[str, ...]]:
    """The commands that ran in the guest."""
    return [argv[argv.index("--") + 1 :] for argv in runner.argvs if "--" in argv]


def is_look(command: Any) -> bool:
    """True for a look at a workdir."""
    return bool(command.guest[:1] == ("test",))


def failing(fake: FakeRunner) -> None:
    """Make each command fail as one of a bare machine that was not started."""
    fake.answer(["machine", "exec"], returncode=1, stderr=IN_JSON)


def test_a_command_without_a_workdir_takes_no_look() -> None:
    """Without a workdir it is the program that is missing, and nothing is asked."""
    fake = FakeRunner()
    failing(fake)

    with pytest.raises(errors.ProgramNotFoundError, match="the guest has no such program: "):
        Smolvm(runner=fake).machine("m").exec(["nosuch"])
    assert [("nosuch",)] == calls(fake)


@pytest.mark.parametrize(("status", "expected"), [(0, errors.ProgramNotFoundError), (1, errors.WorkdirNotFoundError)])
def test_one_look_decides(status: int, expected: type[errors.ExecError]) -> None:
    """Where a bare machine's words fit both, one look at the workdir decides, and the command is not run again."""
    fake = FakeRunner()
    fake.answer(is_look, returncode=status)
    failing(fake)

    with pytest.raises(expected) as caught:
        Smolvm(runner=fake).machine("m").exec(["nosuch"], workdir="/w")
    assert [("nosuch",), ("test", "-d", "/w")] == calls(fake)
    assert (1, ("nosuch",)) == (caught.value.returncode, caught.value.argv[-1:])
    assert 127 == pickle.loads(pickle.dumps(caught.value)).shell_status


def test_both_are_missing_in_an_image_machine() -> None:
    """crun looks for the program first, so that a look decides there, too."""
    fake = FakeRunner()
    fake.answer(is_look, returncode=1)
    line = "executable file `nosuch` not found in $PATH: No such file or directory\n"
    fake.answer(["machine", "exec"], returncode=255, stderr=line)

    with pytest.raises(errors.WorkdirNotFoundError, match="/w"):
        Smolvm(runner=fake).machine("m").exec(["nosuch"], workdir="/w")


def test_a_look_that_fails_is_a_note() -> None:
    """If the guest cannot tell (it has no `test`), the error is that of the program, with a note on the workdir."""
    fake = FakeRunner()
    failing(fake)

    with pytest.raises(errors.ProgramNotFoundError) as caught:
        Smolvm(runner=fake).machine("m").exec(["nosuch"], workdir="/w")
    assert "or it has no workdir '/w'" in caught.value.__notes__[0]


def test_the_workdir_of_the_machine_is_looked_at() -> None:
    """A workdir that the machine was described with counts for commands that have none."""
    fake = FakeRunner()
    fake.answer(is_look, returncode=1)
    failing(fake)

    with pytest.raises(errors.WorkdirNotFoundError, match="/w"):
        Smolvm(runner=fake).machine("m", workdir="/w").exec(["true"])


def test_a_process_looks_once() -> None:
    """popen raises the same error wherever its end is met, and looks once."""
    fake = FakeSmolvm()
    with Smolvm(runner=fake).machine("m") as machine:
        process: Any = machine.popen(["true"], workdir="/no/such")
        for _ in range(2):
            with pytest.raises(errors.WorkdirNotFoundError):
                process.wait()
        with pytest.raises(errors.WorkdirNotFoundError):
            list(process)
    assert 1 == [argv[-3:] for argv in fake.argvs].count(("test", "-d", "/no/such"))

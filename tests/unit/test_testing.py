"""smolkit.testing as a package, and FakeRunner, on which users build their tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smolkit import Completed, Smolvm, errors
from smolkit.commands import Exec, Ls, Start
from smolkit.testing import FakeRunner, UnexpectedCommandError, UnusedAnswerError


def test_an_unexpected_command_raises(client: Smolvm, fake: FakeRunner) -> None:
    """An unexpected command raises with the command, its argv (env hidden) and the scripted answers."""
    fake.answer(Ls())

    with pytest.raises(UnexpectedCommandError) as caught:
        client.machine("m").exec(["true"], env={"K": "s3cr3t"})
    assert "argv: smolvm machine exec --name m -i -e 'K=***' -- true" in str(caught.value)
    assert "answers, most similar first:\n    Ls()" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_patterns_of_answers(client: Smolvm, fake: FakeRunner) -> None:
    """Answers match by command, class, first words or predicate, and the first match is used."""
    fake.answer(Exec("m", ["by", "value"]), stdout="value")
    fake.answer(lambda command: isinstance(command, Exec) and "predicate" in command.command, stdout="predicate")
    fake.answer(["machine", "exec", "--name", "words"], stdout="words")
    fake.answer(Exec, stdout="class")
    m = client.machine("m")

    assert "value" == m.exec(["by", "value"]).stdout
    assert "predicate" == m.exec(["by", "predicate"]).stdout
    assert "words" == client.machine("words").exec(["true"]).stdout
    assert "class" == m.exec(["true"]).stdout


def test_answers_with_times(client: Smolvm, fake: FakeRunner) -> None:
    """An answer with times= is used that often, then the next match, or none."""
    fake.answer(Exec, returncode=1, times=1)
    fake.answer(Exec, stdout="ok", times=1)
    m = client.machine("m")

    assert 1 == m.exec(["true"]).returncode
    assert "ok" == m.exec(["true"]).stdout
    with pytest.raises(UnexpectedCommandError, match="used up"):
        m.exec(["true"])


def test_a_scripted_exception(client: Smolvm, fake: FakeRunner) -> None:
    """error= is raised as it is."""
    fake.answer(Start, error=ConnectionResetError("ssh"))

    with pytest.raises(ConnectionResetError, match="ssh"):
        client.machine("m").start()


def test_scripted_failures_raise_the_real_errors(client: Smolvm, fake: FakeRunner) -> None:
    """A scripted timeout or engine message raises the real error."""
    fake.answer(Exec, returncode=124, duration=5.1, stdout="part", times=1)
    fake.answer(Exec, ended_by="timeout", times=1)
    fake.answer(Exec, returncode=1, stderr='{"error":{"code":"X","message":"vm not found: m"}}')
    m = client.machine("m")

    with pytest.raises(errors.ExecTimeoutError):
        m.exec(["sleep"], timeout=5)
    with pytest.raises(errors.EngineTimeoutError):
        m.exec(["sleep"])
    with pytest.raises(errors.MachineNotFoundError):
        m.exec(["true"])


def test_a_refused_command_is_not_recorded() -> None:
    """A command that the engine does not support is not recorded, since it never runs."""
    fake = FakeRunner("1.0.1")

    with pytest.raises(errors.UnsupportedByEngineError):
        Smolvm(runner=fake).machine("m", labels={"a": "b"}).create()
    assert ([], []) == (fake.commands, fake.invocations)


def test_calls_are_recorded() -> None:
    """Calls are recorded as commands, as argvs without --error-format, and as invocations."""
    fake = FakeRunner("1.0.1")
    fake.answer(["machine"])
    m = Smolvm(runner=fake).machine("m")
    m.create()
    m.exec(["cat"], input=b"in")

    assert [("machine", "create", "m"), ("machine", "exec", "--name", "m", "-i", "--", "cat")] == fake.argvs
    assert b"in" == fake.invocations[1].stdin


def test_short_replies(client: Smolvm, fake: FakeRunner) -> None:
    """A reply may be stdout, an exit status, an exception, a function of the command, or a list of these."""
    machine = client.machine("m")
    fake.answer(
        Exec,
        [
            "one",
            b"two",
            3,
            KeyError("four"),
            lambda command: command.command[0],  # type: ignore[attr-defined]
            Completed((), 7, b"x", b"y"),
        ],
    )

    assert ["one", "two"] == [machine.exec(["x"]).stdout for _ in range(2)]
    assert 3 == machine.exec(["x"]).returncode
    with pytest.raises(KeyError, match="four"):
        machine.exec(["x"])
    assert "asked" == machine.exec(["asked"]).stdout
    last = machine.exec(["x"])
    assert (7, "x", "y") == (last.returncode, last.stdout, last.stderr)
    with pytest.raises(UnexpectedCommandError, match="used up"):
        machine.exec(["x"])


def test_assert_done(client: Smolvm, fake: FakeRunner) -> None:
    """assert_done() names the answers that were not used."""
    fake.answer(Exec("m", ["a"]), "x")
    fake.answer(Exec("m", ["b"]), ["x", "y"])
    fake.answer(Exec("m", ["c"]), "z", times=2)
    machine = client.machine("m")
    for word in ("a", "b", "c"):
        machine.exec([word])
    with pytest.raises(UnusedAnswerError) as caught:
        fake.assert_done()

    assert "'b'" in str(caught.value)
    assert "'a'" not in str(caught.value)
    machine.exec(["b"])
    machine.exec(["c"])
    fake.assert_done()


def test_scripted_answers_are_listed_by_similarity(client: Smolvm, fake: FakeRunner) -> None:
    """An unexpected command lists the scripted answers, most similar first."""
    fake.answer(["machine", "ls"], "[]")
    fake.answer(Exec("m", ["uname", "-a"]), "Linux")
    with pytest.raises(UnexpectedCommandError) as caught:
        client.machine("m").exec(["uname", "-r"])

    shown = str(caught.value).partition("most similar first:\n")[2].splitlines()
    assert "'-a'" in shown[0]
    assert "'ls'" in shown[1]


def test_the_package_imports_nothing_until_a_name_is_used() -> None:
    """`import smolkit.testing` imports no module below it, `dir` lists all names, and using one imports only its module."""
    code = """import sys, smolkit.testing as testing
def loaded(): return sorted(name for name in sys.modules if name.startswith("smolkit.testing."))
print(loaded(), set(testing.__all__) <= set(dir(testing)))
testing.FakeRunner
print(loaded())"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[] True\n['smolkit.testing.scripted']\n" == done.stdout

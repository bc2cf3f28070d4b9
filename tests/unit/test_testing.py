"""FakeRunner: what users build their own tests on."""

from __future__ import annotations

import pytest

from smolkit import Completed, Smolvm, errors
from smolkit.commands import Exec, Ls, Start
from smolkit.testing import FakeRunner, UnexpectedCommandError, UnusedAnswerError


def test_an_unexpected_command_raises(client: Smolvm, fake: FakeRunner) -> None:
    """With the command, its argv (env hidden) and what would have been answered."""
    fake.answer(Ls())

    with pytest.raises(UnexpectedCommandError) as caught:
        client.machine("m").exec(["true"], env={"K": "s3cr3t"})
    assert "argv: smolvm machine exec --name m -i -e 'K=***' -- true" in str(caught.value)
    assert "answers, most similar first:\n    Ls()" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_answers_by_value_class_words_and_predicate(client: Smolvm, fake: FakeRunner) -> None:
    """The first that matches counts."""
    fake.answer(Exec("m", ["by", "value"]), stdout="value")
    fake.answer(lambda command: isinstance(command, Exec) and "predicate" in command.command, stdout="predicate")
    fake.answer(["machine", "exec", "--name", "words"], stdout="words")
    fake.answer(Exec, stdout="class")
    m = client.machine("m")

    assert "value" == m.exec(["by", "value"]).stdout
    assert "predicate" == m.exec(["by", "predicate"]).stdout
    assert "words" == client.machine("words").exec(["true"]).stdout
    assert "class" == m.exec(["true"]).stdout


def test_answers_that_run_out(client: Smolvm, fake: FakeRunner) -> None:
    """times= bounds an answer; then the next one matches, or none."""
    fake.answer(Exec, returncode=1, times=1)
    fake.answer(Exec, stdout="ok", times=1)
    m = client.machine("m")

    assert 1 == m.exec(["true"]).returncode
    assert "ok" == m.exec(["true"]).stdout
    with pytest.raises(UnexpectedCommandError, match="used up"):
        m.exec(["true"])


def test_a_runner_that_fails(client: Smolvm, fake: FakeRunner) -> None:
    """error= is raised as it is."""
    fake.answer(Start, error=ConnectionResetError("ssh"))

    with pytest.raises(ConnectionResetError, match="ssh"):
        client.machine("m").start()


def test_the_real_mapping_runs_over_scripted_words(client: Smolvm, fake: FakeRunner) -> None:
    """A scripted timeout, scripted words of the engine: the errors are the real ones."""
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


def test_what_never_ran_is_not_recorded() -> None:
    """An engine that lacks the feature is not called."""
    fake = FakeRunner("1.0.1")

    with pytest.raises(errors.UnsupportedByEngineError):
        Smolvm(runner=fake).machine("m", labels={"a": "b"}).create()
    assert ([], []) == (fake.commands, fake.invocations)


def test_what_was_run_is_recorded() -> None:
    """As commands, as argvs without the noise of newer engines, and as invocations."""
    fake = FakeRunner("1.0.1")
    fake.answer(["machine"])
    m = Smolvm(runner=fake).machine("m")
    m.create()
    m.exec(["cat"], input=b"in")

    assert [("machine", "create", "m"), ("machine", "exec", "--name", "m", "-i", "--", "cat")] == fake.argvs
    assert b"in" == fake.invocations[1].stdin


def test_answers_in_short(client: Smolvm, fake: FakeRunner) -> None:
    """Text and bytes are stdout, an int the status, an exception is raised, a function is asked; a list is a sequence."""
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


def test_every_answer_should_be_asked_for(client: Smolvm, fake: FakeRunner) -> None:
    """assert_done() names what was not."""
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


def test_what_was_not_expected_is_shown_beside_what_was(client: Smolvm, fake: FakeRunner) -> None:
    """An unexpected command lists the scripted answers, most similar first."""
    fake.answer(["machine", "ls"], "[]")
    fake.answer(Exec("m", ["uname", "-a"]), "Linux")
    with pytest.raises(UnexpectedCommandError) as caught:
        client.machine("m").exec(["uname", "-r"])

    shown = str(caught.value).partition("most similar first:\n")[2].splitlines()
    assert "'-a'" in shown[0]
    assert "'ls'" in shown[1]

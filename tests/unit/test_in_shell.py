"""Commands that a shell of the guest starts: what the engine gets, and what its answers mean."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from smolkit import Smolvm, errors
from smolkit.commands import Exec, in_shell
from smolkit.testing import FakeRunner, FakeSmolvm

LONG = f"echo '{'é' * 70_000}'"
SHELLS = [shell.split() for shell in ("sh", "dash", "bash", "busybox sh") if shutil.which(shell.split()[0])]


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("su", [None, "agent"])
@pytest.mark.parametrize(
    "command", [("ls", "-l"), ("sh", "-c", "exit 3"), ("/bin/sh", "-c", LONG), ("sh", "-c", LONG, "a")]
)
def test_unwrapped_is_the_inverse(command: tuple[str, ...], su: str | None, merged: bool) -> None:
    """A fake finds the command, the user and the streams in what the engine gets."""
    words = in_shell.words(command, merged=merged, su=su)

    assert (command, su, merged) == in_shell.unwrapped(words)
    assert len(command) == 4 or max(len(word.encode()) for word in words) <= in_shell.LONGEST


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_script_in_pieces_runs_as_it_is(shell: list[str]) -> None:
    """A script in pieces has the arguments, variables, lines, status and stdin of one that is in one piece."""
    script = f'#{"x" * 140_000}\necho "$# $0 <${{IFS-unset}}> $LINENO"\ncat <<EOF\nin $((1 + 1))\nEOF\ncat; exit 5'
    plain = script.replace("x" * 140_000, "")
    words = in_shell.words(("sh", "-c", script), merged=False, su=None)
    done, expected = (
        subprocess.run([*shell, *rest], input=b"stdin", capture_output=True, check=False, env={"PATH": "/bin:/usr/bin"})
        for rest in (words[1:], ("-c", plain, "sh"))
    )

    assert (5, b"") == (done.returncode, done.stderr)
    assert expected.stdout == done.stdout


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["echo", "-n", "a  b", ""], 0, b""),
        (["nosuch"], 127, b"smolkit: nosuch: not found\n"),
        (["/no/such"], 127, b"smolkit: /no/such: not found\n"),
        (["/etc/passwd"], 126, b"smolkit: /etc/passwd: not executable\n"),
        (["/etc"], 126, b"smolkit: /etc: not executable\n"),
    ],
)
def test_each_shell_starts_or_reports(shell: list[str], command: list[str], status: int, said: bytes) -> None:
    """Every shell starts the command, or says in the same words why not."""
    words = in_shell.words(tuple(command), merged=True, su=None)
    done = subprocess.run([*shell, *words[1:]], capture_output=True, check=False)

    assert (status, said, b"a  b " if status == 0 else b"") == (done.returncode, done.stderr, done.stdout)


def test_only_the_last_line_with_its_status_is_a_report() -> None:
    """A program that ends with 127 by itself, or writes such a line and goes on, has a result."""
    fake = FakeRunner()
    machine = Smolvm(runner=fake).machine("m")
    said = "smolkit: make: not found\n"
    for stderr, returncode in ((said, 1), (said + "x\n", 127), ("smolkit: other: not found\n", 127), ("", 127)):
        fake.answer(Exec, stderr=stderr, returncode=returncode, times=1)
        assert returncode == machine.exec(["make"], stderr="stdout").returncode
    fake.answer(Exec, stderr=said, returncode=127, times=2)
    assert 127 == machine.exec(["make"]).returncode
    with pytest.raises(errors.ProgramNotFoundError, match="no such program: make"):
        machine.exec(["make"], stderr="stdout")


@pytest.mark.parametrize("stderr", ["stdin", 1, -1, True, b"stdout", ""])
def test_other_streams_are_refused(stderr: object) -> None:
    """stderr must be "stdout" or subprocess.STDOUT."""
    with pytest.raises(ValueError, match=r"stderr must be 'stdout' or subprocess\.STDOUT"):
        Smolvm(runner=FakeRunner()).machine("m").exec(["true"], stderr=stderr)  # type: ignore[arg-type]


def test_root_of_a_bare_machine_needs_no_su() -> None:
    """On a bare machine user="root" is a no-op, and another user is made by su, also on engines without --user."""
    for version in ("1.8.3", "1.32.2"):
        fake = FakeSmolvm(version)
        fake.on("id", lambda call: str(call.user))
        with Smolvm(runner=fake).machine("m") as machine:
            for user in ("root", "0", "0:0"):
                assert "None" == machine.exec(["id"], user=user).stdout
                assert ("--", "id") == fake.argvs[-1][-2:]
            assert "agent" == machine.exec(["id"], user="agent").stdout
        assert not [argv for argv in fake.argvs if "--user" in argv or "status" in argv]


def test_an_image_machine_has_the_engines_users() -> None:
    """On an image machine every user, root too, is the engine's."""
    fake = FakeSmolvm()
    fake.on("id", lambda call: str(call.user))
    with Smolvm(runner=fake).machine("m", image="alpine") as machine:
        assert "root" == machine.exec(["id"], user="root").stdout
        assert ("--user", "root") == fake.argvs[-1][-4:-2]


def test_a_handle_looks_once_what_its_machine_is_made_of() -> None:
    """A handle on a machine that it did not make asks for the record, once, and only for a command with a user."""
    fake = FakeSmolvm()
    fake.on("id", lambda call: str(call.user))
    client = Smolvm(runner=fake)
    with client.machine("bare"), client.machine("image", image="alpine"):
        for name in ("bare", "image"):
            other = client.machine(name)
            before = len(fake.argvs)
            assert ["None", "a", "a"] == [other.exec(["id"], user=user).stdout for user in (None, "a", "a")]
            assert ["exec", "status", "exec", "exec"] == [argv[argv.index("machine") + 1] for argv in fake.argvs[before:]]


def test_secrets_and_variables_that_are_too_long_are_not_shown() -> None:
    """The error names the variable and its size, not its value."""
    machine = Smolvm(runner=FakeRunner()).machine("m")
    for given in ({"env": {"X": "s3cr3t" * 30_000}}, {"secrets": {"X": "s3cr3t" * 30_000}}):
        with pytest.raises(ValueError, match="X must be at most 131,071 bytes") as caught:
            machine.exec(["true"], **given)  # type: ignore[arg-type]
        assert "s3cr3t" not in str(caught.value)

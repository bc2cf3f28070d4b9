"""Commands that a shell of the guest starts behave the same on the fake and on real engines."""

from __future__ import annotations

import subprocess

import pytest

from smolkit import Machine, errors
from tests.contract.conftest import World
from tests.contract.test_commands import shown

WORDS = "echo a; echo b >&2; echo c; echo d >&2; exit 7"


@pytest.mark.differs
def test_stderr_in_stdout(machine: Machine) -> None:
    """With stderr="stdout" both streams are one, in the order in which the command writes them."""
    assert (7, "a\nb\nc\nd\n", "") == shown(machine.sh(WORDS, stderr="stdout"))
    result = machine.exec(["sh", "-c", 'cat; echo "$X" >&2'], stderr=subprocess.STDOUT, input="in\n", env={"X": "a  b"})

    assert (0, "in\na  b\n", "", ("sh", "-c", 'cat; echo "$X" >&2')) == (*shown(result), result.args)


@pytest.mark.differs
def test_a_process_whose_stderr_is_its_stdout(machine: Machine) -> None:
    """popen(stderr="stdout") gives one stream."""
    with machine.popen(["sh", "-c", WORDS], stderr="stdout") as process:
        found = list(process)

    assert ({"stdout"}, b"a\nb\nc\nd\n") == ({stream for stream, _ in found}, b"".join(data for _, data in found))
    assert 7 == process.returncode


@pytest.mark.differs
def test_errors_of_a_command_whose_stderr_is_its_stdout(machine: Machine) -> None:
    """What the guest cannot start is the same error; the status 127 of a command that ran is a result."""
    machine.write_text("/root/text", "no program")
    for command in (["nosuchprogram"], ["/no/such"]):
        with pytest.raises(errors.ProgramNotFoundError, match=command[0]):
            machine.exec(command, stderr="stdout")
    with pytest.raises(errors.ProgramNotFoundError, match="nosuchprogram"):
        machine.popen(["nosuchprogram"], stderr="stdout").wait()
    with pytest.raises(errors.ProgramNotExecutableError, match="/root/text"):
        machine.exec(["/root/text"], stderr="stdout")
    with pytest.raises(errors.WorkdirNotFoundError):
        machine.exec(["true"], stderr="stdout", workdir="/no/such")
    assert (127, "sh: nosuchprogram: not found\n", "") == shown(machine.sh("nosuchprogram", stderr="stdout"))


@pytest.mark.differs
def test_a_timeout_of_a_command_whose_stderr_is_its_stdout(machine: Machine, world: World) -> None:
    """A timeout ends the command, not only the shell that started it, and the error has both streams in one."""
    with pytest.raises(errors.ExecTimeoutError) as caught:
        machine.sh("echo before; echo and >&2; sleep 60", stderr="stdout", timeout=4)

    assert not world.supports("--error-format") or ("before\nand\n", "") == (caught.value.stdout, caught.value.stderr)


@pytest.mark.differs
def test_users_of_a_bare_machine(machine: Machine, world: World) -> None:
    """A bare machine runs commands as another user by its own su, in the same place, with the same variables."""
    assert "root\n" == machine.exec(["id", "-un"], user="root").stdout
    if not world.has_users:
        pytest.skip("of users that are not root, NamespaceEngine's guests have no other user than root")
    assert "daemon\n" == machine.exec(["id", "-un"], user="daemon").stdout
    other = world.client.machine(machine.name)  # which does not know what the machine is made of
    assert "daemon\n" == other.exec(["id", "-un"], user="daemon", stderr="stdout").stdout
    script = 'cat; pwd; echo "$X"; echo err >&2; exit 9'
    result = machine.sh(script, user="daemon", workdir="/tmp", env={"X": "a  b"}, input="in\n")
    assert (9, "in\n/tmp\na  b\n", "err\n") == shown(result)
    with pytest.raises(errors.ProgramNotFoundError, match="nosuchprogram"):
        machine.exec(["nosuchprogram"], user="daemon")
    with machine.popen(["id", "-un"], user="daemon", text=True) as process:
        assert [("stdout", "daemon\n")] == list(process)
    with pytest.raises(errors.ConfigError, match="takes no group"):
        machine.exec(["id"], user="2:2")


@pytest.mark.differs
def test_long_scripts(machine: Machine) -> None:
    """A script that is longer than an argument may be runs as it is, with input, and as another command's stderr."""
    data = "0123456789abcdef é\n" * 20_000
    script = f"cat; echo '{data}' >/tmp/long; echo err >&2; exit 6"

    assert (6, "in", "err\n") == shown(machine.sh(script, input="in"))
    assert f"{data}\n" == machine.read_text("/tmp/long")
    assert (6, "inerr\n", "") == shown(machine.exec(["sh", "-c", script], input="in", stderr="stdout"))


@pytest.mark.differs
def test_the_longest_arguments_and_variables(machine: Machine) -> None:
    """The longest argument and variable arrive; longer ones, and too many, are refused before anything runs."""
    longest = "x" * 131_071
    assert longest == machine.exec(["printf", "%s", longest]).stdout
    assert longest[2:] == machine.sh('echo -n "$X"', env={"X": longest[2:]}).stdout
    for command, env in ((["echo", longest + "x"], {}), (["true"], {"X": longest}), (["echo", *[longest] * 16], {})):
        with pytest.raises(ValueError, match=r"must be at most (131,071|2,000,000) bytes"):
            machine.exec(command, env=env)
    with pytest.raises(ValueError, match="SECRET_X must be at most"):
        machine.exec(["true"], secrets={"X": longest})
    with pytest.raises(ValueError, match="must be at most 2,000,000 bytes in all"):
        machine.sh(f"true {'x' * 2_000_000}")

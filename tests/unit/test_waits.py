"""wait_until, in all its forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smolkit import Smolvm, errors
from smolkit.commands import DataDir, Exec
from smolkit.testing import FakeRunner
from tests.recorded import as_json

# Recorded from 1.32.2 with `nc -l -p 8080` in it. The other port is a connection, not a listener.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F91 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 120 1 000000004ef6542a 100
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""
NOT_FOUND: dict[str, Any] = {
    "returncode": 1,
    "stderr": as_json(
        "SMOLVM_ERROR", "agent operation failed: vm exec interactive: No such file or directory (os error 2)"
    ),
}


def test_a_command_that_succeeds_at_last(client: Smolvm, fake: FakeRunner) -> None:
    """A command is tried until it succeeds, with growing pauses, each try within the time that is left."""
    fake.answer(Exec, returncode=1, times=1)
    fake.answer(Exec, **NOT_FOUND, times=1)
    fake.answer(Exec, returncode=124, duration=99, stderr="\ncommand timed out after 9700ms", times=1)
    fake.answer(Exec)
    client.machine("m").wait_until(command=["pg_isready", "-q"], timeout=10)

    commands = [command for command in fake.commands if isinstance(command, Exec)]
    assert [("pg_isready", "-q")] * 4 == [command.command for command in commands]
    assert [10, 9.9, 9.7, 9.4] == [round(command.timeout or 0, 3) for command in commands]
    assert [0.1, 0.2, 0.3] == [round(pause, 3) for pause in fake.pauses]


def test_a_path_that_appears(client: Smolvm, fake: FakeRunner) -> None:
    """A path is tested with `test -e`, and must be absolute."""
    fake.answer(Exec, returncode=1, times=1)
    fake.answer(Exec)
    client.machine("m").wait_until(path="/run/ready")

    assert Exec("m", ["test", "-e", "/run/ready"], timeout=60) == fake.commands[0]
    with pytest.raises(ValueError, match="path must be an absolute path"):
        client.machine("m").wait_until(path="run/ready")


def test_a_port_that_something_listens_on(client: Smolvm, fake: FakeRunner) -> None:
    """A port is found on IPv4 or IPv6 (which a guest may lack), and a connection from such a port is not a listener."""
    fake.answer(Exec, stdout=TCP.splitlines()[0], returncode=1, stderr="cat: can't open '/proc/net/tcp6'", times=1)
    fake.answer(Exec, stdout=TCP)
    fake.answer(DataDir, stdout="/nowhere\n")
    machine = client.machine("m")

    machine.wait_until(port=8080)
    assert 1 == len(fake.pauses)
    with pytest.raises(errors.WaitTimeoutError, match="machine 'm': nothing listened on port 8081 within 2 s"):
        machine.wait_until(port=8081, timeout=2)


def test_a_timeout_has_the_logs(client: Smolvm, fake: FakeRunner, tmp_path: Path) -> None:
    """A timeout is also a TimeoutError and has the machine's logs, if there are any."""
    (tmp_path / "agent-console.log").write_text("out of memory\x1b[2J\n")
    fake.answer(Exec, returncode=1)
    fake.answer(DataDir, stdout=f"{tmp_path}\n", times=1)
    fake.answer(DataDir, returncode=1)
    machine = client.machine("m")

    with pytest.raises(TimeoutError, match=r"\('false',\) did not exit with 0 within 3 s") as caught:
        machine.wait_until(command=["false"], timeout=3)
    assert ["the end of agent-console.log of machine 'm':\nout of memory\\x1b[2J"] == caught.value.__notes__
    assert 3 == round(sum(fake.pauses), 3)
    with pytest.raises(errors.WaitTimeoutError) as caught:
        machine.wait_until(command=["false"], timeout=3)
    assert not hasattr(caught.value, "__notes__")


def test_a_machine_that_does_not_run_is_not_waited_for(client: Smolvm, fake: FakeRunner) -> None:
    """A stopped machine, or a guest without the needed program, raises at once."""
    fake.answer(
        Exec,
        returncode=1,
        stderr=as_json("SMOLVM_ERROR", "agent operation failed: connect: machine 'm' is not running."),
        times=1,
    )
    fake.answer(Exec, **NOT_FOUND)

    with pytest.raises(errors.MachineNotRunningError):
        client.machine("m").wait_until(port=80)
    with pytest.raises(errors.ProgramNotFoundError):
        client.machine("m").wait_until(path="/x")


class Growing(FakeRunner):
    """A fake whose machine's logs grow with each look."""

    parts: Iterator[bytes] = iter(())

    def read_log(self, path: str, start: int) -> bytes:
        """The logs so far, from an offset."""
        with open(path, "ab") as file:
            file.write(next(self.parts, b"") if path.endswith("workload.log") and start >= 0 else b"")
        return super().read_log(path, start)


def logged(tmp_path: Path, parts: list[bytes], pattern: str | re.Pattern[str]) -> FakeRunner:
    """Wait for the pattern in logs that grow by these pieces."""
    fake = Growing()
    fake.parts = iter(parts)
    fake.answer(DataDir, stdout=f"{tmp_path}\n")
    Smolvm(runner=fake).machine("m").wait_until(log=pattern, timeout=5)
    return fake


def test_a_line_of_the_logs(tmp_path: Path) -> None:
    """A log pattern matches lines that arrive in pieces, from where the last look ended, with invalid UTF-8 replaced."""
    fake = logged(tmp_path, [b"booting\nlisten", b"", b"ing on \xff 80", b"", b"80\n", b""], r"^listening on . 8080$")

    assert 2 == len(fake.pauses)
    assert [DataDir("m")] == fake.commands
    (tmp_path / "workload.log").unlink()
    logged(tmp_path, [b"READY"], re.compile("ready", re.IGNORECASE))


def test_a_command_line_in_the_log_does_not_match(tmp_path: Path) -> None:
    """A command line in the agent's log does not match a log pattern."""
    said = b'{"timestamp":"2026","fields":{"command":"[\\"grep\\", \\"ready\\"]"}}\n'

    with pytest.raises(errors.WaitTimeoutError, match="no line of its logs matched 'ready' within 5 s"):
        logged(tmp_path, [said], "ready")


def test_an_endless_writer_times_out(tmp_path: Path) -> None:
    """A guest that writes endlessly ends the wait at its timeout, in bounded memory."""
    with pytest.raises(errors.WaitTimeoutError):
        logged(tmp_path, [b"x" * 2**17] * 400, "ready")


@pytest.mark.parametrize("given", [{}, {"port": 80, "path": "/x"}])
def test_exactly_one_condition_is_needed(client: Smolvm, given: dict[str, Any]) -> None:
    """wait_until without a condition, or with several, is refused."""
    with pytest.raises(ValueError, match="one of command=, path=, port= and log="):
        client.machine("m").wait_until(**given)

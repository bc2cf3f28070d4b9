"""Limits of output are the same on the fake and on real engines."""

from __future__ import annotations

import pytest

from smolkit import Machine, errors
from smolkit.values import Cut

LINES = "echo one; echo two >&2; echo three"


@pytest.mark.differs
def test_output_within_its_limit(machine: Machine) -> None:
    """A command that writes no more than the limit has its whole output."""
    result = machine.sh(f"{LINES}; exit 3", output_limit=14)

    assert (3, "one\nthree\n", "two\n", False) == (result.returncode, result.stdout, result.stderr, result.truncated)


@pytest.mark.differs
def test_output_beyond_its_limit(machine: Machine) -> None:
    """More output is an error that has the limit and the beginning, also if the command has ended by then."""
    with pytest.raises(errors.OutputLimitError) as caught:
        machine.sh(LINES, output_limit=13)
    assert (13, "one\nthree", "two\n") == (caught.value.limit, caught.value.stdout, caught.value.stderr)
    data = "0123456789" * 30_000
    machine.write_text("/tmp/much", data)
    with pytest.raises(errors.OutputLimitError) as caught:
        machine.sh("cat /tmp/much; sleep 60", output_limit=1000)
    assert (1000, data[:1000]) == (caught.value.limit, caught.value.stdout)


@pytest.mark.differs
def test_truncated_output(machine: Machine) -> None:
    """With on_limit="truncate" the command runs to its end, and both ends of each stream are kept."""
    data = "0123456789" * 30_000
    machine.write_text("/tmp/much", data)
    result = machine.sh("cat /tmp/much; echo end; echo err >&2; exit 4", output_limit=1000, on_limit="truncate")

    expected = (data[:498] + (data + "end\n")[-498:]).encode()
    assert (4, expected, "err\n") == (result.returncode, result.stdout_bytes, result.stderr)
    assert (True, Cut(498, 300_004 - 996), None) == (result.truncated, result.stdout_cut, result.stderr_cut)
    assert "\n[... 299008 bytes are missing here ...]\n" in result.stdout
    with pytest.raises(errors.ExecTimeoutError):
        machine.sh("cat /tmp/much; sleep 60", output_limit=1000, on_limit="truncate", timeout=4)
    with pytest.raises(errors.ProgramNotFoundError):
        machine.exec(["nosuchprogram"], output_limit=0, on_limit="truncate")

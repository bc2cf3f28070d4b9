"""Custom runners: the base class takes care of what they could get wrong."""

from __future__ import annotations

import pytest

from smolkit import Completed, Invocation, Runner, Smolvm, errors
from tests.recorded import as_json


class Careless(Runner):
    """A runner that returns only the output, and an argv of its own."""

    def __init__(self, returncode: int, stderr: bytes = b"", seconds: float = 0.0) -> None:
        super().__init__(version="1.32.2")
        self._returncode, self._stderr, self._seconds, self._time = returncode, stderr, seconds, 0.0

    def clock(self) -> float:
        """The test's clock."""
        return self._time

    def execute(self, invocation: Invocation) -> Completed:
        """Advance the clock by the call's duration."""
        self._time += self._seconds
        return Completed(("ssh", "host", *invocation.argv[:1]), self._returncode, stderr=self._stderr)


def test_a_guest_timeout_needs_no_duration_of_the_runner() -> None:
    """A guest's timeout is detected for a runner that gives no duration, and status 124 before it is a result."""
    with pytest.raises(errors.ExecTimeoutError):
        Smolvm(runner=Careless(124, seconds=5.5)).machine("m").exec(["sleep", "9"], timeout=5)
    result = Smolvm(runner=Careless(124, seconds=1)).machine("m").exec(["false"], timeout=5)

    assert (124, 1) == (result.returncode, result.duration)


def test_an_engine_failure_needs_no_argv_of_the_runner() -> None:
    """An engine's failure is detected for a runner that returns another argv than it was given."""
    failed = Careless(1, as_json("NOT_FOUND", "vm not found: m").encode())
    with pytest.raises(errors.MachineNotFoundError) as caught:
        Smolvm(runner=failed).machine("m").exec(["true"])

    assert caught.value.completed is not None
    assert "ssh" not in caught.value.completed.argv

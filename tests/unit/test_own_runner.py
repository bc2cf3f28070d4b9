"""Runners of a user's own: what the base class sees to, so that none can get it wrong."""

from __future__ import annotations

import pytest

from smolkit import Completed, Invocation, Runner, Smolvm, errors
from tests.recorded import as_json


class Careless(Runner):
    """Gives back only what came, and argv of its own."""

    def __init__(self, returncode: int, stderr: bytes = b"", seconds: float = 0.0) -> None:
        super().__init__(version="1.32.2")
        self._returncode, self._stderr, self._seconds, self._time = returncode, stderr, seconds, 0.0

    def clock(self) -> float:
        """Of the test."""
        return self._time

    def execute(self, invocation: Invocation) -> Completed:
        """It took so long."""
        self._time += self._seconds
        return Completed(("ssh", "host", *invocation.argv[:1]), self._returncode, stderr=self._stderr)


def test_a_timeout_of_the_guest_is_one_for_any_runner() -> None:
    """Also for one that does not say how long its call took. A status of 124 before that time is the command's own."""
    with pytest.raises(errors.ExecTimeoutError):
        Smolvm(runner=Careless(124, seconds=5.5)).machine("m").exec(["sleep", "9"], timeout=5)
    result = Smolvm(runner=Careless(124, seconds=1)).machine("m").exec(["false"], timeout=5)

    assert (124, 1) == (result.returncode, result.duration)


def test_a_failure_of_the_engine_is_one_for_any_runner() -> None:
    """Also for one that gives back words of its own: whose error it is stands on the words that were said."""
    failed = Careless(1, as_json("NOT_FOUND", "vm not found: m").encode())
    with pytest.raises(errors.MachineNotFoundError) as caught:
        Smolvm(runner=failed).machine("m").exec(["true"])

    assert caught.value.completed is not None
    assert "ssh" not in caught.value.completed.argv

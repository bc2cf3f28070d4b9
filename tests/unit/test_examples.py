"""The examples that are tests. (That an installation brings the plugin by itself is shown in the gate, with the wheel.)"""

from __future__ import annotations

from pathlib import Path

from tests.inner_pytest import run_pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_the_examples_tests_pass() -> None:
    """By the fake, without anything configured."""
    words = ["-c", "/dev/null", f"--rootdir={EXAMPLES}", "test_agent.py", "test_faults.py", "test_rollouts.py"]
    status, said = run_pytest(EXAMPLES, *words)

    assert (0, True) == (status, "7 passed" in said), said

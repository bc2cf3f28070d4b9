"""The examples that are tests. (The gate shows with the wheel that an installation registers the plugin.)"""

from __future__ import annotations

from pathlib import Path

from tests.inner_pytest import run_pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_the_examples_tests_pass() -> None:
    """The examples' tests pass on the fake, without configuration."""
    words = ["-c", "/dev/null", f"--rootdir={EXAMPLES}", "test_agent.py", "test_faults.py", "test_rollouts.py"]
    status, said = run_pytest(EXAMPLES, *words)

    assert (0, True) == (status, "7 passed" in said), said

"""The examples that are tests: they run with the plugin as an installation brings it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_the_examples_tests_pass() -> None:
    """By the fake, without anything configured."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={EXAMPLES}"]
    files = ["test_agent.py", "test_faults.py", "test_rollouts.py"]
    done = subprocess.run([*words, *files], cwd=EXAMPLES, capture_output=True, text=True, check=False)

    assert (0, True) == (done.returncode, "7 passed" in done.stdout), done.stdout + done.stderr

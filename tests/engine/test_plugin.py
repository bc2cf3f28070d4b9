"""The pytest plugin on the real engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.mark.once
def test_the_same_test_runs_on_the_real_engine_by_one_flag(state_dir: Path) -> None:
    """The example's; what needs the fake is skipped."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={EXAMPLES}"]
    env = {**os.environ, "SMOLVM_DATA_DIR": str(state_dir)}
    done = subprocess.run(
        [*words, "--smolvm=real", "test_agent.py"], cwd=EXAMPLES, capture_output=True, text=True, check=False, env=env
    )

    assert (0, True) == (done.returncode, "1 passed, 1 skipped" in done.stdout), done.stdout + done.stderr

"""The pytest plugin on the real engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.inner_pytest import run_pytest

pytestmark = pytest.mark.engine
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.mark.once
def test_a_flag_runs_the_tests_on_the_real_engine(state_dir: Path) -> None:
    """--smolvm=real runs the example's tests on the real engine, and skips those that need the fake."""
    options = ("-c", "/dev/null", f"--rootdir={EXAMPLES}", "--smolvm=real", "test_agent.py")
    status, said = run_pytest(EXAMPLES, *options, env={**os.environ, "SMOLVM_DATA_DIR": str(state_dir)})

    assert (0, True) == (status, "1 passed, 1 skipped" in said), said

"""Fixtures that all the suites share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smolkit import Smolvm
from smolkit.testing import FakeRunner
from tests.engines import TRIES

HOST = os.environ.get("EMULATED_HOST", "")
PASSED = Path(HOST, "passed")
CALLED: set[str] = set()
LOST = ["ConnectionLostError", "MachineNotRunningError", "unreachable"]  # what a VM that died makes of a test


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where the processor is emulated, what its failures spoil is done again.

    It ends a VM without a word, about once in twenty transfers of 12 MB: such a test is tried again, and counted as `R`.
    That a command of smolkit's fails for another reason, or an assertion, is never tried again. Where all of the host went
    down, the tests that had passed by then are not run twice; their names are above, in what the first run printed.
    """
    if not HOST:
        return
    passed = set(PASSED.read_text().splitlines()) if PASSED.exists() else set()
    done = [item for item in items if item.nodeid in passed]
    if done and len(done) < len(items):
        config.hook.pytest_deselected(items=done)
        items[:] = [item for item in items if item.nodeid not in passed]
    mark = pytest.mark.flaky(reruns=TRIES - 1, only_rerun=LOST)
    for item in items:
        if item.get_closest_marker("engine") or item.get_closest_marker("older"):
            item.add_marker(mark)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keeps which tests passed, with all that comes after them, where the host may go down."""
    if HOST and report.when == "call" and report.passed:
        CALLED.add(report.nodeid)
    if HOST and report.when == "teardown" and report.passed and report.nodeid in CALLED:
        with PASSED.open("a") as file:
            file.write(f"{report.nodeid}\n")


@pytest.fixture
def fake() -> FakeRunner:
    """A runner that speaks as the current engine."""
    return FakeRunner()


@pytest.fixture
def client(fake: FakeRunner) -> Smolvm:
    """A client of the fake."""
    return Smolvm(runner=fake)

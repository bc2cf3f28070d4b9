"""Fixtures that all the suites share."""

from __future__ import annotations

import os

import pytest

from smolkit import Smolvm
from smolkit.testing import FakeRunner
from tests.engines import TRIES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where the processor is emulated, a test whose VM died under it is tried again; pytest counts it as `R`.

    The emulation ends a VM without a word, about once in twenty transfers of 12 MB. That a command of smolkit's fails for
    another reason, or an assertion, is never tried again.
    """
    if "EMULATED_HOST" not in os.environ:
        return
    mark = pytest.mark.flaky(reruns=TRIES - 1, only_rerun=["ConnectionLostError", "MachineNotRunningError"])
    for item in items:
        if item.get_closest_marker("engine"):
            item.add_marker(mark)


@pytest.fixture
def fake() -> FakeRunner:
    """A runner that speaks as the current engine."""
    return FakeRunner()


@pytest.fixture
def client(fake: FakeRunner) -> Smolvm:
    """A client of the fake."""
    return Smolvm(runner=fake)

"""Fixtures that all the suites share."""

from __future__ import annotations

import pytest

from smolkit import Smolvm
from smolkit.testing import FakeRunner


@pytest.fixture
def fake() -> FakeRunner:
    """A runner that speaks as the current engine."""
    return FakeRunner()


@pytest.fixture
def client(fake: FakeRunner) -> Smolvm:
    """A client of the fake."""
    return Smolvm(runner=fake)

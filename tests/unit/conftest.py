"""A pretend engine, and isolation of unit tests from the rest of this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from smolkit import Smolvm, SubprocessRunner
from smolkit.testing import PretendEngine


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a cache directory, so that its first-start lock is not shared with other programs or tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def engine(tmp_path: Path) -> PretendEngine:
    """A pretend engine."""
    return PretendEngine(tmp_path / "engine")


@pytest.fixture
def pretend(engine: PretendEngine) -> Smolvm:
    """A client of the pretend engine."""
    return Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2"))

"""A pretend engine, and what keeps unit tests from the rest of this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from smolkit import Smolvm, SubprocessRunner
from smolkit.testing import PretendEngine


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of first starts is nobody else's: not another program's, nor that of a test beside this one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def engine(tmp_path: Path) -> PretendEngine:
    """A program that pretends."""
    return PretendEngine(tmp_path / "engine")


@pytest.fixture
def pretend(engine: PretendEngine) -> Smolvm:
    """A client of it."""
    return Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2"))

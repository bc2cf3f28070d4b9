"""A stand-in for the engine, and isolation of unit tests from the rest of this host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smolkit import Machine, Smolvm, SubprocessRunner
from smolkit.testing import NamespaceEngine


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a cache directory, so that its first-start lock is not shared with other programs or tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[NamespaceEngine]:
    """A program that stands in for the engine."""
    if why := NamespaceEngine.unavailable():
        pytest.skip(why)
    with NamespaceEngine(tmp_path / "engine") as engine:
        yield engine


@pytest.fixture
def local(engine: NamespaceEngine) -> Smolvm:
    """A client of this program."""
    return Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2"))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in the engine's place that becomes the guest's command, for tests of processes, pipes and signals."""
    (tmp_path / "program").mkdir()
    program = tmp_path / "program/smolvm"
    program.write_text("""#!/bin/sh
while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
[ $# -eq 0 ] && exit
shift
exec "$@"
""")
    program.chmod(0o755)
    return program


@pytest.fixture
def local_machine(program: Path) -> Machine:
    """A machine whose commands run on this host, as children of this process."""
    return Smolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m")

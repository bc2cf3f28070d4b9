"""Fixtures that all suites share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from smolkit import Smolvm
from smolkit.testing import FakeRunner
from tests import held

Table = Callable[[str, str], None]


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin `held`. Coverage measures the processes that run tests, but not those that these start."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        os.environ.pop("COVERAGE_PROCESS_START", None)
    config.pluginmanager.register(held, "held")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that only `python -m tests.everything` runs.

    They are most tests of the async twin, and the tests of older engines where these cannot differ from the newest.
    """
    for item in items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        second = params.get("real") == "asyncio" or params.get("world") == "real-newest-asyncio"
        older = item.get_closest_marker("older")
        if (second and not item.get_closest_marker("twin")) or (older and not item.get_closest_marker("differs")):
            item.add_marker("night")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process of xdist has all tests of a Ray cluster. (Marks of xdist's own are lost with pytest 9.2: 3.8.0.)"""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # late: not everybody has it

    class OneCluster(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "tests/ray" if nodeid.startswith("tests/ray/") else nodeid

    return OneCluster(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """With -rA, print the tables that tests filled."""
    if "A" not in config.getoption("reportchars"):
        return
    tables: dict[str, list[str]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, row in report.user_properties if report.when == "call" else ():
                if name.startswith("table: "):
                    tables.setdefault(name, []).append(row)
    for name, rows in tables.items():
        terminalreporter.section(name.removeprefix("table: "))
        for row in rows:
            terminalreporter.write_line(row)


@pytest.fixture
def table(record_property: Callable[[str, object], None]) -> Table:
    """Return a function that adds a row to the table of a title. A run with -rA prints the tables in its summary."""
    return lambda title, row: record_property(f"table: {title}", row)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Make SIGINT raise KeyboardInterrupt, also where it is ignored, as in background jobs of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def fake() -> FakeRunner:
    """Return a FakeRunner of the current engine version."""
    return FakeRunner()


@pytest.fixture
def client(fake: FakeRunner) -> Smolvm:
    """Return a client of `fake`."""
    return Smolvm(runner=fake)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Save what coverage has measured in a process of xdist, which ends without Python's exit."""
    if hasattr(config, "workerinput") and "coverage" in sys.modules:
        measured = sys.modules["coverage"].Coverage.current()
        if measured is not None:
            measured.stop()
            measured.save()

"""What real engines are held to, in a host whose emulated processor may end any VM, or all of the host, at any time.

It ends a VM without a word, about once in twenty transfers of 12 MB; the VMs of 1.20.2 die within seconds of their start
about five times in six. A test that meets that is tried again, and counted as `R`. One whose VM died in each of its tries
held nothing and broke nothing: it is "not held", and a run fails in which that is more than a twentieth of what one engine
was asked. That a command fails for another reason, or an assertion, is never tried again.

Where all of the host went down, the tests that had passed by then are not run twice.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

HOST = os.environ.get("EMULATED_HOST", "")
PASSED = Path(HOST, "passed")
CALLED: set[str] = set()
MOST_NOT_HELD = 0.05  # of what one engine is asked
NOT_HELD = "not held: "
_INSIST = 10.0  # seconds after which a try that is out of time is interrupted again: a start that hangs outlives the first

# What a VM that died makes of a test; and what an engine that waits for the dead makes of it.
DIED = ("ConnectionLostError", "MachineNotRunningError", "unreachable")
HUNG = (r"Timeout \(", "EngineTimeoutError", "BootFailedError", "ExecTimeoutError")


@frozen
class Rules:
    """How tests of some engines are tried.

    Attributes:
        tries: At most so many.
        seconds: For each phase of each try.
        excused: What may be the end of the last one, for the test to be "not held".
    """

    tries: int
    seconds: float
    excused: tuple[str, ...]


# A hang on the newest engine in all tries is smolkit's, or the engine's: it has bounds where older ones have none.
RULES = {"engine": Rules(4, 120, DIED), "older": Rules(6, 90, (*DIED, *HUNG))}
ASKED = pytest.StashKey[Counter[str]]()


def rules(item: pytest.Item) -> Rules | None:
    """Those of a test, if it is one of a real engine in an emulated host."""
    return next((found for name, found in RULES.items() if HOST and item.get_closest_marker(name)), None)


def engine(item: pytest.Item) -> str:
    """The real engine that a test asks."""
    callspec = getattr(item, "callspec", None)
    world = str(callspec.params.get("world", "")) if callspec else ""
    return world.split("-")[1] if world.startswith("real-") else "newest"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what has passed before the host went down, and says how often the others are tried."""
    config.stash[ASKED] = Counter(
        engine(item) for item in items if set(RULES) & {mark.name for mark in item.iter_markers()}
    )
    if not HOST:
        return
    passed = set(PASSED.read_text().splitlines()) if PASSED.exists() else set()
    done = [item for item in items if item.nodeid in passed]
    if len(done) < len(items):
        config.hook.pytest_deselected(items=done)
        items[:] = [item for item in items if item.nodeid not in passed]
    for item in items:
        if rule := rules(item):
            item.add_marker(pytest.mark.flaky(reruns=rule.tries - 1, only_rerun=[*DIED, *HUNG]))
            item.add_marker(pytest.mark.timeout(0))  # see bounded


@contextmanager
def bounded(item: pytest.Item) -> Iterator[None]:
    """A bound on one phase of one try. (pytest-timeout's is on all tries together, and ends with the first failure.)"""
    rule = rules(item)
    if rule is None:
        yield
        return

    def late(number: int, frame: object) -> None:
        pytest.fail(f"Timeout (>{rule.seconds:g} s)")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, rule.seconds, _INSIST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Bounds it."""
    with bounded(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Bounds it."""
    with bounded(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Bounds it."""
    with bounded(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes a failure in the last try "not held" where a VM's death is behind it, and keeps which engine was asked."""
    report = yield
    rule = rules(item)
    if rule is not None:
        report.user_properties.append(("engine", engine(item)))
        said = repr(call.excinfo.value) if call.excinfo is not None and report.failed else ""
        lost = re.search("|".join(rule.excused), said)
        if lost and getattr(item, "execution_count", 1) == rule.tries:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), 0, f"{NOT_HELD}its VM died in {rule.tries} tries, in the end by {lost[0]}")
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keeps which tests passed, with all that comes after them, where the host may go down."""
    if HOST and report.when == "call" and report.passed:
        CALLED.add(report.nodeid)
    if HOST and report.when == "teardown" and report.passed and report.nodeid in CALLED:
        with PASSED.open("a") as file:
            file.write(f"{report.nodeid}\n")


def not_held(reporter: pytest.TerminalReporter) -> list[tuple[str, str, str]]:
    """The engine, the test and the reason of each that is not held."""
    found = []
    for report in reporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if NOT_HELD in reason:
            found.append((dict(report.user_properties)["engine"], report.nodeid, reason.partition(NOT_HELD)[2]))
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says what each engine was held to, and what not, with the reason."""
    asked = config.stash.get(ASKED, Counter())
    lost = not_held(terminalreporter)
    for name, number in sorted(asked.items()):
        missing = sum(engine == name for engine, _, _ in lost)
        terminalreporter.write_line(f"held: engine {name}: {number - missing} of {number}")
    for name, test, reason in lost:
        terminalreporter.write_line(f"held: engine {name}: not {test}: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a run in which too much of one engine was not held."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    asked = session.config.stash.get(ASKED, Counter())
    lost = Counter(engine for engine, _, _ in not_held(reporter)) if asked and reporter else Counter()
    if any(number > MOST_NOT_HELD * asked[name] for name, number in lost.items()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

"""A pytest plugin for tests on real engines in the emulated host, whose processor may kill any VM, or the whole host.

VMs die silently, about once in twenty transfers of 12 MB; the VMs of 1.20.2 die within seconds of their start about five
times in six. A test whose VM died is retried, and counted as `R`. If its VM dies in every try, the test proves nothing: it
is "not held". A run fails if more than a twentieth of one engine's tests are not held. Assertions and other failures are
never retried.

If the whole host goes down, the tests that had passed by then are not run again.
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
MOST_NOT_HELD = 0.05  # of one engine's tests
NOT_HELD = "not held: "
_INSIST = 10.0  # seconds between interrupts of a try that is out of time: a start that hangs survives the first one

# Failures of a test whose VM died, and of a test whose engine waits for a dead VM.
DIED = ("ConnectionLostError", "MachineNotRunningError", "unreachable")
HUNG = (r"Timeout \(", "EngineTimeoutError", "BootFailedError", "ExecTimeoutError")


@frozen
class Rules:
    """The rules for retries of some engines' tests.

    Attributes:
        tries: The maximum number of tries.
        seconds: The bound on each phase of each try.
        excused: Patterns of failures: a last try that fails so is "not held".
    """

    tries: int
    seconds: float
    excused: tuple[str, ...]


# The newest engine has bounds where older ones have none: if it hangs in all tries, smolkit or the engine has a bug.
RULES = {"engine": Rules(4, 120, DIED), "older": Rules(6, 90, (*DIED, *HUNG))}
ASKED = pytest.StashKey[Counter[str]]()


def rules(item: pytest.Item) -> Rules | None:
    """Return the rules of a test on a real engine in the emulated host, or None for another test."""
    return next((found for name, found in RULES.items() if HOST and item.get_closest_marker(name)), None)


def engine(item: pytest.Item) -> str:
    """Return the name of the real engine that a test uses."""
    callspec = getattr(item, "callspec", None)
    world = str(callspec.params.get("world", "")) if callspec else ""
    return world.split("-")[1] if world.startswith("real-") else "newest"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that had passed before the host went down, and mark the others for retries."""
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
    """Bound one phase of one try. (pytest-timeout bounds all tries together, and stops at the first failure.)"""
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
    """Bound the setup."""
    with bounded(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Bound the call."""
    with bounded(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Bound the teardown."""
    with bounded(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a last try that failed because its VM died as "not held", and note the test's engine."""
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
    """Where the host may go down, record the tests that passed, teardown included."""
    if HOST and report.when == "call" and report.passed:
        CALLED.add(report.nodeid)
    if HOST and report.when == "teardown" and report.passed and report.nodeid in CALLED:
        with PASSED.open("a") as file:
            file.write(f"{report.nodeid}\n")


def not_held(reporter: pytest.TerminalReporter) -> list[tuple[str, str, str]]:
    """Return the engine, the test and the reason of each test that is not held."""
    found = []
    for report in reporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if NOT_HELD in reason:
            found.append((dict(report.user_properties)["engine"], report.nodeid, reason.partition(NOT_HELD)[2]))
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many tests each engine passed, and each test that is not held, with the reason."""
    asked = config.stash.get(ASKED, Counter())
    lost = not_held(terminalreporter)
    for name, number in sorted(asked.items()):
        missing = sum(engine == name for engine, _, _ in lost)
        terminalreporter.write_line(f"held: engine {name}: {number - missing} of {number}")
    for name, test, reason in lost:
        terminalreporter.write_line(f"held: engine {name}: not {test}: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if too many tests of one engine are not held."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    asked = session.config.stash.get(ASKED, Counter())
    lost = Counter(engine for engine, _, _ in not_held(reporter)) if asked and reporter else Counter()
    if any(number > MOST_NOT_HELD * asked[name] for name, number in lost.items()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

"""smolkit's pytest plugin: machines as fixtures, fake by default.

    def test_my_agent(smolvm, machine): ...

`--smolvm=real` runs the same tests on the real engine, `--smolvm=auto` does so where this host boots microVMs, and
`--smolvm=local` really runs their commands without KVM, in a NamespaceEngine.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from smolkit import AsyncMachine, AsyncSmolvm, Machine, Smolvm
    from smolkit.testing import FakeSmolvm, NamespaceEngine

_FAILED: pytest.StashKey[bool] = pytest.StashKey()
_MACHINES: pytest.StashKey[list[Machine]] = pytest.StashKey()
_CLIENT: pytest.StashKey[Smolvm | None] = pytest.StashKey()
_SHOWN = 4096  # characters of a console in a report, from its end
_KEEP = {"never": False, "on-failure": "on_error", "always": True}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --smolvm and --keep-machines."""
    group = parser.getgroup("smolkit", "microVMs (smolkit)")
    group.addoption(
        "--smolvm",
        choices=("fake", "local", "real", "auto"),
        default="fake",
        help="engine of the fixtures smolvm and machine: the fake in memory, a local one that really runs commands, in "
        "namespaces of this host that isolate nothing, the real one, or (auto) the real one where this host boots microVMs "
        "and the fake elsewhere (default: fake)",
    )
    group.addoption(
        "--keep-machines",
        choices=tuple(_KEEP),
        default="never",
        help="when to keep real machines after their tests, with a note on how to get in (default: never)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark `smolvm`."""
    config.addinivalue_line("markers", "smolvm(**options): keywords of `client.machine()` for the fixture `machine`")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say so where machines are not isolated."""
    is_local = config.getoption("--smolvm") == "local"
    return "smolkit: machines are namespaces of this host (--smolvm=local); they isolate nothing" if is_local else None


def _session_client(config: pytest.Config) -> Smolvm | None:
    """Return the session's client, or None if each test gets a fake of its own."""
    if _CLIENT not in config.stash:
        from smolkit import Smolvm  # late: few test sessions need it

        mode = config.getoption("--smolvm")
        client = Smolvm(_local_engine(config).program if mode == "local" else None)
        is_used = mode in {"local", "real"} or (mode == "auto" and all(check.ok for check in client.doctor()))
        config.stash[_CLIENT] = client if is_used else None
    return config.stash[_CLIENT]


def _local_engine(config: pytest.Config) -> NamespaceEngine:
    """Return the session's NamespaceEngine, which is closed at its end."""
    from smolkit.testing import NamespaceEngine  # late: few test sessions need it

    if why := NamespaceEngine.unavailable():
        pytest.fail(f"--smolvm=local cannot run machines on this host: {why}", pytrace=False)
    engine = NamespaceEngine()
    config.add_cleanup(engine.close)
    return engine


@pytest.fixture
def smolvm(pytestconfig: pytest.Config) -> Smolvm:
    """A client, by default of a new FakeSmolvm for each test; with --smolvm=real or local, of one engine for all tests."""
    shared = _session_client(pytestconfig)
    if shared is not None:
        return shared
    from smolkit import Smolvm
    from smolkit.testing import FakeSmolvm

    return Smolvm(runner=FakeSmolvm())


@pytest.fixture
def fake_smolvm(smolvm: Smolvm, pytestconfig: pytest.Config) -> FakeSmolvm:
    """The FakeSmolvm of `smolvm`, for handlers and faults. With another engine, tests that use it are skipped."""
    from smolkit.testing import FakeSmolvm

    if not isinstance(smolvm.runner, FakeSmolvm):
        pytest.skip(f"this test needs the fake: run it without --smolvm={pytestconfig.getoption('--smolvm')}")
    return smolvm.runner


@pytest.fixture
def machine(smolvm: Smolvm, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A running machine, deleted after the test. `@pytest.mark.smolvm(image=..., cpus=1)` has its keywords."""
    mark = request.node.get_closest_marker("smolvm")
    keep = _KEEP[request.config.getoption("--keep-machines")]
    made = smolvm.machine(_name(request.node.name), **{"keep": keep, **(mark.kwargs if mark else {})})
    made.__enter__()
    request.node.stash[_MACHINES] = [made]
    yield made
    if not request.node.stash[_FAILED]:
        made.__exit__(None, None, None)
        return
    failure = AssertionError("the test failed")
    made.__exit__(AssertionError, failure, None)
    for note in getattr(failure, "__notes__", ()):
        print(note)  # noqa: T201  (pytest shows it with the failure)


@pytest.fixture
def async_smolvm(smolvm: Smolvm) -> AsyncSmolvm:
    """An AsyncSmolvm of the same engine as `smolvm`, for async tests."""
    from smolkit import AsyncSmolvm  # late: it brings the async libraries

    return AsyncSmolvm(runner=smolvm.runner)


@pytest.fixture
def async_machine(machine: Machine) -> AsyncMachine:
    """The async handle of `machine`, for async tests. The machine is made and deleted outside of their event loop."""
    return machine.to_async()


def _name(test: str) -> str:
    """Return a unique machine name that contains the test's name and pytest-xdist's worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{worker} {test}".strip())[:60].strip("-")
    return f"{readable or 'test'}-{os.urandom(6).hex()}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget an earlier run of the same test, so that a rerun that passes keeps no machine."""
    item.stash[_FAILED], item.stash[_MACHINES] = False, []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the consoles of a failed test's machines to its report."""
    report = yield
    machines = item.stash.get(_MACHINES, [])
    if report.failed and machines and call.when != "teardown":
        item.stash[_FAILED] = True
        report.sections += [(f"console of machine {made.name!r}", _console(made)) for made in machines]
    return report


def _console(machine: Machine) -> str:
    """Return the end of a machine's console, or the reason why it cannot be read: the machine may be gone."""
    from smolkit import SmolvmError
    from smolkit.values.shown import printable

    try:
        return printable(machine.console().replace("\r\n", "\n")[-_SHOWN:])  # a guest may write control characters
    except SmolvmError as error:
        return printable(f"cannot be read: {error.message}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the machines that killed tests of earlier sessions left on the real engine."""
    client = session.config.stash.get(_CLIENT, None)
    if client is not None:
        from smolkit import SmolvmError

        try:
            client.reap()
        except SmolvmError as error:
            reporter = session.config.pluginmanager.get_plugin("terminalreporter")
            if reporter is not None:
                reporter.write_line(f"smolkit: {error}")

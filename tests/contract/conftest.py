"""The engines of the contract tests: the fake as three versions, real engines of those, and NamespaceEngine.

NamespaceEngine is driven here and from behind a link, as on another host.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from attrs import frozen

from smolkit import Machine, RemoteRunner, Smolvm, StdioLink
from smolkit.testing import FakeSmolvm, NamespaceEngine
from tests.awaited import awaited
from tests.engines import OLDER, alive, settle, throwaway_client

NEWEST = "1.32.2"  # the fake's version; the real engine is the one that is installed
FAKES = [f"fake-{version}" for version in (*OLDER, NEWEST)]
# The async client runs on the newest fake and engine only.
ASYNC = [f"fake-{NEWEST}-asyncio", f"fake-{NEWEST}-trio", "real-newest-asyncio"]
LOCAL = [f"local-{NEWEST}", f"local-{NEWEST}-asyncio", f"far-{NEWEST}", f"far-{NEWEST}-trio"]
REAL = [f"real-{version}" for version in (*OLDER, "newest")]
ENGINES = sorted([*FAKES, *LOCAL, *REAL, *ASYNC], key=len, reverse=True)


def mark(engine: str) -> Any:
    """A parameter: real engines are marked, so that they run only when asked for."""
    if not engine.startswith("real"):
        return engine
    return pytest.param(engine, marks=pytest.mark.engine if "newest" in engine else pytest.mark.older)


@frozen
class World:
    """An engine that the contract is tested on.

    Attributes:
        client: A client of the engine.
        has_users: Whether its guests have other users than root: those of NamespaceEngine do if this process is root's.
    """

    client: Smolvm
    has_users: bool = True

    @property
    def is_far(self) -> bool:
        """True if the engine is behind a link."""
        return isinstance(self.client.runner, RemoteRunner)

    @property
    def small(self) -> dict[str, Any]:
        """The options of a machine that boots fast. Older wheels have no disk templates, and format each disk."""
        disks = {} if self.supports("--error-format") else {"storage": 1, "overlay": 1}
        return {"cpus": 1, "memory": 512, **disks}

    def supports(self, feature: str) -> bool:
        """True if the engine's version has a feature."""
        return self.client.engine.dialect.supports(feature)


@pytest.fixture(scope="package", params=[mark(engine) for engine in [*FAKES, *LOCAL, *ASYNC, *REAL]])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each engine, through the sync and the async client."""
    kind, version, loop = (*request.param.split("-"), "")[:3]
    with ExitStack() as stack:
        if kind == "fake":
            fake = FakeSmolvm(version)
            fake.on("nosuchprogram", FileNotFoundError)
            fake.on(["id", "-un"], lambda call: f"{call.user or 'root'}\n")
            client = Smolvm(runner=fake)
        elif kind in {"local", "far"}:
            if why := NamespaceEngine.unavailable():
                pytest.skip(why)
            program = stack.enter_context(NamespaceEngine(version=version)).program
            far = RemoteRunner(StdioLink(["env"]), program=program) if kind == "far" else None
            client = Smolvm(program if far is None else None, runner=far)
        else:
            client = stack.enter_context(throwaway_client(None if version == "newest" else version))
        has_users = kind not in {"local", "far"} or os.geteuid() == 0
        yield World(stack.enter_context(awaited(client, loop)) if loop else client, has_users)


@pytest.fixture(scope="package")
def running(world: World) -> Iterator[Machine]:
    """The running machine that `machine` yields, shared by the tests of one engine."""
    machine = world.client.machine("shared", **world.small, env={"GREETING": "hi there"})
    machine.create()
    try:
        settle(machine)
        yield machine
    finally:
        machine.delete(missing_ok=True)


@pytest.fixture
def machine(running: Machine, request: pytest.FixtureRequest) -> Machine:
    """A running machine. Tests leave no files outside of directories of their own."""
    return alive(running, request)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of the newest engine's behaviour for older engines."""
    older = [item for item in items if item.get_closest_marker("newest") and is_older(item)]
    config.hook.pytest_deselected(items=older)
    items[:] = [item for item in items if item not in older]


def is_older(item: pytest.Item) -> bool:
    """True if a test runs on an older engine, or on the fake of one."""
    return isinstance(item, pytest.Function) and str(item.callspec.params["world"]).split("-")[1] in OLDER


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """With -rA, print how many behaviours hold on which engines."""
    held: Counter[str] = Counter()
    behaviours = set()
    for report in terminalreporter.stats.get("passed", ()):
        if "/contract/" in report.nodeid and report.when == "call":
            name, _, parameters = report.nodeid.rstrip("]").partition("[")
            engine = next((part for part in ENGINES if part in parameters), "")
            held[engine] += 1
            behaviours.add((name, parameters.replace(engine, "")))
    if behaviours and "A" in config.getoption("reportchars"):
        terminalreporter.section(f"contract: {len(behaviours)} behaviours held, by engine")
        for engine, count in sorted(held.items()):
            terminalreporter.write_line(f"{engine} {count}")

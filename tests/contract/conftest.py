"""The engines that the contract is tried on: the fake as three versions, and those versions themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import frozen

from smolkit import Machine, Smolvm
from smolkit.testing import FakeSmolvm
from tests.engines import OLDER, alive, settle, throwaway_client

NEWEST = "1.32.2"  # that the fake speaks as; the real one is whatever is installed
ENGINES = [f"fake-{version}" for version in (*OLDER, NEWEST)]
REAL = [
    *(pytest.param(f"real-{version}", marks=pytest.mark.older) for version in OLDER),
    pytest.param("real-newest", marks=pytest.mark.engine),
]


@frozen
class World:
    """An engine that the contract is tried on.

    Attributes:
        client: Its client.
    """

    client: Smolvm

    @property
    def small(self) -> dict[str, Any]:
        """The options of a machine that is made to run. The older wheels have no disk templates: they format each disk."""
        disks = {} if self.supports("--error-format") else {"storage": 1, "overlay": 1}
        return {"cpus": 1, "memory": 512, **disks}

    def supports(self, feature: str) -> bool:
        """Whether this version has it."""
        return self.client.engine.dialect.supports(feature)


@pytest.fixture(scope="package", params=[*ENGINES, *REAL])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One of the engines."""
    kind, _, version = request.param.partition("-")
    if kind == "fake":
        fake = FakeSmolvm(version)
        fake.on("nosuchprogram", FileNotFoundError)
        yield World(Smolvm(runner=fake))
        return
    with throwaway_client(None if version == "newest" else version) as client:
        yield World(client)


@pytest.fixture(scope="package")
def running(world: World) -> Iterator[Machine]:
    """What `machine` gives."""
    machine = world.client.machine("shared", **world.small, env={"GREETING": "hi there"})
    machine.create()
    try:
        settle(machine)
        yield machine
    finally:
        machine.delete(missing_ok=True)


@pytest.fixture
def machine(running: Machine, request: pytest.FixtureRequest) -> Machine:
    """A machine of the engine that runs; tests leave no files of theirs but in folders of their own."""
    return alive(running, request)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many behaviours are held, by which engines."""
    held: Counter[str] = Counter()
    behaviours = set()
    for report in terminalreporter.stats.get("passed", ()):
        if getattr(report, "when", "") == "call" and "/contract/" in report.nodeid:
            name, _, parameters = report.nodeid.rstrip("]").partition("[")
            engine = next((part for part in ENGINES + [f"real-{v}" for v in (*OLDER, "newest")] if part in parameters), "")
            held[engine] += 1
            behaviours.add((name, parameters.replace(engine, "")))
    if behaviours:
        engines = ", ".join(f"{engine} {count}" for engine, count in sorted(held.items()))
        terminalreporter.write_line(f"contract: {len(behaviours)} behaviours held ({engines})")

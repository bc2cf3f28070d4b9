"""The fixtures of tests/ray, which share one cluster. With xdist, one process has all of them (see tests/conftest.py)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from smolkit.ray import RaySmolvm
from smolkit.testing import NamespaceEngine
from tests.processes import until
from tests.ray.fleet import Fleet

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("ray")


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A cluster of a head and two hosts."""
    if why := NamespaceEngine.unavailable():
        pytest.skip(why)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray cancels by it, and its processes inherit it
    made = Fleet(tmp_path_factory.mktemp("ray"))
    yield made
    made.close()
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def fleet(cluster: Fleet) -> Iterator[Fleet]:
    """The cluster. Whatever the test does, its machines and groups are gone soon after it."""
    yield cluster
    until(lambda: not cluster.left)
    until(lambda: not cluster.groups)


@pytest.fixture
def client(fleet: Fleet) -> Iterator[RaySmolvm]:
    """A client of the fleet."""
    with fleet.client() as made:
        yield made

"""A real engine on a host that boots microVMs, and machines of it."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from smolkit import Machine, Smolvm
from tests.awaited import awaited
from tests.engines import again, alive, throwaway_client
from tests.processes import of_each_process

Boot = Callable[..., Any]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session", params=["sync", "asyncio"])
def real(request: pytest.FixtureRequest) -> Iterator[Smolvm]:
    """A client of the real engine, sync and async. At the end no machine and no process may be left."""
    with throwaway_client() as client, ExitStack() as stack:
        yield client if request.param == "sync" else stack.enter_context(awaited(client, request.param))
        assert [] == client.ls()
        assert [] == vmms()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run tests once that use neither the sync nor the async client."""
    twice = [item for item in items if item.get_closest_marker("once") and "[asyncio" in item.name]
    config.hook.pytest_deselected(items=twice)
    items[:] = [item for item in items if item not in twice]


@pytest.fixture(scope="session")
def state_dir(real: Smolvm) -> Path:
    """The state directory of the tests' engine."""
    return Path(real.runner.host.rpartition("=")[2])


@pytest.fixture(scope="session")
def boot(real: Smolvm) -> Boot:
    """`with boot() as m`: a machine as by client.machine(), whose start is tried again on an overloaded host."""

    @contextmanager
    def booted(name: str | None = None, **options: Any) -> Iterator[Machine]:
        machine = real.machine(name or f"t{next(_NUMBERS)}", **{"cpus": 1, "memory": 512, **options})
        again(machine.__enter__)
        try:
            yield machine
        finally:
            machine.__exit__(*sys.exc_info())

    return booted


@pytest.fixture(scope="session")
def bare(boot: Boot) -> Iterator[Machine]:
    """The machine that `shared` yields."""
    with boot("shared") as machine:
        yield machine


@pytest.fixture
def shared(bare: Machine, request: pytest.FixtureRequest) -> Machine:
    """A bare machine, shared by all tests that leave it unchanged."""
    return alive(bare, request)


@pytest.fixture(scope="session")
def image_folder(state_dir: Path, bare: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An unpacked root file system for image machines: a copy of the engine's own."""
    rootfs = tmp_path_factory.mktemp("image") / "rootfs"
    shutil.copytree(next((state_dir / ".cache/smolvm/rootfs").iterdir()), rootfs, symlinks=True)
    return str(rootfs)


@pytest.fixture(scope="session")
def imaged(boot: Boot, image_folder: str) -> Iterator[Machine]:
    """The machine that `image` yields."""
    with boot("image", image=image_folder) as machine:
        yield machine


@pytest.fixture
def image(imaged: Machine, request: pytest.FixtureRequest) -> Machine:
    """A machine made from an image, shared likewise."""
    machine = alive(imaged, request)
    machine.exec(["true"])
    return machine


def vmms() -> list[str]:
    """The command lines of the engine's VM processes on this host."""
    lines = []
    for process in of_each_process("cmdline"):
        try:
            lines.append(process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return [line for line in lines if "_boot-vm" in line]

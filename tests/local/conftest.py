"""The fixtures of tests/engine, for machines of a NamespaceEngine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smolkit import Machine, Smolvm
from smolkit.testing import NamespaceEngine
from smolkit.testing.namespace import namespace_engine, unpack

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def real() -> Iterator[Smolvm]:
    """A client. At the end nothing may be left."""
    if why := NamespaceEngine.unavailable():
        pytest.skip(why)
    with NamespaceEngine() as engine:
        yield Smolvm(engine.program)
        assert [] == engine.left


@pytest.fixture(scope="session")
def boot(real: Smolvm) -> Callable[..., Machine]:
    """`with boot() as m`: a machine as by client.machine()."""

    def booted(name: str | None = None, **options: Any) -> Machine:
        return real.machine(name or f"t{next(_NUMBERS)}", **{"cpus": 1, "memory": 512, **options})

    return booted


@pytest.fixture(scope="session")
def shared(boot: Callable[..., Machine]) -> Iterator[Machine]:
    """A bare machine, shared by all tests that leave it unchanged."""
    with boot("shared") as machine:
        yield machine


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An unpacked root file system."""
    folder = str(tmp_path_factory.mktemp("image") / "rootfs")
    unpack.unpack(namespace_engine.bare_root(), folder)
    return folder


@pytest.fixture(scope="session")
def image(boot: Callable[..., Machine], image_folder: str) -> Iterator[Machine]:
    """A machine made from an image, shared likewise."""
    with boot("image", image=image_folder) as machine:
        yield machine


@pytest.fixture
def state_dir() -> Path:
    """Only the real engine has one."""
    raise AssertionError("this test is not one that NamespaceEngine can hold")

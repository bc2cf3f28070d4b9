"""Tests of tasks under concurrent.futures, joblib and Dask, on the fake and in this process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dask_graph
import futures_pool
import joblib  # type: ignore[import-untyped]
import joblib_pool
import pytest

from smolkit import Smolvm, errors
from smolkit.testing import FakeSmolvm

SEEDS = range(8)


@pytest.fixture
def fake(fake_smolvm: FakeSmolvm) -> FakeSmolvm:
    """A fake on which one of the machines dies."""
    fake_smolvm.fail("exec", "dies", nth=4)
    return fake_smolvm


def test_a_pool_of_the_standard_library(smolvm: Smolvm, fake: FakeSmolvm) -> None:
    """Each task has a machine of its own, and none is left; the task whose machine dies has no reward."""
    with ThreadPoolExecutor(3) as pool:
        played = dict(futures_pool.rewards(pool, smolvm, SEEDS))

    assert [*SEEDS] == sorted(played)
    assert [reward for seed, reward in played.items() if reward != seed] == [None]
    assert not fake.machines


def test_a_pool_of_joblib(smolvm: Smolvm, fake: FakeSmolvm) -> None:
    """Each task has a machine of its own, and none is left; the task whose machine dies has the error."""
    pool = joblib.Parallel(n_jobs=3, backend="threading", return_as="generator_unordered")
    played = dict(joblib_pool.rewards(pool, smolvm, SEEDS))

    assert [*SEEDS] == sorted(played)
    assert [errors.ConnectionLostError] == [type(reward) for seed, reward in played.items() if reward != seed]
    assert not fake.machines


def test_a_graph_of_dask(smolvm: Smolvm, fake: FakeSmolvm) -> None:
    """The mean is that of the rewards there are, and no machine is left."""
    mean = dask_graph.mean_reward(smolvm, SEEDS, scheduler="synchronous")

    assert mean in {(sum(SEEDS) - lost) / 7 for lost in SEEDS}
    assert not fake.machines

"""Tests of the rollouts on the fake, where the test decides when a command ends."""

from __future__ import annotations

import asyncio

from rollouts import first_to_solve

from smolkit import AsyncSmolvm
from smolkit.aio import wait_for
from smolkit.testing import FakeSmolvm, GuestCall


def test_the_first_that_succeeds_ends_the_others(async_smolvm: AsyncSmolvm, fake_smolvm: FakeSmolvm) -> None:
    """Attempt 7 succeeds, attempt 3 dies with its machine, the others would run for ever: no machine is left."""

    @fake_smolvm.on("solve")
    def solve(call: GuestCall) -> int:
        if call.args[1] != "7":
            wait_for(lambda: asyncio.sleep(0 if call.args[1] == "2" else 3600))
            return 1
        return 0

    fake_smolvm.fail("exec", "dies", nth=4)
    assert asyncio.run(first_to_solve(async_smolvm, 20)) == 7
    assert not fake_smolvm.machines


def test_time_is_up(async_smolvm: AsyncSmolvm, fake_smolvm: FakeSmolvm) -> None:
    """An attempt that takes too long is cancelled, and its machine deleted."""
    fake_smolvm.on("solve", lambda _: wait_for(lambda: asyncio.sleep(3600)))
    assert asyncio.run(first_to_solve(async_smolvm, 3, patience=0.05)) is None
    assert not fake_smolvm.machines

"""Testing an agent without KVM: `pytest examples/test_agent.py`.

The fixtures come with smolkit. `--smolvm=real` runs the first test on the real engine and skips the second, which needs
the fake.
"""

import pytest
from agent import work

from smolkit import Smolvm
from smolkit.testing import FakeSmolvm, GuestCall


def test_the_report_is_the_task(smolvm: Smolvm) -> None:
    """The report is the same on the fake and on the real engine, and no machine is left."""
    before = {info.name for info in smolvm.ls()}
    assert work(smolvm, "say hello") == "say hello"
    assert before == {info.name for info in smolvm.ls()}


def test_a_guest_that_takes_too_long(smolvm: Smolvm, fake_smolvm: FakeSmolvm) -> None:
    """A guest that works too long is a TimeoutError. The test does not wait: `sleep` advances the fake's clock."""

    @fake_smolvm.on(["sh", "-c", "cat /root/task >/root/report"])
    def slow(call: GuestCall) -> None:
        call.sleep(3600)

    with pytest.raises(TimeoutError, match="within 5 s"):
        work(smolvm, "x", patience=5)
    assert not fake_smolvm.machines

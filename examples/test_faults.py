"""Fault injection: an agent whose machines do not boot, die, or are busy. `pytest examples/test_faults.py`."""

import pytest
from agent import work

from smolkit import Smolvm, errors
from smolkit.testing import FakeSmolvm


def test_a_machine_that_dies_is_replaced_once(smolvm: Smolvm, fake_smolvm: FakeSmolvm) -> None:
    """The agent tries once more when its machine dies, with a new machine."""
    fake_smolvm.fail("exec", "dies", nth=2)
    assert work(smolvm, "hello") == "hello"
    assert [argv[:2] for argv in fake_smolvm.argvs].count(("machine", "create")) == 2


def test_a_host_that_boots_nothing(smolvm: Smolvm, fake_smolvm: FakeSmolvm) -> None:
    """After two failed starts the agent gives up, and leaves neither a machine nor a half-booted VM."""
    fake_smolvm.fail("start", "boot timeout", times=2)
    with pytest.raises(errors.BootFailedError):
        work(smolvm, "hello")
    assert (dict(fake_smolvm.machines), fake_smolvm.leaked) == ({}, [])


def test_a_busy_engine_is_no_failure(smolvm: Smolvm, fake_smolvm: FakeSmolvm) -> None:
    """The agent does not notice a locked database or a directory that is not empty yet: smolkit retries."""
    fake_smolvm.fail("create", "locked", times=2)
    fake_smolvm.fail("delete", "not empty")
    assert work(smolvm, "hello") == "hello"

"""The async client on real machines, where it differs from the sync one."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from smolkit import AsyncSmolvm, Machine, Smolvm
from tests.engine.conftest import vmms
from tests.engine.test_verbs import FAMILY, gone

pytestmark = [pytest.mark.engine, pytest.mark.once]
MEETING = 'touch /tmp/met/$0; while [ "$(ls /tmp/met | wc -l)" -lt 8 ]; do sleep 0.2; done; echo $0'


def test_commands_at_once_on_one_machine(shared: Machine) -> None:
    """Eight commands run at the same time on one machine."""
    shared.sh("rm -rf /tmp/met; mkdir /tmp/met", check=True)

    async def main() -> list[str]:
        m = shared.to_async()
        calls = [m.exec(["sh", "-c", MEETING, str(number)], timeout=120) for number in range(8)]
        return [result.stdout for result in await asyncio.gather(*calls)]

    assert [f"{number}\n" for number in range(8)] == asyncio.run(main())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_command_is_gone_in_the_guest(shared: Machine, backend: str) -> None:
    """A cancelled command is killed in the guest with all its children, and the machine runs on."""

    async def main() -> None:
        m = shared.to_async()
        with anyio.move_on_after(4) as scope:
            await m.exec(["sh", "-c", FAMILY])
        assert scope.cancelled_caught
        with anyio.move_on_after(4) as scope:
            async with await m.popen(["sh", "-c", FAMILY]) as process:
                async for _ in process:
                    pass
        assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    assert gone(shared)


@pytest.mark.parametrize("seconds", [0.3, 1.5, 3])
def test_a_machine_whose_boot_is_cancelled_is_gone(real: Smolvm, seconds: float) -> None:
    """A machine whose boot is cancelled is gone, and so is its VM, at whatever point of the boot."""
    before = len(vmms())
    client = AsyncSmolvm(runner=real.runner)

    async def main() -> None:
        with anyio.move_on_after(seconds):
            async with client.machine("cut-off", cpus=1, memory=512):
                await anyio.sleep_forever()

    anyio.run(main)
    assert not real.machine("cut-off").exists()
    assert before == len(vmms())

"""Real engines for the tests: the installed one, and older ones beside it, each with a state directory of its own.

    python -m tests.engines

installs the older ones that the contract tests speak to, in .engines, and has each unpack its disk templates (which takes
minutes in an emulated host, and seconds here).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from smolkit import Machine, Smolvm, errors
from smolkit.runners.local.subprocess import SubprocessRunner

if TYPE_CHECKING:
    import pytest  # the gate installs the older engines before pytest

TRIES = 4  # of what a starved or failing emulated host may spoil
OLDER = ("1.8.3", "1.20.2")
FOLDER = Path(__file__).parent.parent / ".engines"


@contextmanager
def throwaway_client(version: str | None = None) -> Iterator[Smolvm]:
    """A client of a real engine whose machines are nobody else's."""
    program = None if version is None else FOLDER / version / "smol/smol-vmm"
    # Short: a Unix socket's path, some 45 characters below it, has to stay below 108.
    folder = tempfile.mkdtemp(prefix="sk-", dir="/tmp")
    try:
        yield Smolvm(runner=SubprocessRunner(program, state_dir=folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(version: str) -> None:
    """Installs an older engine, and has it start a machine: where that fails for want of KVM, the templates are there."""
    folder = FOLDER / version
    if folder.exists():
        return
    FOLDER.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
    with tempfile.TemporaryDirectory(dir=FOLDER) as part:
        subprocess.run([*pip, part, f"smolmachines=={version}"], check=True)
        shutil.copytree(part, folder)
    folder.chmod(0o755)  # as root, the engine's VMs run as other users
    with throwaway_client(version) as client, suppress(errors.StartError), client.machine("t", cpus=1, memory=512):
        pass


def again(start: Callable[[], object]) -> None:
    """Starts a machine, and tries again where a starved host had the engine give up. What is asserted is never retried."""
    for left in reversed(range(TRIES)):
        try:
            start()
        except (errors.BootFailedError, errors.EngineTimeoutError):
            if not left:
                raise
        else:
            return


def alive(machine: Machine, request: pytest.FixtureRequest) -> Machine:
    """A machine that tests share; made anew for one that is tried again (see tests/conftest.py)."""
    if getattr(request.node, "execution_count", 1) > 1:
        machine.delete(missing_ok=True)
        machine.create()
        settle(machine)
    return machine


def settle(machine: Machine) -> None:
    """Starts a machine; if its VM dies while it formats its disks, it is made anew."""
    for left in reversed(range(TRIES)):
        again(machine.start)
        try:
            for _ in range(4):
                machine.exec(["sleep", "1"], timeout=20)
        except (errors.ConnectionLostError, errors.MachineNotRunningError, errors.ExecTimeoutError):
            if not left:
                raise
            machine.delete()
            machine.create()
        else:
            return


if __name__ == "__main__":
    for older in OLDER:
        install(older)

"""Real engines for the tests: the installed one and older ones, each with its own state directory.

    python -m tests.engines

installs the older engines of the contract tests in .engines, and makes each unpack its disk templates. (That takes seconds
here, but minutes in the emulated host.)
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

TRIES = 4  # attempts of what can fail because the emulated host is starved or broken
OLDER = ("1.8.3", "1.20.2")
FOLDER = Path(__file__).parent.parent / ".engines"


@contextmanager
def throwaway_client(version: str | None = None) -> Iterator[Smolvm]:
    """Yield a client of a real engine in a temporary state directory, where nobody else has machines."""
    program = None if version is None else FOLDER / version / "smol/smol-vmm"
    # A short path: the engine makes sockets some 45 characters below it, and a socket's path must be under 108.
    folder = tempfile.mkdtemp(prefix="sk-", dir="/tmp")
    try:
        yield Smolvm(runner=SubprocessRunner(program, state_dir=folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(version: str) -> None:
    """Install an older engine and start a machine with it. Without KVM the start fails, but the templates are unpacked."""
    folder = FOLDER / version
    if folder.exists():
        return
    FOLDER.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
    with tempfile.TemporaryDirectory(dir=FOLDER) as part:
        subprocess.run([*pip, part, f"smolmachines=={version}"], check=True)
        shutil.copytree(part, folder)
    folder.chmod(0o755)  # where the engine is run by root, its VMs run as other users
    with throwaway_client(version) as client, suppress(errors.StartError), client.machine("t", cpus=1, memory=512):
        pass


def again(start: Callable[[], object]) -> None:
    """Start a machine, with retries for an engine that gives up on a starved host. Assertions are never retried."""
    for left in reversed(range(TRIES)):
        try:
            start()
        except (errors.BootFailedError, errors.EngineTimeoutError):
            if not left:
                raise
        else:
            return


def alive(machine: Machine, request: pytest.FixtureRequest) -> Machine:
    """Return a machine that tests share. It is made anew for a test that is retried (see tests/held.py)."""
    if getattr(request.node, "execution_count", 1) > 1:
        remake(machine)
        settle(machine)
    return machine


def settle(machine: Machine) -> None:
    """Start a machine. If its VM dies while it formats its disks, make the machine anew.

    An engine whose VM dies has many words for it, in whichever call comes next.
    """
    for left in reversed(range(TRIES)):
        try:
            again(machine.start)
            for _ in range(4):
                machine.exec(["sleep", "1"], timeout=20)
        except errors.SmolvmError:
            if not left:
                raise
            with suppress(errors.SmolvmError):
                remake(machine)
        else:
            return


def remake(machine: Machine) -> None:
    """Delete a machine and create it again."""
    machine.delete(missing_ok=True)
    machine.create()


if __name__ == "__main__":
    for older in OLDER:
        install(older)

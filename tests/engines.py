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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smolkit import Smolvm, errors
from smolkit.runners.local import SubprocessRunner

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
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
    with tempfile.TemporaryDirectory(dir=FOLDER) as part:
        subprocess.run([*pip, part, f"smolmachines=={version}"], check=True)
        shutil.move(part, folder)
        Path(part).mkdir()  # for its own cleanup
    with throwaway_client(version) as client, suppress(errors.StartError), client.machine("t", cpus=1, memory=512):
        pass


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for older in OLDER:
        install(older)

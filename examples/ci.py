"""A CI runner: a test suite, fanned out over machines, with retries and a progress bar.

    python examples/ci.py PROJECT tests/test_a.py tests/test_b.py ...

Each machine gets a copy of the project and takes test files until none is left. A file whose machine dies is tried again in
a new one; one that fails is not.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

from smolkit import AsyncMachine, AsyncSmolvm, ExecResult, errors

PROJECT = "/root/project"
COMMAND = ["python3", "-m", "unittest"]
ATTEMPTS = 3
DIED = (errors.ConnectionLostError, errors.StartError, errors.MachineNotRunningError)


class Suite:
    """A suite's run over some machines.

    Args:
        client: Makes the machines.
        project: The directory that each machine gets.
        command: What runs a test file; its name is added.
        image: With what the command needs.
        timeout: Seconds for each file.
        progress: Called after each file, with the number of files done.
    """

    def __init__(
        self,
        client: AsyncSmolvm,
        project: Path,
        *,
        command: Iterable[str] = COMMAND,
        image: str | None = "python:3.12-alpine",
        timeout: float = 600,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._client, self._project, self._command, self._image = client, project, tuple(command), image
        self._timeout, self._progress = timeout, progress
        self._left: list[str] = []
        self._attempts: dict[str, int] = {}
        self.results: dict[str, ExecResult | Exception] = {}

    async def run(self, files: Iterable[str], machines: int = 8) -> bool:
        """Run the files; whether all passed. `results` has how each one ended."""
        self._left = list(files)[::-1]
        await asyncio.gather(*(self._worker() for _ in range(min(machines, len(self._left)))))
        passed = all(isinstance(result, ExecResult) and result.ok for result in self.results.values())
        return passed and not self._left

    async def _worker(self) -> None:
        for _ in range(ATTEMPTS):  # then this host boots no machines, or the tests kill them
            try:
                async with self._client.machine(image=self._image, cpus=1, memory=512) as machine:
                    await machine.upload(self._project, PROJECT)
                    while self._left:
                        await self._test(machine, self._left.pop())
                    return
            except DIED as error:
                print(f"a machine died: {error}", file=sys.stderr)

    async def _test(self, machine: AsyncMachine, file: str) -> None:
        self._attempts[file] = self._attempts.get(file, 0) + 1
        try:
            self.results[file] = await machine.exec([*self._command, file], workdir=PROJECT, timeout=self._timeout)
        except errors.ExecTimeoutError as error:
            self.results[file] = error
        except DIED as error:
            self.results[file] = error
            if self._attempts[file] < ATTEMPTS:
                self._left.append(file)
            raise
        self._progress(len(self.results))


def main(project: Path, files: list[str]) -> int:
    """Run the files, draw a bar if rich is installed, and print the output of those that failed."""
    try:
        from rich.progress import Progress  # with `pip install 'smolkit[progress]'`

        bar = Progress()
    except ModuleNotFoundError:
        bar = None
    with bar or nullcontext():
        task = bar.add_task("tests", total=len(files)) if bar else None
        suite = Suite(
            AsyncSmolvm(watchdog=True),
            project,
            progress=lambda done: None if bar is None or task is None else bar.update(task, completed=done),
        )
        passed = asyncio.run(suite.run(files))
    for file, result in suite.results.items():
        if not (isinstance(result, ExecResult) and result.ok):
            print(f"--- {file}", result.stdout + result.stderr if isinstance(result, ExecResult) else result, sep="\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))

"""A code interpreter: runs Python that nobody trusts in a machine without a network, bounded in time, memory and output.

    python examples/interpreter.py program.py [FILE...]

The files are there when the program runs, in its working directory; what it leaves there is in ./outputs afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import frozen

from smolkit import Machine, Smolvm, errors

WORK = "/root/work"
COMMAND = ["python3", "-u", "main.py"]
MOST_OUTPUT = 1_000_000  # characters: what goes back to a model costs money
MOST_FILES = 50 * 2**20  # bytes


@frozen
class Outcome:
    """How a program ended: its output in the order in which it came, and its exit status (None: it took too long)."""

    output: str
    returncode: int | None


class Interpreter:
    """A machine that keeps its files from one program to the next. Made by `interpreter()`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def run(
        self,
        code: str,
        *,
        files: Mapping[str, bytes] | None = None,
        timeout: float = 30,
        write: Callable[[str], object] = lambda _: None,
    ) -> Outcome:
        """Run a program, and return what it printed.

        Args:
            code: Python.
            files: Files for its working directory, by name.
            timeout: Seconds, after which it is killed with all that it started.
            write: Called with each piece of output as it comes.
        """
        for name, data in {**(files or {}), "main.py": code.encode()}.items():
            self._machine.write_bytes(f"{WORK}/{name}", data)
        output = ""
        try:
            with self._machine.popen(COMMAND, text=True, workdir=WORK, timeout=timeout) as process:
                for _, line in process:
                    output += line
                    write(line)
                    if len(output) > MOST_OUTPUT:
                        process.kill()
                        break
        except errors.ExecTimeoutError:
            return Outcome(output, None)
        return Outcome(output[:MOST_OUTPUT], process.returncode)

    def download(self, directory: Path) -> None:
        """Copy the working directory to this host. The guest may send anything: hostile archives are refused."""
        self._machine.download(WORK, directory, limit=MOST_FILES)


@contextmanager
def interpreter(client: Smolvm, image: str = "python:3.12-alpine") -> Iterator[Interpreter]:
    """Give an interpreter in a machine of its own: no network, 512 MiB of memory, 2 GiB of disk."""
    with client.machine(image=image, cpus=1, memory=512, storage=2) as machine:
        machine.mkdir(WORK, parents=True)
        yield Interpreter(machine)


def main(program: Path, *inputs: Path) -> int:
    """Run a program of this host's."""
    with interpreter(Smolvm(watchdog=True)) as python:
        files = {path.name: path.read_bytes() for path in inputs}
        outcome = python.run(program.read_text(), files=files, write=partial(print, end="", flush=True))
        python.download(Path("outputs"))
    return 124 if outcome.returncode is None else outcome.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(*map(Path, sys.argv[1:])))
    except errors.SmolvmError as error:
        sys.exit(str(error))

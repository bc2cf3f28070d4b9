"""Measure 200 commands at once: `python -m tests.bench.concurrent`.

By threads of the sync client, by tasks of the async client, and by `xargs -P` of the bare program, each in a process of its
own and in turns. The engine is a pretend engine, whose guest's command sleeps half a second.

Peak memory is that of the process that makes the calls. (The guests' is the same for all.)
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from smolkit import Smolvm
from smolkit.testing import NamespaceEngine

COMMANDS, AT_ONCE, ROUNDS = 200, 16, 5
NAP = "0.5"
START = """
import sys
from smolkit import SubprocessRunner
runner = SubprocessRunner(sys.argv[1], version="1.32.2")
"""
BOUNDED = START.replace(', version="1.32.2"', f', version="1.32.2", max_processes={AT_ONCE}')
THREADS = """
import threading
from smolkit import Smolvm
machine = Smolvm(runner=runner).machine("agent")
threads = [threading.Thread(target=machine.exec, args=(["sleep", sys.argv[2]],)) for _ in range(int(sys.argv[3]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
TASKS = """
import asyncio
from smolkit import AsyncSmolvm
async def main():
    machine = AsyncSmolvm(runner=runner).machine("agent")
    await asyncio.gather(*(machine.exec(["sleep", sys.argv[2]]) for _ in range(int(sys.argv[3]))))
asyncio.run(main())
"""


def xargs(program: Path, at_once: int) -> list[str]:
    """The same calls by `xargs -P`."""
    call = f"{program} --error-format json machine exec --name agent -i -- sleep {NAP} </dev/null"
    return ["xargs", "-P", str(at_once), "-n", "1", "sh", "-c", call]


def run(words: list[str], numbers: Path) -> tuple[float, float]:
    """Seconds, and the peak memory of the process in MiB."""
    before, size = time.perf_counter(), 0
    with numbers.open("rb") as given:
        child = subprocess.Popen(words, stdin=given, stdout=subprocess.DEVNULL)
    while child.poll() is None:
        with suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
            size = int(found[1]) if found else size
        time.sleep(0.01)
    assert 0 == child.returncode, words
    return time.perf_counter() - before, size / 1024


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        program = NamespaceEngine(Path(folder, "engine")).program
        machine = Smolvm(program).machine("agent")
        machine.create()
        machine.start()
        numbers = Path(folder, "numbers")  # the input of xargs, a line for each call
        numbers.write_text("".join(f"{number}\n" for number in range(COMMANDS)))
        words = [str(program), NAP, str(COMMANDS)]
        ways = {
            "xargs -P 200": xargs(program, COMMANDS),
            "threads": [sys.executable, "-c", START + THREADS, *words],
            "tasks": [sys.executable, "-c", START + TASKS, *words],
            f"xargs -P {AT_ONCE}": xargs(program, AT_ONCE),
            f"threads, max_processes={AT_ONCE}": [sys.executable, "-c", BOUNDED + THREADS, *words],
            f"tasks, max_processes={AT_ONCE}": [sys.executable, "-c", BOUNDED + TASKS, *words],
            "threads, none": [sys.executable, "-c", START + THREADS, *words[:2], "0"],
            "tasks, none": [sys.executable, "-c", START + TASKS, *words[:2], "0"],
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, command in ways.items():
                found[name].append(run(command, numbers))
    print(f"{COMMANDS} commands that sleep {NAP} s: seconds, and MiB at the most")
    raw = 1.0
    for name, rounds in found.items():
        seconds, size = (statistics.median(column) for column in zip(*rounds, strict=True))
        raw = seconds if name.startswith("xargs") else raw
        print(f"  {name:28}{seconds:8.2f} ({seconds / raw:4.2f} of xargs){size:8.1f}")


if __name__ == "__main__":
    main()

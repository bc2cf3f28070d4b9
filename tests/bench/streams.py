"""Measure streams and trees: `python -m tests.bench.streams`.

Streams come from a pretend engine that runs the guest's command on this host, compared with `subprocess` and the same
program. For trees, the comparison is one `cp` of the pretend engine per file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from smolkit import Machine, Smolvm, SubprocessRunner
from smolkit.commands.call import Call

SIZE = 400_000_000
FILES = 2000
ROUNDS = 5
PRETEND = """#!/bin/sh
[ "$4" = cp ] && { cp "$5" "${6#*:}"; exit; }
while [ "$1" != -- ]; do shift; done; shift; exec "$@"
"""
PEAK = """
print(time.perf_counter() - started)
print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])
"""
OURS = """
import sys; from smolkit import Smolvm, SubprocessRunner
machine = Smolvm(runner=SubprocessRunner(sys.argv[1], version="1.32.2")).machine("m")
import time; started = time.perf_counter()
for stream, chunk in machine.popen(["head", "-c", sys.argv[2], "/dev/zero"]): pass
"""
AWAITED = """
import asyncio, sys; from smolkit import AsyncSmolvm, SubprocessRunner
async def main():
    machine = AsyncSmolvm(runner=SubprocessRunner(sys.argv[1], version="1.32.2")).machine("m")
    async for stream, chunk in await machine.popen(["head", "-c", sys.argv[2], "/dev/zero"]): pass
import time; started = time.perf_counter()
asyncio.run(main())
"""
THEIRS = """
import subprocess, sys
import time; started = time.perf_counter()
child = subprocess.Popen([sys.argv[1], "machine", "exec", "--", "head", "-c", sys.argv[2], "/dev/zero"],
                         stdout=subprocess.PIPE, bufsize=0)
while child.stdout.read(65536): pass
"""


def timed(act: Callable[[], object]) -> float:
    """Seconds, the best of three runs."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - started)
    return best


def stream(program: Path) -> None:
    """Measure throughput and peak memory of a Process and of subprocess, in turns: the host may be busy at times."""
    ways = {"subprocess": THEIRS, "machine.popen": OURS, "async machine.popen": AWAITED}
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, code in ways.items():
            command = [sys.executable, "-c", code + PEAK, str(program), str(SIZE)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append([float(word) for word in done.stdout.split()])
    best = {name: min(seconds for seconds, _ in runs) for name, runs in found.items()}
    print(f"{SIZE / 1e6:.0f} MB through a pipe       MB/s  of subprocess   peak kB")
    for name, seconds in best.items():
        ratio, peak = best["subprocess"] / seconds, max(peak for _, peak in found[name])
        print(f"  {name:22}{SIZE / 1e6 / seconds:9.0f}{ratio:15.2f}{peak:10.0f}")
    print()


def upload(machine: Machine, folder: Path, calls: list[Call]) -> None:
    """Measure a tree of small files in one stream and by one cp per file, and count the engine's calls."""
    source = folder / "source"
    source.mkdir()
    for number in range(FILES):
        (source / f"{number}").write_text(str(number))
    (folder / "one-by-one").mkdir()

    def one_by_one() -> None:
        for file in source.iterdir():
            machine.cp(file, machine.path(folder / "one-by-one" / file.name))

    seconds = {
        "upload": timed(lambda: machine.upload(source, folder / "at-once" / str(len(calls)))),
        "cp, one by one": timed(one_by_one),
    }
    for name, taken in seconds.items():
        print(f"{FILES} files by {name:18}{taken:8.2f} s")
    print(f"  ratio {seconds['upload'] / seconds['cp, one by one']:.3f}\n\nengine calls")
    acts: dict[str, Callable[[], object]] = {
        "exec": lambda: machine.exec(["true"]),
        "write_bytes": lambda: machine.write_bytes(folder / "file", b"x"),
        "read_bytes": lambda: machine.read_bytes(folder / "file"),
        "stat": lambda: machine.stat(folder / "file"),
        "listdir": lambda: machine.listdir(folder),
        "remove": lambda: machine.remove(folder / "file"),
        "upload of a tree": lambda: machine.upload(source, folder / "again"),
        "download of a tree": lambda: machine.download(folder / "again", folder / "back"),
    }
    for name, act in acts.items():
        calls.clear()
        act()
        print(f"  {name:24}{len(calls):3}")


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as place:
        program = Path(place, "smolvm")
        program.write_text(PRETEND)
        program.chmod(0o755)
        stream(program)
        calls: list[Call] = []
        client = Smolvm(runner=SubprocessRunner(program, version="1.32.2"), on_call=calls.append)
        upload(client.machine("m"), Path(place), calls)


if __name__ == "__main__":
    main()

"""The time that smolkit adds to a process: `python -m tests.bench.overhead`.

An exec of a program that does nothing, compared with the same program by subprocess.run and by os.posix_spawn, and an
import of smolkit compared with one of its dependencies. They take turns, so that other load affects all alike.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from smolkit import Smolvm, SubprocessRunner

PROGRAM = "/bin/true"
ARGV = ["smolvm", "--error-format", "json", "machine", "exec", "--name", "m", "-i", "--", "true"]
ROUNDS, CALLS, IMPORTS = 30, 50, 30


def cpu() -> float:
    """CPU seconds of this process and its children so far."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def by_posix_spawn() -> None:
    """Run a program by the bare system call and a wait, without pipes."""
    os.waitpid(os.posix_spawn(PROGRAM, ARGV, os.environ), 0)


def by_subprocess() -> None:
    """Run a program by subprocess, as one would without smolkit."""
    subprocess.run(ARGV, executable=PROGRAM, stdin=subprocess.DEVNULL, capture_output=True, check=False)


PROGRAMS = (
    "import sys",
    "import attrs, subprocess",
    "from smolkit import Smolvm",
    "from smolkit import Smolvm; Smolvm('/bin/true').machine('m')",  # the first handle brings the rest
)


def importing(code: str) -> Callable[[], object]:
    """Run this code in a new Python, whose bytecode is cached as after any installation."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run([sys.executable, "-c", code], check=True, env=env)


def table(title: str, contenders: dict[str, Callable[[], object]], base: str, rounds: int, calls: int) -> None:
    """Print the median round of each, in CPU and wall time, and its ratio to the first."""
    walls: dict[str, list[float]] = {name: [] for name in contenders}
    cpus: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            wall, before = time.perf_counter(), cpu()
            for _ in range(calls):
                run()
            walls[name].append((time.perf_counter() - wall) / calls)
            cpus[name].append((cpu() - before) / calls)
    print(f"\n{title:<34} {'CPU ms':>9} {'ratio':>7} {'wall ms':>9} {'ratio':>7}")
    medians = {name: (statistics.median(cpus[name]), statistics.median(walls[name])) for name in contenders}
    for name, (used, took) in medians.items():
        ratios = used / medians[base][0], took / medians[base][1]
        print(f"{name:<34} {used * 1e3:>9.3f} {ratios[0]:>7.2f} {took * 1e3:>9.3f} {ratios[1]:>7.2f}")


if __name__ == "__main__":
    machine = Smolvm(runner=SubprocessRunner(PROGRAM, version="1.32.2")).machine("m")
    table(
        f"one call of {PROGRAM}",
        {
            "os.posix_spawn and wait": by_posix_spawn,
            "subprocess.run": by_subprocess,
            "machine.exec": lambda: machine.exec(["true"]),
        },
        "subprocess.run",
        ROUNDS,
        CALLS,
    )
    table(
        "one python -c ...",
        {code: importing(code) for code in PROGRAMS},
        "import attrs, subprocess",
        IMPORTS,
        1,
    )

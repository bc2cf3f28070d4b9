"""Sixteen threads of lifecycles against sixteen shell loops of the same calls: `python -m tests.bench.lifecycles`.

The engine is a program that takes 50 ms, about as long as a native engine's call, and does nothing. All starts may run at
once here, as in the shells.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from smolkit import Smolvm, SubprocessRunner

THREADS, LIFECYCLES, ROUNDS = 16, 5, 7
VERBS = 'for verb in create start exec delete; do "{p}" machine $verb --name m; done'
LOOP = "i=0; while [ $i -lt {n} ]; do " + VERBS + "; i=$((i+1)); done"


def by_smolkit(client: Smolvm) -> None:
    """create, start, exec and delete from each thread."""

    def lifecycles() -> None:
        for _ in range(LIFECYCLES):
            with client.machine() as machine:
                machine.exec(["true"])

    threads = [threading.Thread(target=lifecycles) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def by_shell(program: Path) -> None:
    """The same calls from shells."""
    script = LOOP.format(n=LIFECYCLES, p=program)
    for shell in [subprocess.Popen(["sh", "-c", script]) for _ in range(THREADS)]:
        shell.wait()


def main() -> None:
    """Print the medians and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "smolvm")
        program.write_text("#!/bin/sh\nexec sleep 0.05\n")
        program.chmod(0o755)
        runner = SubprocessRunner(program, version="1.32.2", state_dir=folder, max_starts=THREADS)
        client = Smolvm(runner=runner)
        with client.machine():  # the host's first start, which no other may overlap
            pass
        runs: dict[str, Callable[[], None]] = {
            "smolkit": lambda: by_smolkit(client),
            "shell": lambda: by_shell(program),
        }
        took: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                before = time.perf_counter()
                run()
                took[name].append(time.perf_counter() - before)
    ours, theirs = (statistics.median(took[name]) for name in ("smolkit", "shell"))
    calls = THREADS * LIFECYCLES * 4
    print(f"{calls} calls from {THREADS}: smolkit {ours:.2f} s, shell loops {theirs:.2f} s, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()

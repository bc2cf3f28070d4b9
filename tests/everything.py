"""Run all tests, sync and async, on all engines: for a night or a release.

    python -m tests.everything

It takes one to two hours in the emulated host. A run that was ended continues where it was: .everything keeps what passed,
for each commit. (The gate does the same without the tests marked `night` and the stress test.)
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTEST = [sys.executable, "-m", "pytest"]
ENGINES = [*PYTEST, "-rA", "--durations=0", "-m", "engine or older"]
EMULATED = [sys.executable, "tests/emulated_host.py"]
STEPS = {
    "older engines": [sys.executable, "-m", "tests.engines"],  # first: the suite's grammar tests and guests use them
    "the suite": [*PYTEST, "-m", "not engine and not older"],
    "engine tests": ENGINES,
    "the suite, 20 times": [sys.executable, "-m", "tests.stress"],
}


def state() -> Path:
    """Return the directory of this commit's results. With uncommitted changes each run has a new one."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    folder = ROOT / ".everything" / (f"{commit}-changed-{time.time():.0f}" if changed else commit)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def boots() -> bool:
    """Return whether this host boots microVMs."""
    done = subprocess.run([sys.executable, "examples/quickstart.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return "No microVM here" not in done.stdout


def run(step: str, command: list[str], folder: Path) -> bool:
    """Run a step, unless it is done, and copy its output to a file. Return whether it passed."""
    log, done = folder / f"{step}.log", folder / f"{step}.done"
    if done.exists():
        return True
    started = time.monotonic()
    print(f"\n== {step}", flush=True)
    env = {**os.environ, "EMULATED_HOST_FOLDER": str(folder), "EMULATED_HOST_TIMEOUT": "14400"}
    with log.open("ab") as file, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=env) as process:
        for line in process.stdout or ():
            file.write(line)
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
    if process.returncode == 0:
        done.write_text(f"{time.monotonic() - started:.0f} s")
    return process.returncode == 0


def summary(folder: Path) -> None:
    """Print how each step ended."""
    print("\n== Summary")
    for step in STEPS:
        lines = (folder / f"{step}.log").read_text(errors="replace").splitlines()
        done = folder / f"{step}.done"
        print(f"{step}: {done.read_text() if done.exists() else 'FAILED'}: {lines[-1] if lines else ''}")
        print(*(line for line in lines if line.startswith("held: ")), sep="\n")


def main() -> int:
    """Run the steps and return the exit status."""
    folder = state()
    prefix = [] if boots() else EMULATED
    commands = {step: [*(prefix if command is ENGINES else []), *command] for step, command in STEPS.items()}
    failed = [step for step, command in commands.items() if not run(step, command, folder)]
    summary(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

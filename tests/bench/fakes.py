"""Measure the test doubles: `python -m tests.bench.fakes`.

A machine's whole life (create, start, exec, delete) on FakeSmolvm, FakeRunner and NamespaceEngine, and the start of a
pytest that has the plugin and does not use it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from smolkit import Smolvm, SubprocessRunner
from smolkit.testing import FakeRunner, FakeSmolvm, NamespaceEngine

ROUNDS = 9


def best(times: int, *actions: Callable[[], object]) -> list[float]:
    """Milliseconds for each, the best of several rounds in which they take turns."""
    found: list[list[float]] = [[] for _ in actions]
    for _ in range(ROUNDS):
        for action, took in zip(actions, found, strict=True):
            started = time.perf_counter()
            for _ in range(times):
                action()
            took.append((time.perf_counter() - started) / times * 1000)
    return [min(took) for took in found]


def life(client: Smolvm) -> Callable[[], object]:
    """The whole life of one machine."""

    def live() -> None:
        with client.machine("m") as machine:
            machine.exec(["true"])

    return live


def starting(folder: str, *options: str) -> Callable[[], object]:
    """A pytest run of one test."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return lambda: subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Print the tables."""
    scripted = FakeRunner()
    scripted.answer(["machine"])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_it.py").write_text("def test_it(): pass\n")
        program = NamespaceEngine(Path(folder, "engine")).program
        print("a machine's life, ms (FakeSmolvm's aim: below 1)")
        for name, client, times in (
            ("FakeSmolvm", Smolvm(runner=FakeSmolvm()), 50),
            ("FakeRunner", Smolvm(runner=scripted), 50),
            ("NamespaceEngine", Smolvm(runner=SubprocessRunner(program, version="1.32.2")), 3),
        ):
            print(f"  {name:15}{best(times, life(client))[0]:8.2f}")
        without, plain = best(1, starting(folder, "-p", "no:smolkit"), starting(folder))
        print("a pytest with one test, ms (the plugin's aim: below 20 more)")
        print(f"  without it     {without:8.0f}\n  with it        {plain:8.0f}  ({plain - without:+.0f})")


if __name__ == "__main__":
    main()

"""Measure what one Ctrl-C at a random moment leaves behind: `python -m tests.bench.interrupts [runs] [seed]`.

A timer interrupts each run once, at a random moment, uniform over the time that its work takes. Counted are the machines
that the engine has, or still makes, after the exception, and the processes that are left.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smolkit import Machine, Smolvm, SmolvmError, SubprocessRunner
from smolkit.testing import NamespaceEngine
from tests.processes import of_each_process

SETTLED = 0.5  # seconds after which an abandoned engine has finished its work
NAP = f"sleep 20.{os.getpid()}"  # a guest's command that outlives its interrupt unless it is killed


def create(machine: Machine) -> None:
    """A create, which Ctrl-C undoes."""
    machine.create()


def block(machine: Machine) -> None:
    """A whole `with` block."""
    with machine:
        machine.exec(["true"])


def command(machine: Machine) -> None:
    """An exec that is always interrupted."""
    machine.exec(NAP.split())


def followed(machine: Machine) -> None:
    """A popen that is always interrupted."""
    with machine.popen(NAP.split()) as process:
        process.wait()


@contextmanager
def struck(after: float) -> Iterator[None]:
    """Send a Ctrl-C so many seconds after the block has begun."""
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def others() -> dict[int, str]:
    """Other processes: children of this one, dead or alive, and the guest's commands."""
    found = {}
    for stat in of_each_process("stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
            line = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        if int(rest.split()[1]) == os.getpid() or line == NAP:
            found[int(stat.parent.name)] = f"{name.partition('(')[2]} {rest.split()[0]}"
    return found


def settle() -> list[str]:
    """Wait for processes to end, and return those that stay, after ending them for the next run."""
    deadline = time.monotonic() + SETTLED
    while (found := others()) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in found:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return list(found.values())


def attempt(work: Callable[[Machine], None], machine: Machine, after: float) -> str:
    """The innermost line that the interrupt came out of, or "" if it came too late."""
    try:
        with struck(after):
            work(machine)
    except (KeyboardInterrupt, RuntimeError, SmolvmError) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno} {frame.name}"
    return ""


def timed(work: Callable[[Machine], None], client: Smolvm) -> float:
    """The seconds that the work takes uninterrupted."""
    started = time.perf_counter()
    work(client.machine("m"))
    took = time.perf_counter() - started
    client.machine("m").delete(missing_ok=True)
    return took


def measure(work: Callable[[Machine], None], folder: Path, runs: int, seed: int) -> None:
    """Print how many interrupts struck, and what they left."""
    engine = NamespaceEngine(folder)
    client = Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2"))
    needs = client.machine("m")
    if work in {command, followed}:
        needs.create()
        needs.start()
    kept, took = engine.left, 0.004
    if not kept:
        took = min(timed(work, client) for _ in range(5))
    chance, struck_at, bad = random.Random(seed), 0, Counter[str]()  # noqa: S311  (no secret)
    for _ in range(runs):
        where = attempt(work, client.machine("m"), chance.uniform(1e-6, took))
        struck_at += bool(where)
        left = settle()
        if where and (left or engine.left != kept):
            bad[f"{where}: {' '.join([*left, *set(engine.left) - set(kept)])}"] += 1
        if not kept:
            needs.delete(missing_ok=True)
    print(f"{sys.version.split()[0]} {work.__name__:9} {sum(bad.values())} of {struck_at} interrupts left something")
    for line, count in bad.most_common(8):
        print(f"    {count} at {line}")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    runs, seed = (int(text) for text in (*sys.argv[1:], "300", "1")[:2])
    with tempfile.TemporaryDirectory() as temporary:
        for number, work in enumerate((create, block, command, followed)):
            measure(work, Path(temporary, str(number)), runs, seed)

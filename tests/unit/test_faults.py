"""The fault matrix: every fault at every step of a lifecycle, with real processes as the engine, leaves nothing."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smolkit import Smolvm, SubprocessRunner
from smolkit.testing import NamespaceEngine
from tests.conftest import Table
from tests.processes import until_idle

STEPS = ("create", "start", "stop", "exec", "delete")
# The faults: signals for the program that owns the machine (`strike`), or a fault of the pretend engine (`fault`).
STRIKES = {
    "Ctrl-C": "INT",
    "SIGTERM": "TERM",
    "an exception from a signal handler": "USR1",
    "Ctrl-C twice": "INT INT",
    "Ctrl-C until it ends": "INT INT INT INT INT",
    "kill -9 of the owner": "KILL",
}
FAULTS = ("fail", "busy", "die", "hang", "fail-late", "die-late", "hang-late")

OWNER = """
import signal, sys
from attrs import evolve
from smolkit import Smolvm, SubprocessRunner

class Impatient(SubprocessRunner):
    def execute(self, invocation):
        return super().execute(evolve(invocation, timeout=3.0 if {hangs} else invocation.timeout))

def end(number, frame):
    raise {{signal.SIGTERM: SystemExit, signal.SIGUSR1: RuntimeError}}[number]

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGUSR1, end)
with Smolvm(runner=Impatient(sys.argv[1], version="1.32.2")).machine("m") as machine:
    machine.exec(["true"])
"""


def cell(folder: Path, step: str, fault: str) -> tuple[str, str]:
    """Run one fault at one step, and return what is left when the program has ended and after a reap."""
    engine = NamespaceEngine(folder)
    if step == "stop":  # stop is called only after a failed start
        engine.fault("start", "fail")
    if fault in STRIKES:
        engine.strike(step, *STRIKES[fault].split())
    else:
        engine.fault(step, fault)  # type: ignore[arg-type]
    code = OWNER.format(hangs="hang" in fault)
    subprocess.run([sys.executable, "-c", code, engine.program], check=False, stderr=subprocess.DEVNULL)
    until_idle(engine)  # a call of the engine outlives its killed caller
    first = engine.left
    Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2")).reap()
    return " ".join(first), " ".join(engine.left)


# Cells in which the program cannot remove its machine: it is killed, interrupted twice, or the engine refuses.
MAY_LEAVE = {
    *(("kill -9 of the owner", step) for step in STEPS),
    *(("Ctrl-C until it ends", step) for step in STEPS),
    ("Ctrl-C twice", "stop"),
    ("Ctrl-C twice", "delete"),
    ("fail", "delete"),
}


def test_the_fault_matrix(tmp_path: Path, table: Table) -> None:
    """A program leaves nothing when it ends, or where it cannot remove its machine, nothing after another's reap."""
    faults = (*STRIKES, *FAULTS)
    cells = [(fault, step) for fault in faults for step in STEPS]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda at: cell(tmp_path / "-".join(at).replace(" ", "_"), at[1], at[0]), cells)
        found = dict(zip(cells, answers, strict=True))

    for fault in ("", *faults):
        row = [found[fault, step] if fault else (step, step) for step in STEPS]
        shown = (" > ".join(part or "nothing" for part in dict.fromkeys(answer)) for answer in row)
        table("what is left, by fault and step (> after reap)", f"{fault:36}" + "".join(f"{text:26}" for text in shown))
    assert {} == {at: left for at, (left, _) in found.items() if left and at not in MAY_LEAVE}
    assert {} == {at: left for at, (_, left) in found.items() if left}

"""Teardown at the interpreter's exit, when no thread can start and finally nothing can be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smolkit.testing import NamespaceEngine

PROGRAM = """
import atexit, contextlib, sys, weakref
from smolkit import Smolvm, SubprocessRunner
client = Smolvm(runner=SubprocessRunner(sys.argv[1], version="1.32.2"))
def block(body):
    with client.machine("m") as machine:
        body(machine)
        yield machine
"""
WAYS = {
    "atexit": "machine = client.machine('m'); machine.create(); machine.start(); atexit.register(machine.delete)",
    "ExitStack": "stack = contextlib.ExitStack(); stack.enter_context(client.machine('m')); atexit.register(stack.close)",
    "finalize": "machine = client.machine('m'); machine.create(); weakref.finalize(block, machine.delete)",
    "a generator": "blocks = block(lambda machine: machine.exec(['true'])); next(blocks)",
    "a generator beside the async side": "import smolkit.aio.handles; blocks = block(lambda machine: None); next(blocks)",
    "a generator that is observed": "client.runner.observe(print); blocks = block(lambda machine: None); next(blocks)",
}


@pytest.mark.parametrize("way", WAYS)
def test_machines_are_removed_at_the_interpreters_exit(way: str, tmp_path: Path) -> None:
    """A machine whose block is ended by the interpreter's exit is removed without output, whatever Python still calls."""
    engine = NamespaceEngine(tmp_path)
    code = PROGRAM + WAYS[way]
    done = subprocess.run([sys.executable, "-c", code, engine.program], capture_output=True, text=True, check=True)

    assert ([], "") == (engine.left, done.stderr)

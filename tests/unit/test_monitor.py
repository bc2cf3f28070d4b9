"""Monitoring of a machine: health and restarts as the engine reports them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from smolkit import Machine, Smolvm, SubprocessRunner, errors
from smolkit.commands import Monitor
from smolkit.testing import FakeRunner
from smolkit.values.observed import MonitorEvent
from tests.recorded import as_json

# Lines as in the engine's source, 1.9.3.
SAID = """\
Machine 'm' is not running, starting...
Monitoring machine 'm' (policy: always, interval: 5s)
  Health check: retries=2, timeout=5s
  health check failed (exit 7, 1/2): no
such file
  health check passed (recovered)
  health check error (1/2): agent operation failed: connect: no
  cannot connect to agent (2/2)
  unhealthy — stopping machine for restart
  machine exited (exit code: 137)
  restarting (attempt 1, backoff 1s)...
  restart failed: vm not found: m
  machine exited (exit code: unknown)
  restarting (attempt 2, backoff 2s)...
  machine restarted
  detected suspend (~90s) — skipping health check for recovery
  not restarting (policy: always, count: 2/2)

Stopped monitoring. Machine 'm' may still be running.
"""
EXPECTED = [
    ("starting", None, None),
    ("watching", None, None),
    ("other", None, None),
    ("check failed", 7, 1),
    ("other", None, None),
    ("recovered", None, None),
    ("check failed", None, 1),
    ("check failed", None, 2),
    ("unhealthy", None, None),
    ("exited", 137, None),
    ("restarting", None, 1),
    ("restart failed", None, None),
    ("exited", None, None),
    ("restarting", None, 2),
    ("restarted", None, None),
    ("suspended", None, None),
    ("given up", None, None),
    ("stopped", None, None),
]


def shown(event: MonitorEvent) -> tuple[str, int | None, int | None]:
    """The event without its text."""
    return event.kind, event.returncode, event.count


def machine(folder: Path, script: str) -> Machine:
    """A machine whose engine is this shell script."""
    program = folder / "smolvm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Smolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m")


def is_gone(pid: Path) -> bool:
    """True once the process that wrote this file has ended."""
    return not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_each_line_is_an_event(client: Smolvm, fake: FakeRunner) -> None:
    """Each line of the engine's output is an event with the line as its text."""
    fake.answer(Monitor, stdout=SAID)
    monitoring = client.machine("m").monitor(restart="always", health_command="test -e /x", health_retries=2)
    events = list(monitoring)

    assert EXPECTED == [shown(event) for event in events]
    assert [line.strip() for line in SAID.splitlines() if line] == [event.text for event in events]
    monitoring.stop()


def test_events_come_as_they_happen(tmp_path: Path) -> None:
    """Events arrive as they happen, the engine ends with the block, and the machine is not touched."""
    script = f"echo $$ >{tmp_path}/pid; echo '  machine restarted'; exec sleep 4711"
    with machine(tmp_path, script).monitor() as monitoring:
        assert MonitorEvent("restarted", "machine restarted") == next(iter(monitoring))
        assert not is_gone(tmp_path / "pid")

    assert is_gone(tmp_path / "pid")
    assert [] == list(monitoring)
    monitoring.stop()


def test_a_failed_block_ends_the_engine(tmp_path: Path) -> None:
    """A block that fails ends the engine, and raises its exception unchanged."""
    script = f"echo $$ >{tmp_path}/pid; echo '  machine restarted'; exec sleep 4711"
    with pytest.raises(KeyError), machine(tmp_path, script).monitor() as monitoring:
        next(iter(monitoring))
        raise KeyError

    assert is_gone(tmp_path / "pid")


@pytest.mark.parametrize("look", [list, lambda monitoring: monitoring.__exit__(None, None, None)])
def test_an_engine_failure_is_raised(tmp_path: Path, look: object) -> None:
    """A failure of the engine is raised after its events, or at the end of the block."""
    (tmp_path / "said").write_text(as_json("NOT_FOUND", "vm not found: m"))
    monitoring = machine(tmp_path, f"cat '{tmp_path}/said' >&2; trap '' TERM; touch {tmp_path}/on; exit 1").monitor()
    while not (tmp_path / "on").exists():
        assert monitoring._process.poll() in {None, 1}

    assert callable(look)
    with pytest.raises(errors.MachineNotFoundError):
        look(monitoring)


async def watch(folder: Path) -> tuple[list[str], bool]:
    """Monitor in an event loop, which runs on meanwhile."""
    m = machine(folder, f"echo $$ >{folder}/pid; echo '  machine restarted'; exec sleep 4711").to_async()
    kinds, turns = [], 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turn())
    async with await m.monitor() as monitoring:
        async for event in monitoring:
            kinds.append(event.kind)
            break
    other.cancel()
    return kinds, turns > 0


def test_the_async_monitor(tmp_path: Path) -> None:
    """The async client gives the same events, and ends the engine with its block."""
    assert (["restarted"], True) == asyncio.run(watch(tmp_path))
    assert is_gone(tmp_path / "pid")

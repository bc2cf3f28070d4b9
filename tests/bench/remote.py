"""Seconds for a command (`true`) and for a stream on another host, by each way there: `python -m tests.bench.remote`.

The host is this one, behind an OpenSSH server on the loopback. With a number of milliseconds as the argument, links have
that round trip, injected by a program between their ends.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from smolkit import Machine, RemoteRunner, Runner, Smolvm, SshRunner, StdioLink, SubprocessRunner
from tests import sshd
from tests.far import RELAY

_CALLS = 30
_BYTES = 200 * 2**20
# The engine's place is taken by a program that becomes the guest's command, so that only the way there is measured.
_PROGRAM = '#!/bin/sh\nwhile [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done\n[ $# -eq 0 ] && exit\nshift\nexec "$@"\n'


def seconds(function: Callable[[], object], times: int = _CALLS) -> float:
    """The least of some measurements, each the mean of a few calls."""
    function()
    found = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(times // 3):
            function()
        found.append((time.perf_counter() - began) / (times // 3))
    return min(found)


def stream(machine: Machine) -> float:
    """Bytes per second that a command's output arrives with."""
    began, got = time.perf_counter(), 0
    with machine.popen(["head", "-c", str(_BYTES), "/dev/zero"], grace=None) as process:
        for _, piece in process:
            got += len(piece)
    assert got == _BYTES
    return got / (time.perf_counter() - began)


def show(name: str, runner: Runner) -> None:
    """Print a runner's row."""
    machine = Smolvm(runner=runner).machine("m")
    began = time.perf_counter()
    machine.exec(["true"])
    first = time.perf_counter() - began
    each, speed = seconds(lambda: machine.exec(["true"])), stream(machine)
    print(f"{name:32}{1000 * each:10.1f} ms {1000 * first:10.0f} ms {speed / 2**20:8.0f} MiB/s", flush=True)


def show_command(name: str, *argv: str) -> None:
    """Print the row of a command line that runs `true` there."""
    print(f"{name:32}{1000 * seconds(lambda: subprocess.run(argv, check=True), 9):10.1f} ms", flush=True)


@contextmanager
def master(config: Path, *options: str) -> Iterator[list[str]]:
    """A connection that others share (ControlMaster). Yields the ssh options for it."""
    shared = ["-F", str(config), *options, "-o", f"ControlPath={config.parent}/master"]
    subprocess.run(["ssh", *shared, "-o", "ControlMaster=yes", "-fN", "build1"], check=True)
    yield shared
    subprocess.run(["ssh", *shared, "-O", "exit", "build1"], check=True, stderr=subprocess.DEVNULL)


def show_asyncssh(config: Path) -> None:
    """Print the row of asyncssh, if that is installed: one connection, a session for each call."""
    if find_spec("asyncssh") is None:
        print("asyncssh is not installed")
        return
    import asyncio

    import asyncssh  # type: ignore[import-not-found]  # no dependency of smolkit's

    async def main() -> float:
        async with asyncssh.connect("build1", config=[str(config)]) as link:
            await link.run("true")
            began = time.perf_counter()
            for _ in range(_CALLS):
                await link.run("true")
            return (time.perf_counter() - began) / _CALLS

    print(f"{'asyncssh, one connection':32}{1000 * asyncio.run(main()):10.1f} ms")


def main(round_trip: float) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="sk-bench-", dir="/tmp") as folder, sshd.server(Path(folder, "sshd")) as config:
        program = Path(folder, "smolvm")
        program.write_text(_PROGRAM)
        program.chmod(0o755)
        relay = [sys.executable, str(RELAY), str(round_trip / 2)]
        options = ["-o", f"ProxyCommand={' '.join(relay)} tcp %h %p"] if round_trip else []
        print(f"Round trip {1000 * round_trip:g} ms{'exec of true':>30}{'first call':>14}{'stream':>15}")
        show("local", SubprocessRunner(program, version="1.32.2"))
        link = StdioLink([*(relay if round_trip else []), "env"])
        show("one far process, any stdio", RemoteRunner(link, program=program, version="1.32.2"))
        show(
            "one far process, ssh",
            SshRunner("build1", options=["-F", str(config), *options], program=program, version="1.32.2"),
        )
        show_command("ssh for each call", "ssh", "-F", str(config), *options, "build1", str(program), "--", "true")
        with master(config, *options) as shared:
            show_command("ssh for each call, ControlMaster", "ssh", *shared, "build1", str(program), "--", "true")
        show_asyncssh(config)


if __name__ == "__main__":
    main(float(sys.argv[1]) / 1000 if len(sys.argv) > 1 else 0.0)

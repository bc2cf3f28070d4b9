"""The subcommands that run something in a machine: run, shell."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

from smolkit.cli.spinner import waiting
from smolkit.errors import SmolvmError
from smolkit.runners.blocking import readable, sleep
from smolkit.values.secret import Secret

if TYPE_CHECKING:
    from argparse import Namespace

    from smolkit.handles.client import Smolvm
    from smolkit.handles.machine import Machine
    from smolkit.handles.process import Input

_FULL = 0.01  # seconds between two tries to write to a pipe that is full and does not block
# The options that are keywords of `client.machine` as they are.
OF_MACHINES: dict[str, str] = {
    "image": "--image",
    "from_path": "--from",
    "cpus": "--cpus",
    "memory": "--memory",
    "net": "--net",
    "ports": "--port",
    "volumes": "--volume",
    "workdir": "--workdir",
}


def run(client: Smolvm, options: Namespace) -> int:
    """Run a command in a fresh machine, its output live and byte for byte; its exit status."""
    with waiting(_starting(options)) as started, client.machine(**_given(options)) as machine:
        started()
        return machine.terminal(options.command) if options.tty else _follow(machine, options)


def shell(client: Smolvm, options: Namespace) -> int:
    """Open a shell in a machine that runs, or in a fresh one."""
    if options.name is not None:
        return client.machine(options.name, **_given(options)).shell()
    with waiting(_starting(options)) as started, client.machine(**_given(options)) as machine:
        started()
        return machine.shell()


def _starting(options: Namespace) -> str:
    source = options.image or options.from_path
    return f"Starting a machine from {source}" if source else "Starting a machine"


def _follow(machine: Machine, options: Namespace) -> int:
    streams = {"stdout": sys.stdout.fileno(), "stderr": sys.stderr.fileno()}
    with machine.popen(options.command, stdin=options.interactive, timeout=options.timeout, grace=None) as process:
        if process.stdin is not None:
            # A daemon: should the command end first, nobody waits for the end of our own input.
            Thread(target=_feed, args=(process.stdin,), daemon=True).start()
        for stream, piece in process:
            _write(streams[stream], piece)
    return process.returncode or 0


def _write(descriptor: int, piece: bytes) -> None:
    """Write all of it. Python's streams drop the rest of a partial write under PYTHONUNBUFFERED, or without blocking."""
    while piece:
        try:
            piece = piece[os.write(descriptor, piece) :]
        except BlockingIOError:
            sleep(_FULL)


def _feed(stdin: Input) -> None:
    with suppress(OSError, ValueError, SmolvmError):  # the command has ended, or does not read
        try:
            while piece := _read(sys.stdin.fileno()):
                stdin.write(piece)
        finally:
            stdin.close()


def _read(descriptor: int) -> bytes:
    """The next piece of our input; empty at its end."""
    while True:
        try:  # not by sys.stdin: the interpreter aborts at its exit if a thread holds the lock of that
            return os.read(descriptor, 2**16)
        except BlockingIOError:
            readable(descriptor, None)
        except OSError as error:
            print(f"smolkit: cannot read the input: {error}", file=sys.stderr)
            return b""


def _given(options: Namespace) -> dict[str, Any]:
    """The keywords of `client.machine`."""
    given = {name: value for name in OF_MACHINES if (value := getattr(options, name)) is not None}
    given["env"] = dict(map(_variable, options.env or ()))
    given["secrets"] = {key: Secret(_own("--secret", key)) for key in options.secret or ()}
    return given


def _variable(text: str) -> tuple[str, str]:
    """`KEY=VALUE`, or `KEY` with this program's own value."""
    key, equals, value = text.partition("=")
    return key, value if equals else _own("-e", key)


def _own(option: str, key: str) -> str:
    if "=" in key:  # do not show the value
        raise ValueError(f"{option} must be the name of a variable, without its value: {option} {key.partition('=')[0]}")
    if key not in os.environ:
        raise ValueError(f"{option} {key}: this program has no environment variable of this name")
    return os.environ[key]

"""Ports of this host that lead to ports of the engine's host."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, final

from smolkit.errors import HostUnreachableError
from smolkit.runners import blocking
from smolkit.runners.blocking import Gate
from smolkit.runners.local.locate import which
from smolkit.runners.local.ports import free_port
from smolkit.runners.local.posix import ChildProcess
from smolkit.runners.remote.links import READY

if TYPE_CHECKING:
    from smolkit.runners.remote.links import Link

_PATIENCE = 60.0  # seconds in which a forward must stand


@final
class Forwards:
    """The forwards of one link, each a process of the link's program that ends with its machine."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._found: dict[tuple[str, int], tuple[int, ChildProcess]] = {}
        self._opening: dict[tuple[str, int], Gate] = {}  # so that threads and tasks that ask at once get the same one

    def reach(self, machine: str, port: int) -> int:
        """A port of this host that leads to a port on which the machine publishes: the same number, if it is free here.

        Raises:
            HostUnreachableError: the link has no forwards, or this one failed.
        """
        gate = self._opening.setdefault((machine, port), Gate(1, "to open a forward"))
        return gate.during(partial(self._reach, machine, port))

    def _reach(self, machine: str, port: int) -> int:
        here, child = self._found.get((machine, port), (0, None))
        if child is None or child.poll() is not None:
            here = port if _is_free(port) else free_port()
            self._found[machine, port] = here, self._start(here, port)
        return here

    def end(self, machine: str | None = None) -> None:
        """End the forwards of a machine, or all."""
        for key in [key for key in (*self._found, *self._opening) if machine is None or key[0] == machine]:
            self._opening.pop(key, None)
            _, child = self._found.pop(key, (0, None))
            if child is not None:  # else another thread has ended it, or it is not open yet
                child.signal(signal.SIGTERM)
                child.reap()
                child.close()

    def _start(self, here: int, port: int) -> ChildProcess:
        argv = self._link.forward(here, port)
        if argv is None:
            error = HostUnreachableError(
                f"{self._link.host} forwards no ports: port {port} can be reached from that host only"
            )
            error.hint = "SshRunner forwards ports; for another link, forward this one by other means"
            raise error
        child = ChildProcess()
        try:
            child.open_pipes(stdin=True)
            child.start(which(argv[0]) or argv[0], argv, dict(os.environ))
            self._await(child)
        except BaseException:
            child.signal(signal.SIGKILL)
            child.reap()
            child.close()
            raise
        return child

    def _await(self, child: ChildProcess) -> None:
        """Wait until it says that it stands."""
        assert child.stdout and child.stderr  # noqa: S101, PT018  (for the type checker: they were opened)
        said, until = b"", time.monotonic() + _PATIENCE
        while READY not in said.split():
            left = until - time.monotonic()
            blocking.readable(child.stdout.fileno(), max(0.0, left))
            os.set_blocking(child.stdout.fileno(), False)
            with suppress(BlockingIOError):
                data = os.read(child.stdout.fileno(), 4096)
                if not data or left <= 0:
                    raise HostUnreachableError(f"{self._link.host} does not forward the port: {_words(child)}")
                said += data


def _words(child: ChildProcess) -> str:
    assert child.stderr is not None  # noqa: S101  (for the type checker: it was opened)
    os.set_blocking(child.stderr.fileno(), False)
    with suppress(BlockingIOError):
        return os.read(child.stderr.fileno(), 4096).decode("utf-8", "replace").strip()
    return "it does not answer"


def _is_free(port: int) -> bool:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True

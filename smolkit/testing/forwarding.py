"""A runner that stands before another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from smolkit.commands.base import Command
from smolkit.runners.base import Runner
from smolkit.values.hidden import Hidden
from smolkit.values.ownership import Here, Owner


class Forwarding(Runner):
    """A runner that answers as another one does, wherever that one's engine is. A subclass supplies `execute`.

    Args:
        runner: The other runner.
    """

    def __init__(self, runner: Runner) -> None:
        super().__init__(version=runner.engine.version)
        self._runner = runner

    @property
    def host(self) -> str:
        """As the other runner."""
        return self._runner.host

    @property
    def program(self) -> str:
        """As the other runner."""
        return self._runner.program

    def watch(self) -> None:
        """As the other runner."""
        self._runner.watch()

    def watching(self, command: Command[Any]) -> AbstractContextManager[None]:
        """As the other runner."""
        return self._runner.watching(command)

    @contextmanager
    def admission(self, timeout: float | None = None) -> Iterator[None]:
        """As the other runner."""
        with self._runner.admission(timeout):
            yield

    @contextmanager
    def provide_source(self, path: str) -> Iterator[str]:
        """As the other runner."""
        with self._runner.provide_source(path) as made:
            yield made

    @contextmanager
    def provide_target(self, path: str, part: str | None = None) -> Iterator[str]:
        """As the other runner."""
        with self._runner.provide_target(path, part) as made:
            yield made

    def read_log(self, path: str, start: int) -> bytes:
        """As the other runner."""
        return self._runner.read_log(path, start)

    def given(self) -> dict[str, Hidden]:
        """As the other runner."""
        return self._runner.given()

    def here(self) -> Here:
        """As the other runner."""
        return self._runner.here()

    def owner(self) -> Owner | None:
        """As the other runner."""
        return self._runner.owner()

    def free_port(self) -> int:
        """As the other runner."""
        return self._runner.free_port()

    def reach(self, machine: str, port: int) -> int:
        """As the other runner."""
        return self._runner.reach(machine, port)

    def now(self) -> float:
        """As the other runner."""
        return self._runner.now()

    def clock(self) -> float:
        """As the other runner."""
        return self._runner.clock()

    def pause(self, seconds: float) -> None:
        """As the other runner."""
        self._runner.pause(seconds)

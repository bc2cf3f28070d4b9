"""The async side of what a machine's methods return: processes, monitoring, walks. Tables, as in `smolkit.aio.handles`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, Self, TypeVar, final

from smolkit import aio
from smolkit.aio.greenlets import drive, drive_exit, in_loop
from smolkit.aio.twins import Twin, awaited, direct
from smolkit.handles.monitoring import Monitoring
from smolkit.handles.process import Input, Process
from smolkit.handles.spawned import Spawned
from smolkit.values.observed import MonitorEvent

T = TypeVar("T", bytes, str)


@final
class AsyncInput(Twin[Input]):
    """The standard input of an AsyncProcess."""

    @property
    def closed(self) -> bool:
        """True once it was closed."""
        return self._sync.closed

    write = awaited(Input.write)
    close = awaited(Input.close)


@final
class AsyncProcess(Twin[Process[T]]):
    """A running command in the guest: the async side of `smolkit.Process`. Made by `await machine.popen(...)`.

    `async for` over it gives `(stream, data)`. One task may write to its stdin while another one reads. At the end of an
    `async with` the command has `grace` seconds to end by itself. After an exception, a cancellation too, it is killed.

    Attributes:
        stdin: Its standard input with `stdin=True`, else None.
    """

    stdin: AsyncInput | None

    def __init__(self, sync: Process[T]) -> None:
        super().__init__(sync)  # type: ignore[arg-type]  # mypy does not see that T is T
        self.stdin = None if sync.stdin is None else AsyncInput(sync.stdin)

    @property
    def args(self) -> tuple[str, ...]:
        """The command."""
        return self._sync.args

    @property
    def returncode(self) -> int | None:
        """Its exit status, or None while it runs. Negative: ended by `terminate` or `kill`."""
        return self._sync.returncode

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036
        # After an exception the command is killed: soon done, and shielded from further cancellations. Without one the
        # block waits for the command, perhaps for long, and a cancellation has to reach it there.
        await (drive_exit(self._sync.__exit__, *error) if error[0] else drive(partial(self._sync.__exit__, *error), None))

    async def __aiter__(self) -> AsyncIterator[tuple[str, T]]:
        # One call for each piece: between two of them the caller's own code runs, in its task, where it may await.
        pieces = iter(self._sync)
        while (piece := await in_loop(next, pieces, None)) is not None:
            yield piece

    poll = direct(Process[T].poll)
    wait = awaited(Process[T].wait)
    terminate = awaited(Process[T].terminate)
    kill = awaited(Process[T].kill)


@final
class AsyncMonitoring(Twin[Monitoring]):
    """The engine while it monitors a machine: the async side of `smolkit.Monitoring`. Made by `await machine.monitor()`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036
        await drive_exit(self._sync.__exit__, *error)

    async def __aiter__(self) -> AsyncIterator[MonitorEvent]:
        events = iter(self._sync)
        while (event := await in_loop(next, events, None)) is not None:
            yield event

    stop = awaited(Monitoring.stop)


@final
class AsyncSpawned(Twin[Spawned]):
    """A command left running in the guest: the async side of `smolkit.Spawned`. Made by `await machine.spawn(...)`.

    Attributes:
        machine: The machine it runs in.
    """

    machine: aio.AsyncMachine

    def __init__(self, sync: Spawned) -> None:
        super().__init__(sync)
        self.machine = sync.machine.to_async()

    @property
    def pid(self) -> int:
        """Its process id in the VM. In an image machine, commands inside see another one."""
        return self._sync.pid

    @property
    def mark(self) -> str:
        """The value of the environment variable by which the command is found."""
        return self._sync.mark

    is_running = awaited(Spawned.is_running)
    kill = awaited(Spawned.kill)


@final
class AsyncWalk:
    """A walk through a directory tree: `async for dirpath, dirnames, filenames in machine.walk(path)`."""

    def __init__(self, steps: Iterator[tuple[str, list[str], list[str]]]) -> None:
        self._steps = steps

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, list[str], list[str]]:
        if (step := await in_loop(next, self._steps, None)) is None:
            raise StopAsyncIteration
        return step

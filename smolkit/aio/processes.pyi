"""The async side, for type checkers and editors. Written by `python -m tests.stubs`: do not edit."""

from collections.abc import AsyncIterator
from collections.abc import Iterator
from smolkit import aio
from smolkit.aio.twins import Twin
from smolkit.handles.monitoring import Monitoring
from smolkit.handles.process import Input
from smolkit.handles.process import Process
from smolkit.handles.spawned import Spawned
from smolkit.values.observed import MonitorEvent
from typing import Any
from typing import Self
from typing import TypeVar
from typing import final
from typing import overload

T = TypeVar('T', bytes, str)

@final
class AsyncInput(Twin[Input]):
    """The standard input of an AsyncProcess."""

    @property
    def closed(self) -> bool:
        """True once it was closed."""

    async def write(self, data: bytes | str) -> None:
        """Write all of the data to the command's stdin, text as UTF-8. Blocks while there is no room.

        If nobody reads the output meanwhile, up to 16 MiB of it are buffered. After that, this blocks until somebody reads.

        Raises:
            BrokenPipeError: the command has ended or closed its stdin; or the buffer is full and no other thread or task
                has ever read the output.
            ExecTimeoutError: the command read nothing until its timeout (see `popen`).
            RuntimeError: another thread or task is writing.
            ValueError: stdin was closed.
        """

    async def close(self) -> None:
        """Close the command's stdin: it reads end of file. A write in another thread ends with BrokenPipeError."""

@final
class AsyncProcess(Twin[Process[T]]):
    """A running command in the guest: the async side of `smolkit.Process`. Made by `await machine.popen(...)`.

    `async for` over it gives `(stream, data)`. One task may write to its stdin while another one reads. At the end of an
    `async with` the command has `grace` seconds to end by itself. After an exception, a cancellation too, it is killed.

    Attributes:
        stdin: Its standard input with `stdin=True`, else None.
    """

    stdin: AsyncInput | None

    def __init__(self, sync: Process[T]) -> None: ...

    @property
    def args(self) -> tuple[str, ...]:
        """The command."""

    @property
    def returncode(self) -> int | None:
        """Its exit status, or None while it runs. Negative: ended by `terminate` or `kill`."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: Any) -> None: ...

    def __aiter__(self) -> AsyncIterator[tuple[str, T]]: ...

    def poll(self) -> int | None:
        """Its exit status, or None while it runs. It may have ended before all of its output is read."""

    async def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status. Output that was not read until then is discarded.

        While another thread or task iterates the process, the output is left to it, and this waits for it to reach the end.

        Raises:
            TimeoutError: it did not end within `timeout` seconds; it still runs.
            SmolvmError: the engine failed, as for `exec`.
        """

    async def terminate(self) -> None:
        """Terminate the command and every process that it started (SIGTERM to the engine's). No-op if it has ended."""

    async def kill(self) -> None:
        """Kill the command and every process that it started (SIGKILL to the engine's). No-op if it has ended."""

@final
class AsyncMonitoring(Twin[Monitoring]):
    """The engine while it monitors a machine: the async side of `smolkit.Monitoring`. Made by `await machine.monitor()`."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: Any) -> None: ...

    def __aiter__(self) -> AsyncIterator[MonitorEvent]: ...

    async def stop(self) -> None:
        """Stop monitoring the machine, which runs on. No-op if it has ended.

        Raises:
            SmolvmError: the engine had failed before.
        """

@final
class AsyncSpawned(Twin[Spawned]):
    """A command left running in the guest: the async side of `smolkit.Spawned`. Made by `await machine.spawn(...)`.

    Attributes:
        machine: The machine it runs in.
    """

    machine: aio.AsyncMachine

    def __init__(self, sync: Spawned) -> None: ...

    @property
    def pid(self) -> int:
        """Its process id in the VM. In an image machine, commands inside see another one."""

    @property
    def mark(self) -> str:
        """The value of the environment variable by which the command is found."""

    async def is_running(self) -> bool:
        """True if it, or any process that it started, is running.

        Raises:
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: the guest has no `grep` (exit status 127).
            MachineNotRunningError: the machine is not running.
        """

    async def kill(self, signal: str = 'KILL') -> None:
        """Send a signal to it and to every process that it started.

        Raises:
            ValueError: signal is not a signal's name.
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: the guest has no `grep` (exit status 127), or some processes survived a KILL.
        """

@final
class AsyncWalk():
    """A walk through a directory tree: `async for dirpath, dirnames, filenames in machine.walk(path)`."""

    def __init__(self, steps: Iterator[tuple[str, list[str], list[str]]]) -> None: ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> tuple[str, list[str], list[str]]: ...

"""The async side of the client, the machine and its processes: tables of the sync methods, which have code and docs.

A type checker reads `handles.pyi` instead, which has the signatures and docstrings written out: `python -m tests.stubs`
makes it from these tables, and a test holds it current.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from typing import Any, Self, TypeVar, cast, final

from smolkit.aio.greenlets import drive, drive_exit, in_loop
from smolkit.aio.opening import before_opening, open_machine
from smolkit.aio.runner import AsyncRunner
from smolkit.aio.twins import Twin, awaited, direct, giving
from smolkit.commands.call import Call
from smolkit.commands.dialect import Engine
from smolkit.handles.client import Smolvm
from smolkit.handles.machine import Machine
from smolkit.handles.monitoring import Monitoring
from smolkit.handles.process import Input, Process
from smolkit.handles.spawned import Spawned
from smolkit.runners.base import Runner
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

    machine: AsyncMachine

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


# Functions, as the class is not there yet when its own methods are made.
def _twin(machine: Any) -> AsyncMachine:
    return AsyncMachine(machine)


def _twins(machines: list[Any]) -> list[AsyncMachine]:
    return [AsyncMachine(machine) for machine in machines]


@final
class AsyncMachine(Twin[Machine]):
    """A handle on one machine: the async side of `smolkit.Machine`. Made by `AsyncSmolvm.machine`.

    A cancelled call leaves what the sync call leaves after a Ctrl-C: a command is killed in the guest; a create, or the
    start of an `async with`, runs to its end and is undone. The end of an `async with` cannot be cancelled, and is bounded.
    Many tasks may use one handle.
    """

    @property
    def name(self) -> str:
        """The machine's name."""
        return self._sync.name

    @wraps(Machine.open)
    async def open(self) -> Self:
        """As `Machine.open`."""
        begun: list[bool] = []
        await before_opening(self._sync)
        await open_machine(self._sync, partial(self._sync._open, begun), begun)  # noqa: SLF001
        return self

    @wraps(Machine.ensure)
    async def ensure(self) -> Self:
        """As `Machine.ensure`."""
        begun: list[bool] = []
        await before_opening(self._sync)
        await open_machine(self._sync, partial(self._sync._ensure, begun), begun)  # noqa: SLF001
        return self

    @wraps(Machine.close)
    async def close(self, error: BaseException | None = None) -> None:
        """As `Machine.close`."""
        await drive_exit(lambda *_: self._sync.close(error), None, error, None)

    async def __aenter__(self) -> Self:
        await before_opening(self._sync)
        await open_machine(self._sync, self._sync.__enter__, [True])
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036
        await drive_exit(self._sync.__exit__, *error)

    to_sync = direct(Machine.to_sync)
    to_async = direct(Machine.to_async)

    create = awaited(Machine.create)
    start = awaited(Machine.start)
    wait_until = awaited(Machine.wait_until)
    stop = awaited(Machine.stop)
    delete = awaited(Machine.delete)
    status = awaited(Machine.status)
    exists = awaited(Machine.exists)

    exec = awaited(Machine.exec)
    sh = awaited(Machine.sh)
    spawn = awaited(giving(AsyncSpawned, Machine.spawn))
    shell = awaited(Machine.shell)
    terminal = awaited(Machine.terminal)
    popen = awaited(giving(AsyncProcess[Any], Machine.popen))

    path = direct(Machine.path)
    cp = awaited(Machine.cp)
    upload = awaited(Machine.upload)
    download = awaited(Machine.download)
    read_bytes = awaited(Machine.read_bytes)
    read_text = awaited(Machine.read_text)
    write_bytes = awaited(Machine.write_bytes)
    write_text = awaited(Machine.write_text)
    stat = awaited(Machine.stat)
    listdir = awaited(Machine.listdir)
    scandir = awaited(Machine.scandir)
    walk = direct(giving(AsyncWalk, Machine.walk))
    glob = awaited(Machine.glob)
    mkdir = awaited(Machine.mkdir)
    remove = awaited(Machine.remove)
    rename = awaited(Machine.rename)

    branch = awaited(giving(_twin, Machine.branch))
    branch_many = awaited(giving(_twins, Machine.branch_many))
    url = awaited(Machine.url)
    update = awaited(Machine.update)
    resize = awaited(Machine.resize)
    pause = awaited(Machine.pause)
    resume = awaited(Machine.resume)
    release = awaited(Machine.release)
    checkpoint = awaited(Machine.checkpoint)
    mount = awaited(Machine.mount)
    unmount = awaited(Machine.unmount)
    mounts = awaited(Machine.mounts)
    sync = awaited(Machine.sync)
    stats = awaited(Machine.stats)
    logs = awaited(Machine.logs)
    console = awaited(Machine.console)
    data_dir = awaited(Machine.data_dir)
    follow_logs = awaited(giving(AsyncProcess[str], Machine.follow_logs))
    egress_events = awaited(Machine.egress_events)
    monitor = awaited(giving(AsyncMonitoring, Machine.monitor))
    images = awaited(Machine.images)
    prune = awaited(Machine.prune)
    network_test = awaited(Machine.network_test)


@final
class AsyncSmolvm(Twin[Smolvm]):
    """A client of one engine: the async side of `smolkit.Smolvm`, with the same arguments. Making one runs nothing.

    SubprocessRunner and the fakes serve both sides, and may be shared with a Smolvm. The runner may also be an AsyncRunner.
    (A Runner of your own whose `execute` blocks its thread blocks the event loop.)
    """

    def __init__(
        self,
        program: str | os.PathLike[str] | None = None,
        *,
        runner: Runner | AsyncRunner | None = None,
        max_processes: int | None = None,
        on_call: Callable[[Call], object] | None = None,
        watchdog: bool = False,
    ) -> None:
        super().__init__(
            Smolvm(
                program,
                runner=cast("Runner", runner),  # an AsyncRunner serves the async side as a Runner does
                max_processes=max_processes,
                on_call=on_call,
                watchdog=watchdog,
            )
        )

    @property
    def runner(self) -> Runner:
        """The runner of the engine's commands."""
        return self._sync.runner

    @property
    def session(self) -> str:
        """The id of this client's session, a label of each of its machines."""
        return self._sync.session

    @property
    async def engine(self) -> Engine:
        """The engine's version, path, dialect and capabilities; asked once: `(await client.engine).version`."""
        return await in_loop(lambda: self._sync.engine)

    machine = direct(giving(AsyncMachine, Smolvm.machine))
    owned = awaited(Smolvm.owned)
    reap = awaited(Smolvm.reap)
    ls = awaited(Smolvm.ls)
    dry_run = direct(Smolvm.dry_run)
    free_port = direct(Smolvm.free_port)
    is_available = direct(Smolvm.is_available)
    doctor = awaited(Smolvm.doctor)

    run = awaited(Smolvm.run)
    run_detached = awaited(giving(AsyncMachine, Smolvm.run_detached))
    terminal = awaited(Smolvm.terminal)
    pack_create = awaited(Smolvm.pack_create)
    pack_run = awaited(Smolvm.pack_run)
    pack_info = awaited(Smolvm.pack_info)
    pack_push = awaited(Smolvm.pack_push)
    pack_pull = awaited(Smolvm.pack_pull)
    pack_inspect = awaited(Smolvm.pack_inspect)
    pack_list = awaited(Smolvm.pack_list)
    pack_prune = awaited(Smolvm.pack_prune)
    checkpoint_export = awaited(Smolvm.checkpoint_export)
    checkpoint_log = awaited(Smolvm.checkpoint_log)
    checkpoint_prune = awaited(Smolvm.checkpoint_prune)
    checkpoint_warm = awaited(Smolvm.checkpoint_warm)
    config_show = awaited(Smolvm.config_show)
    registries_path = awaited(Smolvm.registries_path)
    registries_show = awaited(Smolvm.registries_show)
    registries_init = awaited(Smolvm.registries_init)
    cli = awaited(Smolvm.cli)

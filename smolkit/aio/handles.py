"""The client, the machine and their processes, for async code: what each does is written on the sync side."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, final

from anyio.lowlevel import checkpoint

from smolkit.aio.greenlets import Twin, awaited, direct, drive, giving, in_loop, leave
from smolkit.handles.client import Smolvm
from smolkit.handles.machine import Machine
from smolkit.handles.monitoring import Monitoring
from smolkit.handles.process import Input, Process
from smolkit.handles.spawned import Spawned

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Sequence
    from typing import Literal, Self, Unpack, overload

    from smolkit.aio.runner import AsyncRunner
    from smolkit.commands.call import Call
    from smolkit.commands.dialect import Engine
    from smolkit.commands.option_types import PopenOptions
    from smolkit.runners.base import Runner
    from smolkit.values.observed import MonitorEvent

T = TypeVar("T", bytes, str)


@final
class AsyncInput(Twin[Input]):
    """The standard input of an AsyncProcess."""

    closed: bool

    write = awaited(Input.write)
    close = awaited(Input.close)


@final
class AsyncProcess(Twin[Process[T]]):
    """A command in the guest while it runs: the twin of `Process`. Made by `await machine.popen(...)`.

    One task may write to its stdin while another one reads. `async with` waits for it at the end of the block; after an
    exception, a cancellation too, it is killed instead.
    """

    args: tuple[str, ...]
    returncode: int | None

    def __init__(self, sync: Process[T]) -> None:
        super().__init__(sync)  # type: ignore[arg-type]  # mypy does not see that T is T
        self.stdin = None if sync.stdin is None else AsyncInput(sync.stdin)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036
        await (leave(self._sync.__exit__, *error) if error[0] else drive(partial(self._sync.__exit__, *error), None))

    async def __aiter__(self) -> AsyncIterator[tuple[str, T]]:
        pieces = iter(self._sync)
        while (piece := await in_loop(next, pieces, None)) is not None:
            yield piece

    poll = direct(Process[T].poll)
    wait = awaited(Process[T].wait)
    terminate = awaited(Process[T].terminate)
    kill = awaited(Process[T].kill)


@final
class AsyncMonitoring(Twin[Monitoring]):
    """The engine while it looks after a machine: the twin of `smolkit.handles.monitoring.Monitoring`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036
        await leave(self._sync.__exit__, *error)

    async def __aiter__(self) -> AsyncIterator[MonitorEvent]:
        events = iter(self._sync)
        while (event := await in_loop(next, events, None)) is not None:
            yield event

    stop = awaited(Monitoring.stop)


@final
class AsyncSpawned(Twin[Spawned]):
    """A command that was started in the guest and left to run: the twin of `smolkit.handles.spawned.Spawned`."""

    pid: int
    mark: str

    def __init__(self, sync: Spawned) -> None:
        super().__init__(sync)
        self.machine = sync.machine.to_async()

    is_running = awaited(Spawned.is_running)
    kill = awaited(Spawned.kill)


def _twin(machine: Any) -> AsyncMachine:
    return AsyncMachine(machine)


def _twins(machines: list[Any]) -> list[AsyncMachine]:
    return [AsyncMachine(machine) for machine in machines]


@final
class AsyncMachine(Twin[Machine]):
    """One machine, by its name: the twin of `smolkit.Machine`. Made by `AsyncSmolvm.machine`.

    Wherever one of its calls is cancelled, nothing is left that the sync call would not leave after a Ctrl-C: a command is
    killed in the guest; a create, or the start of an `async with`, comes to its end and is undone. The end of `async with`
    is never cancelled in its middle, and bounded. One handle may be used by many tasks.
    """

    name: str

    async def __aenter__(self) -> Self:
        if self._sync._known.made is None:  # noqa: SLF001  (what is there already has to come under the block's care first)
            await checkpoint()
        try:
            await drive(self._sync.__enter__, None)
        except GeneratorExit:
            self._sync._abandon()  # noqa: SLF001  (what of it was left where it stood, in another thread)
            raise
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036
        await leave(self._sync.__exit__, *error)

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
    if TYPE_CHECKING:

        @overload
        async def popen(
            self, command: Sequence[str], *, text: Literal[False] = False, **options: Unpack[PopenOptions]
        ) -> AsyncProcess[bytes]: ...
        @overload
        async def popen(
            self, command: Sequence[str], *, text: Literal[True], **options: Unpack[PopenOptions]
        ) -> AsyncProcess[str]: ...
        async def popen(self, command: Sequence[str], *, text: bool = False, **options: Any) -> Any: ...  # noqa: D102
    else:
        popen = awaited(giving(AsyncProcess, Machine.popen))

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
    """A client of one engine: the twin of `smolkit.Smolvm`, made of the same. Making one runs nothing.

    SubprocessRunner and the fakes serve both twins, and may be shared with a Smolvm. The runner may be an AsyncRunner, too.
    (A Runner of one's own that blocks its thread stops the event loop meanwhile.)
    """

    runner: Runner
    session: str

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
                runner=cast("Runner", runner),
                max_processes=max_processes,
                on_call=on_call,
                watchdog=watchdog,
            )
        )

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
    run_detached = awaited(giving(_twin, Smolvm.run_detached))
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

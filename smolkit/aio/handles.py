"""The async side of the client, the machine and its processes: tables of the sync methods, which have code and docs.

A type checker reads `handles.pyi` instead, which has the signatures and docstrings written out: `python -m tests.stubs`
makes it from these tables, and a test holds it current.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Self, TypeVar, cast, final

from smolkit.aio.greenlets import drive_exit, in_loop
from smolkit.aio.opening import before_opening, open_machine
from smolkit.aio.processes import AsyncMonitoring, AsyncProcess, AsyncSpawned, AsyncWalk
from smolkit.aio.runner import AsyncRunner
from smolkit.aio.twins import Twin, awaited, direct, giving
from smolkit.commands.call import Call
from smolkit.commands.dialect import Engine
from smolkit.handles.client import Smolvm
from smolkit.handles.machine import Machine
from smolkit.handles.view import MachineView
from smolkit.runners.base import Runner

T = TypeVar("T", bytes, str)


# Functions, as the class is not there yet when its own methods are made.
def _twin(machine: Any) -> AsyncMachine:
    return AsyncMachine(machine)


def _twins(machines: list[Any]) -> list[AsyncMachine]:
    return [AsyncMachine(machine) for machine in machines]


@final
class _View:
    """Makes an AsyncMachineView, and stands for that class while it is being made."""

    __name__ = "AsyncMachineView"

    def __call__(self, view: Any) -> AsyncMachineView:
        return AsyncMachineView(view)


@final
class AsyncMachineView(Twin[MachineView]):
    """A machine's commands and files, with defaults: the async side of `smolkit.MachineView`. Made by `machine.at(...)`."""

    @property
    def name(self) -> str:
        """The machine's name."""
        return self._sync.name

    at = direct(giving(_View(), MachineView.at))
    path = direct(MachineView.path)
    spawn = awaited(giving(AsyncSpawned, MachineView.spawn))
    popen = awaited(giving(AsyncProcess[Any], MachineView.popen))
    walk = direct(giving(AsyncWalk, MachineView.walk))
    exec = awaited(MachineView.exec)
    sh = awaited(MachineView.sh)
    shell = awaited(MachineView.shell)
    terminal = awaited(MachineView.terminal)
    cp = awaited(MachineView.cp)
    upload = awaited(MachineView.upload)
    download = awaited(MachineView.download)
    read_bytes = awaited(MachineView.read_bytes)
    read_text = awaited(MachineView.read_text)
    write_bytes = awaited(MachineView.write_bytes)
    write_text = awaited(MachineView.write_text)
    stat = awaited(MachineView.stat)
    exists = awaited(MachineView.exists)
    listdir = awaited(MachineView.listdir)
    scandir = awaited(MachineView.scandir)
    glob = awaited(MachineView.glob)
    mkdir = awaited(MachineView.mkdir)
    remove = awaited(MachineView.remove)
    rename = awaited(MachineView.rename)


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
    is_bare = awaited(Machine.is_bare)

    at = direct(giving(AsyncMachineView, Machine.at))
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

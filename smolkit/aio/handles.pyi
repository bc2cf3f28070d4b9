"""The async side, for type checkers and editors. Written by `python -m tests.stubs`: do not edit."""

from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from smolkit.aio.runner import AsyncRunner
from smolkit.aio.twins import Twin
from smolkit.commands.call import Call
from smolkit.commands.call import Plan
from smolkit.commands.dialect import Engine
from smolkit.commands.option_types import BranchOptions
from smolkit.commands.option_types import CheckpointOptions
from smolkit.commands.option_types import ClientOptions
from smolkit.commands.option_types import ExecOptions
from smolkit.commands.option_types import MonitorOptions
from smolkit.commands.option_types import PackOptions
from smolkit.commands.option_types import PackRunOptions
from smolkit.commands.option_types import PopenOptions
from smolkit.commands.option_types import RunOptions
from smolkit.commands.option_types import SpawnOptions
from smolkit.commands.option_types import StartOptions
from smolkit.commands.option_types import UpdateOptions
from smolkit.flows.teardown import Keep
from smolkit.handles.client import Smolvm
from smolkit.handles.machine import Machine
from smolkit.handles.monitoring import Monitoring
from smolkit.handles.process import Input
from smolkit.handles.process import Process
from smolkit.handles.spawned import Spawned
from smolkit.runners.base import Runner
from smolkit.values.exec_result import ExecResult
from smolkit.values.observed import Check
from smolkit.values.observed import EgressEvent
from smolkit.values.observed import FileStat
from smolkit.values.observed import MonitorEvent
from smolkit.values.observed import Stats
from smolkit.values.ownership import Reapable
from smolkit.values.results import Completed
from smolkit.values.results import GuestPath
from smolkit.values.results import MachineInfo
from smolkit.values.secret import Secret
from typing import Any
from typing import Literal
from typing import Self
from typing import TypeVar
from typing import Unpack
from typing import final
from typing import overload
import os
import re

T = TypeVar('T', bytes, str)

@final
class AsyncInput(Twin[Input]):
    """The standard input of an AsyncProcess."""

    @property
    def closed(self) -> bool:
        """True once it was closed."""

    async def write(self, data: bytes | str) -> None:
        """Gives the command data; text as UTF-8. Waits until there is room for all of it.

        While nobody reads, up to 16 MiB of the command's output are kept meanwhile. Then this waits for a reader.

        Raises:
            BrokenPipeError: it has ended, or reads no more; or not before its output is read, which no other thread or task
                ever did.
            ExecTimeoutError: it took nothing until the time was over that `popen` gave it.
            RuntimeError: another thread or task is writing.
            ValueError: it was closed.
        """

    async def close(self) -> None:
        """The command sees the end of its input. A write in another thread ends with BrokenPipeError."""

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
        """The exit status, or None while it runs. Output that was not read does not count as its end."""

    async def wait(self, timeout: float | None = None) -> int:
        """Waits for the end and gives the exit status. Output that was not read by then is thrown away.

        While another thread or task iterates the process, the output is that one's, and this waits for it to reach the end.

        Raises:
            TimeoutError: it did not end in so many seconds; it still runs.
            SmolvmError: the engine failed: as for `exec`.
        """

    async def terminate(self) -> None:
        """Ends the command, with all that it started (SIGTERM to the engine's process). Harmless if it has ended."""

    async def kill(self) -> None:
        """Ends the command, with all that it started, for sure (SIGKILL to the engine's process)."""

@final
class AsyncMonitoring(Twin[Monitoring]):
    """The engine while it monitors a machine: the async side of `smolkit.Monitoring`. Made by `await machine.monitor()`."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: Any) -> None: ...

    def __aiter__(self) -> AsyncIterator[MonitorEvent]: ...

    async def stop(self) -> None:
        """Stops looking after the machine, which runs on. No-op if that has ended.

        Raises:
            SmolvmError: the engine had failed by then.
        """

@final
class AsyncSpawned(Twin[Spawned]):
    """A command left running in the guest: the async side of `smolkit.Spawned`. Made by `await machine.spawn(...)`.

    Attributes:
        machine: The machine it runs in.
    """

    machine: AsyncMachine

    def __init__(self, sync: Spawned) -> None: ...

    @property
    def pid(self) -> int:
        """Its process id in the VM. In an image machine, commands inside see another one."""

    @property
    def mark(self) -> str:
        """The value of the environment variable by which the command is found."""

    async def is_running(self) -> bool:
        """Whether it, or anything that it started, runs.

        Raises:
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: it has no `grep` (exit status 127).
            MachineNotRunningError: the machine does not run.
        """

    async def kill(self, signal: str = 'KILL') -> None:
        """Sends a signal to it and to all that it started.

        Raises:
            ProgramNotFoundError: the guest has no `sh`.
            CommandFailedError: it has no `grep` (exit status 127), or some would not go.
        """

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

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: Any) -> None: ...

    def to_sync(self) -> Machine:
        """Another handle on the same machine, for sync code: it does not own it, and deletes it only when it is told to.

        Its calls block their thread: an event loop's is not the place for them.
        """

    def to_async(self) -> AsyncMachine:
        """The same machine for async code: a handle that does not own it. Needs `pip install 'smolkit[async]'`."""

    async def create(self) -> None:
        """Creates the machine, as it was described to `client.machine`. It does not run yet.

        Raises:
            MachineExistsError: the name is taken; nothing was touched.
            PolicyNotRecordedError: the engine did not record the network policy as asked; the machine is gone again.
        """

    async def start(self, *, timeout: float | None = 900.0, **options: Unpack[StartOptions]) -> None:
        """Starts the machine; returns when an exec would answer. Nothing happens if it runs.

        Args:
            timeout: Seconds until smolkit gives up (default 900), the wait for its turn among other starts included. The
                engine's own bound is 30 s without progress.
            options: See `smolkit.commands.option_types.StartOptions`; they win over those of `client.machine`.

        Raises:
            HypervisorUnavailableError: this host boots no microVMs.
            PortInUseError: something on the host listens on a port that was to be published.
            BootFailedError: it did not come up; notes on the error hold the end of its console log.
            QueueTimeoutError: other starts did not let it in; nothing was run.
            MachineNotFoundError, StartInProgressError, EngineTimeoutError
        """

    async def wait_until(
        self,
        *,
        command: Sequence[str] | None = None,
        path: str | None = None,
        port: int | None = None,
        log: str | re.Pattern[str] | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Waits until something in the guest is ready: one of these. Looks at least every second.

        Args:
            command: This exits with 0. (A program that is not there yet may come.)
            path: This absolute path exists.
            port: Something listens on this TCP port, whether it is published or not.
            log: A line of the machine's logs matches this regular expression: of what its workload wrote (what `smolvm
                machine logs` shows), or of its console. What `exec` gives is in no log.
            timeout: Seconds to wait (default 60).

        Raises:
            WaitTimeoutError: it did not come true in time; notes on the error hold the end of the logs.
            ValueError: none of them is given, or several.
            MachineNotRunningError, MachineNotFoundError, ConnectionLostError: there is nothing to wait for.
            ProgramNotFoundError: the guest has no `test` (path) or no `cat` (port).
        """

    async def stop(self, *, timeout: int | None = None) -> None:
        """Stops the machine; its disk stays. Nothing happens if it does not run.

        Args:
            timeout: Whole seconds for its workload to end before it is killed, up to 300; 0 for none (engine >= 1.28.1).

        Raises:
            MachineNotFoundError: there is none (engine >= 0.8.1; older ones say nothing).
            MachineReplacedError: it is not the machine that this handle made.
        """

    async def delete(self, *, missing_ok: bool = False, cascade: bool = False) -> None:
        """Deletes the machine with its disk, running or not. What is busy is tried again.

        Args:
            missing_ok: Whether it is fine that there is no such machine.
            cascade: Whether the machines that were branched from it go too (engine >= 1.7.0).

        Raises:
            MachineNotFoundError: there is none.
            MachineHasBranchesError: others were branched from it, and cascade is False; nothing was deleted.
            MachineReplacedError: it is not the machine that this handle made. (`client.machine(name)` is a handle that
                made none, and deletes whatever has the name.)
        """

    async def status(self) -> MachineInfo:
        """What the engine has on record of the machine, its state first.

        Raises:
            MachineNotFoundError: there is none.
        """

    async def exists(self, path: str | os.PathLike[str] | GuestPath | None = None) -> bool:
        """Whether the engine has such a machine, in whatever state; with a path, whether the machine has that file.

        A link that leads nowhere is there, too.
        """

    async def exec(
        self,
        command: Sequence[str],
        *,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | Secret] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        timeout: float | None = None,
        input: bytes | str | None = None,
    ) -> ExecResult:
        """Runs a command in the guest to its end, and gives its exit status and output, whatever the status.

        Args:
            command: A list of words, the program first. No shell sees them: `sh` is for that.
            check: Raise CommandFailedError if the exit status is not 0.
            env: Variables on top of the machine's. They are on the engine's command line while it runs.
            secrets: Variables that are not: a Secret each, or a str for its value (engine >= 1.0.0). No log, error or
                command line has them.
            workdir: An absolute path in the guest.
            user: A name or `uid[:gid]`; image machines only (engine >= 1.14.0).
            timeout: Seconds after which the command is killed in the guest. smolkit's own bound is 30 s longer.
                The wait for a place (max_processes) is bounded by it, too.
            input: For its standard input, which is otherwise /dev/null.

        Raises:
            TypeError: command is a str.
            CommandFailedError: the exit status is not 0, and check=True.
            ExecTimeoutError: the command did not end in time; the error holds what it had written.
            ProgramNotFoundError, ProgramNotExecutableError: the guest could not start it.
            QueueTimeoutError: it did not get a place within the timeout; nothing was run.
            MachineNotRunningError, MachineNotFoundError, ConnectionLostError, OutputLimitError
        """

    async def sh(self, script: str, **options: Unpack[ExecOptions]) -> ExecResult:
        """Runs a script with the guest's `sh -c`: pipes, globs, `&&`. Options and errors are those of `exec`."""

    async def spawn(self, command: Sequence[str], **options: Unpack[SpawnOptions]) -> AsyncSpawned:
        """Starts a command in the guest and leaves it: it runs until it ends, or the machine does (engine >= 1.3.0).

        Its output goes nowhere. An image machine's engine does not say whether there is such a program (1.32.2).

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError: the guest has no such program (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """

    async def shell(self) -> int:
        """Hands this program's terminal over to a shell in the guest; its exit status.

        Raises:
            MachineNotRunningError, MachineNotFoundError
        """

    async def terminal(self, command: Sequence[str], **options: Unpack[SpawnOptions]) -> int:
        """Hands this program's terminal over to a command in the guest: `m.terminal(["python3"])`; its exit status.

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError: the guest has no such program (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """

    @overload
    async def popen(
        self,
        command: Sequence[str],
        *,
        text: Literal[False] = False,
        **options: Unpack[PopenOptions],
    ) -> AsyncProcess[bytes]:
        """Starts a command in the guest, to be followed while it runs.

        Its output has no cap, and no more of it is in memory than a piece. Killing it kills it in the guest, with all that
        it started (1.32.2).

        Args:
            command: As for exec.
            text: Whether lines of text are read, instead of pieces of bytes.
            options: `stdin=True` for an input to write to; env, secrets, workdir, user and timeout as for exec; `grace`,
                the seconds that the command has at the end of a `with` to end by itself (default 5).

        Raises:
            TypeError: command is a str.
            QueueTimeoutError: it did not get a place (max_processes) within its timeout; nothing was run.
        """

    @overload
    async def popen(
        self,
        command: Sequence[str],
        *,
        text: Literal[True],
        **options: Unpack[PopenOptions],
    ) -> AsyncProcess[str]:
        """Starts a command in the guest, to be followed while it runs.

        Its output has no cap, and no more of it is in memory than a piece. Killing it kills it in the guest, with all that
        it started (1.32.2).

        Args:
            command: As for exec.
            text: Whether lines of text are read, instead of pieces of bytes.
            options: `stdin=True` for an input to write to; env, secrets, workdir, user and timeout as for exec; `grace`,
                the seconds that the command has at the end of a `with` to end by itself (default 5).

        Raises:
            TypeError: command is a str.
            QueueTimeoutError: it did not get a place (max_processes) within its timeout; nothing was run.
        """

    def path(self, path: str | os.PathLike[str]) -> GuestPath:
        """A path in this machine, for `cp`. A pure value: nothing is asked.

        Raises:
            ValueError: it is not absolute.
        """

    async def cp(
        self,
        source: str | os.PathLike[str] | GuestPath,
        target: str | os.PathLike[str] | GuestPath,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """Copies one regular file into or out of the machine, which must run. If either path is empty, nothing happens.

        One side is in the guest: `machine.path("/root/x")`, or as the engine writes it, `"NAME:/root/x"`. Both sides are
        full names of files. Folders on the way are made in the guest. It needs no program in the guest, and keeps neither
        mode nor time: upload() and download() do.

        Args:
            source: What is copied.
            target: What it becomes.
            mode: Its permissions in the guest, for uploads (engine >= 1.9.0). Default: 0644.
            uid: Its owner's number there, likewise. Default: root's.
            gid: Its group's number there, likewise.

        Raises:
            ValueError: both sides, or neither, are in the guest, or the guest's side is another machine's.
            FileNotFoundError, IsADirectoryError, PermissionError: of the host's side, before anything runs.
            SmolvmError: the engine could not copy; a file that was there on the host is untouched.
        """

    async def upload(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str] | GuestPath,
        *,
        owner: str | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Copies a file, or a folder with all that is in it, into the guest.

        Modes, times (to the second), links, empty folders and names of any bytes are kept; owners are not. Nothing is at
        `target` until all has arrived. Into a folder that is there, which keeps its own mode, the tree's files are copied
        then, over files and links of the same names; if a folder and something else have the same name, nothing is copied.

        Args:
            source: On this host. A folder's hard links come as files of their own.
            target: The full path of the new file or folder. For a folder, those on the way are made.
            owner: `user[:group]`, as the guest knows them, of everything. Default: the guest's user.
            progress: Called with the bytes that were sent and the bytes in all.

        Raises:
            FileNotFoundError, PermissionError, ValueError: of the host's side.
            ProgramNotFoundError: the guest has no `sh`, or (for a folder) no `tar`.
            GuestFileError, GuestNotADirectoryError, GuestPermissionError: of the guest's.
        """

    async def download(
        self,
        source: str | os.PathLike[str] | GuestPath,
        target: str | os.PathLike[str],
        *,
        limit: int = 4294967296,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Copies a file, or a folder with all that is in it, out of the guest.

        The guest is not trusted: a name or a link that leads outside, a device, more than `limit`, two million files and
        directories, or directories more than 512 deep are refused, and then nothing is kept. There is nothing at `target`
        until all has arrived. It takes little memory, whatever the guest sends.

        Modes (but for setuid, setgid and sticky bits) and times, of the directory itself too, are the guest's; owners are
        yours. Hard links are hard links again.

        Args:
            source: In the guest.
            target: The full path of the new file, or of the new folder, on this host. A file there is replaced.
            limit: Bytes that are taken at the most (default 4 GiB). For a directory they are a tar's, which has 512 to some
                2,500 for each file besides its content. The guest has an hour, and a second more for each MiB.
            progress: Called with the bytes that have arrived and the bytes in all.

        Raises:
            FileExistsError: there is such a folder on this host, or a file where a folder is to be.
            FileNotFoundError, PermissionError: of the host's side.
            UnsafeArchiveError: the guest sent what must not be taken.
            ExecTimeoutError: the guest did not come to an end.
            GuestFileNotFoundError, GuestPermissionError, ProgramNotFoundError: of the guest's side.
        """

    async def read_bytes(self, path: str | os.PathLike[str] | GuestPath) -> bytes:
        """A file's content. The guest needs `sh` and `cat`.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestPermissionError: also the builtin errors of these names.
            OutputLimitError: it is larger than the runner takes (256 MiB): download() has no such bound.
        """

    async def read_text(
        self,
        path: str | os.PathLike[str] | GuestPath,
        encoding: str = 'utf-8',
        errors: str = 'strict',
    ) -> str:
        """A file's content as text."""

    async def write_bytes(
        self,
        path: str | os.PathLike[str] | GuestPath,
        data: bytes,
        *,
        mode: int | None = None,
        owner: str | None = None,
    ) -> None:
        """Makes a file with this content, or gives one another content; at no moment is there half of it.

        What cannot be replaced is written to instead: a device, a file of /proc or /sys and, once all has arrived, a mount.

        Args:
            path: Its folder must be there.
            data: The content.
            mode: Its permissions, for example 0o600. Default: those it had, or the guest's own for new files.
            owner: `user[:group]`, as the guest knows them. Default: the one it had, or the guest's user.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError: there is no such folder.
            GuestIsADirectoryError, GuestPermissionError, GuestFileError
        """

    async def write_text(
        self,
        path: str | os.PathLike[str] | GuestPath,
        text: str,
        encoding: str = 'utf-8',
        *,
        mode: int | None = None,
        owner: str | None = None,
    ) -> None:
        """As write_bytes, with text."""

    async def stat(self, path: str | os.PathLike[str] | GuestPath, *, follow_symlinks: bool = True) -> FileStat:
        """A file's mode, size, owner and time. The guest needs `stat`.

        Raises:
            GuestFileNotFoundError: there is none.
        """

    async def listdir(self, path: str | os.PathLike[str] | GuestPath) -> list[str]:
        """The names in a folder, sorted. Names that are no UTF-8 are as `os.listdir` has them.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
            GuestFileError: the guest sent what is no name in a directory: `..`, or one with a slash.
            OutputLimitError: there are more names than 16 MiB.
        """

    async def mkdir(
        self,
        path: str | os.PathLike[str] | GuestPath,
        *,
        mode: int | None = None,
        parents: bool = False,
        exist_ok: bool = False,
    ) -> None:
        """Makes a folder.

        Args:
            path: What is to be.
            mode: Its permissions.
            parents: Whether the folders on the way are made, too.
            exist_ok: Whether it is fine that it is there.

        Raises:
            GuestFileExistsError, GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
        """

    async def remove(
        self,
        path: str | os.PathLike[str] | GuestPath,
        *,
        recursive: bool = False,
        missing_ok: bool = False,
    ) -> None:
        """Removes a file, a link or a folder.

        Args:
            path: What goes.
            recursive: Whether a folder goes with all that is in it. Else it must be empty.
            missing_ok: Whether it is fine that there is none.

        Raises:
            GuestDirectoryNotEmptyError, GuestFileNotFoundError, GuestPermissionError
        """

    async def rename(self, path: str | os.PathLike[str] | GuestPath, target: str | os.PathLike[str] | GuestPath) -> None:
        """Gives a file or folder another name, as `os.rename`.

        A file of that name is replaced, and an empty folder by a folder. To another file system it is copied, unless it is
        a mount.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestDirectoryNotEmptyError, GuestPermissionError
        """

    async def branch(self, name: str | None = None, *, keep: Keep = False, **options: Unpack[BranchOptions]) -> Self:
        """Makes a machine that goes on from where this one is, memory and disks; both run on (engine >= 1.0.0).

        This one must have been started as branchable: `client.machine(..., branchable=True)` or `start(branchable=True)`.
        Its published ports get other numbers on the host: `url()` tells.

        Args:
            name: Of the new machine. Default: a fresh one.
            keep: As for `client.machine`.
            options: See `smolkit.commands.option_types.BranchOptions`.

        Returns:
            The new machine. It runs; as a context manager it is deleted at the end of the block.

        Raises:
            ConfigError: this one was not started as branchable.
            MachineNotRunningError, MachineExistsError, BootFailedError
        """

    async def branch_many(
        self,
        count: int,
        prefix: str | None = None,
        *,
        keep: Keep = False,
        **options: Unpack[BranchOptions],
    ) -> list[Self]:
        """Makes several such machines from one moment of this one: PREFIX-0, PREFIX-1 and so on (engine >= 1.7.7).

        The moment is when this machine's workload runs `smolvm-branch-ready`; with no_wait_ready=True, it is now.

        Args:
            count: How many, 1 to 10,000.
            prefix: Of their names. Default: a fresh one.
            keep: As for `client.machine`, of each.
            options: See `smolkit.commands.option_types.BranchOptions`.

        Returns:
            Them. They run, or wait with hold=True for `release()`. Each can be used as a context manager.
        """

    async def url(self, port: int, scheme: str = 'http') -> str:
        """The address on the host of a port of the guest that is published: `http://127.0.0.1:18080`.

        Raises:
            ValueError: that port is not published.
        """

    async def update(self, **options: Unpack[UpdateOptions]) -> None:
        """Changes what the machine is made of, for its next start. It must not run (but for its allow lists).

        What is busy is tried again. Allow lists are read back.

        Args:
            options: See `smolkit.commands.option_types.UpdateOptions`. What is left out stays.

        Raises:
            ValueError: nothing is to be changed.
            MachineRunningError: it runs; nothing was changed.
            MachineNeverStartedError: its disks, which are to grow, are not there before its first start.
            PolicyNotRecordedError: an allow list was not recorded as asked. The machine is as the engine left it.
            MachineNotFoundError, MachineReplacedError
        """

    async def resize(
        self,
        *,
        cpus: int | None = None,
        memory: int | None = None,
        storage: int | None = None,
        overlay: int | None = None,
    ) -> None:
        """Changes a machine's size: of a running one its processors and memory (engine >= 1.20.2).

        Args:
            cpus: Virtual processors online.
            memory: MiB; it only grows, in steps of 128 (1.32.2), and needs the host's cgroup controllers.
            storage: GiB of its data disk, for the next start; it only grows. Also of a machine that does not run.
            overlay: GiB of its root's overlay, likewise.

        Raises:
            ValueError: nothing is to be changed.
            ConfigError: the engine refused; nothing was changed.
            MachineNeverStartedError: its disks, which are to grow, are not there before its first start.
        """

    async def pause(self) -> None:
        """Saves the running machine's memory to disk and ends its process (engine >= 1.18.2).

        Then it can only be resumed or deleted.
        """

    async def resume(self) -> None:
        """Lets a paused machine run on, with the memory it had (engine >= 1.18.2)."""

    async def release(self, env: Mapping[str, str] | None = None) -> None:
        """Lets a branch that was made with hold=True run, with these variables (engine >= 1.14.0)."""

    async def checkpoint(self, output: str | os.PathLike[str], **options: Unpack[CheckpointOptions]) -> str:
        """Saves the running machine, memory and disks, to a file; it runs on (engine >= 1.13.1).

        `client.machine(name, from_path=...)` makes a machine from it. It stands under its name only once it is whole.

        Args:
            output: The file; `.smolcheckpoint` is its usual suffix. With `store`, a directory.
            options: See `smolkit.commands.option_types.CheckpointOptions`.

        Returns:
            The path, absolute.
        """

    async def mount(self, source: str | os.PathLike[str], target: str, *, read_only: bool = False) -> None:
        """Lets the running machine see a host folder, until it stops (engine >= 1.32.2).

        Args:
            source: The host's folder.
            target: The absolute path in the guest.
            read_only: Whether the guest may only read.
        """

    async def unmount(self, target: str) -> None:
        """Takes away a folder that was mounted there (engine >= 1.32.2)."""

    async def mounts(self) -> list[dict[str, Any]]:
        """The engine's records of the folders that were mounted: `source`, `target`, `readOnly` (engine >= 1.32.2)."""

    async def sync(self) -> None:
        """Makes the host's side of its `:staged` volumes as the machine's is, deletions too (engine >= 1.14.0)."""

    async def stats(self) -> Stats:
        """What the running machine uses right now (engine >= 1.29.1)."""

    async def logs(self, *, tail: int | None = None) -> str:
        """What the machine's workload wrote; with engines before 1.28.1, which cannot tell, the end of its console.

        Args:
            tail: Only so many lines.
        """

    async def console(self) -> str:
        """What the machine's kernel and the engine's agent wrote, the last MiB of it, also when it does not run."""

    async def data_dir(self) -> str:
        """The directory on the engine's host with the machine's disks, logs and sockets, absolute.

        Raises:
            MachineNotFoundError: there is no such machine (engine >= 0.8.1).
        """

    async def follow_logs(self, *, tail: int | None = None) -> AsyncProcess[str]:
        """What the machine's workload writes, line by line as it comes, until it is killed (engine >= 1.28.1).

        Args:
            tail: Begin with only so many lines of what there is.

        Returns:
            A process to iterate for `(stream, line)`: `kill()` it, or leave its `with` by an exception, to have enough.
        """

    async def egress_events(self, *, limit: int | None = None) -> list[EgressEvent]:
        """The guest's attempts to reach out, oldest first, the newest 200 (engine >= 1.8.1). A missing machine has none."""

    async def monitor(self, **options: Unpack[MonitorOptions]) -> AsyncMonitoring:
        """Looks after the machine, and starts it again where it ended or is unhealthy; first of all, if it does not run.

        Args:
            options: See `smolkit.commands.option_types.MonitorOptions`.

        Returns:
            What to iterate for health and restarts as they come, until the engine gives up or `stop()`; best in a `with`.
        """

    async def images(self) -> dict[str, Any]:
        """The engine's record of the machine's image layers and their disk. A stopped machine is booted to answer."""

    async def prune(self, *, everything: bool = False, dry_run: bool = False) -> str:
        """Removes image layers that nothing needs, and gives the engine's words. A stopped machine is booted for it.

        Args:
            everything: All cached images.
            dry_run: Only say which.
        """

    async def network_test(self, url: str | None = None) -> str:
        """Whether the machine reaches a URL, in the engine's words."""

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
    ) -> None: ...

    @property
    def runner(self) -> Runner:
        """The runner of the engine's commands."""

    @property
    def session(self) -> str:
        """The id of this client's session, a label of each of its machines."""

    @property
    async def engine(self) -> Engine:
        """The engine's version, path, dialect and capabilities; asked once: `(await client.engine).version`."""

    def machine(
        self,
        name: str | None = None,
        *,
        keep: Keep = False,
        lifetime: float | None = None,
        **options: Unpack[ClientOptions],
    ) -> AsyncMachine:
        """A handle on the machine of that name, which may exist or not; nothing is asked.

        Args:
            name: 1 to 128 of `A-Z a-z 0-9 _ -`. Default: a fresh one.
            keep: Whether a `with` leaves the machine at its end: always (True), or when it ends with an exception
                ("on_error"), which then has a note on how to get into the machine. Either way it has no owner: no `reap()`
                takes it because a process is gone.
            lifetime: Seconds from its creation after which anybody's `reap()` may remove it, whoever lives, and also
                with `keep` (engine >= 1.8.0).
            options: What it is to be made of, if this handle makes it: see `MachineOptions` in
                `smolkit.commands.option_types`. And how it is to be started: `StartOptions` there.

        Raises:
            InvalidNameError: the engine would not take the name.
            TypeError, ValueError: an option is unknown, or its value cannot be right.
        """

    async def owned(self) -> list[MachineInfo]:
        """The machines that smolkit made, in whatever process, by name (engine >= 1.8.0)."""

    async def reap(self, *, dry_run: bool = False) -> list[Reapable]:
        """Removes the machines that smolkit made and nobody wants: their process is gone, or their lifetime is over.

        Only what can be proved to be nobody's: a machine of another host, container or product is never touched, nor one
        that was made with `keep` (but by the end of its lifetime), nor a branch that has its source's labels, nor what a
        machine that stays was branched from. Where the engine has no labels (below 1.8.0, of branches below 1.29.0) only
        machines with fresh names (`client.machine()`, `machine.branch()`) are found: the name has the process in it that
        made the handle.

        Args:
            dry_run: Only say which, and why.

        Returns:
            What was (or would be) removed.

        Raises:
            SmolvmError: one could not be removed; the others were all tried, and notes tell of theirs.
        """

    async def ls(self, labels: Mapping[str, str] | None = None) -> list[MachineInfo]:
        """All machines of the engine, smolkit's or not, by name.

        Args:
            labels: Only those that have all of these labels.

        Raises:
            SmolvmError: the engine could not tell. It is never taken for "no machines".
        """

    def dry_run(self, *, echo: bool = True) -> AbstractContextManager[Plan]:
        """In the block, nothing is run: commands are recorded, and their shell lines printed.

        All calls through this client's runner, of all threads, answer as if they had succeeded and found nothing: no
        machines, empty files, exit status 0. The engine is asked for its version; without one, the newest is spoken.
        A dry run in another one has the commands of its block, and the outer one goes on after it.

        Args:
            echo: Whether the lines are printed.
        """

    def free_port(self) -> int:
        """A TCP port of the engine's host that nobody listens on, for `ports=[(port, 80)]`.

        No other program that uses smolkit gets it while this process lives; it is not one that the kernel hands out.
        """

    def is_available(self) -> bool:
        """Whether there is a program to run. Nothing is run: `doctor` looks further."""

    async def doctor(self) -> list[Check]:
        """What this host has and lacks for microVMs, each finding with a hint where it is not well. Never raises."""

    async def run(self, command: Sequence[str] = (), /, **options: Unpack[RunOptions]) -> ExecResult:
        """Runs one command in a machine that is made for it and gone at its end: `smolvm machine run`.

        The engine removes the machine. smolkit waits for that, and deletes nothing itself: no label of such a machine tells
        whose it is. For more than one command, or to be sure of what is left when something fails, use `machine()`.

        Args:
            command: A list of words; default: the image's own.
            options: As for `machine`, and `timeout`, `input`: see `smolkit.commands.option_types.RunOptions`.

        Raises:
            ExecTimeoutError: the command did not end in time.
            StartError: the machine did not start.
            CleanupError: the command ran, and the engine has not removed the machine.
        """

    async def run_detached(
        self,
        command: Sequence[str] = (),
        /,
        name: str | None = None,
        *,
        keep: Keep = False,
        **options: Unpack[RunOptions],
    ) -> AsyncMachine:
        """Makes a machine, starts it with a command for its workload, and leaves it running: `smolvm machine run --detach`.

        What the workload writes is in `logs()`. The machine has no labels: `reap()` does not know it.

        Args:
            command: A list of words; default: the image's own, or an idle one.
            name: Of the machine. Default: a fresh one.
            keep: As for `machine`.
            options: As for `run`, but for `timeout` and `input`.

        Returns:
            The machine. It runs; as a context manager it is deleted at the end of the block.

        Raises:
            MachineExistsError: the name is taken; nothing was touched.
            PolicyNotRecordedError: the engine did not record the network policy as asked; the machine is gone again.
            StartError: the machine did not start.
        """

    async def terminal(self, command: Sequence[str] = (), /, **options: Unpack[RunOptions]) -> int:
        """Hands this program's terminal over to a command in a machine made for it, gone at its end; its exit status.

        Args:
            command: A list of words; default: the image's own, or a shell.
            options: As for `run`, but for `input`.

        Raises:
            StartError: the machine did not start.
        """

    async def pack_create(
        self,
        image: str | os.PathLike[str] | None,
        output: str | os.PathLike[str],
        **options: Unpack[PackOptions],
    ) -> str:
        """Packs an image (or, with image=None and from_machine=NAME, a stopped machine) into a file for `from_path`.

        Both files stand under their names only once they are whole.

        Args:
            image: A registry reference, a `docker save` archive or an unpacked root file system.
            output: The program to write; the pack stands beside it as OUTPUT.smolmachine. The suffix may be given.
            options: See `smolkit.commands.option_types.PackOptions`.

        Returns:
            The pack's absolute path, for `client.machine(from_path=...)`: with single_file=True the program's own.

        Raises:
            MachineRunningError: the machine to pack runs; nothing was run but that look.
            MachineNotFoundError: there is no such machine.
            MachineNeverStartedError: it was never started: there is nothing of it to pack yet.
        """

    async def pack_run(
        self,
        pack: str | os.PathLike[str],
        command: Sequence[str] = (),
        **options: Unpack[PackRunOptions],
    ) -> ExecResult:
        """Runs one command in a machine made from a pack file, gone at its end: `smolvm pack run`."""

    async def pack_info(self, pack: str | os.PathLike[str]) -> str:
        """A pack file's manifest, as text."""

    async def pack_push(self, pack: str | os.PathLike[str], reference: str) -> None:
        """Brings a pack file to a registry."""

    async def pack_pull(self, reference: str, output: str | os.PathLike[str]) -> str:
        """Brings a pack from a registry to a file, which stands under its name only once it is whole.

        Returns:
            The file's absolute path.
        """

    async def pack_inspect(self, reference: str) -> dict[str, Any]:
        """A registry's manifest of a pack."""

    async def pack_list(self) -> list[dict[str, Any]]:
        """The engine's records of the packs it has unpacked (engine >= 1.31.0)."""

    async def pack_prune(self, *, keep: int | None = None, everything: bool = False, dry_run: bool = False) -> str:
        """Removes unpacked packs that nothing needs, but for the `keep` (5) last ones; the engine's words."""

    async def checkpoint_export(
        self,
        checkpoint: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        at: str | None = None,
    ) -> str:
        """Makes one portable file of a checkpoint that is in a store (engine >= 1.17.0); its absolute path."""

    async def checkpoint_log(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        machine: str | None = None,
    ) -> str:
        """The generations that a checkpoint retains, or the checkpoints of a store, as text (engine >= 1.18.2).

        Raises:
            ValueError: neither is given.
        """

    async def checkpoint_prune(self, store: str | os.PathLike[str]) -> str:
        """Removes from a store what no checkpoint needs any more; the engine's words (engine >= 1.17.0)."""

    async def checkpoint_warm(
        self,
        checkpoint: str | os.PathLike[str],
        *,
        restore_cache_entries: int | None = None,
        restore_cache_gib: int | None = None,
    ) -> None:
        """Makes a checkpoint directory ready, so that the next machine from it starts sooner (engine >= 1.22.2)."""

    async def config_show(self) -> str:
        """The engine's settings, as text."""

    async def registries_path(self) -> str:
        """The file that has the registries."""

    async def registries_show(self) -> str:
        """The registries, as text."""

    async def registries_init(self) -> None:
        """Writes a file of registries to begin with."""

    async def cli(self, *words: str) -> Completed:
        """Runs the engine with any words at all: `client.cli("machine", "stats", "--name", "agent").stdout`.

        Failures of the engine are smolkit's errors. Nothing is checked, added (but `--error-format json`, where the engine
        has it) or undone. The words are shown in errors and logs: no place for secrets.
        """

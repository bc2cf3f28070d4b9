"""The async side, for type checkers and editors. Written by `python -m tests.stubs`: do not edit."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from smolkit import flows
from smolkit import options
from smolkit import runners
from smolkit import values
from smolkit.aio.processes import AsyncMonitoring
from smolkit.aio.processes import AsyncProcess
from smolkit.aio.processes import AsyncSpawned
from smolkit.aio.processes import AsyncWalk
from smolkit.aio.runner import AsyncRunner
from smolkit.aio.twins import Twin
from smolkit.commands.call import Call
from smolkit.commands.dialect import Engine
from smolkit.errors import GuestFileError
from smolkit.flows import teardown
from smolkit.handles.client import Smolvm
from smolkit.handles.files import AnyGuestPath
from smolkit.handles.machine import Machine
from smolkit.handles.view import MachineView
from smolkit.runners.base import Runner
from smolkit.values.results import GuestPath
from typing import Any
from typing import Literal
from typing import Self
from typing import TypeVar
from typing import Unpack
from typing import final
from typing import overload
import os
import re
import smolkit

T = TypeVar('T', bytes, str)

@final
class AsyncMachineView(Twin[MachineView]):
    """A machine's commands and files, with defaults: the async side of `smolkit.MachineView`. Made by `machine.at(...)`."""

    @property
    def name(self) -> str:
        """The machine's name."""

    def at(
        self,
        *,
        workdir: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | values.Secret] | None = None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> AsyncMachineView:
        """A view of the machine with defaults: `m.at(workdir="/repo", user="agent")` has its commands and files.

        What a call gives itself wins; its variables are added to these. A view of a view has the defaults of both. The
        engine is not called.

        Args:
            workdir: Where commands run, and relative paths start; in a view that has one, it may be relative to that.
            env: Variables of commands.
            secrets: Variables of commands that are in no argv, log or error.
            user: As whom commands and file methods run (`cp` excepted, which is the engine's).
            timeout: Seconds for each command, and for each file method, that has none of its own.
        """

    def path(self, path: str | os.PathLike[str]) -> GuestPath:
        """A path in this machine, for `cp`. It is a plain value: the engine is not called.

        Raises:
            ValueError: the path is not absolute, and this is no view with a workdir.
        """

    async def spawn(
        self,
        command: Sequence[str | os.PathLike[str]],
        **options: Unpack[options.SpawnOptions],
    ) -> AsyncSpawned:
        """Start a command in the guest and leave it running until it ends, or the machine does (engine >= 1.3.0).

        Its output is discarded. For an image machine the engine does not say that the program is missing (1.32.2).

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError, WorkdirNotFoundError: the guest has no such program or directory (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """

    @overload
    async def popen(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        text: Literal[False] = False,
        **options: Unpack[options.PopenOptions],
    ) -> AsyncProcess[bytes]:
        """Start a command in the guest and follow it while it runs.

        Its output has no cap, and only a piece of it is in memory at a time. Killing it kills it in the guest, with every
        process that it started (1.32.2).

        Args:
            command: As for exec.
            text: Read lines of text instead of pieces of bytes.
            options: `stdin=True` for an input to write to; env, secrets, workdir, user, timeout and stderr as for exec;
                `grace`, the seconds that the command has at the end of a `with` to end by itself (default 5).

        Raises:
            TypeError: command is a str.
            QueueTimeoutError: it did not get a place (max_processes) within its timeout; nothing was run.
        """

    @overload
    async def popen(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        text: Literal[True],
        **options: Unpack[options.PopenOptions],
    ) -> AsyncProcess[str]:
        """Start a command in the guest and follow it while it runs.

        Its output has no cap, and only a piece of it is in memory at a time. Killing it kills it in the guest, with every
        process that it started (1.32.2).

        Args:
            command: As for exec.
            text: Read lines of text instead of pieces of bytes.
            options: `stdin=True` for an input to write to; env, secrets, workdir, user, timeout and stderr as for exec;
                `grace`, the seconds that the command has at the end of a `with` to end by itself (default 5).

        Raises:
            TypeError: command is a str.
            QueueTimeoutError: it did not get a place (max_processes) within its timeout; nothing was run.
        """

    def walk(
        self,
        path: AnyGuestPath,
        *,
        on_error: Callable[[GuestFileError], object] | None = None,
        follow_symlinks: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> AsyncWalk:
        """Walk a directory tree from the top, as `pathlib.Path.walk`: yields `(dirpath, dirnames, filenames)`.

        What is removed from `dirnames` is not walked. Directories beside each other are listed by one call, before the
        first of them is yielded.

        Args:
            path: The top directory.
            on_error: Called with the error of a directory that cannot be listed. By default it is left out.
            follow_symlinks: Walk directories that symlinks lead to, too. Otherwise these are in `filenames`.
            timeout: Seconds that each call may take (default 900).
            user: As whom to look: see `FileMethods`.
        """

    async def exec(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | values.Secret] | None = None,
        workdir: str | os.PathLike[str] | None = None,
        user: str | None = None,
        timeout: float | None = None,
        input: bytes | str | None = None,
        stderr: Literal['stdout'] | int | None = None,
        output_limit: int | None = None,
        on_limit: Literal['raise', 'truncate'] = 'raise',
    ) -> values.ExecResult:
        """Run a command in the guest to its end. Returns its exit status and output, whatever the status.

        Args:
            command: The program and its arguments. No shell reads them: use `sh` for that.
            check: Raise CommandFailedError if the exit status is not 0.
            env: Variables on top of the machine's. They are in the engine's argv while it runs.
            secrets: Variables that are in no argv, log or error: a Secret each, or a str for its value (engine >= 1.0.0).
            workdir: An absolute path in the guest.
            user: A name or `uid[:gid]` (engine >= 1.14.0). On a bare machine, whose engine knows only root, a name or uid
                of the guest's /etc/passwd: the guest's own `su` starts the command.
            timeout: Seconds after which the command is killed in the guest. smolkit's own bound is 30 s longer. It also
                bounds the wait for a place (max_processes).
            input: Data for its stdin, which is otherwise /dev/null.
            stderr: "stdout" (or subprocess.STDOUT) to have its stderr in its stdout, in the order in which the guest
                writes both. A `sh` in the guest starts the command.
            output_limit: Bytes of stdout and stderr together. Not much more than that is in memory, whatever the guest
                writes. Default: the runner's limit (256 MiB).
            on_limit: "raise" ends the command that writes more, with an OutputLimitError. "truncate" lets it run on, and
                keeps the beginning and the end of each stream: see `ExecResult.stdout_cut`.

        Raises:
            TypeError: command is a str.
            ValueError: an argument or variable is longer than 131,071 bytes, the kernel's limit, or all of them take more
                than 2,000,000. (A script for `sh -c`, and so of `sh`, may be longer than an argument.)
            ConfigError: the guest has no such user.
            CommandFailedError: the exit status is not 0, and check=True.
            ExecTimeoutError: the command did not end in time; the error holds its output until then.
            ProgramNotFoundError, ProgramNotExecutableError, WorkdirNotFoundError: the guest could not start it.
            QueueTimeoutError: it did not get a place within the timeout; nothing was run.
            OutputLimitError: it wrote more than output_limit, or than the runner takes; the error has the limit, and the
                beginning of the output.
            MachineNotRunningError, MachineNotFoundError, ConnectionLostError
        """

    async def sh(self, script: str, **options: Unpack[options.ExecOptions]) -> values.ExecResult:
        """Run a script by the guest's `sh -c`: pipes, globs, `&&`. Options and errors are those of `exec`.

        The script may be 2 MB long, so that a heredoc may hold a file.
        """

    async def shell(self) -> int:
        """Hand this program's terminal over to a shell in the guest. Returns its exit status.

        Raises:
            MachineNotRunningError, MachineNotFoundError
        """

    async def terminal(self, command: Sequence[str | os.PathLike[str]], **options: Unpack[options.SpawnOptions]) -> int:
        """Hand this program's terminal over to a command in the guest: `m.terminal(["python3"])`. Returns its exit status.

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError, WorkdirNotFoundError: the guest has no such program or directory (bare machines).
            MachineNotRunningError, MachineNotFoundError
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
        """Copy one regular file into or out of the machine, which must be running. No-op if either path is empty.

        One side is in the guest: `machine.path("/root/x")`, or as the engine writes it, `"NAME:/root/x"`. Both sides are
        full paths of files. Missing parent directories are made in the guest. It needs no program in the guest, and keeps
        neither mode nor time: upload() and download() do.

        Args:
            source: The file to copy.
            target: The path of the copy.
            mode: Permissions in the guest, for uploads (engine >= 1.9.0). Default: 0644.
            uid: The owner's number in the guest, likewise. Default: root's.
            gid: The group's number in the guest, likewise. Default: root's.

        Raises:
            ValueError: both sides, or neither, are in the guest, or the guest's side is another machine's.
            FileNotFoundError, IsADirectoryError, PermissionError: on the host's side, before anything runs.
            SmolvmError: the engine could not copy; an old file on the host is untouched.
        """

    async def upload(
        self,
        source: str | os.PathLike[str],
        target: AnyGuestPath,
        *,
        owner: str | None = None,
        parents: bool = False,
        progress: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
        user: str | None = None,
    ) -> None:
        """Copy a file, or a directory with all that is in it, into the guest.

        Modes, times (to the second), symlinks, empty directories and names of any bytes are kept; owners are not. Nothing
        appears at `target` until all has arrived. An existing directory keeps its mode and takes in the files of `source`,
        which replace files and symlinks of the same names. If a directory would replace something else, or something else
        a directory, nothing is copied.

        Args:
            source: The file or directory on this host. Hard links in a directory become files of their own.
            target: The full path of the new file or directory.
            owner: `user[:group]`, as the guest knows them, of everything. Default: the guest's user.
            parents: Make missing parent directories. Those of a directory are always made.
            progress: Called with the bytes sent so far and the bytes in total.
            timeout: Seconds to wait. Default: an hour, and a second more for each MiB.
            user: As whom to write: see `FileMethods`.

        Raises:
            FileNotFoundError, PermissionError, ValueError: on the host's side.
            ProgramNotFoundError: the guest has no `sh`, or (for a directory) no `tar`.
            GuestFileError, GuestNotADirectoryError, GuestPermissionError: on the guest's side.
            ExecTimeoutError: it took longer than the timeout.
        """

    async def download(
        self,
        source: AnyGuestPath,
        target: str | os.PathLike[str],
        *,
        limit: int = 4294967296,
        progress: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
        user: str | None = None,
    ) -> None:
        """Copy a file, or a directory with all that is in it, out of the guest.

        The guest is not trusted. Refused are names and symlinks that lead outside, devices, more than `limit` bytes, two
        million files and directories, and directories nested more than 512 deep; then nothing is kept. Nothing appears at
        `target` until all has arrived. Memory use is small, whatever the guest sends.

        Modes (except setuid, setgid and sticky bits) and times are the guest's, also those of the directory itself; owners
        are yours. Hard links stay hard links.

        Args:
            source: The file or directory in the guest.
            target: The full path of the new file or directory on this host. An existing file is replaced by a file.
            limit: Maximum number of bytes (default 4 GiB). For a directory it bounds the tar, which has 512 to some 2,500
                bytes for each file besides its content.
            progress: Called with the bytes received so far and the bytes in total.
            timeout: Seconds to wait. Default: an hour, and a second more for each MiB of the limit.
            user: As whom to read: see `FileMethods`.

        Raises:
            FileExistsError: `target` is a directory, or exists and `source` is a directory.
            FileNotFoundError, PermissionError: on the host's side.
            UnsafeArchiveError: the guest sent something that is refused.
            ExecTimeoutError: it took longer than the timeout.
            GuestFileNotFoundError, GuestPermissionError, ProgramNotFoundError: on the guest's side.
        """

    async def read_bytes(
        self,
        path: AnyGuestPath,
        *,
        offset: int = 0,
        length: int | None = None,
        limit: int | None = None,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> bytes:
        """Read a file, or a part of it. The guest needs `sh` and `cat`, for a part `dd` and `head`.

        Args:
            path: The file. A device is read, too, until its end, the limit or the timeout.
            offset: Bytes to skip at its beginning.
            length: Bytes to read at most; None reads to its end.
            limit: Raise OutputLimitError if there are more bytes to read than these. No more of them are transferred.
            timeout: Seconds to wait (default 900).
            user: As whom to read: see `FileMethods`.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestPermissionError: each is also the builtin error of its
                name (FileNotFoundError and so on).
            GuestFileError: it is a FIFO or a socket, from which no data may ever come.
            OutputLimitError: it is larger than `limit`, or than the runner's limit (256 MiB), which download() does not
                have. `stdout_bytes` of the error's `completed` has the beginning.
            ExecTimeoutError: it took longer than `timeout`.
        """

    async def read_text(
        self,
        path: AnyGuestPath,
        encoding: str = 'utf-8',
        errors: str = 'strict',
        *,
        limit: int | None = None,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> str:
        """Read a file as text. Arguments and errors are those of read_bytes; also raises UnicodeDecodeError."""

    async def write_bytes(
        self,
        path: AnyGuestPath,
        data: bytes,
        *,
        mode: int | None = None,
        owner: str | None = None,
        parents: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Write a file, atomically: readers see the old content or all of the new.

        Files that cannot be replaced are written in place: devices, files of /proc and /sys and, once all of the data has
        arrived, mount points, and files of another user that this one may write.

        Args:
            path: The file. A symlink is followed.
            data: The content.
            mode: Permissions, for example 0o600. Default: those of the old file, or the guest's own for new files.
            owner: `user[:group]`, as the guest knows them. Default: the old file's, or the guest's user.
            parents: Make missing parent directories, as `mkdir(parents=True)` does.
            timeout: Seconds to wait (default 900). A file whose time is over is as it was.
            user: As whom to write: see `FileMethods`.

        Raises:
            GuestFileNotFoundError: the parent directory does not exist.
            GuestPermissionError: the guest's user may not write to the file, or not create one in the directory. (root may
                write to any, whatever its mode.)
            GuestIsADirectoryError, GuestNotADirectoryError, ExecTimeoutError
            GuestFileError: another error of the guest's kernel: `errno` says which.
        """

    async def write_text(
        self,
        path: AnyGuestPath,
        text: str,
        encoding: str = 'utf-8',
        *,
        mode: int | None = None,
        owner: str | None = None,
        parents: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Write a file of text. Otherwise as write_bytes."""

    async def stat(
        self,
        path: AnyGuestPath,
        *,
        follow_symlinks: bool = True,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> values.FileStat:
        """A file's mode, size, owner and modification time. The guest needs `stat`.

        Args:
            path: The file.
            follow_symlinks: False for a symlink's own.
            timeout: Seconds to wait (default 900).
            user: As whom to look: see `FileMethods`.

        Raises:
            GuestFileNotFoundError: there is no such file.
            GuestPermissionError, ExecTimeoutError
        """

    async def exists(self, path: AnyGuestPath, *, timeout: float | None = 900.0, user: str | None = None) -> bool:
        """True if the running machine has that file. A dangling symlink exists, too."""

    async def listdir(self, path: AnyGuestPath, *, timeout: float | None = 900.0, user: str | None = None) -> list[str]:
        """The names in a directory, sorted. Names that are not UTF-8 are decoded as by `os.listdir`.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
            GuestFileError: the guest sent an invalid name: `..`, or one with a slash.
            OutputLimitError: the names take more than 16 MiB.
        """

    async def scandir(
        self,
        path: AnyGuestPath,
        *,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> list[values.DirEntry]:
        """The entries of a directory with what `stat` says of each, by one call, sorted by name. The guest needs `stat`.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
            GuestFileError: the guest sent an invalid name: `..`, or one with a slash.
            OutputLimitError: the entries take more than 64 MiB.
        """

    async def glob(
        self,
        path: AnyGuestPath,
        pattern: str,
        *,
        case_sensitive: bool = True,
        recurse_symlinks: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> list[str]:
        """The paths below a directory that match a pattern, sorted: `m.glob("/root", "**/*.py")`.

        As `pathlib.Path.glob` of Python 3.13: `*` matches hidden files too, and `**` any number of directories. A pattern
        that ends with a slash matches directories only. Directories that cannot be listed are left out. It takes a call for
        each level of directories.

        Args:
            path: The top directory.
            pattern: Relative, with `*`, `?`, `[seq]`, `[!seq]` and `**`.
            case_sensitive: False to match whatever the case.
            recurse_symlinks: Let `**` follow symlinks.
            timeout: Seconds that each call may take (default 900).
            user: As whom to look: see `FileMethods`.

        Raises:
            ValueError: the pattern is empty or absolute.
            GuestFileError: there are more than two million files to look at.
        """

    async def mkdir(
        self,
        path: AnyGuestPath,
        *,
        mode: int | None = None,
        parents: bool = False,
        exist_ok: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Make a directory.

        Args:
            path: The new directory.
            mode: Its permissions.
            parents: Also make missing parent directories.
            exist_ok: No-op if the directory exists.
            timeout: Seconds to wait (default 900).
            user: As whom to do it: see `FileMethods`.

        Raises:
            GuestFileExistsError, GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
        """

    async def remove(
        self,
        path: AnyGuestPath,
        *,
        recursive: bool = False,
        missing_ok: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Remove a file, a symlink or a directory.

        Args:
            path: The file or directory.
            recursive: Remove a directory with all that is in it. Otherwise it must be empty.
            missing_ok: No-op if there is no such file.
            timeout: Seconds to wait (default 900).
            user: As whom to do it: see `FileMethods`.

        Raises:
            GuestDirectoryNotEmptyError, GuestFileNotFoundError, GuestPermissionError
        """

    async def rename(
        self,
        path: AnyGuestPath,
        target: AnyGuestPath,
        *,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Rename a file or directory, as `os.rename`.

        A file at `target` is replaced by a file, and an empty directory by a directory. It is copied to another file system
        if need be, unless it is a mount point.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestDirectoryNotEmptyError, GuestPermissionError
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

    async def open(self) -> Self:
        """Create and start the machine, as `with` does at its beginning: for frameworks that have callbacks instead.

        What fails or is interrupted is undone, and leaves nothing. A machine that this handle created before is only
        started. `close` is the end: it belongs in a `finally`. If nobody calls it, the machine is left for `reap()`, or for
        the client's watchdog, once this process has ended.

        Returns:
            This handle.

        Raises:
            RuntimeError: it is open already: `ensure` is for callers who do not know.
            MachineExistsError, StartError, SmolvmError: as from `create` and `start`.
        """

    async def ensure(self) -> Self:
        """Open the machine unless it is open: the first of many threads or tasks opens it, and the others wait for that.

        If that fails, all who wait get its exception, and the next call tries again. If the one who opens it is interrupted
        or cancelled, what it did is undone, and the next of those who wait opens the machine.

        Returns:
            This handle.

        Raises:
            DeadlockError: the call would wait for one that waits for it (in a signal handler).
            MachineExistsError, StartError, SmolvmError: as from `open`.
        """

    async def close(self, error: BaseException | None = None) -> None:
        """Remove the machine, as a `with` does at its end, unless it is to be kept. No-op if it is not open.

        Waits for an `open` or `ensure` that is under way.

        Args:
            error: What went wrong in between, if anything did: with `keep="on_error"` the machine stays then. What fails
                here is added to it as a note, and is not raised.

        Raises:
            CleanupError: the machine could not be removed.
            MachineReplacedError: another machine has the name by now.
        """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: Any) -> None: ...

    def to_sync(self) -> Machine:
        """Another handle on the same machine, for sync code. It does not own the machine: only `delete()` deletes it.

        Its calls block their thread: do not make them in an event loop's.
        """

    def to_async(self) -> smolkit.AsyncMachine:
        """A handle on the same machine, for async code, which does not own it. Needs `pip install 'smolkit[async]'`."""

    async def create(self) -> None:
        """Create the machine as it was described to `client.machine`. It does not run yet.

        Raises:
            MachineExistsError: the name is taken; nothing was touched.
            PolicyNotRecordedError: the engine did not record the network policy as asked; the machine is gone again.
        """

    async def start(self, *, timeout: float | None = 900.0, **options: Unpack[options.StartOptions]) -> None:
        """Start the machine; returns once commands can run. No-op if it is already running.

        Args:
            timeout: Seconds until smolkit gives up (default 900), including the wait for its turn among other starts. The
                engine's own bound is 30 s without progress.
            options: See `smolkit.options.StartOptions`; they override those of `client.machine`.

        Raises:
            HypervisorUnavailableError: this host boots no microVMs.
            PortInUseError: something on the host listens on a port that was to be published.
            BootFailedError: it did not come up; notes on the error hold the end of its console log.
            QueueTimeoutError: its turn among other starts did not come in time; nothing was run.
            MachineNotFoundError, StartInProgressError, EngineTimeoutError
        """

    async def wait_until(
        self,
        *,
        command: Sequence[str | os.PathLike[str]] | None = None,
        path: str | None = None,
        port: int | None = None,
        log: str | re.Pattern[str] | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Wait until one condition in the guest is true. It is checked at least once a second.

        Args:
            command: This command exits with 0. A program that is missing may still appear.
            path: This absolute path exists.
            port: Something listens on this TCP port, published or not.
            log: A line of the machine's logs matches this regular expression: a line that its workload wrote (as `smolvm
                machine logs` shows it), or one of its console. The output of `exec` is in no log.
            timeout: Seconds to wait (default 60).

        Raises:
            WaitTimeoutError: it did not become true in time; notes on the error hold the end of the logs.
            ValueError: not exactly one condition is given.
            MachineNotRunningError, MachineNotFoundError, ConnectionLostError: it cannot become true any more.
            ProgramNotFoundError: the guest has no `test` (for path) or no `cat` (for port).
        """

    async def stop(self, *, timeout: int | None = None) -> None:
        """Stop the machine; its disk stays. No-op if it is not running.

        Args:
            timeout: Whole seconds for its workload to end before it is killed, 0 to 300 (engine >= 1.28.1).

        Raises:
            MachineNotFoundError: there is no such machine (engine >= 0.8.1; older ones do not say).
            MachineReplacedError: another machine has the name by now, not the one that this handle made.
        """

    async def delete(self, *, missing_ok: bool = False, cascade: bool = False) -> None:
        """Delete the machine with its disk, running or not. Retried while the engine is busy.

        Args:
            missing_ok: No-op if there is no such machine.
            cascade: Also delete the machines that were branched from it (engine >= 1.7.0).

        Raises:
            MachineNotFoundError: there is no such machine.
            MachineHasBranchesError: machines were branched from it, and cascade is False; nothing was deleted.
            MachineReplacedError: another machine has the name by now, not the one that this handle made. (A handle that
                made none, `client.machine(name)`, deletes whatever has the name.)
        """

    async def status(self) -> values.MachineInfo:
        """The engine's record of the machine, with its state.

        Raises:
            MachineNotFoundError: there is no such machine.
        """

    async def exists(
        self,
        path: str | os.PathLike[str] | values.GuestPath | None = None,
        *,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> bool:
        """True if the engine has such a machine, in whatever state; with a path, if the running machine has that file.

        A dangling symlink exists, too. `timeout` and `user` are for a path, as for read_bytes.
        """

    async def is_bare(self) -> bool:
        """True if the machine has no image: its commands run as root, and another user is made by the guest's own `su`.

        The engine is asked once, if this handle does not know: `status().image` has the image.

        Raises:
            MachineNotFoundError: there is no such machine, and this handle does not know.
        """

    def at(
        self,
        *,
        workdir: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | values.Secret] | None = None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> AsyncMachineView:
        """A view of the machine with defaults: `m.at(workdir="/repo", user="agent")` has its commands and files.

        What a call gives itself wins; its variables are added to these. A view of a view has the defaults of both. The
        engine is not called.

        Args:
            workdir: Where commands run, and relative paths start; in a view that has one, it may be relative to that.
            env: Variables of commands.
            secrets: Variables of commands that are in no argv, log or error.
            user: As whom commands and file methods run (`cp` excepted, which is the engine's).
            timeout: Seconds for each command, and for each file method, that has none of its own.
        """

    async def exec(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | values.Secret] | None = None,
        workdir: str | os.PathLike[str] | None = None,
        user: str | None = None,
        timeout: float | None = None,
        input: bytes | str | None = None,
        stderr: Literal['stdout'] | int | None = None,
        output_limit: int | None = None,
        on_limit: Literal['raise', 'truncate'] = 'raise',
    ) -> values.ExecResult:
        """Run a command in the guest to its end. Returns its exit status and output, whatever the status.

        Args:
            command: The program and its arguments. No shell reads them: use `sh` for that.
            check: Raise CommandFailedError if the exit status is not 0.
            env: Variables on top of the machine's. They are in the engine's argv while it runs.
            secrets: Variables that are in no argv, log or error: a Secret each, or a str for its value (engine >= 1.0.0).
            workdir: An absolute path in the guest.
            user: A name or `uid[:gid]` (engine >= 1.14.0). On a bare machine, whose engine knows only root, a name or uid
                of the guest's /etc/passwd: the guest's own `su` starts the command.
            timeout: Seconds after which the command is killed in the guest. smolkit's own bound is 30 s longer. It also
                bounds the wait for a place (max_processes).
            input: Data for its stdin, which is otherwise /dev/null.
            stderr: "stdout" (or subprocess.STDOUT) to have its stderr in its stdout, in the order in which the guest
                writes both. A `sh` in the guest starts the command.
            output_limit: Bytes of stdout and stderr together. Not much more than that is in memory, whatever the guest
                writes. Default: the runner's limit (256 MiB).
            on_limit: "raise" ends the command that writes more, with an OutputLimitError. "truncate" lets it run on, and
                keeps the beginning and the end of each stream: see `ExecResult.stdout_cut`.

        Raises:
            TypeError: command is a str.
            ValueError: an argument or variable is longer than 131,071 bytes, the kernel's limit, or all of them take more
                than 2,000,000. (A script for `sh -c`, and so of `sh`, may be longer than an argument.)
            ConfigError: the guest has no such user.
            CommandFailedError: the exit status is not 0, and check=True.
            ExecTimeoutError: the command did not end in time; the error holds its output until then.
            ProgramNotFoundError, ProgramNotExecutableError, WorkdirNotFoundError: the guest could not start it.
            QueueTimeoutError: it did not get a place within the timeout; nothing was run.
            OutputLimitError: it wrote more than output_limit, or than the runner takes; the error has the limit, and the
                beginning of the output.
            MachineNotRunningError, MachineNotFoundError, ConnectionLostError
        """

    async def sh(self, script: str, **options: Unpack[options.ExecOptions]) -> values.ExecResult:
        """Run a script by the guest's `sh -c`: pipes, globs, `&&`. Options and errors are those of `exec`.

        The script may be 2 MB long, so that a heredoc may hold a file.
        """

    async def spawn(
        self,
        command: Sequence[str | os.PathLike[str]],
        **options: Unpack[options.SpawnOptions],
    ) -> AsyncSpawned:
        """Start a command in the guest and leave it running until it ends, or the machine does (engine >= 1.3.0).

        Its output is discarded. For an image machine the engine does not say that the program is missing (1.32.2).

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError, WorkdirNotFoundError: the guest has no such program or directory (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """

    async def shell(self) -> int:
        """Hand this program's terminal over to a shell in the guest. Returns its exit status.

        Raises:
            MachineNotRunningError, MachineNotFoundError
        """

    async def terminal(self, command: Sequence[str | os.PathLike[str]], **options: Unpack[options.SpawnOptions]) -> int:
        """Hand this program's terminal over to a command in the guest: `m.terminal(["python3"])`. Returns its exit status.

        Args:
            command: As for exec.
            options: env, secrets, workdir and user as for exec.

        Raises:
            ProgramNotFoundError, WorkdirNotFoundError: the guest has no such program or directory (bare machines).
            MachineNotRunningError, MachineNotFoundError
        """

    @overload
    async def popen(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        text: Literal[False] = False,
        **options: Unpack[options.PopenOptions],
    ) -> AsyncProcess[bytes]:
        """Start a command in the guest and follow it while it runs.

        Its output has no cap, and only a piece of it is in memory at a time. Killing it kills it in the guest, with every
        process that it started (1.32.2).

        Args:
            command: As for exec.
            text: Read lines of text instead of pieces of bytes.
            options: `stdin=True` for an input to write to; env, secrets, workdir, user, timeout and stderr as for exec;
                `grace`, the seconds that the command has at the end of a `with` to end by itself (default 5).

        Raises:
            TypeError: command is a str.
            QueueTimeoutError: it did not get a place (max_processes) within its timeout; nothing was run.
        """

    @overload
    async def popen(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        text: Literal[True],
        **options: Unpack[options.PopenOptions],
    ) -> AsyncProcess[str]:
        """Start a command in the guest and follow it while it runs.

        Its output has no cap, and only a piece of it is in memory at a time. Killing it kills it in the guest, with every
        process that it started (1.32.2).

        Args:
            command: As for exec.
            text: Read lines of text instead of pieces of bytes.
            options: `stdin=True` for an input to write to; env, secrets, workdir, user, timeout and stderr as for exec;
                `grace`, the seconds that the command has at the end of a `with` to end by itself (default 5).

        Raises:
            TypeError: command is a str.
            QueueTimeoutError: it did not get a place (max_processes) within its timeout; nothing was run.
        """

    def path(self, path: str | os.PathLike[str]) -> GuestPath:
        """A path in this machine, for `cp`. It is a plain value: the engine is not called.

        Raises:
            ValueError: the path is not absolute, and this is no view with a workdir.
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
        """Copy one regular file into or out of the machine, which must be running. No-op if either path is empty.

        One side is in the guest: `machine.path("/root/x")`, or as the engine writes it, `"NAME:/root/x"`. Both sides are
        full paths of files. Missing parent directories are made in the guest. It needs no program in the guest, and keeps
        neither mode nor time: upload() and download() do.

        Args:
            source: The file to copy.
            target: The path of the copy.
            mode: Permissions in the guest, for uploads (engine >= 1.9.0). Default: 0644.
            uid: The owner's number in the guest, likewise. Default: root's.
            gid: The group's number in the guest, likewise. Default: root's.

        Raises:
            ValueError: both sides, or neither, are in the guest, or the guest's side is another machine's.
            FileNotFoundError, IsADirectoryError, PermissionError: on the host's side, before anything runs.
            SmolvmError: the engine could not copy; an old file on the host is untouched.
        """

    async def upload(
        self,
        source: str | os.PathLike[str],
        target: AnyGuestPath,
        *,
        owner: str | None = None,
        parents: bool = False,
        progress: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
        user: str | None = None,
    ) -> None:
        """Copy a file, or a directory with all that is in it, into the guest.

        Modes, times (to the second), symlinks, empty directories and names of any bytes are kept; owners are not. Nothing
        appears at `target` until all has arrived. An existing directory keeps its mode and takes in the files of `source`,
        which replace files and symlinks of the same names. If a directory would replace something else, or something else
        a directory, nothing is copied.

        Args:
            source: The file or directory on this host. Hard links in a directory become files of their own.
            target: The full path of the new file or directory.
            owner: `user[:group]`, as the guest knows them, of everything. Default: the guest's user.
            parents: Make missing parent directories. Those of a directory are always made.
            progress: Called with the bytes sent so far and the bytes in total.
            timeout: Seconds to wait. Default: an hour, and a second more for each MiB.
            user: As whom to write: see `FileMethods`.

        Raises:
            FileNotFoundError, PermissionError, ValueError: on the host's side.
            ProgramNotFoundError: the guest has no `sh`, or (for a directory) no `tar`.
            GuestFileError, GuestNotADirectoryError, GuestPermissionError: on the guest's side.
            ExecTimeoutError: it took longer than the timeout.
        """

    async def download(
        self,
        source: AnyGuestPath,
        target: str | os.PathLike[str],
        *,
        limit: int = 4294967296,
        progress: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
        user: str | None = None,
    ) -> None:
        """Copy a file, or a directory with all that is in it, out of the guest.

        The guest is not trusted. Refused are names and symlinks that lead outside, devices, more than `limit` bytes, two
        million files and directories, and directories nested more than 512 deep; then nothing is kept. Nothing appears at
        `target` until all has arrived. Memory use is small, whatever the guest sends.

        Modes (except setuid, setgid and sticky bits) and times are the guest's, also those of the directory itself; owners
        are yours. Hard links stay hard links.

        Args:
            source: The file or directory in the guest.
            target: The full path of the new file or directory on this host. An existing file is replaced by a file.
            limit: Maximum number of bytes (default 4 GiB). For a directory it bounds the tar, which has 512 to some 2,500
                bytes for each file besides its content.
            progress: Called with the bytes received so far and the bytes in total.
            timeout: Seconds to wait. Default: an hour, and a second more for each MiB of the limit.
            user: As whom to read: see `FileMethods`.

        Raises:
            FileExistsError: `target` is a directory, or exists and `source` is a directory.
            FileNotFoundError, PermissionError: on the host's side.
            UnsafeArchiveError: the guest sent something that is refused.
            ExecTimeoutError: it took longer than the timeout.
            GuestFileNotFoundError, GuestPermissionError, ProgramNotFoundError: on the guest's side.
        """

    async def read_bytes(
        self,
        path: AnyGuestPath,
        *,
        offset: int = 0,
        length: int | None = None,
        limit: int | None = None,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> bytes:
        """Read a file, or a part of it. The guest needs `sh` and `cat`, for a part `dd` and `head`.

        Args:
            path: The file. A device is read, too, until its end, the limit or the timeout.
            offset: Bytes to skip at its beginning.
            length: Bytes to read at most; None reads to its end.
            limit: Raise OutputLimitError if there are more bytes to read than these. No more of them are transferred.
            timeout: Seconds to wait (default 900).
            user: As whom to read: see `FileMethods`.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestPermissionError: each is also the builtin error of its
                name (FileNotFoundError and so on).
            GuestFileError: it is a FIFO or a socket, from which no data may ever come.
            OutputLimitError: it is larger than `limit`, or than the runner's limit (256 MiB), which download() does not
                have. `stdout_bytes` of the error's `completed` has the beginning.
            ExecTimeoutError: it took longer than `timeout`.
        """

    async def read_text(
        self,
        path: AnyGuestPath,
        encoding: str = 'utf-8',
        errors: str = 'strict',
        *,
        limit: int | None = None,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> str:
        """Read a file as text. Arguments and errors are those of read_bytes; also raises UnicodeDecodeError."""

    async def write_bytes(
        self,
        path: AnyGuestPath,
        data: bytes,
        *,
        mode: int | None = None,
        owner: str | None = None,
        parents: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Write a file, atomically: readers see the old content or all of the new.

        Files that cannot be replaced are written in place: devices, files of /proc and /sys and, once all of the data has
        arrived, mount points, and files of another user that this one may write.

        Args:
            path: The file. A symlink is followed.
            data: The content.
            mode: Permissions, for example 0o600. Default: those of the old file, or the guest's own for new files.
            owner: `user[:group]`, as the guest knows them. Default: the old file's, or the guest's user.
            parents: Make missing parent directories, as `mkdir(parents=True)` does.
            timeout: Seconds to wait (default 900). A file whose time is over is as it was.
            user: As whom to write: see `FileMethods`.

        Raises:
            GuestFileNotFoundError: the parent directory does not exist.
            GuestPermissionError: the guest's user may not write to the file, or not create one in the directory. (root may
                write to any, whatever its mode.)
            GuestIsADirectoryError, GuestNotADirectoryError, ExecTimeoutError
            GuestFileError: another error of the guest's kernel: `errno` says which.
        """

    async def write_text(
        self,
        path: AnyGuestPath,
        text: str,
        encoding: str = 'utf-8',
        *,
        mode: int | None = None,
        owner: str | None = None,
        parents: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Write a file of text. Otherwise as write_bytes."""

    async def stat(
        self,
        path: AnyGuestPath,
        *,
        follow_symlinks: bool = True,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> values.FileStat:
        """A file's mode, size, owner and modification time. The guest needs `stat`.

        Args:
            path: The file.
            follow_symlinks: False for a symlink's own.
            timeout: Seconds to wait (default 900).
            user: As whom to look: see `FileMethods`.

        Raises:
            GuestFileNotFoundError: there is no such file.
            GuestPermissionError, ExecTimeoutError
        """

    async def listdir(self, path: AnyGuestPath, *, timeout: float | None = 900.0, user: str | None = None) -> list[str]:
        """The names in a directory, sorted. Names that are not UTF-8 are decoded as by `os.listdir`.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
            GuestFileError: the guest sent an invalid name: `..`, or one with a slash.
            OutputLimitError: the names take more than 16 MiB.
        """

    async def scandir(
        self,
        path: AnyGuestPath,
        *,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> list[values.DirEntry]:
        """The entries of a directory with what `stat` says of each, by one call, sorted by name. The guest needs `stat`.

        Raises:
            GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
            GuestFileError: the guest sent an invalid name: `..`, or one with a slash.
            OutputLimitError: the entries take more than 64 MiB.
        """

    def walk(
        self,
        path: AnyGuestPath,
        *,
        on_error: Callable[[GuestFileError], object] | None = None,
        follow_symlinks: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> AsyncWalk:
        """Walk a directory tree from the top, as `pathlib.Path.walk`: yields `(dirpath, dirnames, filenames)`.

        What is removed from `dirnames` is not walked. Directories beside each other are listed by one call, before the
        first of them is yielded.

        Args:
            path: The top directory.
            on_error: Called with the error of a directory that cannot be listed. By default it is left out.
            follow_symlinks: Walk directories that symlinks lead to, too. Otherwise these are in `filenames`.
            timeout: Seconds that each call may take (default 900).
            user: As whom to look: see `FileMethods`.
        """

    async def glob(
        self,
        path: AnyGuestPath,
        pattern: str,
        *,
        case_sensitive: bool = True,
        recurse_symlinks: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> list[str]:
        """The paths below a directory that match a pattern, sorted: `m.glob("/root", "**/*.py")`.

        As `pathlib.Path.glob` of Python 3.13: `*` matches hidden files too, and `**` any number of directories. A pattern
        that ends with a slash matches directories only. Directories that cannot be listed are left out. It takes a call for
        each level of directories.

        Args:
            path: The top directory.
            pattern: Relative, with `*`, `?`, `[seq]`, `[!seq]` and `**`.
            case_sensitive: False to match whatever the case.
            recurse_symlinks: Let `**` follow symlinks.
            timeout: Seconds that each call may take (default 900).
            user: As whom to look: see `FileMethods`.

        Raises:
            ValueError: the pattern is empty or absolute.
            GuestFileError: there are more than two million files to look at.
        """

    async def mkdir(
        self,
        path: AnyGuestPath,
        *,
        mode: int | None = None,
        parents: bool = False,
        exist_ok: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Make a directory.

        Args:
            path: The new directory.
            mode: Its permissions.
            parents: Also make missing parent directories.
            exist_ok: No-op if the directory exists.
            timeout: Seconds to wait (default 900).
            user: As whom to do it: see `FileMethods`.

        Raises:
            GuestFileExistsError, GuestFileNotFoundError, GuestNotADirectoryError, GuestPermissionError
        """

    async def remove(
        self,
        path: AnyGuestPath,
        *,
        recursive: bool = False,
        missing_ok: bool = False,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Remove a file, a symlink or a directory.

        Args:
            path: The file or directory.
            recursive: Remove a directory with all that is in it. Otherwise it must be empty.
            missing_ok: No-op if there is no such file.
            timeout: Seconds to wait (default 900).
            user: As whom to do it: see `FileMethods`.

        Raises:
            GuestDirectoryNotEmptyError, GuestFileNotFoundError, GuestPermissionError
        """

    async def rename(
        self,
        path: AnyGuestPath,
        target: AnyGuestPath,
        *,
        timeout: float | None = 900.0,
        user: str | None = None,
    ) -> None:
        """Rename a file or directory, as `os.rename`.

        A file at `target` is replaced by a file, and an empty directory by a directory. It is copied to another file system
        if need be, unless it is a mount point.

        Raises:
            GuestFileNotFoundError, GuestIsADirectoryError, GuestDirectoryNotEmptyError, GuestPermissionError
        """

    async def branch(
        self,
        name: str | None = None,
        *,
        keep: teardown.Keep = False,
        **options: Unpack[options.BranchOptions],
    ) -> Self:
        """Make a machine that continues from this one's memory and disks; both run on (engine >= 1.0.0).

        This one must have been started as branchable: `client.machine(..., branchable=True)` or `start(branchable=True)`.
        The branch publishes its ports under other numbers on the host: see `url()`.

        Args:
            name: The new machine's name. Default: a fresh one.
            keep: As for `client.machine`.
            options: See `smolkit.options.BranchOptions`.

        Returns:
            The new machine. It is running; as a context manager it is deleted at the end of the block.

        Raises:
            ConfigError: this one was not started as branchable.
            MachineNotRunningError, MachineExistsError, BootFailedError
        """

    async def branch_many(
        self,
        count: int,
        prefix: str | None = None,
        *,
        keep: teardown.Keep = False,
        **options: Unpack[options.BranchOptions],
    ) -> list[Self]:
        """Make several branches of one moment of this machine: PREFIX-0, PREFIX-1 and so on (engine >= 1.7.7).

        The moment is when this machine's workload runs `smolvm-branch-ready`; with no_wait_ready=True, it is now.

        Args:
            count: The number of branches, 1 to 10,000.
            prefix: The prefix of their names. Default: a fresh one.
            keep: As for `client.machine`, for each.
            options: See `smolkit.options.BranchOptions`.

        Returns:
            The new machines. They are running, or with hold=True waiting for `release()`. Each is a context manager.
        """

    async def url(self, port: int, scheme: str = 'http') -> str:
        """The address on this host of a published port of the guest: `http://127.0.0.1:18080`.

        If the engine is on another host, this opens a forward to it, which ends with the machine.

        Raises:
            ValueError: that port is not published.
            HostUnreachableError: the link to another host has no forwards (StdioLink), or this one failed.
        """

    async def update(self, **options: Unpack[options.UpdateOptions]) -> None:
        """Change the machine's settings for its next start. It must be stopped, except to change its allow lists.

        Retried while the engine is busy. Allow lists are read back.

        Args:
            options: See `smolkit.options.UpdateOptions`. Settings that are left out stay.

        Raises:
            ValueError: nothing is to be changed.
            MachineRunningError: it is running; nothing was changed.
            MachineNeverStartedError: disks cannot grow before its first start: it has none yet.
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
        """Change the machine's size (engine >= 1.20.2).

        Args:
            cpus: Virtual processors online, of a running machine.
            memory: MiB, of a running machine; it only grows, in steps of 128 (1.32.2), and needs the host's cgroup
                controllers.
            storage: GiB of its data disk, from the next start on; it only grows. The machine may be stopped.
            overlay: GiB of its root file system's overlay, likewise.

        Raises:
            ValueError: nothing is to be changed.
            ConfigError: the engine refused; nothing was changed.
            MachineNeverStartedError: disks cannot grow before its first start: it has none yet.
        """

    async def pause(self) -> None:
        """Save the running machine's memory to disk and end its process (engine >= 1.18.2).

        After that it can only be resumed or deleted.
        """

    async def resume(self) -> None:
        """Continue a paused machine, with the memory that it had (engine >= 1.18.2)."""

    async def release(self, env: Mapping[str, str] | None = None) -> None:
        """Start a branch that was made with hold=True, with these variables (engine >= 1.14.0)."""

    async def checkpoint(self, output: str | os.PathLike[str], **options: Unpack[options.CheckpointOptions]) -> str:
        """Save the running machine, memory and disks, to a file; it runs on (engine >= 1.13.1).

        `client.machine(name, from_path=...)` makes a machine from it. The file appears once it is complete.

        Args:
            output: The file; `.smolcheckpoint` is its usual suffix. With `store`, a directory.
            options: See `smolkit.options.CheckpointOptions`.

        Returns:
            The absolute path.
        """

    async def mount(self, source: str | os.PathLike[str], target: str, *, read_only: bool = False) -> None:
        """Mount a host directory in the running machine, until it stops (engine >= 1.32.2).

        Args:
            source: The host's directory.
            target: The absolute path in the guest.
            read_only: The guest may not write to it.
        """

    async def unmount(self, target: str) -> None:
        """Unmount the directory that was mounted at `target` (engine >= 1.32.2)."""

    async def mounts(self) -> list[dict[str, Any]]:
        """The engine's records of the mounted directories: `source`, `target`, `readOnly` (engine >= 1.32.2)."""

    async def sync(self) -> None:
        """Copy the machine's side of its `:staged` volumes to the host, deletions too (engine >= 1.14.0)."""

    async def stats(self) -> values.Stats:
        """The resources that the running machine uses now (engine >= 1.29.1)."""

    async def logs(self, *, tail: int | None = None) -> str:
        """The output of the machine's workload. Engines before 1.28.1 keep none: there, the end of its console.

        Args:
            tail: Only this many last lines.
        """

    async def console(self) -> str:
        """The last MiB of the console: output of the machine's kernel and the engine's agent. It need not be running."""

    async def data_dir(self) -> str:
        """The absolute path of the directory on the engine's host that holds the machine's disks, logs and sockets.

        Raises:
            MachineNotFoundError: there is no such machine (engine >= 0.8.1).
        """

    async def follow_logs(self, *, tail: int | None = None) -> AsyncProcess[str]:
        """Follow the output of the machine's workload, line by line as it comes (engine >= 1.28.1).

        Args:
            tail: Begin with only this many lines of those that there are.

        Returns:
            A process to iterate for `(stream, line)`. It never ends by itself: `kill()` it.
        """

    async def egress_events(self, *, limit: int | None = None) -> list[values.EgressEvent]:
        """The guest's last 200 attempts to connect out, oldest first (engine >= 1.8.1). A missing machine has none."""

    async def monitor(self, **options: Unpack[options.MonitorOptions]) -> AsyncMonitoring:
        """Monitor the machine: start it if it is not running, and again whenever it ends or is unhealthy.

        Args:
            options: See `smolkit.options.MonitorOptions`.

        Returns:
            An iterable of health and restarts as they come, until the engine gives up or `stop()`. Use it in a `with`.
        """

    async def images(self) -> dict[str, Any]:
        """The engine's record of the machine's image layers and their disk. A stopped machine is booted to answer."""

    async def prune(self, *, everything: bool = False, dry_run: bool = False) -> str:
        """Remove image layers that nothing uses. Returns the engine's report. A stopped machine is booted for it.

        Args:
            everything: Remove all cached images.
            dry_run: Only report.
        """

    async def network_test(self, url: str | None = None) -> str:
        """The engine's report on whether the machine reaches a URL."""

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
        keep: flows.teardown.Keep = False,
        lifetime: float | None = None,
        **options: Unpack[options.ClientOptions],
    ) -> AsyncMachine:
        """A handle on the machine of that name, which need not exist. The engine is not called.

        Args:
            name: 1 to 128 of `A-Z a-z 0-9 _ -`. Default: a fresh one.
            keep: Leave the machine at the end of a `with`: always (True), or after an exception ("on_error"), which then
                has a note on how to get into the machine. Either way the machine has no owner, so that no `reap()` removes
                it because a process is gone.
            lifetime: Seconds from its creation after which any `reap()` may remove it, even if its owner is alive
                (engine >= 1.8.0; older ones are refused when the machine is created). With `keep` the machine stays at the
                end of its block, for others to find by its name, and is removed by the first `reap()` after its lifetime.
            options: The machine to create, if this handle creates it (`smolkit.options.MachineOptions`), and how to start
                it (`smolkit.options.StartOptions`).

        Raises:
            InvalidNameError: the name is invalid.
            TypeError, ValueError: an option is unknown, or its value is invalid.
        """

    async def owned(self) -> list[values.MachineInfo]:
        """The machines that smolkit made, in any process, sorted by name (engine >= 1.8.0)."""

    async def reap(self, *, dry_run: bool = False) -> list[values.Reapable]:
        """Remove the machines that smolkit made and nobody needs: their process is gone, or their lifetime is over.

        Only machines that provably belong to nobody are removed. Never touched are machines of another host, container or
        product, machines made with `keep` (until their lifetime is over), branches that have their source's labels, and
        the sources of machines that stay. If the engine has no labels (below 1.8.0, for branches below 1.29.0), only
        machines with fresh names (`client.machine()`, `machine.branch()`) are found: the name contains the process that
        made the handle.

        Args:
            dry_run: Only return them.

        Returns:
            The machines that were (or would be) removed, each with the reason.

        Raises:
            SmolvmError: one could not be removed. All others were tried; notes tell of further failures.
        """

    async def ls(self, labels: Mapping[str, str] | None = None) -> list[values.MachineInfo]:
        """All machines of the engine, made by smolkit or not, sorted by name.

        Args:
            labels: Only machines that have all of these labels.

        Raises:
            SmolvmError: the engine failed. A failure is never taken for "no machines".
        """

    def dry_run(self, *, echo: bool = True) -> AbstractContextManager[runners.Plan]:
        """Plan what the block would run, instead of running it: commands are recorded, and their shell lines printed.

        All calls through this client's runner, of handles made before the block too, answer as if they had succeeded and
        found nothing: no machines, empty files, exit status 0. The engine is asked for its version; without one, the newest
        is assumed. After the block every handle is as it was before. A process that runs already is as real as before.

        The block's own code is in the dry run, and tasks that it begins, also after its end. Other threads are not, even if
        the block starts them, unless they run in a copy of its context: `asyncio.to_thread` does so, and
        `contextvars.copy_context().run(function)`.

        A dry run in another one has the commands of its block, and the outer one goes on after it.

        Args:
            echo: Print the lines.
        """

    def free_port(self) -> int:
        """A TCP port of the engine's host that nothing listens on, for `ports=[(port, 80)]`.

        No other program that uses smolkit gets it while this process lives. It is outside the kernel's ephemeral range.
        """

    def is_available(self) -> bool:
        """True if there is a program to run. Runs nothing; `doctor` checks more."""

    async def doctor(self) -> list[values.Check]:
        """Checks of what this host has and lacks for microVMs, with a hint for each that fails. Never raises."""

    async def run(
        self,
        command: Sequence[str | os.PathLike[str]] = (),
        /,
        **options: Unpack[options.RunOptions],
    ) -> values.ExecResult:
        """Run one command in a machine that the engine makes for it and then removes: `smolvm machine run`.

        smolkit waits for the removal, and deletes nothing itself: such a machine has no label that tells whose it is. To
        run more than one command, or to be sure that nothing is left after a failure, use `machine()`.

        Args:
            command: The program and its arguments. Default: the image's own.
            options: As for `machine`, and `timeout` and `input`: see `smolkit.options.RunOptions`.

        Raises:
            ExecTimeoutError: the command did not end in time.
            StartError: the machine did not start.
            CleanupError: the command ran, and the engine has not removed the machine.
        """

    async def run_detached(
        self,
        command: Sequence[str | os.PathLike[str]] = (),
        /,
        name: str | None = None,
        *,
        keep: flows.teardown.Keep = False,
        **options: Unpack[options.RunOptions],
    ) -> AsyncMachine:
        """Make a machine, start it with a command as its workload, and leave it running: `smolvm machine run --detach`.

        `logs()` has the output of the workload. The machine has no labels, so that `reap()` does not know it.

        Args:
            command: The program and its arguments. Default: the image's own, or an idle one.
            name: The machine's name. Default: a fresh one.
            keep: As for `machine`.
            options: As for `run`, except `timeout` and `input`.

        Returns:
            The machine. It is running; as a context manager it is deleted at the end of the block.

        Raises:
            MachineExistsError: the name is taken; nothing was touched.
            PolicyNotRecordedError: the engine did not record the network policy as asked; the machine is gone again.
            StartError: the machine did not start.
        """

    async def terminal(
        self,
        command: Sequence[str | os.PathLike[str]] = (),
        /,
        **options: Unpack[options.RunOptions],
    ) -> int:
        """Hand this program's terminal over to a command in a machine made for it. Returns its exit status.

        The engine removes the machine at its end, as for `run`.

        Args:
            command: The program and its arguments. Default: the image's own, or a shell.
            options: As for `run`, except `input`.

        Raises:
            StartError: the machine did not start.
        """

    async def pack_create(
        self,
        image: str | os.PathLike[str] | None,
        output: str | os.PathLike[str],
        **options: Unpack[options.PackOptions],
    ) -> str:
        """Pack an image (or, with image=None and from_machine=NAME, a stopped machine) into a file for `from_path`.

        Both files appear once they are complete.

        Args:
            image: A registry reference, a `docker save` archive or an unpacked root file system.
            output: The program to write; the pack is written beside it as OUTPUT.smolmachine. The suffix may be given.
            options: See `smolkit.options.PackOptions`.

        Returns:
            The pack's absolute path, for `client.machine(from_path=...)`: with single_file=True the program's own.

        Raises:
            MachineRunningError: the machine to pack is running; only its status was asked.
            MachineNotFoundError: there is no such machine.
            MachineNeverStartedError: it was never started, so it has no disk to pack.
        """

    async def pack_run(
        self,
        pack: str | os.PathLike[str],
        command: Sequence[str | os.PathLike[str]] = (),
        **options: Unpack[options.PackRunOptions],
    ) -> values.ExecResult:
        """Run one command in a machine made from a pack file, which the engine then removes: `smolvm pack run`."""

    async def pack_info(self, pack: str | os.PathLike[str]) -> str:
        """The manifest of a pack file, as text."""

    async def pack_push(self, pack: str | os.PathLike[str], reference: str) -> None:
        """Push a pack file to a registry."""

    async def pack_pull(self, reference: str, output: str | os.PathLike[str]) -> str:
        """Pull a pack from a registry to a file, which appears once it is complete.

        Returns:
            The file's absolute path.
        """

    async def pack_inspect(self, reference: str) -> dict[str, Any]:
        """The manifest of a pack in a registry."""

    async def pack_list(self) -> list[dict[str, Any]]:
        """The engine's records of the packs that it has unpacked (engine >= 1.31.0)."""

    async def pack_prune(self, *, keep: int | None = None, everything: bool = False, dry_run: bool = False) -> str:
        """Remove unpacked packs that nothing uses, except the last `keep` (default 5). Returns the engine's report."""

    async def checkpoint_export(
        self,
        checkpoint: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        at: str | None = None,
    ) -> str:
        """Make one portable file of a checkpoint in a store (engine >= 1.17.0). Returns its absolute path."""

    async def checkpoint_log(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        machine: str | None = None,
    ) -> str:
        """The generations that a checkpoint retains, or the checkpoints of a store, as text (engine >= 1.18.2).

        Raises:
            ValueError: neither a checkpoint nor a store is given.
        """

    async def checkpoint_prune(self, store: str | os.PathLike[str]) -> str:
        """Remove data that no checkpoint needs from a store (engine >= 1.17.0). Returns the engine's report."""

    async def checkpoint_warm(
        self,
        checkpoint: str | os.PathLike[str],
        *,
        restore_cache_entries: int | None = None,
        restore_cache_gib: int | None = None,
    ) -> None:
        """Prepare a checkpoint directory, so that the next machine made from it starts sooner (engine >= 1.22.2)."""

    async def config_show(self) -> str:
        """The engine's settings, as text."""

    async def registries_path(self) -> str:
        """The path of the file that lists the registries."""

    async def registries_show(self) -> str:
        """The registries, as text."""

    async def registries_init(self) -> None:
        """Write an initial file of registries."""

    async def cli(self, *words: str) -> values.Completed:
        """Run the engine with any arguments: `client.cli("machine", "stats", "--name", "agent").stdout`.

        Failures of the engine are smolkit's errors. The arguments are not checked, nothing is added but `--error-format
        json` (where the engine has it), and nothing is undone. Errors and logs show them: pass no secrets.
        """

"""Machine: the handle on one machine, with its lifecycle."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Unpack, final

import smolkit  # only for to_async, which reaches up when it is called
from smolkit import commands, options, values
from smolkit.commands import option_tables
from smolkit.commands.base import LONG
from smolkit.commands.options import choose
from smolkit.errors import MachineNotFoundError, WaitTimeoutError
from smolkit.flows import lookup, provision, teardown, wait_until
from smolkit.flows.steps import perform
from smolkit.handles.admin import AdminMethods
from smolkit.handles.copying import CopyMethods
from smolkit.handles.directories import DirectoryMethods
from smolkit.handles.guest_commands import CommandMethods
from smolkit.handles.transfers import TransferMethods
from smolkit.values import validate
from smolkit.values.hidden import hide_options
from smolkit.values.keywords import suggests_keywords

_LOGS = 5.0  # seconds for the logs of a wait that is over


@suggests_keywords
@final
class Machine(CommandMethods, TransferMethods, CopyMethods, DirectoryMethods, AdminMethods):
    """A handle on one machine, known by its name. `client.machine(name, ...)` makes one without asking the engine.

    As a context manager it creates and starts the machine, and deletes it at the end; a machine that this handle created
    before is only started. `smolkit.flows.teardown` says what happens when something fails. Several threads may share a
    handle. It pickles: the copy is a handle on the same machine, which it deletes only when told to.
    """

    __slots__ = ()

    @property
    def _machine(self) -> Machine:
        return self

    def to_sync(self) -> Machine:
        """Another handle on the same machine, for sync code. It does not own the machine: only `delete()` deletes it.

        Its calls block their thread: do not make them in an event loop's.
        """
        kind, given = self.__reduce__()  # as a pickled copy
        return kind(*given)

    def to_async(self) -> smolkit.AsyncMachine:
        """A handle on the same machine, for async code, which does not own it. Needs `pip install 'smolkit[async]'`."""
        return smolkit.AsyncMachine(self.to_sync())

    def create(self) -> None:
        """Create the machine as it was described to `client.machine`. It does not run yet.

        Raises:
            MachineExistsError: the name is taken; nothing was touched.
            PolicyNotRecordedError: the engine did not record the network policy as asked; the machine is gone again.
        """
        known, marks, dialect = self._known, self._marks(), self._dialect
        made = known.made
        known.made = marks  # before the machine exists, as in __enter__
        try:
            create = provision.create(self.name, self._spec, dialect, marks)
            perform(self._runner, create, provision.undo([self.name], dialect))
        except BaseException:
            known.made = made
            raise

    def start(self, *, timeout: float | None = LONG, **options: Unpack[options.StartOptions]) -> None:
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
        options = hide_options(options)
        known = self._known
        known.warm = False
        chosen = {**dict(self._starting), **dict(choose("start", option_tables.START, options, ["timeout"]))}
        known.branchable = known.branchable or bool(chosen.get("branchable"))
        start = commands.Start(self.name, timeout, chosen=tuple(chosen.items()), machine_secrets=self._spec.secrets)
        perform(self._runner, provision.start(start), within=timeout)

    def wait_until(
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
        what, look = wait_until.probe(self.name, command, path, port, log, self._spec.secrets)
        seconds = validate.seconds("timeout", timeout)
        try:
            perform(self._runner, wait_until.wait_until(self.name, what, look, seconds), within=seconds)
        except WaitTimeoutError as error:  # no time is left for the logs, and an engine under load takes seconds for them
            perform(self._runner, provision.add_logs(error, self.name, wait_until.LOGS), within=_LOGS)
            raise

    def stop(self, *, timeout: int | None = None) -> None:
        """Stop the machine; its disk stays. No-op if it is not running.

        Args:
            timeout: Whole seconds for its workload to end before it is killed, 0 to 300 (engine >= 1.28.1).

        Raises:
            MachineNotFoundError: there is no such machine (engine >= 0.8.1; older ones do not say).
            MachineReplacedError: another machine has the name by now, not the one that this handle made.
        """
        self._on_own(commands.Stop(self.name, timeout))

    def delete(self, *, missing_ok: bool = False, cascade: bool = False) -> None:
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
        for what, given in (("missing_ok", missing_ok), ("cascade", cascade)):
            validate.flag(what, given)
        known, dialect = self._known, self._dialect
        perform(self._runner, teardown.delete(self.name, dialect, known.made, missing_ok=missing_ok, cascade=cascade))
        known.made = None

    def status(self) -> values.MachineInfo:
        """The engine's record of the machine, with its state.

        Raises:
            MachineNotFoundError: there is no such machine.
        """
        return perform(self._runner, lookup.status(self.name, self._dialect))

    def is_bare(self) -> bool:
        """True if the machine has no image: its commands run as root, and another user is made by the guest's own `su`.

        The engine is asked once, if this handle does not know: `status().image` has the image.

        Raises:
            MachineNotFoundError: there is no such machine, and this handle does not know.
        """
        return self._is_bare()

    def exists(
        self,
        path: str | os.PathLike[str] | values.GuestPath | None = None,
        *,
        timeout: float | None = LONG,
        user: str | None = None,
    ) -> bool:
        """True if the engine has such a machine, in whatever state; with a path, if the running machine has that file.

        A dangling symlink exists, too. `timeout` and `user` are for a path, as for read_bytes.
        """
        if path is not None:
            return self._file_exists(path, timeout, user)
        if user is not None:
            raise ValueError("user must be left out where no path is given: it is for files")
        try:
            self.status()
        except MachineNotFoundError:
            return False
        return True

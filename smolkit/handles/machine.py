"""A handle on one machine."""

from __future__ import annotations

import math
import os
from functools import partial
from typing import TYPE_CHECKING, Any, final

from smolkit.commands import option_tables
from smolkit.commands.base import LONG
from smolkit.commands.create import MachineSpec
from smolkit.commands.lifecycle import Start, Stop
from smolkit.commands.names import machine_name
from smolkit.commands.options import choose
from smolkit.errors import CleanupError, MachineNotFoundError, MachineReplacedError
from smolkit.flows import lookup, provision, teardown, wait_until
from smolkit.flows.steps import perform
from smolkit.handles.admin import MachineVerbs
from smolkit.handles.known import Known
from smolkit.handles.transfers import MachineTransfers
from smolkit.runners.acting import apart
from smolkit.values import validate
from smolkit.values.hidden import hide_options
from smolkit.values.ownership import CREATION, EXPIRES, MACHINE, NONE, OWNER, SESSION, Marks

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from smolkit.aio import AsyncMachine
    from smolkit.commands import options
    from smolkit.commands.dialect import Dialect
    from smolkit.commands.option_types import StartOptions
    from smolkit.flows.teardown import Keep
    from smolkit.runners.base import Runner
    from smolkit.values.results import GuestPath, MachineInfo


@final
class Machine(MachineTransfers, MachineVerbs):
    """One machine, by its name. Made by `client.machine(name, ...)`, which asks the engine nothing.

    As a context manager it creates and starts the machine (one that this handle created before is only started), and
    deletes it at the end (see `smolkit.flows.teardown` for what happens when something fails). A handle may be used from
    several threads, and pickled: the copy is the same machine and deletes it only when it is told to.
    """

    __slots__ = (
        "__weakref__",
        "_keep",
        "_lifetime",
        "_really_known",
        "_runner",
        "_session",
        "_spec",
        "_starting",
        "name",
    )

    def __init__(
        self,
        runner: Runner,
        name: str,
        spec: MachineSpec | None = None,
        starting: options.Chosen = (),
        *,
        keep: Keep = False,
        session: str = "",
        lifetime: float | None = None,
    ) -> None:
        if keep not in (True, False, "on_error"):
            raise ValueError(f"keep is True, False or 'on_error', not {validate.shown(keep)}")
        self.name = machine_name(name)
        self._runner = runner
        self._spec = spec or MachineSpec()
        self._starting = starting
        self._keep = keep
        self._session = session
        self._lifetime = None if lifetime is None else validate.seconds("lifetime", lifetime)
        self._really_known = Known(branchable=bool(dict(starting).get("branchable")))

    def __repr__(self) -> str:
        return f"<Machine {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Machine) and (self.name, self._runner.host) == (other.name, other._runner.host)

    def __hash__(self) -> int:
        return hash((self.name, self._runner.host))

    def __reduce__(self) -> tuple[Callable[..., Machine], tuple[Any, ...]]:
        # What the copy makes is to be labelled as what this handle makes.
        as_this = partial(type(self), keep=self._keep, session=self._session, lifetime=self._lifetime)
        return as_this, (self._runner, self.name, self._spec, self._starting)

    def __enter__(self) -> Self:
        known, dialect = self._known, self._dialect
        made = known.made if known.made is not None and known.made.are_own else None
        marks, spec = made or self._marks(), None if made else self._spec
        start = Start(self.name, chosen=self._starting, machine_secrets=self._spec.secrets)
        undo = provision.not_entered(self.name, dialect, marks, self._keep, trusted=spec is not None)
        # Before it is so: after it is, an interrupt finds no line of ours to strike in.
        known.made, known.inside = marks, True
        try:
            perform(self._runner, provision.enter(start, spec, dialect, marks, self._keep), undo)
        except BaseException as error:
            known.inside = False
            known.made = made if isinstance(error, (MachineReplacedError, CleanupError)) else None
            raise
        return self

    def _abandon(self) -> None:
        """Removes what a `with` made that was left in its beginning, and of which no line will ever run again."""
        known = self._known
        marks, known.made = known.made, None
        if known.inside and marks is not None:
            known.inside = False
            perform(self._runner, provision.abandon(self.name, self._dialect, marks))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            told: list[bool] = []
            self._leave(error, told)
        except BaseException:
            if not told:  # it struck before the first line that bears one
                self._leave(error, told)
            raise

    def _leave(self, error: BaseException | None, told: list[bool]) -> None:
        known = self._known
        made = known.made
        try:
            if made is not None and made.are_own:  # what was forked inside the block and leaves it leaves the machine
                leave = teardown.leave(
                    self.name, self._dialect, made, self._keep, error, branchable=known.branchable, told=told
                )
                perform(self._runner, leave)
        finally:
            known.inside = False
            if told:  # whether it is another's now: then it is still not this handle's to delete
                known.made = made if told[0] else None

    def __del__(self) -> None:
        # No engine calls here: it may run anywhere, at any time, and nobody would see them fail.
        known: Known | None = getattr(self, "_really_known", None)
        if known is not None and known.inside and (known.made is None or known.made.are_own):
            try:
                import warnings  # late: only where something went wrong
            except ImportError:  # the interpreter exits
                return

            warnings.warn(
                f"{self!r} was left without the end of its `with`: it still runs", ResourceWarning, 2, source=self
            )

    def to_sync(self) -> Machine:
        """Another handle on the same machine, for sync code: it does not own it, and deletes it only when it is told to.

        Its calls block their thread: an event loop's is not the place for them.
        """
        kind, given = self.__reduce__()  # as a pickled copy
        return kind(*given)

    def to_async(self) -> AsyncMachine:
        """The same machine for async code: a handle that does not own it. Needs `pip install 'smolkit[async]'`."""
        from smolkit.aio import AsyncMachine  # late: it brings the async libraries

        return AsyncMachine(self.to_sync())

    @property
    def _known(self) -> Known:
        """What is known of the machine, to be read and changed: in a dry run, a copy that ends with it."""
        return apart(self._runner, self._really_known)

    @property
    def _dialect(self) -> Dialect:
        return self._runner.engine.dialect

    def _marks(self) -> Marks:
        """What says whose the machine is, and which. Made for one create: no two have the same."""
        here = self._runner.here()
        # What is to stay has no owner to outlive. Whether a block will fail is not known yet, and no label is ever changed.
        owner = NONE if self._keep or here.me is None else str(here.me)
        expires = NONE if self._lifetime is None else str(math.ceil(here.now + self._lifetime))
        labels = {MACHINE: self.name, SESSION: self._session or NONE, CREATION: os.urandom(8).hex()}
        return Marks(tuple({**labels, OWNER: owner, EXPIRES: expires}.items()), here.now, self._runner.clock())

    def _woke(self) -> None:
        """A command ran in the machine."""
        self._known.warm = True

    def _adopt(self, marks: Marks) -> None:
        """From now on this handle has made the machine with these marks."""
        self._known.made = marks

    def create(self) -> None:
        """Creates the machine, as it was described to `client.machine`. It does not run yet.

        Raises:
            MachineExistsError: the name is taken; nothing was touched.
            PolicyNotRecordedError: the engine did not record the network policy as asked; the machine is gone again.
        """
        known, marks, dialect = self._known, self._marks(), self._dialect
        made = known.made
        known.made = marks  # before it is so, as in __enter__
        try:
            create = provision.create(self.name, self._spec, dialect, marks)
            perform(self._runner, create, provision.undo([self.name], dialect))
        except BaseException:
            known.made = made
            raise

    def start(self, *, timeout: float | None = LONG, **options: Unpack[StartOptions]) -> None:
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
        options = hide_options(options)
        known = self._known
        known.warm = False
        chosen = {**dict(self._starting), **dict(choose("start", option_tables.START, options))}
        known.branchable = known.branchable or bool(chosen.get("branchable"))
        start = Start(self.name, timeout, chosen=tuple(chosen.items()), machine_secrets=self._spec.secrets)
        perform(self._runner, provision.start(start), within=timeout)

    def wait_until(
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
        what, look = wait_until.probe(self.name, command, path, port, log, self._spec.secrets)
        seconds = validate.seconds("timeout", timeout)
        perform(self._runner, wait_until.wait_until(self.name, what, look, seconds), within=seconds)

    def stop(self, *, timeout: int | None = None) -> None:
        """Stops the machine; its disk stays. Nothing happens if it does not run.

        Args:
            timeout: Whole seconds for its workload to end before it is killed, up to 300; 0 for none (engine >= 1.28.1).

        Raises:
            MachineNotFoundError: there is none (engine >= 0.8.1; older ones say nothing).
            MachineReplacedError: it is not the machine that this handle made.
        """
        self._on_own(Stop(self.name, timeout))

    def delete(self, *, missing_ok: bool = False, cascade: bool = False) -> None:
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
        for what, given in (("missing_ok", missing_ok), ("cascade", cascade)):
            validate.flag(what, given)
        known, dialect = self._known, self._dialect
        perform(self._runner, teardown.delete(self.name, dialect, known.made, missing_ok=missing_ok, cascade=cascade))
        known.made = None

    def status(self) -> MachineInfo:
        """What the engine has on record of the machine, its state first.

        Raises:
            MachineNotFoundError: there is none.
        """
        return perform(self._runner, lookup.status(self.name, self._dialect))

    def exists(self, path: str | os.PathLike[str] | GuestPath | None = None) -> bool:
        """Whether the engine has such a machine, in whatever state; with a path, whether the machine has that file.

        A link that leads nowhere is there, too.
        """
        if path is not None:
            return bool(self._run_script("EXISTS", path))
        try:
            self.status()
        except MachineNotFoundError:
            return False
        return True

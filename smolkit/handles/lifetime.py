"""The lifetime of a machine: its `with` block, and what a handle owns."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from smolkit import commands, runners
from smolkit.commands import option_tables
from smolkit.commands.options import Chosen, choose
from smolkit.errors import CleanupError, MachineReplacedError
from smolkit.flows import provision, teardown
from smolkit.flows.steps import perform
from smolkit.handles.base import Handle
from smolkit.handles.known import Known
from smolkit.runners.blocking import Gate
from smolkit.values import validate
from smolkit.values.ownership import CREATION, EXPIRES, MACHINE, NONE, OWNER, SESSION, Marks

T = TypeVar("T")


class LifetimeMethods(Handle):
    """The `with` block of a machine, and what its handle owns.

    Args:
        runner: Runs the engine's commands.
        name: The machine's name.
        spec: The machine to create, if this handle creates it.
        starting: The options to start it with.
        keep: As for `Smolvm.machine`.
        session: The client's session, for the machine's labels.
        lifetime: As for `Smolvm.machine`.
    """

    __slots__ = ("_keep", "_lifetime", "_opening", "_session", "_starting")

    def __init__(
        self,
        runner: runners.Runner,
        name: str,
        spec: commands.MachineSpec | None = None,
        starting: Chosen = (),
        *,
        keep: teardown.Keep = False,
        session: str = "",
        lifetime: float | None = None,
    ) -> None:
        if not isinstance(keep, bool) and keep != "on_error":
            raise ValueError(f"keep must be True, False or 'on_error', not {validate.shown(keep)}")
        known = Known(branchable=bool(dict(starting).get("branchable")))
        super().__init__(runner, name, spec or commands.MachineSpec(), known)
        self._starting = starting
        self._keep = keep
        self._session = session
        self._opening = Gate(1, "one call of open, ensure or close at a time")
        self._lifetime = None if lifetime is None else validate.seconds("lifetime", lifetime)

    @classmethod
    def _described(cls, runner: runners.Runner, name: str, given: Mapping[str, Any], **rest: Any) -> Self:
        """A handle on a machine that these ClientOptions describe."""
        starting = {key: value for key, value in given.items() if key in option_tables.START}
        spec = commands.MachineSpec.of({key: value for key, value in given.items() if key not in starting})
        return cls(runner, name, spec, choose("a machine", option_tables.START, starting), **rest)

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        # A machine that the copy makes gets the labels that this handle would have given it.
        as_this = partial(type(self), keep=self._keep, session=self._session, lifetime=self._lifetime)
        return as_this, (self._runner, self.name, self._spec, self._starting)

    def open(self) -> Self:
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
        return self._open([])

    def _open(self, begun: list[bool]) -> Self:
        """As `open`. `begun` is told when this call, and no other one, opens the machine."""
        return self._opening.during(lambda: self._open_alone(begun))

    def _open_alone(self, begun: list[bool]) -> Self:
        if self._known.inside:
            raise RuntimeError(f"{self!r} is open already: ensure() is for callers who do not know")
        begun.append(True)
        return self.__enter__()

    def ensure(self) -> Self:
        """Open the machine unless it is open: the first of many threads or tasks opens it, and the others wait for that.

        If that fails, all who wait get its exception, and the next call tries again. If the one who opens it is interrupted
        or cancelled, what it did is undone, and the next of those who wait opens the machine.

        Returns:
            This handle.

        Raises:
            DeadlockError: the call would wait for one that waits for it (in a signal handler).
            MachineExistsError, StartError, SmolvmError: as from `open`.
        """
        return self._ensure([])

    def _ensure(self, begun: list[bool]) -> Self:
        """As `ensure`, with `begun` as in `_open`."""
        known = self._known
        seen = known.tries
        if not known.ready:
            self._opening.during(lambda: self._open_first(seen, begun))
        return self

    def _open_first(self, seen: int, begun: list[bool]) -> None:
        known = self._known
        if known.ready:
            return
        if known.tries > seen and known.failure is not None:  # of a call that went on while this one waited
            raise known.failure
        try:
            self._open_alone(begun)
            known.failure = None
        except Exception as error:
            known.failure = error
            known.tries += 1
            raise
        except BaseException:
            if known.ready:  # an interrupt struck behind the last line that undoes it
                self._abandon()
            raise

    def close(self, error: BaseException | None = None) -> None:
        """Remove the machine, as a `with` does at its end, unless it is to be kept. No-op if it is not open.

        Waits for an `open` or `ensure` that is under way.

        Args:
            error: What went wrong in between, if anything did: with `keep="on_error"` the machine stays then. What fails
                here is added to it as a note, and is not raised.

        Raises:
            CleanupError: the machine could not be removed.
            MachineReplacedError: another machine has the name by now.
        """
        self._opening.during(lambda: self._close(error))

    def _close(self, error: BaseException | None) -> None:
        if self._known.inside:
            self.__exit__(None if error is None else type(error), error, None)

    def __enter__(self) -> Self:
        known = self._known
        made = known.made if known.made is not None and known.made.are_own else None
        # The marks first: a runner that chooses among hosts knows the engine only then.
        marks, spec, dialect = made or self._marks(), None if made else self._spec, self._dialect
        start = commands.Start(self.name, chosen=self._starting, machine_secrets=self._spec.secrets)
        undo = provision.not_entered(self.name, dialect, marks, self._keep, trusted=spec is not None)
        # Assigned before the machine exists: once it does, an interrupt finds no line of ours to strike in.
        known.made, known.inside = marks, True
        try:
            perform(self._runner, provision.enter(start, spec, dialect, marks, self._keep), undo)
        except BaseException as error:
            known.inside = False
            known.made = made if isinstance(error, (MachineReplacedError, CleanupError)) else None
            raise
        known.ready = True
        return self

    def _abandon(self) -> None:
        """Remove the machine of a `with` whose beginning was dropped: no line of it will ever run again."""
        known = self._known
        known.ready = False
        marks, known.made = known.made, None
        if known.inside and marks is not None:
            known.inside = False
            perform(self._runner, provision.abandon(self.name, self._dialect, marks))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            told: list[bool] = []
            self._leave(error, told)
        except BaseException:
            if not told:  # an interrupt struck before the first line that holds interrupts
                self._leave(error, told)
            raise

    def _leave(self, error: BaseException | None, told: list[bool]) -> None:
        known = self._known
        known.ready, made = False, known.made
        try:
            if made is not None and made.are_own:  # a process that was forked inside the block leaves the machine alone
                leave = teardown.exit_block(
                    self.name, self._dialect, made, self._keep, error, branchable=known.branchable, told=told
                )
                perform(self._runner, leave)
        finally:
            known.inside = False
            if told:  # told[0]: another machine has the name by now. That one is not this handle's to delete.
                known.made = made if told[0] else None

    def __del__(self) -> None:
        # No engine calls here: it may run anywhere, at any time, and nobody would see them fail.
        known: Known | None = getattr(self, "_really_known", None)
        if known is not None and known.inside and (known.made is None or known.made.are_own):
            message = f"{self!r} was left without the end of its `with`, or close(): it still runs"
            warnings.warn(message, ResourceWarning, 2, source=self)

    def _marks(self) -> Marks:
        """New marks: the labels that tell whose the machine is, and which. No two creates share any."""
        if self._lifetime is not None:  # never dropped silently: of a machine made with `keep` nobody would be rid
            self._dialect.require("lifetime")
        here = self._runner.here()
        # A machine that is to stay has no owner to outlive. With keep="on_error" nobody knows yet, and labels never change.
        owner = NONE if self._keep or here.me is None else str(here.me)
        expires = NONE if self._lifetime is None else str(math.ceil(here.now + self._lifetime))
        labels = {**dict(here.labels), MACHINE: self.name, SESSION: self._session or NONE, CREATION: os.urandom(8).hex()}
        return Marks(tuple({**labels, OWNER: owner, EXPIRES: expires}.items()), here.now, self._runner.clock())

    def _adopt(self, marks: Marks) -> None:
        """Own the machine with these marks from now on, as if this handle had created it."""
        self._known.adopted = True
        self._known.made = marks

    def _on_own(self, command: commands.Command[T]) -> T:
        """Run a command that would harm another machine, unless another machine has the name by now.

        Raises:
            MachineReplacedError: another one has; nothing was run.
        """
        return perform(self._runner, teardown.on_own(command, self._dialect, self._known.made, self.name))

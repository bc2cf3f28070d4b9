"""The tasks of a map, each with its machine, as they run beside the engine in worker processes of Ray."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import lru_cache
from typing import Any, final

import ray
from attrs import evolve, frozen

from smolkit import handles
from smolkit.errors import ConfigError, HostLostError, HostUnreachableError, SmolvmError, UsageError, add_note
from smolkit.ray.cluster import Bundle
from smolkit.ray.executor import Ended, Lost
from smolkit.ray.machines import Maker
from smolkit.ray.runner import Placement
from smolkit.values.hidden import hide_options

# What a function raises of these is no failure of its own: its machine's host is gone.
HOSTS_OWN = (HostLostError, HostUnreachableError)
# What making a machine raises of these would be the same on any host.
_CALLERS_OWN = (ConfigError, UsageError)

Function = Callable[[handles.Machine, Any], Any]
Warm = Callable[[handles.Machine], object]


@final
@frozen
class Job:
    """The part that all tasks of a map have in common.

    Attributes:
        maker: Makes the machines.
        bundle: What a machine takes of its host.
        function: Called with a machine and a task.
        options: The machines'.
        warm: Called with the golden machine of each host, to prepare it.
    """

    maker: Maker
    bundle: Bundle
    function: Function
    options: Mapping[str, Any]
    warm: Warm | None = None

    def machine(self, placement: Placement, name: str | None = None, **more: Any) -> handles.Machine:
        """A handle on a machine in a place."""
        given = hide_options({**self.options, **more})
        return self.maker.handle(self.maker.runner(given, placement), name, given)

    def prepare(self, placement: Placement) -> Ended | Lost:
        """Make a golden machine that stays until its place is given up. Its value is its name."""
        assert self.warm is not None  # noqa: S101  (for the type checker)
        machine = self.machine(placement, branchable=True)
        try:
            machine.create()
            machine.start()
        except SmolvmError as error:
            return _not_made(error)
        self.maker.share(machine)
        warm = self.warm
        ended = _called(lambda: warm(machine))
        return Ended(machine.name) if isinstance(ended, Ended) and ended.error is None else ended

    def run(self, placement: Placement, golden: str | None, task: Any) -> Ended | Lost:
        """Run one task with a machine of its own."""
        ended: Ended | Lost | None = None
        try:
            with ExitStack() as stack:
                try:
                    machine = self._enter(stack, placement, golden)
                except SmolvmError as error:
                    # The options of a golden machine were right: it may be gone, whatever the engine says then.
                    return _not_made(error) if golden is None else Lost(error)
                ended = _called(lambda: self.function(machine, task))
        except SmolvmError:
            if isinstance(ended, Ended):  # its machine may be left; the keeper removes it once the place is given up
                return evolve(ended, is_clean=False)
        assert ended is not None  # noqa: S101  (for the type checker)
        return ended

    def _enter(self, stack: ExitStack, placement: Placement, golden: str | None) -> handles.Machine:
        if golden is None:
            return stack.enter_context(self.machine(placement))
        return stack.enter_context(self.machine(placement, golden).branch())


def _not_made(error: SmolvmError) -> Ended | Lost:
    return Ended(error=error) if isinstance(error, _CALLERS_OWN) else Lost(error)


def _called(function: Callable[[], object]) -> Ended | Lost:
    try:
        return Ended(function())
    except HOSTS_OWN as error:
        return Lost(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (it is the task's result)
        return Ended(error=_portable(error))


def _portable(error: BaseException) -> BaseException:
    """The error with its traceback as a note; if it cannot be pickled, another one that tells of it."""
    text = "".join(traceback.format_exception(error)).strip()
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    except Exception:  # noqa: BLE001  (whatever a class does)
        error = RuntimeError(f"{type(error).__name__}: {error}")
    add_note(error, text)
    return error


@lru_cache(1)
def _job(ref: Any) -> Job:
    """The job, unpickled once in a worker."""
    job: Job = ray.get(ref)
    return job


def arrive(refs: list[Any]) -> tuple[str, str]:
    """Load what tasks need, and return the host's id and its address."""
    _job(refs[0])
    return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]


def run(refs: list[Any], placement: Placement, golden: str | None, task: Any) -> Ended | Lost:
    """Run one task. The job's reference comes in a list: Ray would fetch and unpickle the job for each task."""
    return _job(refs[0]).run(placement, golden, task)


def prepare(refs: list[Any], placement: Placement) -> Ended | Lost:
    """Make a golden machine."""
    return _job(refs[0]).prepare(placement)

"""The makers of a fleet's machines: the client, and the tasks of its maps."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, final

from attrs import frozen

from smolkit import commands, handles
from smolkit.ray.cluster import Bundle
from smolkit.ray.hosts import Engines
from smolkit.ray.runner import Placement, RayRunner

_DEFAULTS = {"cpus": 4, "memory": 8192}  # the engine's


def bundle_of(given: Mapping[str, Any]) -> Bundle:
    """The part of its host that a machine with these options takes.

    Raises:
        TypeError, ValueError: `cpus` or `memory` is invalid.
    """
    size = {name: given.get(name, default) for name, default in _DEFAULTS.items()}
    chosen = dict(commands.MachineSpec.of(size).chosen)
    return Bundle(*(int(str(chosen[name][0])) for name in _DEFAULTS))


@final
@frozen
class Maker:
    """Makes handles on machines. A pickled copy does so on other hosts.

    Attributes:
        engines: The engines of the hosts.
        wait: Seconds that a machine may wait for room.
        session: The client's id, for the machines' labels.
    """

    engines: Engines
    wait: float
    session: str

    def runner(self, given: Mapping[str, Any], placement: Placement | None) -> RayRunner:
        """The runner of one machine with these options."""
        return RayRunner(self.engines, bundle_of(given), self.wait, placement)

    def handle(self, runner: RayRunner, name: str | None, given: Mapping[str, Any]) -> handles.Machine:
        """The handle on a machine. Options are hidden, where they may be secrets."""
        return handles.Machine._described(  # noqa: SLF001  (only a client makes them)
            runner, runner.named(name, keep=False), {**_DEFAULTS, **given}, session=self.session
        )

    @staticmethod
    def share(machine: handles.Machine) -> None:
        """Let a machine outlive this process: it goes with its place."""
        pickle.dumps(machine)  # a handle that is pickled tells the keeper that others have it

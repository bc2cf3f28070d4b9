"""The client of a fleet: it makes machines on the hosts of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack, final

from smolkit import commands, handles, options
from smolkit.ray import cluster
from smolkit.ray.cluster import Bundle
from smolkit.ray.hosts import Engines, RayHost
from smolkit.ray.link import KeeperLink
from smolkit.ray.runner import Placement, RayRunner
from smolkit.runners.remote.runner import RemoteRunner
from smolkit.values import validate
from smolkit.values.hidden import hide_options
from smolkit.values.keywords import suggests_keywords

_CPUS, _MEMORY = 4, 8192  # the engine's defaults


@suggests_keywords
@final
class RaySmolvm:
    """A client of the engines on all hosts of a Ray cluster. Making one runs nothing.

    Ray must be connected (`ray.init`), and places the machines: each takes CPUs, memory and one unit of the resource "kvm"
    of a host, as a placement group of its own. The host runs the engine by its keeper, a detached actor that smolkit starts
    there; it needs smolkit and the engine. Ray's own TLS and authentication protect what goes to and fro.

    A machine ends with its `with` block or by `delete`; when the job (or actor) that made it ends, however it does; and
    when its keeper is killed. A machine whose handle was never pickled also ends with this client and its process. Where
    that happens without a call, it takes a few seconds.

    Requests that wait are served in their order if they are alike. Ray tries those that wait in turns, each about once a
    second at first and later less often, so that room may stay empty for some seconds; and a small request may overtake a
    large one that does not fit yet.

    Args:
        wait: Seconds that a machine may wait for room.
        program, prefix, state_dir, pass_env, inherit_proxy: As for SubprocessRunner, on each host.
        env: More variables for the engine. They are pickled with the handles: put secrets into the environment of
            `ray start`, and name them in `pass_env`.
        output_limit, version: As for SubprocessRunner.
        max_starts: How many machines may boot at once on each host.
        heartbeat, connect_timeout: As for RemoteRunner.
        on_call: As for Smolvm.
    """

    def __init__(
        self,
        *,
        wait: float = 60.0,
        program: str | os.PathLike[str] | None = None,
        prefix: Sequence[str] = (),
        state_dir: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        pass_env: Sequence[str] = (),
        inherit_proxy: bool = False,
        output_limit: int = 256 * 2**20,
        version: str | None = None,
        max_starts: int = 4,
        heartbeat: float = 15.0,
        connect_timeout: float = 60.0,
        on_call: Callable[[commands.Call], object] | None = None,
    ) -> None:
        self._wait = validate.seconds("wait", wait)
        validate.function("on_call", on_call)
        self._on_call = on_call
        self._session = os.urandom(8).hex()
        given: dict[str, Any] = {
            "program": program,
            "prefix": prefix,
            "state_dir": state_dir,
            "env": env,
            "pass_env": pass_env,
            "inherit_proxy": inherit_proxy,
            "output_limit": output_limit,
            "version": version,
            "max_starts": max_starts,
            "heartbeat": heartbeat,
            "connect_timeout": connect_timeout,
        }
        RemoteRunner(KeeperLink("", ""), **given)  # raises for invalid ones
        self._engines = Engines({**given, "prefix": tuple(prefix), "env": dict(env or {}), "pass_env": tuple(pass_env)})

    def machine(self, name: str | None = None, **rest: Unpack[options.ClientOptions]) -> handles.Machine:
        """A handle on a new machine, which is placed when it is first used. Nothing is run.

        Args:
            name: As for `Smolvm.machine`. Names are a host's: another host may have a machine of the same one.
            rest: As for `Smolvm.machine`. `cpus` and `memory` are what Ray counts for it, too (default 4, and 8192 MiB),
                also where a Smolfile or a pack has others.

        Raises:
            InvalidNameError: the name is invalid.
            TypeError, ValueError: an option is unknown, or its value is invalid.

        The first call of the handle that needs an engine raises QueueTimeoutError (a TimeoutError) if no host had room in
        time. A call raises HostLostError if the host is gone, and with it the machine.
        """
        return self._machine(name, hide_options(rest), None)

    def _machine(self, name: str | None, rest: Mapping[str, Any], placement: Placement | None) -> handles.Machine:
        given = {"cpus": _CPUS, "memory": _MEMORY, **rest}
        size = dict(commands.MachineSpec.of({key: given[key] for key in ("cpus", "memory")}).chosen)
        runner = RayRunner(
            self._engines, Bundle(*(int(str(size[key][0])) for key in ("cpus", "memory"))), self._wait, placement
        )
        if self._on_call is not None:
            runner.observe(self._on_call)
        named = runner.named(name, keep=False)
        return handles.Machine._described(runner, named, given, session=self._session)  # noqa: SLF001  (as Smolvm)

    def hosts(self) -> list[RayHost]:
        """The hosts that live and offer places, with their room, engine and machines, sorted by address.

        A host whose engine fails has `error`.
        """
        return cluster.in_thread(self._engines.hosts)

    def close(self) -> None:
        """End the sessions with the hosts, and remove the machines whose handles were never pickled.

        The client can be used again.
        """
        self._engines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

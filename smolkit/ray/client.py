"""The client of a fleet: it makes machines on the hosts of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, final

from smolkit import commands, handles, options
from smolkit.ray import cluster
from smolkit.ray.hosts import Engines, RayHost
from smolkit.ray.link import KeeperLink
from smolkit.ray.machines import Maker
from smolkit.runners.remote.runner import RemoteRunner
from smolkit.values import validate
from smolkit.values.hidden import hide_options
from smolkit.values.keywords import suggests_keywords

T = TypeVar("T")
R = TypeVar("R")


@suggests_keywords
@final
class RaySmolvm:
    """A client of the engines on all hosts of a Ray cluster. Making one runs nothing.

    Ray must be connected (`ray.init`), and places the machines: each takes CPUs, memory and one unit of the resource "kvm"
    of a host, as a placement group of its own. The host runs the engine by its keeper, a detached actor that smolkit starts
    there; it needs smolkit and the engine. Ray's own TLS and authentication protect what goes to and fro.

    A machine ends with its `with` block or by `delete`; when the job that made it ends, however it does; and
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
        validate.function("on_call", on_call)
        self._on_call = on_call
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
        engines = Engines({**given, "prefix": tuple(prefix), "env": dict(env or {}), "pass_env": tuple(pass_env)})
        self._maker = Maker(engines, validate.seconds("wait", wait), os.urandom(8).hex())

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
        return self._machine(name, hide_options(rest))

    def _machine(self, name: str | None, given: Mapping[str, Any]) -> handles.Machine:
        runner = self._maker.runner(given, None)
        if self._on_call is not None:
            runner.observe(self._on_call)
        return self._maker.handle(runner, name, given)

    def map(
        self,
        function: Callable[[handles.Machine, T], R],
        tasks: Iterable[T],
        *,
        retries: int = 3,
        timeout: float | None = None,
        ordered: bool = False,
        return_exceptions: bool = False,
        in_flight: int | None = None,
        warm: Callable[[handles.Machine], object] | None = None,
        progress: Callable[[int, int | None], object] | None = None,
        **options: Unpack[options.ClientOptions],
    ) -> Generator[tuple[int, Any]]:
        """Call `function(machine, task)` for each task, beside the engine, with a new machine for each.

        Runs on as many hosts and with as many machines at once as there is room for. Tasks are read as there is room, so
        that a generator of a million of them takes no more memory than one of a hundred. While the caller works on a
        result, tasks go on, and each place on a host has had its next one.

        A task that the fleet loses is run again, elsewhere if possible: its host, worker process or keeper died, Ray ran
        out of memory, or its machine could not be made. So it may run more than once. What the function raises is its
        result, and is not tried again.

        The end of the generator ends everything, however it comes (a `break`, an exception, Ctrl-C): what runs is
        cancelled, and no machine is left.

        Args:
            function: Pickled as Ray does, by name or by value. It runs in a worker process of Ray.
            tasks: Pickled one by one.
            retries: How often a task is run again that was lost.
            timeout: Seconds for a task, the start of its machine included, each time that it is run.
            ordered: Yield the results in the order of the tasks, not as they come.
            return_exceptions: Yield exceptions as results instead of raising the first one.
            in_flight: The most tasks at once. Default: as many as there is room for.
            warm: Prepares a golden machine, which each host makes once, in one of its places. Each task gets a branch.
            progress: Called after each result with the number of results, and that of tasks, if `tasks` has a length: see
                `smolkit.progress.bar`.
            options: The machines' (`cpus`, `memory`, `image` ...), as for `machine`, without `env`, `secrets` and `proxy`.

        Yields:
            The index of a task, and its result.

        Raises:
            TypeError, ValueError: an argument is invalid, or a function cannot be pickled; nothing was run.
            TaskLostError: a task was lost more than `retries` times.
            TaskTimeoutError: a task took too long (also a TimeoutError).
            QueueTimeoutError: no host had room for a single machine within `wait` seconds.
            Exception: what the function (or `warm`) raised, with a note that tells where.
        """
        from smolkit.ray import fleet_map  # late: few programs need it

        rules = fleet_map.rules(retries, timeout, self._maker.wait, ordered=ordered, most=in_flight)
        fleet_map.check(function, tasks, options, warm, also=self.map.__kwdefaults__ or ())
        self._machine(None, hide_options(options))  # raises for an invalid option
        validate.flag("return_exceptions", return_exceptions)
        validate.function("progress", progress)
        job = fleet_map.job(self._maker, function, options, warm)
        return fleet_map.results(job, tasks, rules, progress, return_exceptions=return_exceptions)

    def hosts(self) -> list[RayHost]:
        """The hosts that live and offer places, with their room, engine and machines, sorted by address.

        A host whose engine fails has `error`.
        """
        return cluster.in_thread(self._maker.engines.hosts)

    def close(self) -> None:
        """End the sessions with the hosts, and remove the machines whose handles were never pickled.

        The client can be used again.
        """
        self._maker.engines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

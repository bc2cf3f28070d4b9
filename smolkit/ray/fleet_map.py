"""A function over tasks, each with a machine of its own, on a fleet: the checks and the results of `RaySmolvm.map`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sized
from inspect import iscoroutinefunction
from typing import Any

from ray import cloudpickle

from smolkit.errors import add_note
from smolkit.options import ClientOptions
from smolkit.ray.executor import Ended
from smolkit.ray.machines import Maker, bundle_of
from smolkit.ray.places import Places
from smolkit.ray.schedule import Rules, Schedule
from smolkit.ray.tasks import Function, Job, Warm
from smolkit.values import keywords, validate

_HIDDEN = ("env", "secrets", "proxy")  # options whose values are not pickled

Progress = Callable[[int, int | None], object]


def rules(retries: int, timeout: float | None, wait: float, *, ordered: bool, most: int | None) -> Rules:
    """The rules, checked.

    Raises:
        TypeError, ValueError: one is invalid.
    """
    return Rules(
        most=None if most is None else validate.integer("in_flight", most, 1, 10**6),
        retries=validate.integer("retries", retries, 0, 1000),
        timeout=None if timeout is None else validate.seconds("timeout", timeout),
        wait=wait,
        ordered=validate.flag("ordered", ordered),
    )


def check(function: object, tasks: object, options: Mapping[str, Any], warm: object, *, also: Collection[str]) -> None:
    """Check what other hosts get. `also` are the keywords that are no options of machines.

    Raises:
        TypeError: it is of a wrong type, or cannot be pickled.
    """
    keywords.known("map", options, ClientOptions.__optional_keys__, also)
    if function is None:
        raise TypeError("function must be a function of a machine and a task, not None")
    for name, value in (("function", function), ("warm", warm)):
        validate.function(name, value)
        if iscoroutinefunction(value):
            raise TypeError(f"{name} must not be a coroutine function: it runs in a process of Ray, without an event loop")
        _check_pickles(name, value)
    if isinstance(tasks, (str, bytes)) or not isinstance(tasks, Iterable):
        raise TypeError(f"tasks must be a list or another iterable of tasks, not {type(tasks).__name__}: write [...]")
    for name in _HIDDEN:
        if options.get(name) is not None:
            raise TypeError(
                f"map takes no {name}, whose values are not pickled: pass them in the function, by machine.exec(env=..., "
                "secrets=...), or name variables that the hosts have: RaySmolvm(pass_env=[...])"
            )


def _check_pickles(name: str, function: object) -> None:
    try:
        cloudpickle.dumps(function)  # type: ignore[no-untyped-call]
    except Exception as error:
        why = (str(error).splitlines() or [""])[0]
        raise TypeError(
            f"{name} must be a function that can be pickled, since other hosts call it: {validate.shown(function)} holds "
            f"something that cannot ({type(error).__name__}: {why})"
        ) from error


def job(maker: Maker, function: Function, options: Mapping[str, Any], warm: Warm | None) -> Job:
    """The part that all tasks have in common."""
    return Job(maker, bundle_of(options), function, options, warm)


def results(
    job: Job, tasks: Iterable[Any], rules: Rules, progress: Progress | None, *, return_exceptions: bool
) -> Generator[tuple[int, Any]]:
    """Run a map that was checked."""
    total = len(tasks) if isinstance(tasks, Sized) else None
    tell = None if progress is None else lambda done: progress(done, total)
    outcomes = Schedule(Places(job), tasks, rules, time.monotonic, tell).run()
    try:
        for index, ended in outcomes:
            yield index, _result(index, ended, return_exceptions=return_exceptions)
    finally:
        outcomes.close()


def _result(index: int, ended: Ended, *, return_exceptions: bool) -> Any:
    if ended.error is None:
        return ended.value
    if return_exceptions:
        return ended.error
    add_note(ended.error, f"raised for task {index} of a map")
    raise ended.error

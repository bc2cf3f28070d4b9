"""The async twin has what the sync side has: names, signatures, words."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest

from smolkit import AsyncMachine, AsyncRunner, AsyncSmolvm, Machine, Runner, Smolvm
from smolkit.aio import AsyncMonitoring, AsyncProcess, AsyncSpawned
from smolkit.aio.handles import AsyncInput
from smolkit.handles.monitoring import Monitoring
from smolkit.handles.process import Input, Process
from smolkit.handles.spawned import Spawned
from smolkit.testing import FakeRunner, FakeSmolvm

TWINS = [
    (Smolvm, AsyncSmolvm),
    (Machine, AsyncMachine),
    (Process, AsyncProcess),
    (Input, AsyncInput),
    (Spawned, AsyncSpawned),
    (Monitoring, AsyncMonitoring),
]
ASKS_NOTHING = {"machine", "dry_run", "free_port", "is_available", "path", "to_sync", "to_async", "poll"}
# What objects have and their classes do not: attributes set by constructors.
SET = {Process: {"args", "returncode", "stdin"}, Input: {"closed"}, Machine: {"name"}, Spawned: {"machine", "pid", "mark"}}


def public(kind: type[Any]) -> set[str]:
    """The public names of a class."""
    annotated = {name for base in kind.__mro__ for name in vars(base).get("__annotations__", {})}
    return {name for name in {*dir(kind), *annotated, *SET.get(kind, ())} if not name.startswith("_")}


METHODS = [
    pytest.param(sync, twin, name, id=f"{twin.__name__}.{name}")
    for sync, twin in TWINS
    for name in sorted(public(sync))
    if inspect.isfunction(getattr(sync, name, None))
]


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_the_twins_have_the_same_names(sync: type[Any], twin: type[Any]) -> None:
    """Nothing is missing on either side."""
    assert public(sync) == public(twin) | {AsyncProcess: {"stdin"}, AsyncSpawned: {"machine"}}.get(twin, set())


@pytest.mark.parametrize(("sync", "twin", "name"), METHODS)
def test_a_method_has_the_same_signature_and_words(sync: type[Any], twin: type[Any], name: str) -> None:
    """Parameters, defaults, annotations and docstring; what may reach the engine is a coroutine function."""
    one, other = getattr(sync, name), getattr(twin, name)
    parameters = [list(inspect.signature(method).parameters.values())[1:] for method in (one, other)]

    assert parameters[0] == parameters[1]
    assert inspect.getdoc(one) == inspect.getdoc(other)
    assert inspect.iscoroutinefunction(other) == (name not in ASKS_NOTHING)


def test_the_clients_are_made_of_the_same() -> None:
    """Their constructors take the same."""
    assert list(inspect.signature(Smolvm).parameters) == list(inspect.signature(AsyncSmolvm).parameters)


def test_the_runners_twin_has_the_same_execute() -> None:
    """A coroutine function of the same name and signature, and all else is inherited."""
    one, other = (inspect.signature(kind.execute) for kind in (Runner, AsyncRunner))

    assert one == other
    assert inspect.iscoroutinefunction(AsyncRunner.execute)
    assert public(Runner) - {"call"} <= public(AsyncRunner)


def test_the_properties_have_the_same_words() -> None:
    """`engine` is asked, and so is awaited."""
    first = [inspect.getdoc(vars(kind)["engine"]).split(";")[0] for kind in (Smolvm, AsyncSmolvm)]  # type: ignore[union-attr]

    assert first[0] == first[1]


def test_nothing_async_is_imported_before_it_is_asked_for() -> None:
    """Not by a whole life of a machine on the sync side; and then asyncio only by its own loop."""
    code = """import sys
from smolkit import Smolvm
from smolkit.testing import FakeSmolvm
with Smolvm(runner=FakeSmolvm()).machine() as m:
    m.exec(["true"])
print([name for name in ("asyncio", "anyio", "greenlet", "trio") if name in sys.modules])
from smolkit import AsyncSmolvm
print([name for name in ("asyncio", "anyio", "greenlet", "trio") if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]\n['anyio', 'greenlet']\n" == done.stdout


def test_what_the_async_side_needs_is_named() -> None:
    """Where anyio or greenlet is not installed."""
    code = "import sys; sys.modules['greenlet'] = None; import smolkit.aio"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "smolkit's async side needs more packages (greenlet is missing): pip install 'smolkit[async]'" in done.stderr


def test_handles_are_the_same_machine_on_both_sides() -> None:
    """to_async and to_sync go there and back; no copy owns the machine."""
    fake = FakeSmolvm()
    with Smolvm(runner=fake).machine("agent", image="alpine", cpus=1) as machine:
        twin = machine.to_async()
        back = twin.to_sync()

        assert (machine, "agent") == (back, twin.name)
        assert twin == machine.to_async() != Smolvm(runner=fake).machine("other").to_async()
        assert hash(twin) == hash(twin.to_async())
        assert "<AsyncMachine 'agent'>" == repr(twin)
        assert back._spec == machine._spec
        assert (None, None) == (back._known.made, twin._sync._known.made)
    with pytest.raises(AttributeError, match="'AsyncMachine' object has no attribute 'nonsense'"):
        twin.nonsense  # noqa: B018


def test_handles_and_clients_pickle() -> None:
    """As on the sync side: the same machine, without owning it."""
    client = AsyncSmolvm("/no/such/smolvm")
    copy = pickle.loads(pickle.dumps(client.machine("agent")))

    assert client.machine("agent") == copy
    assert client.session == pickle.loads(pickle.dumps(client)).session


def test_a_sync_client_cannot_use_an_async_runner() -> None:
    """It says so, instead of giving a coroutine."""

    class Mine(AsyncRunner):
        async def execute(self, invocation: Any) -> Any:
            raise NotImplementedError

    with pytest.raises(RuntimeError, match="no call of AsyncSmolvm leads here"):
        Smolvm(runner=Mine()).ls()  # type: ignore[arg-type]


def test_one_runner_serves_both_clients(fake: FakeRunner) -> None:
    """The fakes satisfy both protocols."""
    assert AsyncSmolvm(runner=fake).runner is Smolvm(runner=fake).runner is fake

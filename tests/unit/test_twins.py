"""The async client has the same names, signatures and docstrings as the sync one."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from smolkit import AsyncMachine, AsyncMachineView, AsyncRunner, AsyncSmolvm, Machine, MachineView, Runner, Smolvm
from smolkit.aio import AsyncMonitoring, AsyncProcess, AsyncSpawned
from smolkit.aio.processes import AsyncInput
from smolkit.handles.monitoring import Monitoring
from smolkit.handles.process import Input, Process
from smolkit.handles.spawned import Spawned
from smolkit.testing import FakeRunner, FakeSmolvm
from tests.stubs import STUBS as PATHS
from tests.stubs import stub

TWINS = [
    (Smolvm, AsyncSmolvm),
    (Machine, AsyncMachine),
    (MachineView, AsyncMachineView),
    (Process, AsyncProcess),
    (Input, AsyncInput),
    (Spawned, AsyncSpawned),
    (Monitoring, AsyncMonitoring),
]
ASKS_NOTHING = {"at", "machine", "dry_run", "free_port", "is_available", "path", "to_sync", "to_async", "poll", "walk"}
# Attributes set by constructors, which the classes do not have.
SET = {
    Process: {"args", "returncode", "stdin"},
    Input: {"closed"},
    Machine: {"name"},
    MachineView: {"name"},
    Spawned: {"machine", "pid", "mark"},
}


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


FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
WRITTEN = [node for path in PATHS.values() for node in ast.parse(path.read_text()).body]
STUBS = {node.name: node for node in WRITTEN if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_the_twins_have_the_same_names(sync: type[Any], twin: type[Any]) -> None:
    """Both sides have the same public names."""
    assert public(sync) == public(twin)


@pytest.mark.parametrize(("sync", "twin", "name"), METHODS)
def test_methods_have_the_same_signature_and_docstring(sync: type[Any], twin: type[Any], name: str) -> None:
    """Methods have the same parameters, annotations and docstrings, and those that may reach the engine are coroutines."""
    one, other = getattr(sync, name), getattr(twin, name)
    parameters = [list(inspect.signature(method).parameters.values())[1:] for method in (one, other)]

    assert parameters[0] == parameters[1]
    assert inspect.getdoc(one) == inspect.getdoc(other)
    assert inspect.iscoroutinefunction(other) == (name not in ASKS_NOTHING)


@pytest.mark.parametrize("module", PATHS, ids=lambda module: str(module.__name__))
def test_the_stub_is_current(module: ModuleType) -> None:
    """Each stub has what the async side has at run time: if this fails, run `python -m tests.stubs`."""
    assert stub(module) == PATHS[module].read_text()


@pytest.mark.parametrize(("sync", "twin", "name"), METHODS)
def test_the_stub_has_each_methods_signature_and_docstring(sync: type[Any], twin: type[Any], name: str) -> None:
    """The stub has each method's parameters, with their defaults, and its docstring."""
    written = next(node for node in ast.walk(STUBS[twin.__name__]) if isinstance(node, FUNCTION) and name == node.name)
    arguments = [*written.args.posonlyargs, *written.args.args, *written.args.kwonlyargs]
    expected = inspect.signature(getattr(sync, name)).parameters
    named = [key for key, parameter in expected.items() if not str(parameter).startswith("*")]

    assert named == [argument.arg for argument in arguments]
    assert inspect.getdoc(getattr(sync, name)) == ast.get_docstring(written)
    assert isinstance(written, ast.AsyncFunctionDef) == (name not in ASKS_NOTHING)


def test_constructors_take_the_same_arguments() -> None:
    """The clients' constructors take the same arguments."""
    assert list(inspect.signature(Smolvm).parameters) == list(inspect.signature(AsyncSmolvm).parameters)


def test_the_runners_twin_has_the_same_execute() -> None:
    """AsyncRunner.execute is a coroutine of the same name and signature, and everything else is inherited."""
    one, other = (inspect.signature(kind.execute) for kind in (Runner, AsyncRunner))

    assert one == other
    assert inspect.iscoroutinefunction(AsyncRunner.execute)
    assert public(Runner) - {"call"} <= public(AsyncRunner)


def test_properties_have_the_same_docstring() -> None:
    """Properties have the same docstrings, and `engine`, which asks the engine, is awaited."""
    first = [inspect.getdoc(vars(kind)["engine"]).split(";")[0] for kind in (Smolvm, AsyncSmolvm)]  # type: ignore[union-attr]

    assert first[0] == first[1]


def test_nothing_async_is_imported_before_its_use() -> None:
    """The sync side imports nothing async, and the async side asyncio only if that is the event loop."""
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


def test_a_missing_dependency_is_named() -> None:
    """A missing anyio or greenlet raises an error that names the extra."""
    code = "import sys; sys.modules['greenlet'] = None; import smolkit.aio.handles"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "smolkit's async side needs more packages (greenlet is missing): pip install 'smolkit[async]'" in done.stderr


def test_handles_are_the_same_machine_on_both_sides() -> None:
    """to_async and to_sync convert a handle back and forth, and no copy owns the machine."""
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
        twin.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_handles_and_clients_pickle() -> None:
    """Unpickled async handles are the same machines, without owning them."""
    client = AsyncSmolvm("/no/such/smolvm")
    copy = pickle.loads(pickle.dumps(client.machine("agent")))

    assert client.machine("agent") == copy
    assert client.session == pickle.loads(pickle.dumps(client)).session


def test_a_sync_client_cannot_use_an_async_runner() -> None:
    """A sync client given an async runner is refused."""

    class Mine(AsyncRunner):
        async def execute(self, invocation: Any) -> Any:
            raise NotImplementedError

    with pytest.raises(RuntimeError, match="no call of AsyncSmolvm leads here"):
        Smolvm(runner=Mine()).ls()  # type: ignore[arg-type]


def test_a_coroutine_is_named_after_the_async_side() -> None:
    """As Python's warning that a coroutine was never awaited names it; the sync method keeps its own name."""
    coroutine: Any = AsyncSmolvm(runner=FakeRunner()).machine("agent").create()
    coroutine.close()

    assert "AsyncMachine.create" == coroutine.__qualname__
    assert "smolkit.aio.handles" == AsyncMachine.create.__module__
    assert "Machine.create" == Machine.create.__qualname__


def test_an_attribute_of_the_async_side_can_only_be_read() -> None:
    """Setting an attribute of an async handle raises, since it would not reach the sync object."""
    client = AsyncSmolvm(runner=FakeRunner())
    handles: list[Any] = [client, client.machine("agent")]

    for handle, name in zip(handles, ("session", "name"), strict=True):
        with pytest.raises(AttributeError):
            setattr(handle, name, "other")


def test_one_runner_serves_both_clients(fake: FakeRunner) -> None:
    """The fakes serve both clients."""
    assert AsyncSmolvm(runner=fake).runner is Smolvm(runner=fake).runner is fake

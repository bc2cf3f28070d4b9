"""Type hints of everything public resolve, since agent frameworks build tool schemas from them."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_type_hints

import pytest

import smolkit
from smolkit import AsyncMachine, AsyncSmolvm, ExecResult, Machine
from smolkit.aio import AsyncMonitoring, AsyncProcess, AsyncSpawned

MODULES = [smolkit, *(import_module(f"smolkit.{found.name}") for found in pkgutil.iter_modules(smolkit.__path__))]


def exports() -> dict[str, Any]:
    """Every class and function that smolkit and its folders export, each once, by one of its names."""
    found: dict[int, tuple[str, Any]] = {}
    for module in MODULES:
        for name in getattr(module, "__all__", ()):
            item = getattr(module, name)
            if callable(item) and item.__module__.startswith("smolkit"):
                found.setdefault(id(item), (f"{module.__name__}.{name}".removeprefix("smolkit."), item))
    return dict(found.values())


def functions(item: Any) -> Iterator[tuple[str, Any]]:
    """The function; or the class's constructor, public methods and properties, inherited ones too."""
    if inspect.isclass(item):
        public = [name for name in dir(item) if not name.startswith("_")]
        members = {name: plain(inspect.getattr_static(item, name)) for name in ["__init__", *public]}
        yield from ((f".{name}", member) for name, member in members.items() if inspect.isfunction(member))
    else:
        yield "", item


def plain(member: Any) -> Any:
    """The function in a property, a class method or a static method."""
    for key in ("fget", "func", "__func__"):
        member = getattr(member, key, None) or member
    return member


EXPORTS = exports()
FUNCTIONS = {
    f"{name}{part}": function
    for part, function, name in {
        function: (part, function, name)
        for name, item in reversed(EXPORTS.items())
        for part, function in functions(item)
        if function.__module__.startswith("smolkit")
    }.values()
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_annotations_of_every_public_function_can_be_evaluated(name: str) -> None:
    """`typing.get_type_hints` and `inspect.signature(eval_str=True)` evaluate all annotations of a function."""
    function = FUNCTIONS[name]
    signature = inspect.signature(function, eval_str=True)

    assert list(get_type_hints(function)) == list(function.__annotations__)
    assert not [hint for hint in (signature.return_annotation, *signature.parameters.values()) if isinstance(hint, str)]


@pytest.mark.parametrize("name", [name for name, item in EXPORTS.items() if inspect.isclass(item)])
def test_the_annotations_of_every_public_class_can_be_evaluated(name: str) -> None:
    """`typing.get_type_hints` evaluates the annotations of a class's attributes."""
    kind = EXPORTS[name]

    assert {*kind.__annotations__} <= {*get_type_hints(kind)}


def test_everything_public_is_looked_at() -> None:
    """Inherited, wrapped and class methods and properties are among the functions that are tried."""
    looked_at = {
        "Machine.exec",
        "Machine.upload",
        "AsyncMachine.exec",
        "Smolvm.dry_run",
        "ExecResult.check",
        "errors.add_note",
    }

    assert looked_at <= {*FUNCTIONS}
    assert len(FUNCTIONS) > 500


def test_an_async_methods_return_type_is_that_of_the_awaited_value() -> None:
    """The hint is the async side of what the sync method returns, as for any coroutine function."""
    hints = [get_type_hints(method)["return"] for method in (AsyncMachine.exec, AsyncMachine.spawn, AsyncMachine.monitor)]
    clients = [get_type_hints(method)["return"] for method in (AsyncSmolvm.machine, AsyncSmolvm.run_detached)]
    seen = [
        inspect.signature(method, eval_str=True).return_annotation for method in (AsyncMachine.spawn, AsyncSmolvm.machine)
    ]

    assert [ExecResult, AsyncSpawned, AsyncMonitoring] == hints
    assert [AsyncMachine, AsyncMachine] == clients
    assert [AsyncSpawned, AsyncMachine] == seen
    assert AsyncProcess[Any] == get_type_hints(AsyncMachine.popen)["return"]
    assert Machine is get_type_hints(AsyncMachine.to_sync)["return"]

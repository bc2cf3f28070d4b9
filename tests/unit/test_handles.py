"""The handles as tools see them: annotations that resolve, and readable signatures."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

from smolkit import ExecResult, Machine, Process, Smolvm, Spawned, commands, flows, handles, options, runners
from smolkit.testing import NamespaceEngine

CLASSES = [getattr(handles, name) for name in handles.__all__]
METHODS = [
    pytest.param(member, id=member.__qualname__)
    for kind in CLASSES
    for _, member in inspect.getmembers(kind, inspect.isfunction)
    if member.__module__.startswith("smolkit.")  # attrs adds some of its own
    if not member.__name__.startswith("_") or member.__name__ in {"__init__", "__enter__", "__exit__", "__iter__"}
]
PROPERTIES = [
    pytest.param(member.fget, id=f"{kind.__name__}.{name}")
    for kind in CLASSES
    for name, member in inspect.getmembers(kind, lambda member: isinstance(member, property))
    if not name.startswith("_")
]


@pytest.mark.parametrize("method", [*METHODS, *PROPERTIES])
def test_the_annotations_of_a_public_method_resolve(method: Any) -> None:
    """Every parameter and return value of a public method has an annotation that resolves, for tools that build schemas."""
    hints = typing.get_type_hints(method)
    signature = inspect.signature(method, eval_str=True)

    assert {*list(signature.parameters)[1:], "return"} == hints.keys()
    assert not [hint for hint in hints.values() if isinstance(hint, str)]
    assert not isinstance(signature.return_annotation, str)


def test_annotations_name_what_users_import() -> None:
    """Annotations are the exported classes, and the TypedDicts of `smolkit.options` for keywords."""
    assert ExecResult is typing.get_type_hints(Machine.exec)["return"]
    assert typing.Unpack[options.ClientOptions] == typing.get_type_hints(Smolvm.machine)["options"]
    assert Machine is typing.get_type_hints(Smolvm.machine)["return"]
    assert Machine is typing.get_type_hints(Spawned)["machine"]


def test_signatures_read_well() -> None:
    """`help` shows the names of classes and their modules, not their reprs."""
    assert "(self) -> 'values.MachineInfo'" == str(inspect.signature(Machine.status))
    assert "(self, timeout: 'float | None' = None) -> 'int'" == str(inspect.signature(Process.wait))


@pytest.mark.parametrize("package", [commands, flows, handles, options, runners])
def test_a_lazy_package_has_its_names_and_no_others(package: Any) -> None:
    """A lazy package lists its names before they are imported, and raises AttributeError for any other."""
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


LEAVING = """
import sys
from smolkit import Smolvm
machine = Smolvm(sys.argv[1]).machine("m")
try:
    with machine:
        before = set(sys.modules)
        raise ValueError
except ValueError:
    print(sorted(set(sys.modules) - before))
"""


def test_a_teardown_imports_nothing(tmp_path: Path) -> None:
    """The end of a block imports nothing, since there may be no descriptor left to read a module with."""
    program = str(NamespaceEngine(tmp_path / "engine").program)
    done = subprocess.run([sys.executable, "-c", LEAVING, program], capture_output=True, text=True, check=True)

    assert ("[]\n", "") == (done.stdout, done.stderr)

"""smolkit.testing as a package: its imports, its names, its type hints."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import typing
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from smolkit import testing

if typing.TYPE_CHECKING:  # for mypy: a misspelt name is an error, otherwise this ignore would be unused, which is one
    testing.FakeSmolvn  # type: ignore[attr-defined]  # noqa: B018
MODULES = {path.stem: path for path in Path(testing.__file__).parent.glob("*.py") if path.stem != "__init__"}


def imports_of(path: Path) -> set[str]:
    """The modules of smolkit.testing that a module imports: at the top, in a function or for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smolkit.testing"):
            below = (node.module or "").removeprefix("smolkit.testing").lstrip(".")
            found |= {below} if below else {alias.name for alias in node.names}
    return found & MODULES.keys()


def test_the_modules_have_no_import_cycles() -> None:
    """The modules of smolkit.testing can be read in an order in which each imports only from those before it."""
    order = list(TopologicalSorter({name: imports_of(path) for name, path in MODULES.items()}).static_order())

    assert set(MODULES) == set(order)
    assert order.index("fake_live") < order.index("fake")


@pytest.mark.parametrize("name", testing.__all__)
def test_type_hints_resolve(name: str) -> None:
    """`typing.get_type_hints` works on each public class and its public methods and properties."""
    value = getattr(testing, name)
    typing.get_type_hints(value)
    for member, function in vars(value).items():
        if not member.startswith("_") or member == "__init__":
            hinted = function.fget if isinstance(function, property) else function
            if inspect.isfunction(hinted):
                assert isinstance(typing.get_type_hints(hinted), dict), member


def test_the_package_imports_nothing_until_a_name_is_used() -> None:
    """`import smolkit.testing` imports no module below it; `dir` lists all names, and using one imports only its module."""
    code = """import sys, smolkit.testing as testing
def loaded(): return sorted(name for name in sys.modules if name.startswith("smolkit.testing."))
print(loaded(), set(testing.__all__) <= set(dir(testing)))
testing.PretendEngine
print(loaded())"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[] True\n['smolkit.testing.pretend']\n" == done.stdout

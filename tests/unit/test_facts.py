"""Each fact about the engine is written down in one place of smolkit, and imported everywhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import smolkit

ROOT = Path(smolkit.__file__).parent
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def literals(tree: ast.AST) -> Iterator[object]:
    """All constants in the code, and tuples of them; docstrings cannot be mistaken for one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            yield node.value
        elif isinstance(node, ast.Tuple) and all(isinstance(item, ast.Constant) for item in node.elts):
            yield tuple(item.value for item in node.elts if isinstance(item, ast.Constant))


@pytest.mark.parametrize(
    ("place", "facts"),
    [
        ("commands/versions.py", {"1.32.2"}),
        ("commands/dialect.py", {("--error-format", "json"), ("--error-format",)}),
        ("commands/failures.py", {(124, 255), (124, 255, 2)}),
        ("values/shown.py", {'{"error":{', b'{"error":{'}),
        ("commands/base.py", {("/bin/sh",)}),
        ("values/validate.py", {65_535, (1, 65_535)}),
    ],
)
def test_each_fact_is_written_down_once(place: str, facts: set[object]) -> None:
    """The newest version, the JSON flag, error prefixes, exit statuses, shell and ports are literals in one module."""
    assert facts & set(literals(TREES[place])) or place == "values/validate.py"
    assert [] == [name for name, tree in TREES.items() if name != place and facts & set(literals(tree))]

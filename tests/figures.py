"""Figures of the code: its English, its layout and the time of its import. They are printed; nothing is asserted.

    python -m tests.figures [DIRECTORY]

The directory of another package can be given to compare with; the time is always that of smolkit.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import smolkit

DIALECT = re.compile(r"(What|Whether|How|Nothing)\b")
IMPORTS = ast.Import | ast.ImportFrom
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef
DOCUMENTED = ast.Module | ast.ClassDef | DEFINITIONS
ROUNDS = 21  # of fresh processes for each import


def sources(directory: Path) -> dict[Path, ast.Module]:
    """Return the parsed modules of a package by their paths."""
    return {path: ast.parse(path.read_text()) for path in sorted(directory.rglob("*.py"))}


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and its functions."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield text


def is_dialect(docstring: str) -> bool:
    """Return whether a docstring opens with What, Whether, How or Nothing."""
    return DIALECT.match(docstring) is not None


def comments(path: Path) -> tuple[int, int]:
    """Return the numbers of comments that have a line of their own, and of lines that are not empty."""
    lines = path.read_text().splitlines()
    with tokenize.open(path) as file:
        found = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT]
    return sum(token.line.lstrip().startswith("#") for token in found), sum(bool(line.strip()) for line in lines)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions of a module, nested ones too."""
    yield from (node for node in ast.walk(tree) if isinstance(node, DEFINITIONS))


def late_imports(tree: ast.Module) -> int:
    """Return the number of import statements in functions."""
    return len({id(node) for function in functions(tree) for node in ast.walk(function) if isinstance(node, IMPORTS)})


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function's body, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def refusals(tree: ast.Module) -> Iterator[str]:
    """Yield the messages of `raise TypeError(...)` and `raise ValueError(...)`, without what is filled in."""
    calls = (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call))
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id in {"TypeError", "ValueError"}:
            constants = (found.value for found in ast.walk(call) if isinstance(found, ast.Constant))
            yield "".join(text for text in constants if isinstance(text, str))


def cpu_time(code: str) -> float:
    """Return the CPU seconds of a fresh interpreter that runs the code."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def import_ratio(rounds: int = ROUNDS) -> str:
    """Return the ratio of the CPU times of two imports, each the median of fresh processes that take turns."""
    measured = [(cpu_time("from smolkit import Smolvm"), cpu_time("import attrs, subprocess")) for _ in range(rounds)]
    ours, needed = map(statistics.median, zip(*measured, strict=True))
    return f"{ours / needed:5.2f}    ({ours * 1e3:.0f} ms of {needed * 1e3:.0f} ms)"


def share(part: int, whole: int) -> str:
    """Return a part as a percentage, and both numbers."""
    return f"{100 * part / max(whole, 1):5.1f} %  ({part} of {whole})"


def total(numbers: Iterable[int]) -> str:
    """Return a sum, in the column of the percentages."""
    return f"{sum(numbers):5}"


def figures(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield each figure of a package with its name."""
    modules = sources(directory)
    texts = list(chain.from_iterable(map(docstrings, modules.values())))
    own_line, lines = map(sum, zip(*map(comments, modules), strict=True))
    sizes = [body_lines(function) for tree in modules.values() for function in functions(tree)]
    messages = list(chain.from_iterable(map(refusals, modules.values())))

    yield "docstrings that open with What, Whether, How, Nothing", share(sum(map(is_dialect, texts)), len(texts))
    yield "own-line comments", share(own_line, lines)
    yield "late imports", total(map(late_imports, modules.values()))
    yield "TypeErrors and ValueErrors without 'must'", share(sum("must" not in text for text in messages), len(messages))
    yield "files over 300 lines", total(len(path.read_text().splitlines()) > 300 for path in modules)
    yield "functions over 7 lines", share(sum(size > 7 for size in sizes), len(sizes))
    yield "functions over 20 lines", share(sum(size > 20 for size in sizes), len(sizes))


def main() -> None:
    """Print the figures."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else smolkit.__path__[0])
    for name, value in figures(directory):
        print(f"{name:58}{value}", flush=True)
    print(f"{'from smolkit import Smolvm : import attrs, subprocess':58}{import_ratio()}")


if __name__ == "__main__":
    main()

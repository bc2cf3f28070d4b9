"""Writes stubs, as smolkit/aio/handles.pyi, from the tables of smolkit.aio's modules: `python -m tests.stubs`.

The async side is made of the sync side's methods when it is imported, which type checkers and editors cannot follow. The
stub has each method written out, with the signature and the docstring that it has at run time.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from inspect import Parameter, Signature
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any, TypeGuard, get_args, get_overloads

from smolkit.aio import handles, processes

STUBS = {module: Path(str(module.__file__)).with_suffix(".pyi") for module in (handles, processes)}
HEAD = '"""The async side, for type checkers and editors. Written by `python -m tests.stubs`: do not edit."""\n\n'
WIDTH = 120


def stub(module: ModuleType) -> str:
    """The text of a module's stub."""
    names = Names(module)
    body = [_top_level(node, names) for node in _tree(module).body if is_shown(node)]
    return "\n".join([HEAD + names.imports(), *body])


def is_shown(node: ast.stmt) -> TypeGuard[ast.Assign | ast.ClassDef]:
    """True for a type variable or a public class."""
    return isinstance(node, ast.Assign) or (isinstance(node, ast.ClassDef) and not node.name.startswith("_"))


class Names:
    """The global names that the stub's signatures use, and the modules to import them from ("" for a module itself)."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self._sources = {"overload": "typing"}
        self._own = {name for name in vars(module) if name not in _imports(module)}

    def use(self, code: str, module: ModuleType) -> str:
        """The code of an annotation in this module, private aliases written out. Its names are imported as they are there.

        Raises:
            ValueError: another module means something else by the same name.
        """
        tree = _WithoutAliases(module).visit(ast.parse(code))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for name in used - self._own - set(dir(builtins)):
            twins = _imports(self.module).get(name, "")  # what a method returns on this side is not known on the other
            source = twins if twins.startswith("smolkit.aio.") else _imports(module).get(name, module.__name__)
            if self._sources.setdefault(name, source) != source:
                raise ValueError(f"{name} is from {source!r} and from {self._sources[name]!r}: rename one of them")
        return ast.unparse(tree)

    def imports(self) -> str:
        """The import statements."""
        lines = [f"from {source} import {name}" if source else f"import {name}" for name, source in self._sources.items()]
        return "\n".join(sorted(lines)) + "\n"


class _WithoutAliases(ast.NodeTransformer):
    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Replaces a private alias by what it stands for."""
        return _aliases(self._module).get(node.id, node)


@cache
def _aliases(module: ModuleType) -> dict[str, ast.expr]:
    nodes = [node for node in ast.walk(_tree(module)) if isinstance(node, ast.Assign)]
    found = {target.id: node.value for node in nodes for target in node.targets if isinstance(target, ast.Name)}
    return {name: value for name, value in found.items() if name.startswith("_")}


@cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


@cache
def _imports(module: ModuleType) -> dict[str, str]:
    """From which module each imported name comes, those under `if TYPE_CHECKING:` included."""
    found: dict[str, str] = {}
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: "" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: str(node.module) for alias in node.names}
    return found


def _top_level(node: ast.Assign | ast.ClassDef, names: Names) -> str:
    """A type variable, or a class."""
    if isinstance(node, ast.Assign):
        return names.use(ast.unparse(node), names.module) + "\n"
    kind = getattr(names.module, node.name)
    decorators = "".join(f"@{names.use(ast.unparse(item), names.module)}\n" for item in node.decorator_list)
    bases = ", ".join(names.use(ast.unparse(base), names.module) for base in node.bases)
    body = "\n".join([_doc(kind), *_members(kind, names)])
    return f"{decorators}class {node.name}({bases}):\n{indent(body, '    ')}"


def _members(kind: type[Any], names: Names) -> Iterator[str]:
    for name, code in inspect.get_annotations(kind).items():
        yield f"{name}: {names.use(code, names.module)}\n"
    for name, member in vars(kind).items():
        if isinstance(member, property):
            yield f"@property\n{_function(name, member.fget, member.fget, names)}"
        elif inspect.isfunction(member) and (name.endswith("__") or not name.startswith("_")):
            overloads = get_overloads(inspect.unwrap(member))
            yield from (f"@overload\n{_function(name, member, one, names)}" for one in overloads)
            if not overloads:
                yield _function(name, member, member, names)


def _function(name: str, member: Any, shape: Any, names: Names) -> str:
    """A method with the signature of `shape`, which is the method or one of its overloads."""
    inner = inspect.unwrap(shape)
    module = sys.modules[inner.__module__]
    parameters = list(_parameters(inspect.signature(shape), names, module))
    returns = names.use(_returns(inspect.signature(member), inspect.signature(shape)), module)
    if inspect.isgeneratorfunction(inner):  # a context manager, by contextlib's decorator
        returns = returns.replace("Iterator", names.use("AbstractContextManager", contextlib))
    start = f"{'async ' if inspect.iscoroutinefunction(member) else ''}def {name}("
    line = f"{start}{', '.join(parameters)}) -> {returns}:"
    if len(line) > WIDTH:
        line = "\n    ".join([start, *(f"{parameter}," for parameter in parameters)]) + f"\n) -> {returns}:"
    doc = _doc(member)
    return f"{line}\n{indent(doc, '    ')}" if doc else f"{line} ...\n"


def _parameters(signature: Signature, names: Names, module: ModuleType) -> Iterator[str]:
    """Each parameter, `/` and `*`."""
    before = None
    for parameter in signature.parameters.values():
        if before is Parameter.POSITIONAL_ONLY is not parameter.kind:
            yield "/"
        if parameter.kind is Parameter.KEYWORD_ONLY not in (before, Parameter.VAR_POSITIONAL):
            yield "*"
        before = parameter.kind
        yield _parameter(parameter, names, module)


def _parameter(parameter: Parameter, names: Names, module: ModuleType) -> str:
    stars = "*" if parameter.kind is Parameter.VAR_POSITIONAL else "**" if parameter.kind is Parameter.VAR_KEYWORD else ""
    kind = "" if parameter.annotation is Parameter.empty else f": {names.use(parameter.annotation, module)}"
    default = "" if parameter.default is Parameter.empty else f" = {_default(parameter.default)}"
    return f"{stars}{parameter.name}{kind}{default}"


def _default(value: object) -> str:
    return repr(value) if isinstance(value, bool | int | float | str | tuple | None) else "..."


def _returns(method: Signature, shape: Signature) -> str:
    """The return type. Where the method returns an AsyncProcess, an overload's Process[bytes] is an AsyncProcess[bytes]."""
    twin, own = method.return_annotation, shape.return_annotation
    if own is Signature.empty:
        return "None"
    if isinstance(twin, str):
        return str(own)
    if not get_args(twin):
        return str(twin.__name__)
    arguments = own.partition("[")[2] if isinstance(own, str) else f"{', '.join(arg.__name__ for arg in get_args(twin))}]"
    return f"{twin.__origin__.__name__}[{arguments}"


def _doc(item: object) -> str:
    """The docstring, as code."""
    text = inspect.cleandoc(item.__doc__ or "")
    start, end = "r" if "\\" in text else "", "\n" if "\n" in text else ""
    return f'{start}"""{text}{end}"""\n' if text else ""


if __name__ == "__main__":
    for written, path in STUBS.items():
        path.write_text(stub(written))

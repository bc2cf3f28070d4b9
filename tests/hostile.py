"""Every argument of every public method, and hostile values for them: the input of the tables of arguments."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, get_args, get_type_hints

from attrs import frozen

from smolkit import Machine, Smolvm
from smolkit.handles.monitoring import Monitoring
from smolkit.handles.process import Process
from smolkit.runners.dry_run import said
from smolkit.testing import FakeRunner
from smolkit.values import Completed


class Anything:
    """A class that accepts any arguments."""

    def __init__(self, *_: object) -> None:
        pass


_DEEP: list[Any] = []
_DEEP.append(_DEEP)

# Hostile values by name, for the tests' ids.
VALUES: dict[str, Any] = {
    "empty": "",
    "space": " ",
    "text": "text",
    "flag": "--help",
    "dash": "-",
    "dashes": "--",
    "short flag": "-x",
    "NUL": "a\0b",
    "newline": "a\nb",
    "no UTF-8": "a\udcff",
    "lone surrogate": "\ud800",
    "absolute": "/absolute",
    "absolute, no UTF-8": "/a\udcff",
    "absolute, lone surrogate": "/\ud800",
    "absolute, NUL": "/a\0b",
    "colons": "a:b:c:d",
    "equals": "=x",
    "pair": "A=b",
    "parenthesis": "(",
    "blank": " \t\n",
    "span": "0s",
    "network": "10.0.0.0/33",
    "netmask": "10.0.0.0/255.0.0.0",
    "zone": "fe80::1%lo",
    "port": "70000:0",
    "ports": "80-70:80",
    "size": "0k",
    "long size": "99999999999999999999999G",
    "signal": "SIGNONE",
    "digits": "12345678901234567890123",
    "letters of no alphabet": "é𝟙\u202e",
    "long": "x" * 100_000,
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "day": 86_400,
    "ten thousand and one": 10_001,
    "2**31 - 1": 2**31 - 1,
    "2**31": 2**31,
    "2**32 - 1": 2**32 - 1,
    "2**63": 2**63,
    "2**64": 2**64,
    "huge": 10**400,
    "huge negative": -(10**5000),
    "half": 0.5,
    "tiny": 5e-324,
    "big": 1e300,
    "inf": math.inf,
    "nan": math.nan,
    "minus inf": -math.inf,
    "true": True,
    "false": False,
    "complex": 1j,
    "bytes": b"bytes",
    "no UTF-8 bytes": b"/\xff",
    "path": PurePosixPath("/path"),
    "flag path": PurePosixPath("--help"),
    "no UTF-8 path": PurePosixPath("/\udcff"),
    "object": object(),
    "class": Anything,
    "function": lambda *_: None,
    "list": [],
    "list of text": ["x"],
    "list of a flag": ["--help"],
    "list of empty": [""],
    "list of no UTF-8": ["a\udcff"],
    "list of surrogate": ["\ud800"],
    "list of NUL": ["\0"],
    "list of None": [None],
    "list of int": [1],
    "list of huge": [10**400],
    "list of bool": [True],
    "list of bytes": [b"x"],
    "list of list": [["x"]],
    "list of tuple": [()],
    "list of one": [(1,)],
    "list of network": ["10.0.0.0/33"],
    "list of netmask": ["10.0.0.0/255.0.0.0"],
    "list of zone": ["fe80::1%lo"],
    "list of rule": ["10.0.0.0/8:60-53"],
    "list of port": ["70000:0"],
    "list of ports": ["80-70:80"],
    "list of unequal ports": ["80-81:80"],
    "list of protocol": ["80:80/sctp"],
    "list of blank": [" \t\n"],
    "list of pair": [(1, 2)],
    "list of three": [(1, 2, 3)],
    "list of text pair": [("a", "b")],
    "list of nan": [math.nan],
    "list of long": ["x" * 100_000],
    "list in itself": _DEEP,
    "tuple": (),
    "set": {"x"},
    "generator": (word for word in "abc"),
    "range": range(3),
    "dict": {},
    "dict of text": {"A": "b"},
    "dict of flag": {"--help": "-x"},
    "dict of empty": {"": ""},
    "dict of equals": {"a=b": "c"},
    "dict of NUL key": {"\0": "x"},
    "dict of NUL": {"A": "\0"},
    "dict of newline": {"A\nB": "x\ny"},
    "dict of no UTF-8 key": {"A\udcff": "x"},
    "dict of no UTF-8": {"A": "\udcff"},
    "dict of surrogate": {"A": "\ud800"},
    "dict of None": {"A": None},
    "dict of int": {"A": 1},
    "dict of int key": {1: "x"},
    "dict of None key": {None: "x"},
    "dict of tuple key": {(): "x"},
    "dict of bytes": {"A": b"x"},
}


@frozen
class Argument:
    """One argument of one method.

    Attributes:
        verb: The method's name, `Machine.exec`.
        name: The argument's name.
        call: Calls the method with a value for the argument.
    """

    verb: str
    name: str
    call: Callable[[Smolvm, Any], object]

    def __str__(self) -> str:
        return f"{self.verb}({self.name}=)"


# The required arguments of each method. Where a file of this host is needed, it is this one.
_HERE = os.path.abspath(__file__)
NEEDED: dict[str, dict[str, Any]] = {
    "Smolvm.checkpoint_export": {"checkpoint": "/c", "output": "/nonexistent-out"},
    "Smolvm.checkpoint_log": {"checkpoint": "/c"},
    "Smolvm.checkpoint_prune": {"store": "/s"},
    "Smolvm.checkpoint_warm": {"checkpoint": "/c"},
    "Smolvm.cli": {"words": "--help"},
    "Smolvm.pack_create": {"image": "x", "output": "/nonexistent-out"},
    "Smolvm.pack_info": {"pack": "/p"},
    "Smolvm.pack_inspect": {"reference": "r"},
    "Smolvm.pack_pull": {"reference": "r", "output": "/nonexistent-out"},
    "Smolvm.pack_push": {"pack": "/p", "reference": "r"},
    "Smolvm.pack_run": {"pack": "/p", "command": ["true"]},
    "Smolvm.run": {"command": ["true"]},
    "Smolvm.run_detached": {"command": ["true"]},
    "Smolvm.terminal": {"command": ["true"]},
    "Machine.branch_many": {"count": 2},
    "Machine.checkpoint": {"output": "/nonexistent-out"},
    "Machine.cp": {"source": _HERE, "target": "m:/x"},
    "Machine.download": {"source": "/x", "target": "/nonexistent-out"},
    "Machine.exec": {"command": ["true"]},
    "Machine.glob": {"path": "/x", "pattern": "*"},
    "Machine.listdir": {"path": "/x"},
    "Machine.mkdir": {"path": "/x"},
    "Machine.mount": {"source": "/tmp", "target": "/x"},
    "Machine.path": {"path": "/x"},
    "Machine.popen": {"command": ["true"]},
    "Machine.read_bytes": {"path": "/x"},
    "Machine.read_text": {"path": "/x"},
    "Machine.remove": {"path": "/x"},
    "Machine.rename": {"path": "/x", "target": "/y"},
    "Machine.scandir": {"path": "/x"},
    "Machine.sh": {"script": "true"},
    "Machine.spawn": {"command": ["true"]},
    "Machine.stat": {"path": "/x"},
    "Machine.terminal": {"command": ["true"]},
    "Machine.unmount": {"target": "/x"},
    "Machine.walk": {"path": "/x"},
    "Machine.upload": {"source": _HERE, "target": "/x"},
    "Machine.url": {"port": 80},
    "Machine.write_bytes": {"path": "/x", "data": b"x"},
    "Machine.write_text": {"path": "/x", "text": "x"},
}
# Methods that make handles, or never call the engine.
_NO_VERBS = {"Machine.to_async", "Machine.to_sync", "Smolvm.dry_run"}


def options(function: Callable[..., Any]) -> Iterator[str]:
    """Yield the names of a method's arguments, including those of `**options: Unpack[...]`."""
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            (keywords,) = get_args(get_type_hints(function)[parameter.name])
            yield from keywords.__annotations__
        else:
            yield parameter.name


def arguments() -> Iterator[Argument]:
    """Yield every argument of every public method."""
    for kind in (Smolvm, Machine):
        for name, function in inspect.getmembers(kind, inspect.isfunction):
            verb = f"{kind.__name__}.{name}"
            if not name.startswith("_") and verb not in _NO_VERBS:
                for option in options(function):
                    yield Argument(verb, option, caller(verb, name, function, option))


def caller(verb: str, name: str, function: Callable[..., Any], option: str) -> Callable[[Smolvm, Any], object]:
    """Return a function that calls the method with a value for this argument."""

    def call(client: Smolvm, value: Any) -> object:
        given = {**NEEDED.get(verb, {}), option: value}
        if verb == "Smolvm.machine":
            machine = client.machine(**given)
            machine.create()
            machine.start()
            return machine
        target = client if verb.startswith("Smolvm") else client.machine("m")
        positional = [
            given.pop(parameter.name)
            for parameter in list(inspect.signature(function).parameters.values())[1:]
            if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL} and parameter.name in given
        ]
        result = getattr(target, name)(*positional, **given)
        if isinstance(result, (Process, Monitoring)):
            with result:
                list(result)
        return result

    return call


def agreeable(version: str = "1.32.2") -> FakeRunner:
    """Return a fake engine that accepts everything and answers with nothing."""
    fake = FakeRunner(version)
    fake.answer([], lambda command: Completed((), 0, said(command)))
    return fake

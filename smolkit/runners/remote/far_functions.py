"""Functions of the far process that the other end may call: a fixed table."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from smolkit.runners.local.identity import is_alive
from smolkit.runners.remote.leftovers import remove_directory

if TYPE_CHECKING:
    from smolkit.runners.remote.far_call import FarCall

_CHUNK = 2**18

Answer = tuple[Any, bytes]


def _look(call: FarCall) -> Answer:
    return [[check.name, check.ok, check.detail, check.hint] for check in call.runner.doctor()], b""


def _is_available(call: FarCall) -> Answer:
    return call.runner.is_available(), b""


def _free_port(call: FarCall) -> Answer:
    return call.runner.free_port(), b""


def _is_alive(call: FarCall, pid: int, started: int) -> Answer:  # noqa: ARG001  (as the others)
    return is_alive(pid, started), b""


def _read_log(call: FarCall, path: str, start: int, size: int) -> Answer:
    return None, call.runner.read_log(path, start)[:size]


def _send_file(call: FarCall, path: str) -> Answer:
    """Send a file as output. The answer is its mode, or None if there is no such file."""
    if os.path.isdir(path):
        raise IsADirectoryError("it is a directory of the engine's host, and only files are copied to this one")
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed below)
    except FileNotFoundError:
        return None, b""
    with file:
        while chunk := file.read(_CHUNK):
            call.send_output("stdout", chunk)
        return os.fstat(file.fileno()).st_mode & 0o777, b""


@contextmanager
def _admission(call: FarCall, timeout: float | None) -> Iterator[object]:
    with call.runner.admission(timeout):
        yield None


@contextmanager
def _directory(call: FarCall) -> Iterator[str]:
    path = os.path.join(call.work, os.urandom(4).hex())
    try:
        os.makedirs(path, 0o700)
        yield path
    finally:
        remove_directory(path)


@contextmanager
def _source(call: FarCall, name: str) -> Iterator[str]:
    """A file with the call's input, until the other end releases it."""
    with _directory(call) as directory:
        path = os.path.join(directory, _plain(name))
        with open(path, "xb") as file:
            file.writelines(call.pieces())
        yield path


@contextmanager
def _target(call: FarCall, name: str) -> Iterator[str]:
    """A path for a file, until the other end releases it."""
    with _directory(call) as directory:
        yield os.path.join(directory, _plain(name))


def _plain(name: str) -> str:
    """The name, if the engine takes it, which has no escape for a colon; else only its suffix, which it may want to see."""
    if re.fullmatch(r"[\w-][\w.-]{0,99}", name, re.ASCII):
        return name
    suffix = re.search(r"(\.\w{1,20})?\Z", name, re.ASCII)
    return f"file{suffix[0] if suffix else ''}"


FUNCTIONS: dict[str, Callable[..., Answer]] = {
    "free_port": _free_port,
    "is_alive": _is_alive,
    "is_available": _is_available,
    "look": _look,
    "read_log": _read_log,
    "send_file": _send_file,
}
CONTEXTS: dict[str, Callable[..., AbstractContextManager[object]]] = {
    "admission": _admission,
    "source": _source,
    "target": _target,
}

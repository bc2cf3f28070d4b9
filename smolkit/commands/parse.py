"""Parsing of the engine's JSON. It is lenient, as nearly every version adds keys: a value of a wrong type becomes None.

The `raw` of each record has everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smolkit import values
from smolkit.commands.failures import json_reader
from smolkit.errors import UnknownEngineError
from smolkit.values import validate
from smolkit.values.results import MachineInfo


def json_of(completed: values.Completed, opening: str) -> Any:
    """Parse the JSON in the answer, which begins with this bracket.

    Raises:
        UnknownEngineError: the answer is not JSON.
    """
    data, first = completed.stdout, opening.encode()
    # Up to 0.7.2 log lines are on stdout, too: the JSON begins at the first line that begins with the bracket.
    start = 0 if data.startswith(first) else data.find(b"\n" + first) + 1
    try:
        return json_reader()(data[start:].decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UnknownEngineError(f"the engine's answer is not JSON: {error}", completed) from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def list_of(completed: values.Completed) -> list[Any]:
    """Parse the answer, a JSON list.

    Raises:
        UnknownEngineError: the answer is no such list.
    """
    found = json_of(completed, "[")
    if not isinstance(found, list):
        raise UnknownEngineError("the engine's answer is not a list", completed)
    return found


def dicts_of(completed: values.Completed) -> list[dict[str, Any]]:
    """Parse the answer, a JSON list of objects.

    Raises:
        UnknownEngineError: the answer is no such list.
    """
    found = list_of(completed)
    if not all(isinstance(item, dict) for item in found):
        raise UnknownEngineError("the engine's answer is not a list of objects", completed)
    return found


def dict_of(completed: values.Completed) -> dict[str, Any]:
    """Parse the answer, a JSON object.

    Raises:
        UnknownEngineError: the answer is no object.
    """
    found = json_of(completed, "{")
    if not isinstance(found, dict):
        raise UnknownEngineError("the engine's answer is not an object", completed)
    return found


def machine_info(item: Any, completed: values.Completed) -> MachineInfo:
    """The record of one machine. Up to 0.7.2 its created_at is a string.

    Raises:
        UnknownEngineError: the record has no name.
    """
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise UnknownEngineError("the engine's record of a machine has no name", completed)
    return MachineInfo(
        name=item["name"],
        state=typed(item, "state", str) or "",
        cpus=typed(item, "cpus", int),
        memory=typed(item, "memory_mib", int),
        storage_gb=typed(item, "storage_gb", int),
        overlay_gb=typed(item, "overlay_gb", int),
        entrypoint=_tuple(item.get("entrypoint")),
        cmd=_tuple(item.get("cmd")),
        created_at=_created_at(item),
        pid=typed(item, "pid", int),
        image=typed(item, "image", str),
        network=typed(item, "network", bool),
        labels={key: value for key, value in (typed(item, "labels", dict) or {}).items() if isinstance(value, str)},
        parent=typed(item, "parent_machine", str),
        allowed_cidrs=_tuple(item.get("allowed_cidrs")),
        allowed_hosts=_tuple(item.get("allowed_hosts")),
        last_exit=_exit(item.get("last_exit")),
        ports=_ports(item.get("published_ports")),
        raw=item,
    )


def typed(item: Mapping[str, Any], key: str, kind: type) -> Any:
    """The value of the key if it is of this type, else None. An int has at most 64 bits: arithmetic cannot overflow."""
    value = item.get(key)
    if kind is int:
        return value if type(value) is int and -(2**63) <= value < 2**64 else None  # a bool is no int here
    return value if isinstance(value, kind) else None


def _created_at(item: Mapping[str, Any]) -> int | None:
    text = typed(item, "created_at", str)
    if text is None:
        number: int | None = typed(item, "created_at", int)
        return number
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _exit(item: object) -> values.ExitInfo | None:
    if not isinstance(item, dict):
        return None

    milliseconds = typed(item, "exited_at_unix_ms", int)
    return values.ExitInfo(
        cause=typed(item, "cause", str) or "",
        returncode=typed(item, "exit_code", int),
        signal=typed(item, "signal", int),
        exited_at=None if milliseconds is None else milliseconds / 1000,
        raw=item,
    )


def _ports(value: object) -> tuple[tuple[int, int], ...] | None:
    if not isinstance(value, list):
        return None
    found = [(typed(item, "host", int), typed(item, "guest", int)) for item in value if isinstance(item, dict)]
    return tuple((host, guest) for host, guest in found if host in validate.PORTS and guest in validate.PORTS)


def _tuple(value: object) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else None

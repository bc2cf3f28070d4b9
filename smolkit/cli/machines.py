"""The subcommands about machines that exist: doctor, ls, reap, top."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from smolkit.cli.spinner import waiting
from smolkit.cli.tables import cell, refreshing, show
from smolkit.errors import SmolvmError
from smolkit.runners.blocking import sleep
from smolkit.values.ownership import Owner

if TYPE_CHECKING:
    from argparse import Namespace

    from smolkit.handles.client import Smolvm
    from smolkit.values.ownership import Here
    from smolkit.values.results import MachineInfo

_UNKNOWN = "-"


def doctor(client: Smolvm, _: Namespace) -> int:
    """Print each check of the host; status 1 if one failed."""
    with waiting("Checking this host"):
        checks = client.doctor()
    show(("CHECK", "", "FOUND"), [(check.name, "ok" if check.ok else "FAILED", check.detail) for check in checks])
    for check in checks:
        if not check.ok:
            print(cell(f"{check.name}: {check.hint}" if check.hint else check.name), file=sys.stderr)
    return 0 if all(check.ok for check in checks) else 1


def ls(client: Smolvm, options: Namespace) -> int:
    """List all machines of the engine."""
    with waiting("Listing machines"):
        machines = client.ls()
    here, labels = client.runner.here(), client.engine.dialect.supports("machine create --label")
    owners = [_owner(here, info, labels=labels) for info in machines]
    if options.json:
        print(json.dumps([_record(info, owner) for info, owner in zip(machines, owners, strict=True)], indent=2))
        return 0
    rows = [
        (
            *(info.name, info.state, _age(info), str(info.cpus or _UNKNOWN)),
            *(_mib(info.memory), info.image or "bare", _owned(owner)),
        )
        for info, owner in zip(machines, owners, strict=True)
    ]
    show(("NAME", "STATE", "AGE", "CPUS", "MEMORY", "IMAGE", "OWNER"), rows)
    return 0


def reap(client: Smolvm, options: Namespace) -> int:
    """Remove orphaned and expired machines, or print which they are."""
    verb, waited = ("would remove", "Listing machines") if options.dry_run else ("removed", "Removing machines")
    with waiting(waited):
        found = client.reap(dry_run=options.dry_run)
    for item in found:
        print(cell(f"{verb} {item.machine.name}: {item.reason}"))
    return 0


def top(client: Smolvm, options: Namespace) -> int:
    """Show the use of each running machine, again and again."""
    client.engine.dialect.require("machine stats")
    header = ("NAME", "CPU %", "CPUS", "MEMORY USED", "MEMORY", "AGE")
    with refreshing(header) as update:
        while True:
            update([_use(client, info) for info in client.ls() if info.running])
            if options.once:
                return 0
            sleep(options.interval)


def _use(client: Smolvm, info: MachineInfo) -> tuple[str, ...]:
    try:
        stats = client.machine(info.name).stats()
    except SmolvmError:  # it has stopped since, or its guest does not answer
        return (info.name, *[_UNKNOWN] * 4, _age(info))
    percent = _UNKNOWN if stats.cpu_percent is None else f"{stats.cpu_percent:.0f}"
    used, total = (_mib(None if size is None else size // 2**20) for size in (stats.memory_used, stats.memory_total))
    return info.name, percent, str(stats.cpus or _UNKNOWN), used, total, _age(info)


def _owner(here: Here, machine: MachineInfo, *, labels: bool) -> dict[str, Any] | None:
    """The process that made a machine, where that is known; `alive` is None where it cannot be told, as on another host."""
    owner = Owner.of(machine, labels=labels)
    if owner is None:
        return None
    ended = here.has_ended(owner, machine.created_at)
    return {"pid": owner.pid, "alive": None if ended is None else not ended}


def _owned(owner: dict[str, Any] | None) -> str:
    if owner is None:
        return _UNKNOWN
    return str(owner["pid"]) + {True: "", False: " (ended)", None: " (elsewhere)"}[owner["alive"]]


def _record(info: MachineInfo, owner: dict[str, Any] | None) -> dict[str, Any]:
    keys = ("name", "state", "created_at", "cpus", "memory", "image", "network", "parent")
    return {**{key: getattr(info, key) for key in keys}, "labels": dict(info.labels), "owner": owner}


def _age(info: MachineInfo) -> str:
    if info.created_at is None:
        return _UNKNOWN
    seconds = max(0, int(time.time() - info.created_at))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _mib(size: int | None) -> str:
    return _UNKNOWN if size is None else f"{size} MiB"

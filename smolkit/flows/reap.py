"""Workflows that find and remove machines whose owner is gone or whose lifetime is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smolkit.commands.lifecycle import Ls
from smolkit.errors import MachineNotFoundError
from smolkit.flows.lookup import status
from smolkit.flows.teardown import discard, note
from smolkit.values.ownership import Reapable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smolkit.commands.dialect import Dialect
    from smolkit.flows.steps import Steps
    from smolkit.values.ownership import Here
    from smolkit.values.results import MachineInfo


def reapable(here: Here, dialect: Dialect) -> Steps[list[Reapable]]:
    """The machines to remove, branches before their sources.

    The sources of a machine that stays are not among them: its disks depend on theirs.
    """
    labels, tells_parents = dialect.supports("machine create --label"), dialect.supports("parents in ls")
    machines: tuple[MachineInfo, ...] = yield Ls()
    parents = {info.name: info.parent for info in machines}
    reasons = {
        info.name: here.reason_to_reap(info, labels=labels) if tells_parents or not _is_branchable(info) else ""
        for info in machines
    }
    needed = {name for info in machines if not reasons[info.name] for name in _ancestors(info.name, parents)}
    found = [Reapable(info, reasons[info.name]) for info in machines if reasons[info.name] and info.name not in needed]
    return sorted(found, key=lambda item: -len(_ancestors(item.machine.name, parents)))


def _is_branchable(machine: MachineInfo) -> bool:
    """True if it may have branches, in versions that do not record the source of a branch."""
    return bool(machine.raw.get("forkable")) or machine.state == "frozen"


def _ancestors(name: str, parents: Mapping[str, str | None]) -> list[str]:
    """The machine's source, the source of that, and so on."""
    line: list[str] = []
    parent = parents.get(name)
    while parent is not None and parent not in line:
        line.append(parent)
        parent = parents.get(parent)
    return line


def reap(found: list[Reapable], dialect: Dialect) -> Steps[None]:
    """Remove these machines. Each is looked up once more, since its name may be another machine's by now."""
    failures: list[Exception] = []
    for item in found:
        name = item.machine.name
        try:
            now = yield from status(name, dialect)
        except MachineNotFoundError:
            continue
        if (now.created_at, now.labels) == (item.machine.created_at, item.machine.labels):
            # Its owner may have died while it booted.
            failures += yield from discard(name, dialect, half_booted=True)
    if failures:
        first, *others = failures
        note(first, others)
        raise first

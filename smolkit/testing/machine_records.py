"""The record of a fake machine: what `ls` and `status` show of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smolkit.testing.engine_failures import EngineFailure, config

if TYPE_CHECKING:  # NamespaceEngine uses this module in a program that has to start fast
    from smolkit.commands.dialect import Dialect
    from smolkit.testing.arguments import Arguments

_DEFAULT_DISKS = {"storage": 20, "overlay": 10}  # GiB


def new_record(name: str, args: Arguments, dialect: Dialect, created_at: int) -> dict[str, Any]:
    """A machine's record just after create: the keys of every version, and those that this version adds.

    Args:
        name: The machine's name.
        args: The command line of create or run.
        dialect: The engine's version.
        created_at: Seconds since the epoch.
    """
    found: dict[str, Any] = {
        "name": name,
        "cpus": int(args.value("--cpus", "4")),
        "memory_mib": int(args.value("--mem", "8192")),
        "mounts": len(args.values("--volume")),
        "ports": len(args.values("--port")),
        "created_at": created_at,
        "storage_gb": int(args.value("--storage")) if "--storage" in args.options else None,
        "overlay_gb": int(args.value("--overlay")) if "--overlay" in args.options else None,
        "image": args.value("--image") or None,
        "entrypoint": [],
        "cmd": list(args.command),
        "ephemeral": False,
        "gpu": "--gpu" in args.options,
        "network": "--net" in args.options,
        "labels": args.pairs("--label"),
    }
    if dialect.supports("parents in ls"):
        found["parent_machine"] = None
    if dialect.supports("allow lists in ls"):
        found["allowed_cidrs"] = args.values("--allow-cidr") or None
        found["allowed_hosts"] = args.values("--allow-host") or None
        if "--outbound-localhost-only" in args.options:
            from smolkit.commands.create import LOCALHOST  # late, see above

            found["allowed_cidrs"] = [*args.values("--allow-cidr"), *LOCALHOST]
    return found


def check_disks(record: dict[str, Any], args: Arguments, *, exist: bool) -> None:
    """Refuse to shrink a disk, or to grow one that does not exist yet.

    Args:
        record: The machine's record.
        args: The command line of update.
        exist: True once the disks exist, which the machine's first start makes.

    Raises:
        EngineFailure: The engine would refuse it.
    """
    for disk, default in _DEFAULT_DISKS.items():
        old = record[f"{disk}_gb"] or default
        new = int(args.value(f"--{disk}", str(old)))
        if new < old:
            why = "Only expanding is supported to prevent data loss."
            raise config(f"resize: {disk} disk cannot be shrunk from {old} GiB to {new} GiB. {why}")
        if new > old and not exist:
            why = "storage operation failed: open disk: No such file or directory (os error 2)"
            raise EngineFailure("STORAGE_ERROR", f"storage operation failed: expand {disk} disk: {why}")


def update_record(record: dict[str, Any], args: Arguments) -> None:
    """Change a machine's record as `machine update` does."""
    for flag, key in (
        ("--cpus", "cpus"),
        ("--mem", "memory_mib"),
        ("--storage", "storage_gb"),
        ("--overlay", "overlay_gb"),
    ):
        if flag in args.options:
            record[key] = int(args.value(flag))
    if {"--net", "--no-net"} & args.options.keys():
        record["network"] = "--net" in args.options
    for kind in ("cidr", "host"):
        key = f"allowed_{kind}s"
        kept = [] if "--reset-allow-list" in args.options else record.get(key) or []
        found = [*kept, *args.values(f"--allow-{kind}")]
        record[key] = [item for item in found if item not in args.values(f"--remove-allow-{kind}")] or None


def stats(record: dict[str, Any]) -> dict[str, Any]:
    """The CPU and memory use of a machine that does nothing, as `machine stats` shows it."""
    total = record["memory_mib"] * 2**20
    sizes = {"total": total, "used": total // 8, "free": total // 2, "available": total * 3 // 4, "cached": total // 4}
    memory = {**{f"{key}_bytes": size for key, size in sizes.items()}, "swap_total_bytes": 0, "swap_used_bytes": 0}
    return {"name": record["name"], "cpu_percent": 0.0, "cpus": record["cpus"], "memory": memory}

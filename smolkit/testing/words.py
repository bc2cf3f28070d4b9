"""The engine's grammar, and how it refuses: for the fake, as heard from 1.8.3, 1.20.2 and 1.32.2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from smolkit.commands import option_tables
from smolkit.commands.dialect import asks_json, verb_of, without_json
from smolkit.commands.options import switch

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.values.hidden import Hidden

CAP = 11_534_336  # bytes of output, of an exec without -i
MIB = 2**20

# Flags that take no value, and those that take one, besides the tables'.
_BARE = {
    "machine create": (),
    "machine delete": ("-f", "--cascade"),
    "machine exec": ("-i", "-d", "-t"),
    "machine ls": ("--json",),
    "machine run": ("-i", "-t", "--detach"),
    "machine status": ("--json",),
    "machine stats": ("--json",),
    "machine logs": ("--follow",),
}
_VALUED = {
    "machine branch": ("--from", "-e"),
    "machine cp": ("--mode", "--uid", "--gid"),
    "machine create": ("-e",),
    "machine exec": ("-e", "-w", "--user", "--timeout", "--secret-env", "--secret-file", "--secret-keychain"),
    "machine fork": ("--golden", "-e"),
    "machine logs": ("--tail",),
    "machine run": ("-e", "--timeout"),
    "machine stop": ("--timeout",),
    "machine update": ("-e",),
}
_TABLES = {
    "machine branch": option_tables.BRANCH,
    "machine create": option_tables.CREATE,
    "machine fork": option_tables.BRANCH,
    "machine run": option_tables.RUN,
    "machine start": option_tables.START,
    "machine update": option_tables.UPDATE,
}


@frozen
class Words:
    """A command line, taken apart.

    Attributes:
        verb: `machine create`.
        options: The values of each flag; None for a bare one.
        operands: What stands by itself.
        command: What stands behind `--`.
        as_json: Whether failures are wanted as JSON.
        fault: What is to go wrong.
        given: The variables of the engine's process.
    """

    verb: str
    options: Mapping[str, list[str | None]] = field(factory=dict)
    operands: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    as_json: bool = False
    fault: str = ""
    given: Mapping[str, Hidden] = field(factory=dict)

    def one(self, flag: str, default: str = "") -> str:
        """The flag's last value."""
        return str(self.options[flag][-1]) if flag in self.options else default

    def all(self, flag: str) -> list[str]:
        """Its values."""
        return [str(value) for value in self.options.get(flag, ())]

    def pairs(self, flag: str) -> dict[str, str]:
        """Its values, KEY=VALUE each."""
        found = (value.partition("=") for value in self.all(flag))
        return {key: value for key, _, value in found}


class Refusal(Exception):  # noqa: N818  (an answer, not a failure of the fake)
    """The engine's own failure: a code, and its words."""

    def __init__(self, code: str, message: str, said: str = "", status: int = 1) -> None:
        super().__init__(code, message)
        self.code, self.message, self.said, self.status = code, message, said, status

    def stderr(self, *, as_json: bool) -> bytes:
        """As the engine writes it."""
        if self.status == 2:  # noqa: PLR2004  (usage, which is never JSON)
            return f"error: {self.message}\n\nFor more information, try '--help'.\n".encode()
        line = json.dumps({"error": {"code": self.code, "message": self.message}}, separators=(",", ":"))
        return f"{self.said}{line if as_json else f'Error: {self.message}'}\n".encode()


def parse(argv: tuple[str, ...], dialect: Dialect) -> Words:
    """The command line, taken apart as this engine would.

    Raises:
        Refusal: it would not understand it.
    """
    as_json, verb = asks_json(argv) and dialect.supports("--error-format"), verb_of(argv)
    rest = list(without_json(argv) if as_json else argv)[len(verb.split()) :]
    if not dialect.supports(verb):
        raise Refusal("", f"unrecognized subcommand '{verb.split()[-1]}'", status=2)
    table = _TABLES.get(verb, {}).values()
    bare = {*_BARE.get(verb, ()), *(row.flag for row in table if row.reader is switch)}
    bare |= {row.older for row in table if row.older and row.reader is switch}
    valued = {"--name", *_VALUED.get(verb, ()), *(flag for row in table for flag in (row.flag, row.older) if flag)} - bare
    options: dict[str, list[str | None]] = {}
    operands = []
    while rest and rest[0] != "--":
        word = rest.pop(0)
        flag, glued, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            operands.append(word)
        elif flag in bare and not glued:
            options.setdefault(flag, []).append(None)
        elif flag in valued and (glued or rest) and dialect.supports(f"{verb} {flag}"):
            options.setdefault(flag, []).append(value if glued else rest.pop(0))
        else:
            raise Refusal("", f"unexpected argument '{flag}' found", status=2)
    return Words(verb, options, tuple(operands), tuple(rest[1:]), as_json)


def record(name: str, words: Words, dialect: Dialect, created_at: int) -> dict[str, Any]:
    """The engine's record of a machine that is created so: the keys that it always has, and those of this version."""
    asked = {"--cpus": words.one("--cpus", "4"), "--mem": words.one("--mem", "8192")}
    found: dict[str, Any] = {
        "name": name,
        "cpus": int(asked["--cpus"]),
        "memory_mib": int(asked["--mem"]),
        "mounts": len(words.all("--volume")),
        "ports": len(words.all("--port")),
        "created_at": created_at,
        "storage_gb": int(words.one("--storage")) if "--storage" in words.options else None,
        "overlay_gb": int(words.one("--overlay")) if "--overlay" in words.options else None,
        "image": words.one("--image") or None,
        "entrypoint": [],
        "cmd": list(words.command),
        "ephemeral": False,
        "gpu": "--gpu" in words.options,
        "network": "--net" in words.options,
        "labels": words.pairs("--label"),
    }
    if dialect.supports("parents in ls"):
        found["parent_machine"] = None
    if dialect.supports("allow lists in ls"):
        found["allowed_cidrs"] = words.all("--allow-cidr") or None
        found["allowed_hosts"] = words.all("--allow-host") or None
        if "--outbound-localhost-only" in words.options:
            found["allowed_cidrs"] = [*words.all("--allow-cidr"), "127.0.0.0/8", "::1/128"]
    return found


def check_disks(record: dict[str, Any], words: Words, *, made: bool) -> None:
    """Refuses disks that would shrink, or that grow before they are made: at the machine's first start.

    Raises:
        Refusal: the engine would not do it.
    """
    for disk, size in (("storage", 20), ("overlay", 10)):
        old = record[f"{disk}_gb"] or size
        new = int(words.one(f"--{disk}", str(old)))
        if new < old:
            why = "Only expanding is supported to prevent data loss."
            message = f"config operation failed: resize: {disk} disk cannot be shrunk from {old} GiB to {new} GiB. {why}"
            raise Refusal("CONFIG_ERROR", message)
        if new > old and not made:
            why = "storage operation failed: open disk: No such file or directory (os error 2)"
            raise Refusal("STORAGE_ERROR", f"storage operation failed: expand {disk} disk: {why}")


def update(record: dict[str, Any], words: Words) -> None:
    """Changes a machine's record."""
    for flag, key in (
        ("--cpus", "cpus"),
        ("--mem", "memory_mib"),
        ("--storage", "storage_gb"),
        ("--overlay", "overlay_gb"),
    ):
        if flag in words.options:
            record[key] = int(words.one(flag))
    if {"--net", "--no-net"} & words.options.keys():
        record["network"] = "--net" in words.options
    for kind in ("cidr", "host"):
        key = f"allowed_{kind}s"
        kept = [] if "--reset-allow-list" in words.options else record.get(key) or []
        found = [*kept, *words.all(f"--allow-{kind}")]
        record[key] = [item for item in found if item not in words.all(f"--remove-allow-{kind}")] or None


def missing(name: str) -> Refusal:
    """There is no such machine."""
    return Refusal("NOT_FOUND", f"vm not found: {name}")


def missing_record(operation: str, name: str) -> Refusal:
    """The same, as status and update say it."""
    return Refusal("CONFIG_ERROR", f"config operation failed: {operation}: machine '{name}' not found")


def exists(name: str) -> Refusal:
    """There is one already."""
    message = f"config operation failed: create machine: machine '{name}' already exists or is being created"
    return Refusal("CONFIG_ERROR", message)


def exists_for_run(name: str) -> Refusal:
    """The same, as `run --detach` says it."""
    message = (
        f"config operation failed: machine run -d --name: a machine named '{name}' already exists. "
        f"Use 'machine start --name {name}' to start it, or 'machine delete --name {name} -f' to remove it."
    )
    return Refusal("CONFIG_ERROR", message)


def not_running(name: str, dialect: Dialect) -> Refusal:
    """It does not run."""
    start = f"smolvm machine start --name {name}"
    how = f"Use '{start}' first."
    if dialect.supports("--error-format"):
        how = f"Start it with '{start}'; if a start is already in progress, retry once it finishes."
    return Refusal("SMOLVM_ERROR", f"agent operation failed: connect: machine '{name}' is not running. {how}")


def must_be_stopped() -> Refusal:
    """It runs, and must not."""
    return Refusal("INVALID_STATE", "invalid vm state: expected stopped, got Running")


def has_branches(name: str, children: list[str]) -> Refusal:
    """Others were branched from it."""
    return Refusal(
        "SMOLVM_ERROR",
        f"agent operation failed: delete: machine '{name}' is the fork base for {len(children)} clone(s) "
        f"({', '.join(children)}); delete the clones first or use --cascade to remove them too",
    )


def not_branchable(name: str, *, running: bool, said: str) -> Refusal:
    """It was not started so that it can be branched."""
    message = f"golden '{name}' is not running forkable; start it with `machine start --forkable --name {name}`"
    if running and said.startswith("Freezing"):
        message = "golden FORK failed: ERR EINVAL no memfd-backed RAM (start the golden VM with SMOLVM_FORKABLE=1)"
    elif running:
        message = (
            f"machine '{name}' was not started as branchable, so it has no copy-on-write memory to branch from. Restart it "
            f"with `smolvm machine start --name {name} --branchable`; branchability is decided at start time and cannot be "
            f"turned on for an already-running machine."
        )
    return Refusal("SMOLVM_ERROR", f"agent operation failed: fork: {message}", said)


def cannot_start(error: OSError, *, interactive: bool) -> Refusal:
    """The guest's program cannot be started (bare machines)."""
    number, words = (13, "Permission denied") if isinstance(error, PermissionError) else (2, "No such file or directory")
    what = "vm exec interactive" if interactive else "vm exec: failed to spawn command"
    return Refusal("SMOLVM_ERROR", f"agent operation failed: {what}: {words} (os error {number})")


def crun_cannot_start(error: OSError, program: str) -> str:
    """The same of an image machine: crun's line, with status 255."""
    if isinstance(error, PermissionError):
        return "open executable: Permission denied\n"
    return f"executable file `{program}` not found in $PATH: No such file or directory\n"


_START = "agent operation failed: start machine: agent operation failed: "
FAULTS = {
    "boot failed": f"{_START}monitor agent: boot process exited (code 1) before the agent was ready",
    "boot timeout": (
        f"{_START}wait for ready: agent did not become ready within 30 seconds: no boot progress for 30 seconds"
    ),
    "no hypervisor": (
        f"{_START}monitor agent: libkrun detail: build microVM: Internal error while starting microVM: "
        "KvmContext(KvmOpen(Error(13))) (boot process exited (code 1) before the agent was ready)"
    ),
    "port in use": (
        f"{_START}monitor agent: Error: agent operation failed: configure virtio-net: failed to start virtio network "
        "runtime: cannot publish host TCP 127.0.0.1:8080 to guest TCP 80: Address already in use (os error 98) "
        "(boot process exited (code 1) before the agent was ready)"
    ),
    "start in progress": "agent operation failed: start: another process is already starting or running this VM",
    "locked": "database error: database is locked",
    "not empty": "storage operation failed: remove vm directory: Directory not empty (os error 39)",
    "output cap": (
        f"agent operation failed: vm exec: command output exceeded {CAP} bytes and was truncated. "
        "Use streaming exec (exec_stream / execStream) for large output."
    ),
    "dies": "io operation failed: connection closed",
}


def fault(name: str) -> Refusal:
    """One of these."""
    return Refusal("SMOLVM_ERROR", FAULTS[name])

"""The options of `machine create` and `pack create`: one row each, from the Python name to the engine's words.

A row's version stands in `smolkit.dialect.SINCE`, under `machine create --flag`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from smolkit import checks
from smolkit.commands.base import option
from smolkit.dialect import Dialect

# A reader takes (name, value given) and gives the flag's values as text: one per repetition; None is the bare flag.
Reader = Callable[[str, Any], tuple[str | None, ...]]


@frozen
class Option:
    """One option.

    Attributes:
        flag: The engine's word for it.
        reader: Checks the value given and writes it as the engine reads it.
        policy: Whether it restricts the network: such an option always brings `--net`, and is read back after create.
    """

    flag: str
    reader: Reader
    policy: bool = False


def _text(name: str, value: object) -> tuple[str]:
    return (checks.text(name, value),)


def _path(name: str, value: object) -> tuple[str]:
    return (checks.path(name, value),)


def _guest_path(name: str, value: object) -> tuple[str]:
    return (checks.guest_path(name, value),)


def _texts(name: str, value: object) -> tuple[str, ...]:
    return checks.strings(name, value)


def _pairs(name: str, value: object) -> tuple[str, ...]:
    return tuple(f"{key}={item}" for key, item in checks.pairs(name, value))


def _switch(name: str, value: object) -> tuple[None, ...]:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {value!r}")
    return (None,) if value else ()


def _integer(low: int, high: int = 2**31 - 1) -> Reader:
    def read(name: str, value: object) -> tuple[str]:
        return (str(checks.integer(name, value, low, high)),)

    return read


def _choice(*choices: str) -> Reader:
    def read(name: str, value: object) -> tuple[str]:
        if value not in choices:
            raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}")
        return (str(value),)

    return read


def _size(name: str, value: object) -> tuple[str]:
    """Bytes, or the engine's own way to write a size (`512M`, `16GiB`, `25%`)."""
    return (str(checks.integer(name, value, 1, 2**63 - 1)) if isinstance(value, int) else checks.text(name, value),)


def _cidrs(name: str, value: object) -> tuple[str, ...]:
    return tuple(str(network(item)) for item in checks.strings(name, value))


def network(text: str) -> Any:
    """A CIDR or a single address, as ipaddress has it. ValueError, where it is neither."""
    from ipaddress import ip_network  # late: only where there is a policy

    return ip_network(text, strict=False)


def _ports(name: str, value: object) -> tuple[str, ...]:
    """Each an int (the same port on both sides), a pair (host, guest), or the engine's `HOST[-END]:GUEST[-END][/udp]`."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name} is a list: write [{value!r}]")
    return tuple(_port(name, item) for item in value)


def _port(name: str, item: object) -> str:
    if isinstance(item, str):
        return checks.text(name, item)
    numbers = item if isinstance(item, tuple) else (item, item)
    return ":".join(str(checks.integer(f"a port of {name}", number, 1, 65535)) for number in numbers)


CREATE: Mapping[str, Option] = {
    "image": Option("--image", _path),
    "from_path": Option("--from", _path),
    "smolfile": Option("--smolfile", _path),
    "at": Option("--at", _text),
    "cpus": Option("--cpus", _integer(1, 255)),
    "memory": Option("--mem", _integer(64)),
    "storage": Option("--storage", _integer(1)),
    "overlay": Option("--overlay", _integer(1)),
    "max_image_size": Option("--max-image-size", _size),
    "shm_size": Option("--shm-size", _size),
    "block_io": Option("--block-io", _choice("sync", "async")),
    "disk_durability": Option("--disk-durability", _choice("full", "deferred")),
    "disks": Option("--disk", _texts),
    "cache_disks": Option("--cache-disk", _texts),
    "volumes": Option("--volume", _texts),
    "allow_system_mounts": Option("--allow-system-mounts", _switch),
    "ports": Option("--port", _ports),
    "net": Option("--net", _switch),
    "net_backend": Option("--net-backend", _choice("tsi", "virtio-net")),
    "dns": Option("--dns", _text),
    "dns_options": Option("--dns-option", _texts),
    "guest_subnet": Option("--guest-subnet", _text),
    "network": Option("--network", _text),
    "allow_cidrs": Option("--allow-cidr", _cidrs, policy=True),
    "deny_cidrs": Option("--deny-cidr", _cidrs, policy=True),
    "allow_udp": Option("--allow-udp", _texts, policy=True),
    "allow_hosts": Option("--allow-host", _texts, policy=True),
    "allow_host_patterns": Option("--allow-host-pattern", _texts, policy=True),
    "outbound_localhost_only": Option("--outbound-localhost-only", _switch, policy=True),
    "block_private": Option("--block-private", _switch, policy=True),
    "allow_private": Option("--allow-private", _cidrs, policy=True),
    "credentials": Option("--credential", _texts),
    "use_host_proxy": Option("--use-host-proxy", _switch),
    "trust_host_certs": Option("--trust-host-certs", _switch),
    "expose_sockets": Option("--expose-socket", _texts),
    "mount_sockets": Option("--mount-socket", _texts),
    "docker_socket": Option("--docker-socket", _switch),
    "ssh_agent": Option("--ssh-agent", _switch),
    "gpu": Option("--gpu", _switch),
    "gpu_vram": Option("--gpu-vram", _integer(1)),
    "cuda": Option("--cuda", _switch),
    "auto_graph": Option("--auto-graph", _switch),
    "nested": Option("--nested", _switch),
    "rosetta": Option("--rosetta", _switch),
    "labels": Option("--label", _pairs),
    "init": Option("--init", _texts),
    "workdir": Option("--workdir", _guest_path),
    "user": Option("--user", _text),
    "stop_on_exit": Option("--stop-on-exit", _switch),
    "stop_signal": Option("--stop-signal", _text),
    "stop_timeout": Option("--stop-timeout", _integer(1, 300)),
    "secret_env": Option("--secret-env", _pairs),
    "secret_files": Option("--secret-file", _pairs),
    "secret_keychain": Option("--secret-keychain", _pairs),
    "keep_identity": Option("--keep-identity", _switch),
    "restore_cache_entries": Option("--restore-cache-entries", _integer(0)),
    "restore_cache_gib": Option("--restore-cache-gib", _integer(0)),
}

PACK: Mapping[str, Option] = {
    "image": Option("--image", _path),
    "from_machine": Option("--from-vm", _text),
    "smolfile": Option("--smolfile", _path),
    "entrypoint": Option("--entrypoint", _text),
    "cpus": Option("--cpus", _integer(1, 255)),
    "memory": Option("--mem", _integer(64)),
    "storage": Option("--storage", _integer(1)),
    "platform": Option("--oci-platform", _text),
    "single_file": Option("--single-file", _switch),
    "no_sign": Option("--no-sign", _switch),
    "gpu": Option("--gpu", _switch),
    "include_workspace": Option("--include-workspace", _switch),
    "rebase_from_image": Option("--rebase-from-image", _switch),
    "staging_dir": Option("--staging-dir", _path),
    "dns": Option("--dns", _text),
    "proxy": Option("--proxy", _text),
    "no_proxy": Option("--no-proxy", _text),
}

# Values that later versions brought to older flags: (flag, pattern, feature).
_LATER_VALUES = (
    ("--port", r"\d-\d", "machine create --port with a range"),
    ("--port", r"/udp$", "machine create --port with /udp"),
    ("--volume", r":(?:rw|staged)$", "machine create --volume with :rw or :staged"),
    ("--volume", r"^s3://", "machine create --volume of a remote"),
)

Chosen = tuple[tuple[str, tuple[str | None, ...]], ...]


def choose(what: str, table: Mapping[str, Option], given: Mapping[str, Any]) -> Chosen:
    """The options given, checked and written as the engine reads them, in the table's order. None is "not given"."""
    checks.known(what, given, table)
    chosen = [(name, row.reader(name, given[name])) for name, row in table.items() if given.get(name) is not None]
    for name, values in chosen:
        if table[name].policy and not values and given[name] is not False:
            raise ValueError(f"{name} is empty, and no list at all restricts nothing: leave it out, and net with it")
    return tuple((name, values) for name, values in chosen if values)


def argv(verb: str, table: Mapping[str, Option], chosen: Chosen, dialect: Dialect) -> tuple[str, ...]:
    """The chosen options as arguments of `smolvm VERB`, each one required of the engine's version."""
    words: list[str] = []
    for name, values in chosen:
        flag = table[name].flag
        dialect.require(f"{verb} {flag}")
        for value in values:
            words += (flag,) if value is None else option(flag, value)
            for later in _LATER_VALUES:
                if value and later[0] == flag and re.search(later[1], value):
                    dialect.require(later[2])
    return tuple(words)

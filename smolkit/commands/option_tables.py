"""The option tables: for each subcommand with many options, a row for each, by its Python name.

`smolkit.commands.option_types` has the same names for type checkers.
"""

from __future__ import annotations

from collections.abc import Mapping

from smolkit.commands.option_values import (
    LONGEST_STOP,
    added_volumes,
    cidrs,
    dns_options,
    duration,
    gibibytes,
    image,
    ipv4,
    labels,
    mebibytes,
    memory_size,
    ports,
    signal_name,
    size,
    socket_address,
    subnet,
    udp_rules,
    volumes,
)
from smolkit.commands.options import Option, choice, guest_path, hidden, integer, pairs, path, switch, text, texts


def _rows(table: Mapping[str, Option], *names: str) -> dict[str, Option]:
    """These rows of another table."""
    return {name: table[name] for name in names}


CREATE: Mapping[str, Option] = {
    "image": Option("--image", image),
    "from_path": Option("--from", path),
    "smolfile": Option("--smolfile", path),
    "at": Option("--at", text),
    "cpus": Option("--cpus", integer(1, 255)),
    "memory": Option("--mem", mebibytes),
    "storage": Option("--storage", gibibytes),
    "overlay": Option("--overlay", gibibytes),
    "max_image_size": Option("--max-image-size", size),
    "shm_size": Option("--shm-size", memory_size),
    "block_io": Option("--block-io", choice("sync", "async")),
    "disk_durability": Option("--disk-durability", choice("full", "deferred")),
    "disks": Option("--disk", texts),
    "cache_disks": Option("--cache-disk", texts),
    "volumes": Option("--volume", volumes),
    "allow_system_mounts": Option("--allow-system-mounts", switch),
    "ports": Option("--port", ports),
    "net": Option("--net", switch),
    "net_backend": Option("--net-backend", choice("tsi", "virtio-net")),
    "dns": Option("--dns", ipv4),
    "dns_options": Option("--dns-option", dns_options),
    "guest_subnet": Option("--guest-subnet", subnet),
    "network": Option("--network", text),
    "allow_cidrs": Option("--allow-cidr", cidrs, policy=True),
    "deny_cidrs": Option("--deny-cidr", cidrs, policy=True),
    "allow_udp": Option("--allow-udp", udp_rules, policy=True),
    "allow_hosts": Option("--allow-host", texts, policy=True),
    "allow_host_patterns": Option("--allow-host-pattern", texts, policy=True),
    "outbound_localhost_only": Option("--outbound-localhost-only", switch, policy=True),
    "block_private": Option("--block-private", switch, policy=True),
    "allow_private": Option("--allow-private", cidrs, policy=True),
    "credentials": Option("--credential", texts),
    "use_host_proxy": Option("--use-host-proxy", switch),
    "trust_host_certs": Option("--trust-host-certs", switch),
    "expose_sockets": Option("--expose-socket", texts),
    "mount_sockets": Option("--mount-socket", texts),
    "docker_socket": Option("--docker-socket", switch),
    "ssh_agent": Option("--ssh-agent", switch),
    "gpu": Option("--gpu", switch),
    "gpu_vram": Option("--gpu-vram", integer(1)),
    "cuda": Option("--cuda", switch),
    "auto_graph": Option("--auto-graph", switch),
    "nested": Option("--nested", switch),
    "rosetta": Option("--rosetta", switch),
    "labels": Option("--label", labels),
    "init": Option("--init", texts),
    "workdir": Option("--workdir", guest_path),
    "user": Option("--user", text),
    "stop_on_exit": Option("--stop-on-exit", switch),
    "stop_signal": Option("--stop-signal", signal_name),
    "stop_timeout": Option("--stop-timeout", integer(1, LONGEST_STOP)),
    "secret_env": Option("--secret-env", pairs),
    "secret_files": Option("--secret-file", pairs),
    "secret_keychain": Option("--secret-keychain", pairs),
    "keep_identity": Option("--keep-identity", switch),
    "restore_cache_entries": Option("--restore-cache-entries", integer(0, 64)),
    "restore_cache_gib": Option("--restore-cache-gib", integer(0)),
}

_PULL: Mapping[str, Option] = {"proxy": Option("--proxy", hidden), "no_proxy": Option("--no-proxy", text)}
_PLATFORM: Mapping[str, Option] = {"platform": Option("--oci-platform", text)}
_STAGING: Mapping[str, Option] = {"staging_dir": Option("--staging-dir", path)}
_STORE: Mapping[str, Option] = {"store": Option("--store", path)}
_INTERCEPTOR: Mapping[str, Option] = {"egress_interceptor": Option("--egress-interceptor", socket_address)}
_WORKER: Mapping[str, Option] = {
    "wait_worker_ready": Option("--wait-worker-ready", switch),
    "worker_ready_timeout": Option("--worker-ready-timeout", duration),
}

PACK: Mapping[str, Option] = {
    **_rows(CREATE, "image", "smolfile", "cpus", "memory", "storage", "gpu", "dns"),
    "from_machine": Option("--from-vm", text),
    "entrypoint": Option("--entrypoint", text),
    "single_file": Option("--single-file", switch),
    "no_sign": Option("--no-sign", switch),
    "include_workspace": Option("--include-workspace", switch),
    "rebase_from_image": Option("--rebase-from-image", switch),
    **_PLATFORM,
    **_STAGING,
    **_PULL,
}

SECRETS: Mapping[str, Option] = _rows(CREATE, "secret_env", "secret_files", "secret_keychain")

START: Mapping[str, Option] = {
    "branchable": Option("--branchable", switch, older="--forkable"),
    "branch_pool_size": Option("--branch-pool-size", integer(1), older="--fork-pool-size"),
    "cuda_vram_limit_mib": Option("--cuda-vram-limit-mib", integer(1)),
    "seed_digest_ttl": Option("--seed-digest-ttl", integer(0)),
    **_INTERCEPTOR,
    "mediated_egress": Option("--mediated-egress", switch),
    **_PULL,
}

UPDATE: Mapping[str, Option] = {
    **_rows(CREATE, "cpus", "memory", "storage", "overlay", "allow_system_mounts", "ports", "net", "workdir"),
    **_rows(CREATE, "gpu", "rosetta", "block_io", "disk_durability", "dns_options", "shm_size"),
    **_rows(CREATE, "allow_hosts", "allow_host_patterns", "allow_cidrs", "outbound_localhost_only", "allow_udp"),
    "no_net": Option("--no-net", switch),
    "no_gpu": Option("--no-gpu", switch),
    "no_rosetta": Option("--no-rosetta", switch),
    "no_egress_interceptor": Option("--no-egress-interceptor", switch),
    "volumes": Option("--volume", added_volumes),
    "remove_volumes": Option("--remove-volume", texts),
    "remove_ports": Option("--remove-port", ports),
    "remove_env": Option("--remove-env", texts),
    "remove_allow_hosts": Option("--remove-allow-host", texts),
    "remove_allow_cidrs": Option("--remove-allow-cidr", cidrs),
    "remove_allow_udp": Option("--remove-allow-udp", udp_rules),
    "reset_allow_list": Option("--reset-allow-list", switch),
    "clear_dns_options": Option("--clear-dns-options", switch),
}

RESIZE: Mapping[str, Option] = _rows(CREATE, "cpus", "memory", "storage", "overlay")

BRANCH: Mapping[str, Option] = {
    "count": Option("--count", integer(1)),
    "name_prefix": Option("--name-prefix", text),
    "parallel": Option("--parallel", integer(1)),
    "wait_ready": Option("--wait-ready", switch),
    "no_wait_ready": Option("--no-wait-ready", switch),
    "hold": Option("--hold", switch),
    "freeze_source": Option("--freeze-source", switch),
    "ready_timeout": Option("--ready-timeout", duration),
    **_WORKER,
    **_rows(START, "branchable"),
    "share_weights": Option("--share-weights", switch),
    **_INTERCEPTOR,
    "labels": Option("--label", pairs),  # with those of smolkit: `Machine.branch` checks the caller's
    **_rows(CREATE, "ports"),
    **SECRETS,
}

RELEASE: Mapping[str, Option] = _WORKER

CHECKPOINT: Mapping[str, Option] = {
    **_STORE,
    "history": Option("--history", integer(0)),
    "export_from": Option("--export-from", path),
    **_rows(CREATE, "at"),
    **_STAGING,
    "host_mounts": Option("--host-mounts", switch),
    **_PULL,
}
CHECKPOINT_LOG: Mapping[str, Option] = {**_STORE, "machine": Option("--machine", text)}
CHECKPOINT_PRUNE: Mapping[str, Option] = _STORE
CHECKPOINT_WARM: Mapping[str, Option] = {
    "source": Option("--from", path),
    **_rows(CREATE, "restore_cache_entries", "restore_cache_gib"),
}

RUN: Mapping[str, Option] = {
    **{
        name: row
        for name, row in CREATE.items()
        if name not in {"at", "keep_identity", "restore_cache_entries", "restore_cache_gib", "labels"}
        and name not in {"stop_on_exit", "stop_signal", "stop_timeout"}
    },
    **_PULL,
    **_PLATFORM,
    "allow_host_loopback": Option("--allow-host-loopback", switch),
    "unprivileged": Option("--unprivileged", switch),
    "docker_config": Option("--docker-config", switch),
    "oci_cache": Option("--oci-cache", switch),
    "no_init_cache": Option("--no-init-cache", switch),
    "rebuild_init_cache": Option("--rebuild-init-cache", switch),
    **_rows(START, "seed_digest_ttl"),
}

PACK_RUN: Mapping[str, Option] = {
    **_rows(CREATE, "cpus", "memory", "storage", "overlay", "block_io", "volumes", "allow_system_mounts"),
    **_rows(CREATE, "workdir", "user", "ports", "net", "net_backend", "dns", "dns_options"),
    **_rows(CREATE, "ssh_agent", "cuda", "auto_graph"),
    "sidecar": Option("--sidecar", path),
    "force_extract": Option("--force-extract", switch),
    "debug": Option("--debug", switch),
}
PRUNE: Mapping[str, Option] = {"everything": Option("--all", switch), "dry_run": Option("--dry-run", switch)}
PACK_PRUNE: Mapping[str, Option] = {"keep": Option("--keep", integer(0)), **PRUNE}

MONITOR: Mapping[str, Option] = {
    "restart": Option("--restart", choice("never", "always", "on-failure", "unless-stopped")),
    "health_command": Option("--health-cmd", text),
    "health_timeout": Option("--health-timeout", integer(1)),
    "health_retries": Option("--health-retries", integer(1)),
    "interval": Option("--interval", integer(1)),
    **_INTERCEPTOR,
}

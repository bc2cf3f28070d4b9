"""Commands of every kind, with every option: what the argv tables, the grammar test and the value tests go through."""

from __future__ import annotations

import os
from typing import Any

from smolkit.commands import (
    Command,
    Cp,
    Create,
    DataDir,
    Delete,
    Exec,
    Ls,
    MachineSpec,
    PackCreate,
    Start,
    Status,
    Stop,
    Version,
)

# One value for each option of machine create that the engine's parser takes.
CREATE_OPTIONS: dict[str, Any] = {
    "image": "./rootfs/",
    "from_path": "x.smolmachine",
    "smolfile": "Smolfile",
    "at": "~1",
    "cpus": 1,
    "memory": 512,
    "storage": 20,
    "overlay": 10,
    "max_image_size": "16GiB",
    "shm_size": "25%",
    "block_io": "async",
    "disk_durability": "deferred",
    "disks": ["/tmp/disk.img:ro"],
    "cache_disks": ["/tmp/base.img:/cache"],
    "volumes": ["/tmp:/mnt:ro"],
    "allow_system_mounts": True,
    "ports": [8080, (8081, 80), "9000-9010:9000-9010/udp"],
    "net": True,
    "net_backend": "virtio-net",
    "dns": "9.9.9.9",
    "dns_options": ["timeout:1", "use-vc"],
    "guest_subnet": "10.200.0.0/30",
    "network": "mesh",
    "allow_cidrs": ["10.0.0.0/8", "1.2.3.4"],
    "deny_cidrs": ["10.1.0.0/16"],
    "allow_udp": ["10.2.0.0/16:53"],
    "allow_hosts": ["localhost"],
    "allow_host_patterns": ["*.example.org"],
    "outbound_localhost_only": True,
    "block_private": True,
    "allow_private": ["192.168.1.0/24"],
    "credentials": ["gh=GH_TOKEN@api.github.com"],
    "use_host_proxy": True,
    "trust_host_certs": True,
    "expose_sockets": ["/run/app.sock"],
    "mount_sockets": ["/tmp/host.sock:/run/host.sock"],
    "docker_socket": True,
    "ssh_agent": True,
    "gpu": True,
    "gpu_vram": 1024,
    "cuda": True,
    "auto_graph": True,
    "nested": True,
    "rosetta": True,
    "labels": {"owner": "me", "empty": ""},
    "init": ["echo hi", "-x: a command that looks like a flag"],
    "workdir": "/root",
    "user": "1000:1000",
    "stop_on_exit": True,
    "stop_signal": "SIGINT",
    "stop_timeout": 5,
    "secret_env": {"GUEST": "HOST"},
    "secret_files": {"GUEST2": "/etc/hostname"},
    "secret_keychain": {"GUEST3": "service/account"},
    "keep_identity": True,
    "restore_cache_entries": 0,
    "restore_cache_gib": 1,
    "env": {"KEY": "value", "EMPTY": "", "-dash": "x"},
    "command": ["sleep", "60"],
}

# Pairs of these options that the engine's parser refuses together (1.32.2), and options that need another.
_NEEDS: dict[str, dict[str, Any]] = {
    "at": {"from_path": "x.smolcheckpoint"},
    "keep_identity": {"from_path": "x.smolcheckpoint"},
    "restore_cache_entries": {"from_path": "x.smolcheckpoint"},
    "restore_cache_gib": {"from_path": "x.smolcheckpoint"},
    "gpu_vram": {"gpu": True},
}

PACK_OPTIONS: dict[str, Any] = {
    "from_machine": "agent",
    "smolfile": "Smolfile",
    "entrypoint": "/bin/sh",
    "cpus": 1,
    "memory": 512,
    "storage": 10,
    "platform": "linux/arm64",
    "single_file": True,
    "no_sign": True,
    "gpu": True,
    "include_workspace": True,
    "rebase_from_image": True,
    "staging_dir": "/tmp",
    "dns": "9.9.9.9",
    "proxy": "http://user:password@proxy:3128",
    "no_proxy": "localhost",
}


def create(name: str, **options: Any) -> Create:
    """A create command with these options."""
    return Create(name, MachineSpec.of(options))


def commands(name: str = "agent") -> list[Command[Any]]:
    """Every command, and every option of each at least once."""
    everything_but = {"from_path", "smolfile", *_NEEDS}
    return [
        Version(),
        create(name),
        *(create(name, **{**_NEEDS.get(option, {}), option: value}) for option, value in CREATE_OPTIONS.items()),
        create(
            name, gpu=True, **{key: value for key, value in CREATE_OPTIONS.items() if key not in {*everything_but, "gpu"}}
        ),
        Start(name),
        Stop(name),
        Status(name),
        Ls(),
        DataDir(name),
        Exec(name, ["true"]),
        Exec(name, ["sh", "-c", "echo --name"], env={"A": "b=c", "-d": ""}, secrets={"S": "x", "T": "y"}),
        Exec(name, ["cat", "-"], workdir="/root", user="nobody", timeout=30, input=b"x"),
        Exec(name, ["true"], timeout=1.5),
        Cp(os.devnull, f"{name}:/x"),
        Cp("-dash", f"{name}:/x"),
        Cp(f"{name}:/x", "-dash"),
        *(
            PackCreate.of("/nonexistent/out", {**({} if option == "from_machine" else {"image": "./x.tar"}), option: value})
            for option, value in PACK_OPTIONS.items()
        ),
        Delete(name),
        Delete(name, cascade=True),
    ]

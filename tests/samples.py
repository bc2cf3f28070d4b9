"""Samples of every command with every option: the input of the argv tables, the grammar tests and the value tests."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from typing import Any

from attrs import evolve

from smolkit import Secret
from smolkit.commands import (
    Branch,
    BranchRelease,
    Checkpoint,
    CheckpointLog,
    CheckpointPrune,
    CheckpointWarm,
    Cli,
    Command,
    ConfigShow,
    Cp,
    Create,
    DataDir,
    Delete,
    EgressEvents,
    Exec,
    Images,
    Logs,
    Ls,
    MachineSpec,
    Monitor,
    MountAdd,
    MountLs,
    MountRemove,
    NetworkTest,
    PackCreate,
    PackInfo,
    PackInspect,
    PackList,
    PackPrune,
    PackPull,
    PackPush,
    PackRun,
    Pause,
    Prune,
    RegistriesInit,
    RegistriesPath,
    RegistriesShow,
    Resize,
    Resume,
    Run,
    RunDetached,
    RunTerminal,
    ScanDirs,
    Script,
    Shell,
    Spawn,
    Start,
    StatsOf,
    Status,
    Stop,
    Sync,
    Terminal,
    Update,
    Version,
    guest_scripts,
)
from smolkit.commands.option_tables import START
from smolkit.commands.options import choose
from smolkit.commands.verb import Verb
from smolkit.testing import FakeRunner

# A value for each option of machine create, which the engine's parser accepts.
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
    "secrets": {"S1": "value", "S2": Secret.file("/etc/hostname"), "S3": Secret.keychain("service/account")},
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


# A value for each option of the other tables that machine create lacks.
MORE_OPTIONS: dict[str, Any] = {
    "branchable": True,
    "branch_pool_size": 2,
    "cuda_vram_limit_mib": 1024,
    "seed_digest_ttl": 60,
    "egress_interceptor": "127.0.0.1:9000",
    "mediated_egress": True,
    "proxy": "http://user:password@proxy:3128",
    "no_proxy": "localhost",
    "no_net": True,
    "no_gpu": True,
    "no_rosetta": True,
    "no_egress_interceptor": True,
    "remove_volumes": ["/tmp:/mnt"],
    "remove_ports": [8080],
    "remove_env": ["KEY"],
    "remove_allow_hosts": ["localhost"],
    "remove_allow_cidrs": ["10.0.0.0/8"],
    "remove_allow_udp": ["10.2.0.0/16:53"],
    "reset_allow_list": True,
    "clear_dns_options": True,
    "count": 2,
    "name_prefix": "child",
    "parallel": 2,
    "wait_ready": True,
    "no_wait_ready": True,
    "hold": True,
    "freeze_source": True,
    "ready_timeout": "5s",
    "wait_worker_ready": True,
    "worker_ready_timeout": "5s",
    "share_weights": True,
    "store": "/tmp/store",
    "history": 3,
    "export_from": "/tmp/checkpoint",
    "staging_dir": "/tmp",
    "host_mounts": True,
    "machine": "agent",
    "source": "/tmp/checkpoint",
    "platform": "linux/arm64",
    "allow_host_loopback": True,
    "unprivileged": True,
    "docker_config": True,
    "oci_cache": True,
    "no_init_cache": True,
    "rebuild_init_cache": True,
    "sidecar": "/tmp/x.smolmachine",
    "force_extract": True,
    "debug": True,
    "keep": 1,
    "everything": True,
    "dry_run": True,
    "restart": "always",
    "health_command": "true",
    "health_timeout": 1,
    "health_retries": 1,
    "interval": 1,
    "output": "/tmp/out",
    "volume": "/tmp:/mnt",
    "target": "/mnt",
    "limit": 3,
    "tail": 3,
    "follow": True,
    "file": "/tmp/x.smolmachine",
}
# Options that the parser always requires.
_ALWAYS: dict[type[Verb[Any]], dict[str, Any]] = {
    Checkpoint: {"output": "/tmp/out"},
    CheckpointLog: {"store": "/tmp/store"},
    CheckpointPrune: {"store": "/tmp/store"},
    CheckpointWarm: {"source": "/tmp/checkpoint"},
    MountAdd: {"volume": "/tmp:/mnt"},
    MountRemove: {"target": "/mnt"},
    PackPush: {"file": "/tmp/x.smolmachine"},
    Resize: {"cpus": 1},
    Update: {"cpus": 1},
}
_NEEDED: dict[tuple[type[Verb[Any]], str], dict[str, Any]] = {
    (Branch, "worker_ready_timeout"): {"wait_worker_ready": True},
    (BranchRelease, "worker_ready_timeout"): {"wait_worker_ready": True},
    (Checkpoint, "at"): {"export_from": "/tmp/checkpoint"},
    (CheckpointLog, "machine"): {"store": "/tmp/store"},
    (Run, "gpu_vram"): {"gpu": True},
}
_NAMELESS = (CheckpointLog, CheckpointPrune, CheckpointWarm, PackPush, PackPull, PackInspect, PackList, PackPrune, PackInfo)
_OPERANDS: dict[type[Verb[Any]], tuple[str, ...]] = {
    Branch: ("source",),
    PackPush: ("localhost:1/x",),
    PackPull: ("localhost:1/x",),
    PackInspect: ("localhost:1/x",),
}
VERBS: tuple[type[Verb[Any]], ...] = (
    *(Update, Resize, Pause, Resume, Branch, BranchRelease, Checkpoint, CheckpointLog, CheckpointPrune, CheckpointWarm),
    *(MountAdd, MountRemove, MountLs, Sync, StatsOf, Logs, EgressEvents, Monitor, Images, Prune, NetworkTest),
    *(PackPush, PackPull, PackInspect, PackList, PackPrune, PackInfo),
    *(ConfigShow, RegistriesPath, RegistriesShow, RegistriesInit, Run, PackRun),
)


def verbs(name: str) -> list[Command[Any]]:
    """Yield each of these subcommands, bare and with each of its options."""
    found: list[Command[Any]] = []
    for kind in VERBS:
        named = None if issubclass(kind, Run) or kind in _NAMELESS or not kind.VERB.startswith("machine") else name
        base, operands = _ALWAYS.get(kind, {}), _OPERANDS.get(kind, ())
        command = ["true"] if issubclass(kind, Run) else []
        given: list[dict[str, Any]] = [base]
        for option in kind.OPTIONS:
            value = CREATE_OPTIONS[option] if option in CREATE_OPTIONS else MORE_OPTIONS[option]
            given.append({**base, **_NEEDED.get((kind, option), {}), option: value})
        for options in given:
            nobody = "export_from" in options or options.keys() & {"count", "name_prefix"}
            found.append(kind.of(None if nobody else named, options, operands=operands, command=command))
    return list(dict.fromkeys(found))


def create(name: str, **options: Any) -> Create:
    """Return a create command with these options."""
    return Create(name, MachineSpec.of(options))


def commands(name: str = "agent") -> list[Command[Any]]:
    """Yield every command, with every option of each at least once."""
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
        Exec(name, ["true"], secrets={"F": Secret.file("/etc/hostname"), "K": Secret.keychain("service")}),
        Cp(os.devnull, f"{name}:/x"),
        Cp("-dash", f"{name}:/x"),
        Cp(f"{name}:/x", "-dash"),
        *(
            PackCreate.of("/nonexistent/out", {**({} if option == "from_machine" else {"image": "./x.tar"}), option: value})
            for option, value in PACK_OPTIONS.items()
        ),
        Delete(name),
        Delete(name, cascade=True),
        Start(name, chosen=choose("start", START, {key: MORE_OPTIONS[key] for key in START})),
        Stop(name, 0),
        Cp(os.devnull, f"{name}:/x", mode=0o600, uid=1, gid=2),
        Cli(None, ("machine", "ls")),
        Shell(name),
        Terminal(name, ["sh"], env={"A": "b"}, workdir="/", user="root", secrets={"S": "x"}),
        Spawn(name, ["sleep", "1"], env={"A": "b"}, workdir="/", user="root", secrets={"S": "x"}),
        Script(name, guest_scripts.EXISTS, "/root"),
        ScanDirs(name, ("/root", "/tmp"), timeout=30, user="nobody"),
        *verbs(name),
        Branch.of(None, {"env": {"K": "v"}}, operands=[name]),
        evolve(Branch.of(None, {}, operands=[name]), machine_secrets=MachineSpec.of({"secrets": {"S": "x"}}).secrets),
        Branch.of(name, {"ports": [8080]}, operands=[name]),
        BranchRelease.of(name, {"env": {"K": "v"}}),
        Update.of(name, {"env": {"K": "v"}}),
        Run.of(None, {"env": {"K": "v"}, "timeout": 1.5, "input": "x"}, command=["cat"]),
        Run.of(None, {"secrets": {"S": "x", "F": Secret.file("/etc/hostname")}}, command=["cat"]),
        PackRun.of(None, {"env": {"K": "v"}, "timeout": 1.5}, command=["cat"]),
        RunDetached.of(name, {"env": {"K": "v"}}, command=["cat"]),
        RunDetached.of(name, {"secrets": {"S": "x"}}, command=["cat"]),
        RunTerminal.of(None, {"env": {"K": "v"}, "timeout": 1.5}, command=["cat"]),
    ]


def marked(fake: FakeRunner, name: str) -> dict[str, Any]:
    """Return the record of the machine that was last made through this fake, with its labels, as if nobody replaced it."""
    names = {name, name.rpartition("-")[0]}  # its own, or the prefix of its batch
    made = [argv for argv in fake.argvs if argv[1] in {"create", "branch"} and names & set(argv)]
    words = made[-1] if made else ()
    labels = dict(word.split("=", 1) for flag, word in pairwise(words) if flag == "--label")
    return {"name": name, "state": "running", "labels": labels}


def stays_ours(fake: FakeRunner) -> None:
    """Make the fake answer of each machine that it is the one that was made."""
    fake.answer(Status, lambda command: json.dumps(marked(fake, command.name)))

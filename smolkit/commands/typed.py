"""The keywords of the handles' methods, for type checkers and for `help`. Nothing imports this module to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict

_Path = str | PathLike[str]


class MachineOptions(TypedDict, total=False):
    """What `client.machine(name, ...)` takes, all by keyword. None is "not given": the engine's default.

    Where it comes from (a bare machine, if none of these):
        image: A registry reference, a `docker save` archive (`./app.tar`) or an unpacked root file system (`./rootfs/`).
        from_path: A `.smolmachine` pack, or a `.smolcheckpoint`; the file must stay where it is.
        smolfile: A Smolfile (TOML).
        at, keep_identity, restore_cache_entries, restore_cache_gib: With a checkpoint: which generation, whether the
            hostname stays, how many checkpoints and how many GiB are kept ready.
        max_image_size: Bytes, or `"16GiB"`; the engine's default is 8 GiB.
        command: The workload of an image machine, run at every start.
        init: Shell commands run once, at the first start.

    Its size:
        cpus: Virtual processors, 1 to 255 (default 4).
        memory: MiB, from 64 on (default 8192).
        storage, overlay: GiB of the data disk (default 20) and of the root file system's overlay (default 10).
        shm_size: Of /dev/shm: `"512m"`, `"25%"`.

    Its disks and folders:
        volumes: `"HOST:GUEST[:ro|rw|staged]"` each; HOST must exist, GUEST is absolute.
        disks: `"PATH[:ro]"` each: raw images or block devices.
        cache_disks: `"BASE:/PATH"` each.
        block_io: The host's block I/O engine.
        disk_durability: When a guest's fsync reaches the host's disk.
        allow_system_mounts: Lets volumes show the host's /etc and /var/log below /host. Not for untrusted guests.

    Its network (none, unless asked; every option that restricts it brings `--net` with it):
        net: Outbound access.
        allow_cidrs, allow_hosts, allow_host_patterns, allow_udp: Allow lists. Recorded lists are read back after create;
            one that is not as asked raises PolicyNotRecordedError, and the machine is deleted.
        deny_cidrs, block_private, allow_private, outbound_localhost_only: Restrictions.
        ports: Published on the host: `8080` (both sides), `(8080, 80)` (host, guest), or `"8000-8010:8000-8010/udp"`.
        dns, dns_options, net_backend, guest_subnet, network: Resolver, its options, backend, subnet, named network.
        use_host_proxy, trust_host_certs: Give the guest the host's proxy, the host's trusted certificates.
        credentials: `"NAME=ENV_VAR@HOST[,HOST...][:body][:set-header=HEADER]"`: the guest sees a placeholder only.
        expose_sockets, mount_sockets, docker_socket, ssh_agent: Unix sockets out of and into the guest.

    Its devices: gpu, gpu_vram (MiB), cuda, auto_graph, nested (KVM inside), rosetta.

    Its workload:
        env: Variables. The engine stores them in clear; for secrets use secret_env.
        secret_env: {guest variable: host variable}; the engine resolves it at every start and exec, from its own
            environment: SubprocessRunner(env={host variable: ...}).
        secret_files, secret_keychain: {guest variable: absolute path}, {guest variable: service[/account]}.
        workdir, user: Where, and as whom.
        stop_on_exit, stop_signal, stop_timeout (seconds, 1 to 300): How it ends.
        labels: Anything; the engine only stores them.
    """

    image: _Path | None
    from_path: _Path | None
    smolfile: _Path | None
    at: str | None
    cpus: int | None
    memory: int | None
    storage: int | None
    overlay: int | None
    max_image_size: int | str | None
    shm_size: int | str | None
    block_io: Literal["sync", "async"] | None
    disk_durability: Literal["full", "deferred"] | None
    disks: Sequence[str] | None
    cache_disks: Sequence[str] | None
    volumes: Sequence[str] | None
    allow_system_mounts: bool | None
    ports: Sequence[int | tuple[int, int] | str] | None
    net: bool | None
    net_backend: Literal["tsi", "virtio-net"] | None
    dns: str | None
    dns_options: Sequence[str] | None
    guest_subnet: str | None
    network: str | None
    allow_cidrs: Sequence[str] | None
    deny_cidrs: Sequence[str] | None
    allow_udp: Sequence[str] | None
    allow_hosts: Sequence[str] | None
    allow_host_patterns: Sequence[str] | None
    outbound_localhost_only: bool | None
    block_private: bool | None
    allow_private: Sequence[str] | None
    credentials: Sequence[str] | None
    use_host_proxy: bool | None
    trust_host_certs: bool | None
    expose_sockets: Sequence[str] | None
    mount_sockets: Sequence[str] | None
    docker_socket: bool | None
    ssh_agent: bool | None
    gpu: bool | None
    gpu_vram: int | None
    cuda: bool | None
    auto_graph: bool | None
    nested: bool | None
    rosetta: bool | None
    labels: Mapping[str, str] | None
    init: Sequence[str] | None
    workdir: str | None
    user: str | None
    stop_on_exit: bool | None
    stop_signal: str | None
    stop_timeout: int | None
    secret_env: Mapping[str, str] | None
    secret_files: Mapping[str, str] | None
    secret_keychain: Mapping[str, str] | None
    keep_identity: bool | None
    restore_cache_entries: int | None
    restore_cache_gib: int | None
    env: Mapping[str, str] | None
    command: Sequence[str] | None


class PackOptions(TypedDict, total=False):
    """What `client.pack_create(...)` takes besides image and output.

    Attributes:
        from_machine: Pack a stopped machine instead of an image.
        smolfile: A Smolfile (TOML) for the workload.
        entrypoint: Instead of the image's.
        cpus, memory (MiB), gpu: What machines from this pack get.
        storage: GiB of the temporary machine that unpacks the image.
        platform: `linux/arm64`, `linux/amd64`; default: the host's.
        single_file: One executable, without the `.smolmachine` beside it.
        no_sign: No code signing (macOS).
        include_workspace: The machine's /workspace too.
        rebase_from_image: Pull the base image again.
        staging_dir: Where large temporary files go.
        dns, proxy, no_proxy: For the pull.
    """

    from_machine: str | None
    smolfile: str | PathLike[str] | None
    entrypoint: str | None
    cpus: int | None
    memory: int | None
    storage: int | None
    platform: str | None
    single_file: bool | None
    no_sign: bool | None
    gpu: bool | None
    include_workspace: bool | None
    rebase_from_image: bool | None
    staging_dir: str | PathLike[str] | None
    dns: str | None
    proxy: str | None
    no_proxy: str | None


class ExecOptions(TypedDict, total=False):
    """The keywords of `Machine.exec`, which `Machine.sh` takes too."""

    check: bool
    env: Mapping[str, str] | None
    secrets: Mapping[str, str] | None
    workdir: str | None
    user: str | None
    timeout: float | None
    input: bytes | str | None

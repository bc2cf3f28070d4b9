"""The keywords of the handles' methods, for type checkers and for `help`. Nothing imports this module to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict

from smolkit.values.secret import Secret

_Path = str | PathLike[str]
_Ports = int | Mapping[int, int] | Sequence[int | tuple[int, int] | str]
_Volume = tuple[_Path, _Path] | tuple[_Path, _Path, str]
_Volumes = Mapping[_Path, _Path | tuple[_Path, str]] | Sequence[str | _Volume]


class MachineOptions(TypedDict, total=False):
    """What `client.machine(name, ...)` takes, all by keyword. None is "not given": the engine's default.

    Where it comes from (a bare machine, if none of these):
        image: A registry reference, a `docker save` archive (`./app.tar`) or an unpacked root file system (`./rootfs/`). A
            str is what the engine takes it for, so that a path in it must begin with `./` or `/`; a pathlib path is a path.
        from_path: A `.smolmachine` pack, or a `.smolcheckpoint`; the file must stay where it is.
        smolfile: A Smolfile (TOML).
        at, keep_identity, restore_cache_entries, restore_cache_gib: With a checkpoint: which generation, whether the
            hostname stays, how many checkpoints and how many GiB are kept ready.
        max_image_size: Bytes, or `"16GiB"`; the engine's default is 8 GiB.
        command: The workload of an image machine, run at every start.
        init: Shell commands run once, at the first start.

    Its size:
        cpus: Virtual processors, 1 to 255 (default 4).
        memory: MiB, from 64 on (default 8192), or a str with a unit: `"512M"`, `"2GiB"`.
        storage, overlay: GiB of the data disk (default 20) and of the root file system's overlay (default 10).
        shm_size: Of /dev/shm: `"512m"`, `"25%"`.

    Its disks and folders:
        volumes: `{host: guest}` or `{host: (guest, "ro")}`; or a list of `(host, guest)`, `(host, guest, mode)` and
            `"HOST:GUEST[:ro|rw|staged]"`. The host's path must exist, the guest's must be absolute.
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
        ports: Published on the host: `{8080: 80}` (host: guest); or a list of `8080` (both sides), `(8080, 80)` (host,
            guest) and `"8000-8010:8000-8010/udp"`.
        dns, dns_options, net_backend, guest_subnet, network: Resolver, its options, backend, subnet, named network.
        use_host_proxy, trust_host_certs: Give the guest the host's proxy, the host's trusted certificates.
        credentials: `"NAME=ENV_VAR@HOST[,HOST...][:body][:set-header=HEADER]"`: the guest sees a placeholder only.
        expose_sockets, mount_sockets, docker_socket, ssh_agent: Unix sockets out of and into the guest.

    Its devices: gpu, gpu_vram (MiB), cuda, auto_graph, nested (KVM inside), rosetta.

    Its workload:
        env: Variables. The engine stores them in clear; for secrets use secrets.
        secrets: {guest variable: Secret(...) or its value}: the engine has only names on record; this handle's starts and
            commands bring the values. A handle of another process has to be told them again.
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
    memory: int | str | None
    storage: int | str | None
    overlay: int | str | None
    max_image_size: int | str | None
    shm_size: int | str | None
    block_io: Literal["sync", "async"] | None
    disk_durability: Literal["full", "deferred"] | None
    disks: Sequence[str] | None
    cache_disks: Sequence[str] | None
    volumes: _Volumes | None
    allow_system_mounts: bool | None
    ports: _Ports | None
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
    workdir: _Path | None
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
    command: Sequence[_Path] | None
    secrets: Mapping[str, str | Secret] | None


class StartOptions(TypedDict, total=False):
    """What `machine.start(...)` takes besides timeout; `client.machine(...)` takes them too, for its `with`.

    Attributes:
        branchable: So that the machine can be branched while it runs (engine >= 1.0.0).
        branch_pool_size, cuda_vram_limit_mib: A plan for CUDA memory shared with so many branches.
        seed_digest_ttl: Seconds for which an image's digest is not asked for again.
        egress_interceptor, mediated_egress: A host program that decides what the guest may reach.
        proxy, no_proxy: For an image's pull.
    """

    branchable: bool | None
    branch_pool_size: int | None
    cuda_vram_limit_mib: int | None
    seed_digest_ttl: int | None
    egress_interceptor: str | None
    mediated_egress: bool | None
    proxy: str | None
    no_proxy: str | None


class ClientOptions(MachineOptions, StartOptions, total=False):
    """What `client.machine(...)` takes: MachineOptions and StartOptions."""


class BranchOptions(TypedDict, total=False):
    """What `machine.branch(...)` takes.

    Attributes:
        branchable: Whether the new machine can be branched in its turn.
        env: Parameters for the branch; its workload gets them from `smolvm-branch-ready`.
        labels: More labels, or other values than the source's (engine >= 1.29.0).
        ports: Published ports of its own; default: the source's, with other numbers on the host.
        secret_env, secret_files, secret_keychain: As for `client.machine`.
        wait_ready, no_wait_ready: Whether to wait until the source's workload runs `smolvm-branch-ready`. One branch does
            not, unless asked; several do.
        ready_timeout, worker_ready_timeout: How long: "30s", "5m".
        wait_worker_ready: Whether to wait until the new machine's workload runs `smolvm-worker-ready`.
        hold: Leave the new machine at its beginning until `release()`.
        freeze_source: Leave the source paused, as a base for more branches.
        parallel: With `branch_many`: how many boot at once (4).
        share_weights: CUDA weights are not copied.
        egress_interceptor: As for start.
    """

    branchable: bool | None
    env: Mapping[str, str] | None
    labels: Mapping[str, str] | None
    ports: _Ports | None
    secret_env: Mapping[str, str] | None
    secret_files: Mapping[str, str] | None
    secret_keychain: Mapping[str, str] | None
    wait_ready: bool | None
    no_wait_ready: bool | None
    ready_timeout: str | None
    wait_worker_ready: bool | None
    worker_ready_timeout: str | None
    hold: bool | None
    freeze_source: bool | None
    parallel: int | None
    share_weights: bool | None
    egress_interceptor: str | None


class UpdateOptions(TypedDict, total=False):
    """What `machine.update(...)` takes; names and values are those of MachineOptions.

    Attributes:
        cpus, memory, storage, overlay, shm_size, block_io, disk_durability, workdir, gpu, rosetta: Other values.
        env, volumes, ports, allow_hosts, allow_host_patterns, allow_cidrs, allow_udp: Added to what there is.
        remove_env, remove_volumes, remove_ports, remove_allow_hosts, remove_allow_cidrs, remove_allow_udp: Taken away.
        net, no_net, no_gpu, no_rosetta, no_egress_interceptor: Switched on or off.
        outbound_localhost_only: Adds the localhost networks to the allow list.
        reset_allow_list: Begins with an empty allow list.
        dns_options, clear_dns_options: Other resolver options, or none.
        allow_system_mounts: As at create.
    """

    cpus: int | None
    memory: int | str | None
    storage: int | str | None
    overlay: int | str | None
    shm_size: int | str | None
    block_io: Literal["sync", "async"] | None
    disk_durability: Literal["full", "deferred"] | None
    workdir: _Path | None
    gpu: bool | None
    rosetta: bool | None
    env: Mapping[str, str] | None
    volumes: _Volumes | None
    ports: _Ports | None
    allow_hosts: Sequence[str] | None
    allow_host_patterns: Sequence[str] | None
    allow_cidrs: Sequence[str] | None
    allow_udp: Sequence[str] | None
    remove_env: Sequence[str] | None
    remove_volumes: Sequence[str] | None
    remove_ports: Sequence[int | tuple[int, int] | str] | None
    remove_allow_hosts: Sequence[str] | None
    remove_allow_cidrs: Sequence[str] | None
    remove_allow_udp: Sequence[str] | None
    net: bool | None
    no_net: bool | None
    no_gpu: bool | None
    no_rosetta: bool | None
    no_egress_interceptor: bool | None
    outbound_localhost_only: bool | None
    reset_allow_list: bool | None
    dns_options: Sequence[str] | None
    clear_dns_options: bool | None
    allow_system_mounts: bool | None


class CheckpointOptions(TypedDict, total=False):
    """What `machine.checkpoint(...)` takes.

    Attributes:
        store: A directory whose chunks are used again; the output is then a directory on the same file system.
        history: How many earlier generations to keep (32).
        staging_dir: Where large temporary files go.
        host_mounts: Keep the machine's host folders in it.
        proxy, no_proxy: For an image's pull.
    """

    store: _Path | None
    history: int | None
    staging_dir: _Path | None
    host_mounts: bool | None
    proxy: str | None
    no_proxy: str | None


class MonitorOptions(TypedDict, total=False):
    """What `machine.monitor(...)` takes.

    Attributes:
        restart: When to start it again: never, always, on-failure, unless-stopped.
        health_command: For the guest's `sh -c`.
        health_timeout, interval: Seconds.
        health_retries: Failures before a restart.
        egress_interceptor: For each restart.
    """

    restart: Literal["never", "always", "on-failure", "unless-stopped"] | None
    health_command: str | None
    health_timeout: int | None
    health_retries: int | None
    interval: int | None
    egress_interceptor: str | None


class RunOptions(MachineOptions, total=False):
    """What `client.run(...)` takes: MachineOptions (but those of checkpoints, labels and how it stops), and these.

    Attributes:
        timeout: Seconds for the command; the boot comes on top.
        input: For its standard input.
        platform: `linux/arm64`, `linux/amd64`.
        allow_host_loopback: The guest may reach the host's own loopback.
        unprivileged: A container with restricted capabilities.
        docker_config: The host's ~/.docker in the machine.
        oci_cache, no_init_cache, rebuild_init_cache: Caches of pulled images and of `init`.
        seed_digest_ttl, proxy, no_proxy: As for start.
    """

    timeout: float | None
    input: bytes | str | None
    platform: str | None
    allow_host_loopback: bool | None
    unprivileged: bool | None
    docker_config: bool | None
    oci_cache: bool | None
    no_init_cache: bool | None
    rebuild_init_cache: bool | None
    seed_digest_ttl: int | None
    proxy: str | None
    no_proxy: str | None


class PackRunOptions(TypedDict, total=False):
    """What `client.pack_run(...)` takes; names and values are those of MachineOptions and RunOptions.

    Attributes:
        force_extract: Unpack the pack's files again.
        debug: The engine says more.
    """

    timeout: float | None
    input: bytes | str | None
    env: Mapping[str, str] | None
    cpus: int | None
    memory: int | str | None
    storage: int | str | None
    overlay: int | str | None
    block_io: Literal["sync", "async"] | None
    volumes: _Volumes | None
    allow_system_mounts: bool | None
    workdir: _Path | None
    user: str | None
    ports: _Ports | None
    net: bool | None
    net_backend: Literal["tsi", "virtio-net"] | None
    dns: str | None
    dns_options: Sequence[str] | None
    ssh_agent: bool | None
    cuda: bool | None
    auto_graph: bool | None
    force_extract: bool | None
    debug: bool | None


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
    memory: int | str | None
    storage: int | str | None
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


class SpawnOptions(TypedDict, total=False):
    """The keywords of `Machine.spawn`: those of `exec` that have a meaning there."""

    env: Mapping[str, str] | None
    secrets: Mapping[str, str | Secret] | None
    workdir: _Path | None
    user: str | None


class PopenOptions(SpawnOptions, total=False):
    """The keywords of `Machine.popen`.

    Attributes:
        timeout: Seconds after which the command is killed in the guest.
        stdin: Whether there is an input to write to.
        grace: Seconds that the command has at the end of a `with` to end by itself, before it is terminated; default 5.
            None: as long as it takes.
    """

    timeout: float | None
    stdin: bool
    grace: float | None


class ExecOptions(TypedDict, total=False):
    """The keywords of `Machine.exec`, which `Machine.sh` takes too."""

    check: bool
    env: Mapping[str, str] | None
    secrets: Mapping[str, str | Secret] | None
    workdir: _Path | None
    user: str | None
    timeout: float | None
    input: bytes | str | None

"""The keyword arguments of the handles' methods, for type checkers and `help`. No module imports this one at run time."""

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
    """The options of `client.machine(name, ...)`, all by keyword. None is the engine's default.

    Paths of files and directories are those of the engine's host; where that is another one, they must be absolute.

    Source (a bare machine if none of these is given):
        image: A registry reference, a `docker save` archive (`./app.tar`) or an unpacked root file system (`./rootfs/`). A
            path given as a str must begin with `./` or `/`; a pathlib path is always a path.
        from_path: A `.smolmachine` pack or a `.smolcheckpoint`. The machine keeps using the file: do not move or delete it.
        smolfile: A Smolfile (TOML).
        at: The generation of a checkpoint.
        keep_identity: Keep the hostname and machine ID of a checkpoint.
        restore_cache_entries, restore_cache_gib: How many restored checkpoints are kept ready (3), and GiB of them (16).
        max_image_size: The largest image, in bytes or as `"16GiB"`. The engine's default is 8 GiB.
        command: The workload of an image machine, which runs at every start.
        init: Shell commands that run once, at the first start.

    Size:
        cpus: Virtual processors, 1 to 255 (default 4).
        memory: MiB, at least 64 (default 8192), or a str with a unit: `"512M"`, `"2GiB"`.
        storage, overlay: GiB of the data disk (default 20), and of the overlay of the root file system (default 10).
        shm_size: Size of /dev/shm: bytes, `"512m"`, or `"25%"` of the memory.

    Disks and directories:
        volumes: Host directories to mount: `{host: guest}` or `{host: (guest, "ro")}`; or a list of `(host, guest)`,
            `(host, guest, mode)` and `"HOST:GUEST[:ro|rw|staged]"`. The host path must exist, the guest path be absolute.
        disks: Raw images or block devices, as `"PATH[:ro]"`.
        cache_disks: Cache disks, as `"BASE:/PATH"`.
        block_io: The host's block I/O engine.
        disk_durability: "full" (default): a guest's fsync waits for the host's disk. "deferred": it does not.
        allow_system_mounts: Allow volumes to show the host's /etc and /var/log below /host. Not for untrusted guests.

    Network (none by default; each option that restricts it also enables it):
        net: Enable outbound access.
        allow_cidrs, allow_hosts, allow_host_patterns, allow_udp: Allow lists. After create they are read back where the
            engine shows them. If its record differs, PolicyNotRecordedError is raised and the machine is deleted.
        deny_cidrs, block_private, allow_private, outbound_localhost_only: Further restrictions, and exceptions from them.
        ports: Ports published on the host: `{8080: 80}` (host: guest); or a list of `8080` (the same on both sides),
            `(8080, 80)` (host, guest) and `"8000-8010:8000-8010/udp"`.
        dns: The resolver's IPv4 address.
        dns_options: Options of resolv.conf.
        net_backend, guest_subnet, network: The backend, the guest's subnet, a named network.
        use_host_proxy, trust_host_certs: Give the guest the host's proxy, and the host's trusted certificates.
        credentials: `"NAME=ENV_VAR@HOST[,HOST...][:body][:set-header=HEADER]"`. The guest sees only a placeholder.
        expose_sockets, mount_sockets: Unix sockets out of the guest, and into it.
        docker_socket, ssh_agent: The host's Docker socket, and its SSH agent, in the guest.

    Devices:
        gpu, gpu_vram: A virtual GPU, and its memory in MiB.
        cuda, auto_graph: CUDA; and CUDA graphs of compiled regions, in frameworks that support it.
        nested: KVM in the guest.
        rosetta: Rosetta in the guest (macOS).

    Workload:
        env: Variables. The engine stores their values unencrypted: use `secrets` for secrets.
        secrets: {guest variable: Secret(...) or its value}. The engine records only names. This handle passes the values
            with each start and command. A handle in another process must be given them again.
        secret_env: {guest variable: host variable}. The engine reads the host variable at every start and exec, in its own
            environment: SubprocessRunner(env={host variable: ...}).
        secret_files, secret_keychain: {guest variable: absolute path}, {guest variable: service[/account]}.
        workdir, user: The directory in which the workload and commands run, and the user.
        stop_on_exit: Stop the machine when the workload exits, whatever its exit status.
        stop_signal, stop_timeout: The signal that stops the workload, and the seconds (1 to 300) before it is killed.
        labels: Any text; the engine only stores it.
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
    """The options of `machine.start(...)` besides timeout. `client.machine(...)` takes them, too, for its `with` block.

    Attributes:
        branchable: Allow to branch the machine while it runs (engine >= 1.0.0).
        branch_pool_size: Plan the CUDA memory for this many branches that run at a time.
        cuda_vram_limit_mib: MiB of CUDA memory for each of them, instead of the engine's choice.
        seed_digest_ttl: Seconds for which the digest of an image is cached.
        egress_interceptor: `"ADDRESS:PORT"` of a host program that decides what the guest may reach.
        mediated_egress: Require such a decision before each outbound TCP connection.
        proxy, no_proxy: The proxy for pulling the image, and the hosts without it.
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
    """The options of `client.machine(...)`: MachineOptions and StartOptions."""


class BranchOptions(TypedDict, total=False):
    """The options of `machine.branch(...)`.

    Attributes:
        branchable: Allow to branch the new machine, too.
        env: Parameters of the branch. Its workload gets them from `smolvm-branch-ready`.
        labels: Labels in addition to the source's, or instead of them (engine >= 1.29.0).
        ports: Published ports. Default: those of the source, with other numbers on the host.
        secret_env, secret_files, secret_keychain: As for `client.machine`.
        wait_ready, no_wait_ready: Wait, or do not wait, until the source's workload runs `smolvm-branch-ready`. The default
            is not to wait for one branch, and to wait for several.
        ready_timeout, worker_ready_timeout: How long to wait: `"30s"`, `"5m"`.
        wait_worker_ready: Wait until the new machine's workload runs `smolvm-worker-ready`.
        hold: Keep the new machine from running until `release()`.
        freeze_source: Leave the source paused, as a base for more branches.
        parallel: With `branch_many`: how many boot at a time (default 4).
        share_weights: Share the CUDA weights with the source instead of copying them.
        egress_interceptor: As for `start`.
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
    """The options of `machine.update(...)`. Names and values are those of MachineOptions.

    Attributes:
        cpus, memory, storage, overlay, shm_size, block_io, disk_durability, workdir, gpu, rosetta: New values.
        env, volumes, ports, allow_hosts, allow_host_patterns, allow_cidrs, allow_udp: Added to the existing ones.
        remove_env, remove_volumes, remove_ports, remove_allow_hosts, remove_allow_cidrs, remove_allow_udp: Removed.
        net, no_net, no_gpu, no_rosetta, no_egress_interceptor: Switched on or off.
        outbound_localhost_only: Add the localhost networks to the allow list.
        reset_allow_list: Start from an empty allow list.
        dns_options, clear_dns_options: New resolver options, or none.
        allow_system_mounts: As for `client.machine`.
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
    remove_ports: _Ports | None
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
    """The options of `machine.checkpoint(...)`.

    Attributes:
        store: A directory whose chunks are reused. The output is then a directory on the same file system.
        history: How many earlier generations to keep (default 32).
        staging_dir: The directory for large temporary files.
        host_mounts: Keep the mounts of host directories. The checkpoint then needs a host with the same paths.
        proxy, no_proxy: The proxy for pulling the image, and the hosts without it.
    """

    store: _Path | None
    history: int | None
    staging_dir: _Path | None
    host_mounts: bool | None
    proxy: str | None
    no_proxy: str | None


class MonitorOptions(TypedDict, total=False):
    """The options of `machine.monitor(...)`.

    Attributes:
        restart: When to restart the machine.
        health_command: A command line for the guest's `sh -c`.
        health_timeout: Seconds that a health check may take.
        interval: Seconds between two health checks.
        health_retries: Failed checks before a restart.
        egress_interceptor: As for `start`, at each restart.
    """

    restart: Literal["never", "always", "on-failure", "unless-stopped"] | None
    health_command: str | None
    health_timeout: int | None
    health_retries: int | None
    interval: int | None
    egress_interceptor: str | None


class RunOptions(MachineOptions, total=False):
    """The options of `client.run(...)`: MachineOptions without those of checkpoints, labels and stopping, and these.

    Attributes:
        timeout: Seconds for the command; the boot is not counted.
        input: Data for the command's stdin; text as UTF-8.
        platform: The image's platform: `"linux/arm64"`, `"linux/amd64"`.
        allow_host_loopback: Let the guest reach the host's loopback interface.
        unprivileged: Run in a container with restricted capabilities.
        docker_config: Give the machine the host's ~/.docker.
        oci_cache: Cache the pulled image on the host, so that the next run does not pull it.
        no_init_cache, rebuild_init_cache: Ignore, or rebuild, the cache of what `init` did.
        seed_digest_ttl, proxy, no_proxy: As for `start`.
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
    """The options of `client.pack_run(...)`. Names and values are those of MachineOptions and RunOptions.

    Attributes:
        force_extract: Unpack the pack's files again.
        debug: Make the engine print more.
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
    """The options of `client.pack_create(...)` besides image and output.

    Attributes:
        from_machine: A stopped machine to pack instead of an image.
        smolfile: A Smolfile (TOML) for the workload.
        entrypoint: The entrypoint, instead of the image's.
        cpus, memory, gpu: The size of machines from this pack; memory in MiB.
        storage: GiB of the temporary machine that unpacks the image.
        platform: `"linux/arm64"`, `"linux/amd64"`; default: the host's.
        single_file: Write one executable, without a `.smolmachine` beside it.
        no_sign: Do not sign the code (macOS).
        include_workspace: Pack the machine's /workspace, too.
        rebase_from_image: Pull the base image again.
        staging_dir: The directory for large temporary files.
        dns, proxy, no_proxy: The resolver and the proxy for the pull, and the hosts without it.
    """

    from_machine: str | None
    smolfile: _Path | None
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
    staging_dir: _Path | None
    dns: str | None
    proxy: str | None
    no_proxy: str | None


class SpawnOptions(TypedDict, total=False):
    """The options of `Machine.spawn` and `Machine.terminal`: those of `exec`, without `check`, `timeout` and `input`.

    Attributes:
        env: Variables of the command.
        secrets: Variables of the command whose values are in no argv.
        workdir: Where it runs: an absolute path in the guest.
        user: As whom it runs: as for exec.
    """

    env: Mapping[str, str] | None
    secrets: Mapping[str, str | Secret] | None
    workdir: _Path | None
    user: str | None


class PopenOptions(SpawnOptions, total=False):
    """The options of `Machine.popen` besides `text`.

    Attributes:
        stderr: As for exec.
        timeout: Seconds after which the command is killed in the guest.
        stdin: True for a stdin to write to.
        grace: Seconds that the command gets at the end of a `with` block to exit by itself, before it is terminated
            (default 5). None waits without a limit.
    """

    stderr: Literal["stdout"] | int | None
    timeout: float | None
    stdin: bool
    grace: float | None


class ExecOptions(TypedDict, total=False):
    """The options of `Machine.exec`, which `Machine.sh` takes, too."""

    check: bool
    env: Mapping[str, str] | None
    secrets: Mapping[str, str | Secret] | None
    workdir: _Path | None
    user: str | None
    timeout: float | None
    input: bytes | str | None
    stderr: Literal["stdout"] | int | None
    output_limit: int | None
    on_limit: Literal["raise", "truncate"]

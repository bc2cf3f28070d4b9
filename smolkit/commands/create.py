"""`machine create`: what a machine is made of, how the engine is told, and whether it recorded the policy asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, Literal, TypedDict

from attrs import field, frozen

from smolkit import checks
from smolkit.commands import options
from smolkit.commands.base import LONG, Silent, option
from smolkit.dialect import Dialect
from smolkit.errors import PolicyNotRecordedError, UnsupportedByEngineError
from smolkit.values import Hidden, MachineInfo

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


@frozen
class MachineSpec:
    """What a machine is made of: MachineOptions, checked and frozen. Made by `MachineSpec.of`."""

    chosen: options.Chosen = ()
    env: tuple[tuple[str, Hidden], ...] = ()
    command: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> MachineSpec:
        """The spec of these MachineOptions.

        Raises:
            TypeError, ValueError: an option is unknown, or its value cannot be right.
        """
        checks.known("a machine", given, MachineOptions.__annotations__)
        rest = {name: value for name, value in given.items() if name not in {"env", "command"}}
        chosen = dict(options.choose("a machine", options.CREATE, rest))
        if any(options.CREATE[name].policy for name in chosen):
            if given.get("net") is False:
                raise ValueError("net=False and a network policy: leave one of them out")
            chosen["net"] = (None,)  # without it some engines record neither a network nor the policy
        if "image" in chosen and "from_path" in chosen:
            raise ValueError("image and from_path: a machine comes from one of them")
        command = given.get("command")
        return cls(
            tuple((name, chosen[name]) for name in options.CREATE if name in chosen),
            checks.hidden_pairs("env", given.get("env")),
            () if command is None else checks.words("command", command),
        )

    @property
    def has_policy(self) -> bool:
        """Whether it restricts the network."""
        return any(options.CREATE[name].policy for name, _ in self.chosen)

    def check_recorded(self, info: MachineInfo) -> None:
        """Nothing, if the engine recorded the network policy that was asked: no less, and where that can be told no more.

        deny_cidrs, allow_udp, allow_host_patterns, block_private and allow_private are not in the record that the engine
        shows (1.32.2): of them, only that there is a network to restrict can be seen.

        Raises:
            PolicyNotRecordedError: it did not.
        """
        if wrong := "; ".join(self._unrecorded(info)):
            raise PolicyNotRecordedError(
                f"machine {info.name!r}: the engine's record of its network policy is wrong: {wrong}"
            )

    def _unrecorded(self, info: MachineInfo) -> Iterator[str]:
        asked = dict(self.chosen)
        if info.network is not True:
            yield f"network: {info.network}, not True"
        for name, recorded in (("allow_cidrs", info.allowed_cidrs), ("allow_hosts", info.allowed_hosts)):
            if missing := {str(value) for value in asked.get(name, ())} - set(recorded or ()):
                yield f"{name} without {', '.join(sorted(missing))}"
        yield from self._too_wide(asked, info)

    def _too_wide(self, asked: Mapping[str, tuple[str | None, ...]], info: MachineInfo) -> Iterator[str]:
        if "outbound_localhost_only" in asked and not info.allowed_cidrs:
            yield "outbound_localhost_only without an allow list"
        # Hosts bring their addresses, images their registry's; a Smolfile or a pack may hold lists of its own.
        if "allow_cidrs" not in asked or asked.keys() & {
            "allow_hosts",
            "allow_host_patterns",
            "image",
            "smolfile",
            "from_path",
        }:
            return
        expected = {*asked["allow_cidrs"], *(("127.0.0.0/8", "::1/128") if "outbound_localhost_only" in asked else ())}
        if extra := set(info.allowed_cidrs or ()) - expected:
            yield f"allow_cidrs with {', '.join(sorted(extra))} besides"


def _no_spec() -> MachineSpec:
    return MachineSpec()


@frozen
class Create(Silent):
    """`machine create`."""

    BOUND: ClassVar[float | None] = LONG

    name: str = field(converter=checks.name)
    spec: MachineSpec = field(factory=_no_spec)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:  # noqa: D102
        chosen = dict(self.spec.chosen)
        if "from_path" in chosen and "smolfile" in chosen and not dialect.classic:
            raise UnsupportedByEngineError("machine create with --from and --smolfile", "1.0.1 or older", str(dialect))
        if self.spec.has_policy:
            dialect.require("allow lists in ls")  # a policy that cannot be read back cannot be trusted
        if self.spec.command:
            dialect.require("machine create COMMAND")
        words = [*options.argv("machine create", options.CREATE, self.spec.chosen, dialect)]
        for key, value in self.spec.env:
            words += option("-e", f"{key}={value.reveal()}")
        tail = ("--", *self.spec.command) if self.spec.command else ()
        return dialect.words("machine", "create", *words, *dialect.name("create", self.name), *tail)

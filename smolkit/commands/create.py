"""`machine create`: the spec of a machine, its arguments, and the check that the engine recorded its network policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from attrs import field, frozen

from smolkit import values
from smolkit.commands import option_tables, options, secret_args
from smolkit.commands.base import LONG, Silent
from smolkit.commands.converters import machine_name
from smolkit.commands.dialect import Dialect
from smolkit.errors import PolicyNotRecordedError, UnsupportedByEngineError
from smolkit.values import keywords, validate
from smolkit.values.hidden import Hidden, hide_options
from smolkit.values.port_pairs import port_pairs

LOCALHOST = ("127.0.0.0/8", "::1/128")  # what outbound_localhost_only adds to the allowed CIDRs
_NOT_IN_THE_TABLE = frozenset({"env", "command", "secrets"})
# These add CIDRs of their own: hosts their addresses, images their registry's, a Smolfile or a pack its own lists.
_BRING_MORE = frozenset({"allow_hosts", "allow_host_patterns", "image", "smolfile", "from_path"})


@frozen
class MachineSpec:
    """The options that a machine is created with: MachineOptions, validated and immutable. Made by `MachineSpec.of`.

    Attributes:
        chosen: The options that are rows of the table `CREATE`, with their values as the engine reads them.
        env: Variables of the machine's workload and commands.
        command: The workload: a program and its arguments.
        secrets: Variables whose values are in no argv and on no record.
    """

    chosen: options.Chosen = field(default=(), repr=options.shown)
    env: tuple[tuple[str, Hidden], ...] = ()
    command: tuple[str, ...] = ()
    secrets: secret_args.Secrets = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> MachineSpec:
        """The spec of these MachineOptions.

        Raises:
            TypeError, ValueError: an option is unknown, or its value is invalid.
        """
        given = hide_options(given)
        keywords.known("a machine", given, {*option_tables.CREATE, *_NOT_IN_THE_TABLE})
        command = given.get("command")
        env, secrets = (validate.hidden_pairs("env", given.get("env")), validate.secrets("secrets", given.get("secrets")))
        validate.disjoint(env, secrets)
        return cls(
            _choose(given),
            env,
            () if command is None else validate.words("command", command),
            secrets,
        )

    @property
    def has_policy(self) -> bool:
        """True if it restricts the network."""
        return _has_policy(name for name, _ in self.chosen)

    @property
    def ports(self) -> tuple[tuple[int, int], ...]:
        """The TCP ports to publish, as pairs (host, guest); ranges are expanded."""
        return tuple(pair for words in dict(self.chosen).get("ports", ()) for pair in port_pairs(str(words)))

    @property
    def workdir(self) -> str | None:
        """Where its commands run by default; None for the engine's or the image's own default."""
        return next((str(value) for value in dict(self.chosen).get("workdir", ())), None)

    def check_recorded(self, info: values.MachineInfo) -> None:
        """Raise unless the engine recorded this network policy: nothing missing, and nothing extra where that is visible.

        The engine does not show deny_cidrs, allow_udp, allow_host_patterns, block_private and allow_private (1.32.2). For
        these the only check is that the machine has a network.

        Raises:
            PolicyNotRecordedError: the record differs.
        """
        _raise_if_any(self._unrecorded(info), info)

    def _unrecorded(self, info: values.MachineInfo) -> Iterator[str]:
        asked = dict(self.chosen)
        if info.network is not True:
            yield f"network: {info.network}, not True"
        yield from _missing_from(asked, info)
        yield from self._too_wide(asked, info)

    def _too_wide(self, asked: Mapping[str, tuple[object, ...]], info: values.MachineInfo) -> Iterator[str]:
        if "outbound_localhost_only" in asked and not info.allowed_cidrs:
            yield "outbound_localhost_only without an allow list"
        if "allow_cidrs" not in asked or asked.keys() & _BRING_MORE:
            return
        expected = {*asked["allow_cidrs"], *(LOCALHOST if "outbound_localhost_only" in asked else ())}
        if extra := set(info.allowed_cidrs or ()) - expected:
            yield f"allow_cidrs with {', '.join(sorted(extra))} besides"


def _choose(given: Mapping[str, Any]) -> options.Chosen:
    rest = {name: value for name, value in given.items() if name not in _NOT_IN_THE_TABLE}
    chosen = dict(options.choose("a machine", option_tables.CREATE, rest))
    if "image" in chosen and "from_path" in chosen:
        raise ValueError("image and from_path must not be given together: a machine comes from one of them")
    if _has_policy(chosen):
        if given.get("net") is False:
            raise ValueError("net=False and a network policy must not be given together: leave one of them out")
        chosen["net"] = (None,)  # without it some engines record neither a network nor the policy
    return tuple((name, chosen[name]) for name in option_tables.CREATE if name in chosen)


def _has_policy(names: Iterable[str]) -> bool:
    return any(option_tables.CREATE[name].policy for name in names)


def check_lists(asked: Mapping[str, tuple[object, ...]], info: values.MachineInfo) -> None:
    """Raise unless the engine recorded these allow lists: those of CIDRs and of hosts, which it shows.

    Raises:
        PolicyNotRecordedError: an entry is missing.
    """
    _raise_if_any(_missing_from(asked, info), info)


def _missing_from(asked: Mapping[str, tuple[object, ...]], info: values.MachineInfo) -> Iterator[str]:
    for name, recorded in (("allow_cidrs", info.allowed_cidrs), ("allow_hosts", info.allowed_hosts)):
        if missing := {str(value) for value in asked.get(name, ())} - set(recorded or ()):
            yield f"{name} without {', '.join(sorted(missing))}"


def _raise_if_any(differences: Iterable[str], info: values.MachineInfo) -> None:
    if wrong := "; ".join(differences):
        raise PolicyNotRecordedError(f"machine {info.name!r}: the engine's record of its network policy is wrong: {wrong}")


@frozen
class Create(Silent):
    """`machine create`: creates a machine without starting it.

    Attributes:
        name: The machine.
        spec: Its options.
        marks: Labels that say which program owns it. They differ from process to process, so `==` ignores them.
    """

    BOUND: ClassVar[float | None] = LONG
    FINISH: ClassVar[bool] = True

    name: str = field(converter=machine_name)
    spec: MachineSpec = field(factory=MachineSpec)
    marks: tuple[tuple[str, str], ...] = field(default=(), eq=False, repr=False, kw_only=True)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        self._check(dialect)
        flags = [*options.argv("machine create", option_tables.CREATE, self.spec.chosen, dialect)]
        flags += options.variables(self.spec.env)
        flags += secret_args.arguments("machine create", self.spec.secrets, dialect, secret_args.MACHINES)
        if dialect.supports("machine create --label"):
            flags += (word for key, mark in self.marks for word in ("--label", f"{key}={mark}"))
        tail = ("--", *self.spec.command) if self.spec.command else ()
        return dialect.argv("machine create", *flags, *dialect.name("create", self.name), *tail)

    def _check(self, dialect: Dialect) -> None:
        """Raise if this version lacks something that is no flag."""
        if {"from_path", "smolfile"} <= dict(self.spec.chosen).keys() and not dialect.classic:
            raise UnsupportedByEngineError("machine create with --from and --smolfile", "1.0.1 or older", str(dialect))
        if self.spec.has_policy:
            dialect.require("allow lists in ls")  # a policy that cannot be read back cannot be trusted
        if self.spec.command:
            dialect.require("machine create COMMAND")

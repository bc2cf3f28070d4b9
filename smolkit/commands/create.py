"""`machine create`: what a machine is made of, how the engine is told, and whether it recorded the policy asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from attrs import field, frozen

from smolkit.commands import option_tables, options, secret_args
from smolkit.commands.base import LONG, Silent
from smolkit.commands.converters import machine_name
from smolkit.commands.dialect import Dialect
from smolkit.errors import PolicyNotRecordedError, UnsupportedByEngineError
from smolkit.values import validate
from smolkit.values.hidden import Hidden, hide_options
from smolkit.values.results import MachineInfo

# Hosts bring their addresses, images their registry's; a Smolfile or a pack may hold lists of its own.
_BRING_MORE = frozenset({"allow_hosts", "allow_host_patterns", "image", "smolfile", "from_path"})


@frozen
class MachineSpec:
    """What a machine is made of: MachineOptions, checked and frozen. Made by `MachineSpec.of`."""

    chosen: options.Chosen = field(default=(), repr=options.shown)
    env: tuple[tuple[str, Hidden], ...] = ()
    command: tuple[str, ...] = ()
    secrets: secret_args.Secrets = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> MachineSpec:
        """The spec of these MachineOptions.

        Raises:
            TypeError, ValueError: an option is unknown, or its value cannot be right.
        """
        given = hide_options(given)
        validate.known("a machine", given, {*option_tables.CREATE, "env", "command", "secrets"})
        rest = {name: value for name, value in given.items() if name not in {"env", "command", "secrets"}}
        chosen = dict(options.choose("a machine", option_tables.CREATE, rest))
        if any(option_tables.CREATE[name].policy for name in chosen):
            if given.get("net") is False:
                raise ValueError("net=False and a network policy: leave one of them out")
            chosen["net"] = (None,)  # without it some engines record neither a network nor the policy
        if "image" in chosen and "from_path" in chosen:
            raise ValueError("image and from_path: a machine comes from one of them")
        command = given.get("command")
        return cls(
            tuple((name, chosen[name]) for name in option_tables.CREATE if name in chosen),
            validate.hidden_pairs("env", given.get("env")),
            () if command is None else validate.words("command", command),
            validate.secrets("secrets", given.get("secrets")),
        )

    @property
    def has_policy(self) -> bool:
        """Whether it restricts the network."""
        return any(option_tables.CREATE[name].policy for name, _ in self.chosen)

    @property
    def ports(self) -> tuple[tuple[int, int], ...]:
        """The TCP ports to be published, (host, guest) each; ranges taken apart."""
        return tuple(pair for words in dict(self.chosen).get("ports", ()) for pair in options.port_pairs(str(words)))

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
        if missing := missing_from(asked, info):
            yield missing
        yield from self._too_wide(asked, info)

    def _too_wide(self, asked: Mapping[str, tuple[object, ...]], info: MachineInfo) -> Iterator[str]:
        if "outbound_localhost_only" in asked and not info.allowed_cidrs:
            yield "outbound_localhost_only without an allow list"
        if "allow_cidrs" not in asked or asked.keys() & _BRING_MORE:
            return
        expected = {*asked["allow_cidrs"], *(("127.0.0.0/8", "::1/128") if "outbound_localhost_only" in asked else ())}
        if extra := set(info.allowed_cidrs or ()) - expected:
            yield f"allow_cidrs with {', '.join(sorted(extra))} besides"


def missing_from(asked: Mapping[str, tuple[object, ...]], info: MachineInfo) -> str:
    """What of these allow lists is not on record, or ""."""
    wrong = []
    for name, recorded in (("allow_cidrs", info.allowed_cidrs), ("allow_hosts", info.allowed_hosts)):
        if missing := {str(value) for value in asked.get(name, ())} - set(recorded or ()):
            wrong.append(f"{name} without {', '.join(sorted(missing))}")
    return "; ".join(wrong)


@frozen
class Create(Silent):
    """`machine create`."""

    BOUND: ClassVar[float | None] = LONG
    FINISH: ClassVar[bool] = True

    name: str = field(converter=machine_name)
    spec: MachineSpec = field(factory=MachineSpec)
    # Whose it is. No part of what is asked: it differs from process to process.
    marks: tuple[tuple[str, str], ...] = field(default=(), eq=False, repr=False, kw_only=True)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        chosen = dict(self.spec.chosen)
        if "from_path" in chosen and "smolfile" in chosen and not dialect.classic:
            raise UnsupportedByEngineError("machine create with --from and --smolfile", "1.0.1 or older", str(dialect))
        if self.spec.has_policy:
            dialect.require("allow lists in ls")  # a policy that cannot be read back cannot be trusted
        if self.spec.command:
            dialect.require("machine create COMMAND")
        words = [*options.argv("machine create", option_tables.CREATE, self.spec.chosen, dialect)]
        words += options.variables(self.spec.env)
        words += secret_args.words("machine create", self.spec.secrets, dialect, secret_args.MACHINES)
        if dialect.supports("machine create --label"):
            for key, mark in self.marks:
                words += ("--label", f"{key}={mark}")
        tail = ("--", *self.spec.command) if self.spec.command else ()
        return dialect.argv("machine create", *words, *dialect.name("create", self.name), *tail)

"""`smolvm pack`: create, push, pull, inspect, list and prune packs. `pack run` is in `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar

from attrs import field, frozen

from smolkit import values
from smolkit.commands import option_tables, options
from smolkit.commands.base import Silent, option
from smolkit.commands.dialect import Dialect
from smolkit.commands.options import Option
from smolkit.commands.parse import dict_of, dicts_of
from smolkit.commands.verb import SilentVerb, TextVerb, Verb
from smolkit.values import validate
from smolkit.values.hidden import hide_options


@frozen
class PackCreate(Silent):
    """`pack create`: packs an image or a machine into a file. No time limit, as it may pull an image of any size.

    Made by `PackCreate.of`.

    Attributes:
        output: The program to write; the pack stands beside it.
        chosen: PackOptions, as `options.choose` returns them.
    """

    BOUND: ClassVar[float | None] = None

    output: str
    chosen: options.Chosen = field(repr=False)

    @classmethod
    def of(cls, output: str | PathLike[str], given: Mapping[str, Any]) -> PackCreate:
        """The command with these PackOptions, validated.

        Raises:
            TypeError, ValueError: an option is unknown, its value is invalid, or neither an image nor a machine is given.
        """
        given = hide_options(given)
        chosen = options.choose("a pack", option_tables.PACK, given)
        if len({"image", "from_machine"} & dict(chosen).keys()) != 1:
            raise ValueError("image or from_machine must be given, and only one of them")
        return cls(validate.path("output", output), chosen)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        flags: Sequence[str] = options.argv("pack create", option_tables.PACK, self.chosen, dialect)
        return dialect.argv("pack create", *flags, *option("-o", self.output))


@frozen
class PackPush(SilentVerb):
    """`pack push`: pushes a pack to a registry."""

    VERB: ClassVar[str] = "pack push"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"file": Option("--file", options.path)}
    BOUND: ClassVar[float | None] = None


@frozen
class PackPull(SilentVerb):
    """`pack pull`: pulls a pack from a registry."""

    VERB: ClassVar[str] = "pack pull"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"output": Option("--output", options.path)}
    BOUND: ClassVar[float | None] = None


@frozen
class PackInspect(Verb[dict[str, Any]]):
    """`pack inspect --json`: the manifest of a pack in a registry."""

    VERB: ClassVar[str] = "pack inspect"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "object"

    def answer(self, completed: values.Completed) -> dict[str, Any]:
        return dict_of(completed)


@frozen
class PackList(Verb[tuple[Any, ...]]):
    """`pack list --json`: the records of the packs that the engine has unpacked, unchanged."""

    VERB: ClassVar[str] = "pack list"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "list"

    def answer(self, completed: values.Completed) -> tuple[Any, ...]:
        return tuple(dicts_of(completed))


@frozen
class PackPrune(TextVerb):
    """`pack prune`: removes unpacked packs that nothing needs. The answer is text."""

    VERB: ClassVar[str] = "pack prune"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.PACK_PRUNE


@frozen
class PackInfo(TextVerb):
    """`pack run --info`: the manifest of a pack file, as text."""

    VERB: ClassVar[str] = "pack run"
    FIXED: ClassVar[tuple[str, ...]] = ("--info",)
    OPTIONS: ClassVar[Mapping[str, Option]] = {"sidecar": Option("--sidecar", options.path)}

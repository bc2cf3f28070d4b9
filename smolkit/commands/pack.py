"""`smolvm pack`: packs are made, pushed, pulled, listed and removed. `pack run` is in `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen

from smolkit.commands import option_tables, options
from smolkit.commands.base import Silent, option
from smolkit.commands.options import Option
from smolkit.commands.parse import dict_of, dicts_of
from smolkit.commands.verb import Done, Said, Verb
from smolkit.values import validate
from smolkit.values.hidden import hide_options

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.values.results import Completed


@frozen
class PackCreate(Silent):
    """`pack create`. Unbounded: it may pull an image of any size. Made by `PackCreate.of`."""

    BOUND: ClassVar[float | None] = None

    output: str
    chosen: options.Chosen = field(repr=False)

    @classmethod
    def of(cls, output: str | PathLike[str], given: Mapping[str, Any]) -> PackCreate:
        """The command for these options.

        Raises:
            TypeError, ValueError: an option is unknown, its value cannot be right, or nothing is named to pack.
        """
        given = hide_options(given)
        chosen = options.choose("a pack", option_tables.PACK, given)
        if len({"image", "from_machine"} & dict(chosen).keys()) != 1:
            raise ValueError("a pack is made from an image or from a machine: name one of them")
        return cls(validate.path("output", output), chosen)

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        words: Sequence[str] = options.argv("pack create", option_tables.PACK, self.chosen, dialect)
        return dialect.argv("pack create", *words, *option("-o", self.output))


@frozen
class PackPush(Done):
    """`pack push`: a pack to a registry."""

    WORDS: ClassVar[str] = "pack push"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"file": Option("--file", options.path)}
    BOUND: ClassVar[float | None] = None


@frozen
class PackPull(Done):
    """`pack pull`: a pack from a registry."""

    WORDS: ClassVar[str] = "pack pull"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"output": Option("--output", options.path)}
    BOUND: ClassVar[float | None] = None


@frozen
class PackInspect(Verb["dict[str, Any]"]):
    """`pack inspect --json`: a registry's manifest of a pack."""

    WORDS: ClassVar[str] = "pack inspect"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "object"

    def answer(self, completed: Completed) -> dict[str, Any]:
        return dict_of(completed)


@frozen
class PackList(Verb[tuple[Any, ...]]):
    """`pack list --json`: the engine's records of the packs it has unpacked, as they are."""

    WORDS: ClassVar[str] = "pack list"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "list"

    def answer(self, completed: Completed) -> tuple[Any, ...]:
        return tuple(dicts_of(completed))


@frozen
class PackPrune(Said):
    """`pack prune`: unpacked packs that nothing needs."""

    WORDS: ClassVar[str] = "pack prune"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.PACK_PRUNE


@frozen
class PackInfo(Said):
    """`pack run --info`: a pack file's manifest, as text."""

    WORDS: ClassVar[str] = "pack run"
    FIXED: ClassVar[tuple[str, ...]] = ("--info",)
    OPTIONS: ClassVar[Mapping[str, Option]] = {"sidecar": Option("--sidecar", options.path)}

"""The subcommands that few programs use, one class each: of machines, checkpoints and the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from smolkit.commands import option_tables, options, secret_args
from smolkit.commands.base import LONG
from smolkit.commands.observing import egress_event, stats
from smolkit.commands.options import Option, integer, switch
from smolkit.commands.parse import dict_of, dicts_of, list_of
from smolkit.commands.verb import Done, Followed, Said, Verb
from smolkit.values.observed import EgressEvent, Stats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smolkit.commands.dialect import Dialect
    from smolkit.values.results import Completed


@frozen
class Update(Done):
    """`machine update`: of a stopped machine, but for its allow lists. Nothing is changed where it fails."""

    WORDS: ClassVar[str] = "machine update"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.UPDATE
    NEEDS: ClassVar[str] = "something to change: cpus=2, say"
    FINISH: ClassVar[bool] = True


@frozen
class Resize(Done):
    """`machine resize`: processors and memory of a running machine, its disks for the next start; they only grow."""

    WORDS: ClassVar[str] = "machine resize"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.RESIZE
    NEEDS: ClassVar[str] = "something to change: cpus, memory, storage or overlay"
    FINISH: ClassVar[bool] = True


@frozen
class Pause(Done):
    """`machine pause`: its memory goes to disk and its process ends."""

    WORDS: ClassVar[str] = "machine pause"
    BOUND: ClassVar[float | None] = LONG
    FINISH: ClassVar[bool] = True


@frozen
class Resume(Done):
    """`machine resume`: a paused machine runs on, with the memory it had."""

    WORDS: ClassVar[str] = "machine resume"
    BOUND: ClassVar[float | None] = LONG
    BOOTS: ClassVar[bool] = True
    FINISH: ClassVar[bool] = True


@frozen
class Branch(Done):
    """`machine branch`, which engines before 1.14.0 call fork. `operands` is the source; `name` the child, if it is one."""

    WORDS: ClassVar[str] = "machine branch"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.BRANCH
    BOUND: ClassVar[float | None] = LONG
    BOOTS: ClassVar[bool] = True
    FINISH: ClassVar[bool] = True

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        (source,) = self.operands
        verb = "branch" if dialect.supports(self.WORDS) else "fork"
        words: list[str] = []
        if dialect.supports(f"machine {verb} --secret-env"):  # else the child has what its source has on record
            words += secret_args.words(f"machine {verb}", self._inherited(), dialect, secret_args.MACHINES)
        words += options.argv(f"machine {verb}", self.OPTIONS, self.chosen, dialect)
        words += options.variables(self.env)
        child = () if self.name is None else ("--name", self.name)
        if dialect.classic:
            return dialect.argv(f"machine {verb}", *words, source, *child[1:])
        return dialect.argv(f"machine {verb}", *words, "--from" if verb == "branch" else "--golden", source, *child)

    def _inherited(self) -> secret_args.Secrets:
        """The secrets of the source, but for those that the child has others for: the engine takes each name once."""
        own = {str(pair).partition("=")[0] for key, pairs in self.chosen if key in option_tables.SECRETS for pair in pairs}
        return tuple(pair for pair in self.machine_secrets if pair[0] not in own)


@frozen
class BranchRelease(Done):
    """`machine branch-release`: a child that was branched with hold=True begins to run, with these variables."""

    WORDS: ClassVar[str] = "machine branch-release"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.RELEASE
    BOUND: ClassVar[float | None] = LONG
    FINISH: ClassVar[bool] = True


@frozen
class Checkpoint(Done):
    """`machine checkpoint`: a running machine, memory and disks, into a file (or, with a store, a directory)."""

    WORDS: ClassVar[str] = "machine checkpoint"
    OPTIONS: ClassVar[Mapping[str, Option]] = {**option_tables.CHECKPOINT, "output": Option("--output", options.path)}
    BOUND: ClassVar[float | None] = None


@frozen
class CheckpointLog(Said):
    """`machine checkpoint-log`: what a checkpoint or a store holds, as text."""

    WORDS: ClassVar[str] = "machine checkpoint-log"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.CHECKPOINT_LOG
    NEEDS: ClassVar[str] = "a checkpoint or a store"


@frozen
class CheckpointPrune(Said):
    """`machine checkpoint-prune`: what no checkpoint needs any more goes from a store."""

    WORDS: ClassVar[str] = "machine checkpoint-prune"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.CHECKPOINT_PRUNE
    BOUND: ClassVar[float | None] = LONG


@frozen
class CheckpointWarm(Done):
    """`machine checkpoint-warm`: makes a checkpoint ready, so that the next machine from it starts sooner."""

    WORDS: ClassVar[str] = "machine checkpoint-warm"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.CHECKPOINT_WARM
    BOUND: ClassVar[float | None] = LONG


@frozen
class MountAdd(Done):
    """`machine mount add`: a host folder into a running machine."""

    WORDS: ClassVar[str] = "machine mount add"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"volume": Option("--volume", options.text)}


@frozen
class MountRemove(Done):
    """`machine mount remove`."""

    WORDS: ClassVar[str] = "machine mount remove"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"target": Option("--target", options.guest_path)}


@frozen
class MountLs(Verb[tuple[Any, ...]]):
    """`machine mount ls --json`: the engine's records, as they are."""

    WORDS: ClassVar[str] = "machine mount ls"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "list"

    def answer(self, completed: Completed) -> tuple[Any, ...]:
        return tuple(dicts_of(completed))


@frozen
class Sync(Done):
    """`machine sync`: what a machine wrote to its staged volumes goes to the host."""

    WORDS: ClassVar[str] = "machine sync"
    BOUND: ClassVar[float | None] = LONG


@frozen
class StatsOf(Verb[Stats]):
    """`machine stats --json`."""

    WORDS: ClassVar[str] = "machine stats"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "object"

    def answer(self, completed: Completed) -> Stats:
        return stats(completed)


@frozen
class Logs(Followed[bytes]):
    """`machine logs`: what the machine's workload wrote."""

    WORDS: ClassVar[str] = "machine logs"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"tail": Option("--tail", integer(0)), "follow": Option("--follow", switch)}

    def answer(self, completed: Completed) -> bytes:
        return completed.stdout


@frozen
class EgressEvents(Verb[tuple[EgressEvent, ...]]):
    """`machine egress-events --json`, oldest first. A missing machine has none (1.32.2)."""

    WORDS: ClassVar[str] = "machine egress-events"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "list"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"limit": Option("--limit", integer(1))}

    def answer(self, completed: Completed) -> tuple[EgressEvent, ...]:
        return tuple(egress_event(item, completed) for item in list_of(completed))


@frozen
class Monitor(Followed[None]):
    """`machine monitor`: looks after the machine and starts it again, without end."""

    WORDS: ClassVar[str] = "machine monitor"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.MONITOR

    def answer(self, completed: Completed) -> None:
        return None


@frozen
class Images(Verb["dict[str, Any]"]):
    """`machine images --json`. Boots a stopped machine to answer, and stops it after."""

    WORDS: ClassVar[str] = "machine images"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "object"
    BOUND: ClassVar[float | None] = LONG

    def answer(self, completed: Completed) -> dict[str, Any]:
        return dict_of(completed)


@frozen
class Prune(Said):
    """`machine prune`: a machine's image layers that nothing needs. Boots a stopped machine, and stops it after."""

    WORDS: ClassVar[str] = "machine prune"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.PRUNE
    BOUND: ClassVar[float | None] = LONG


@frozen
class NetworkTest(Said):
    """`machine network-test`: whether a URL can be reached from the machine, as text."""

    WORDS: ClassVar[str] = "machine network-test"


@frozen
class ConfigShow(Said):
    """`config show`."""

    WORDS: ClassVar[str] = "config show"


@frozen
class RegistriesPath(Said):
    """`config registries path`: the file that has them."""

    WORDS: ClassVar[str] = "config registries path"


@frozen
class RegistriesShow(Said):
    """`config registries show`."""

    WORDS: ClassVar[str] = "config registries show"


@frozen
class RegistriesInit(Done):
    """`config registries init`: writes a file to begin with."""

    WORDS: ClassVar[str] = "config registries init"


@frozen
class Cli(Verb["Completed"]):
    """Any words at all; the failures of the engine are smolkit's errors."""

    BOUND: ClassVar[float | None] = None

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.words(*self.operands)

    def answer(self, completed: Completed) -> Completed:
        return completed

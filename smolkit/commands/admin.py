"""The subcommands that few programs use, one class each: of machines, checkpoints and the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from attrs import frozen

from smolkit import values
from smolkit.commands import option_tables, options, secret_args
from smolkit.commands.base import LONG
from smolkit.commands.dialect import Dialect
from smolkit.commands.observing import egress_event, stats
from smolkit.commands.options import Option, integer, switch
from smolkit.commands.parse import dict_of, dicts_of, list_of
from smolkit.commands.verb import FollowedVerb, SilentVerb, TextVerb, Verb
from smolkit.values.observed import EgressEvent, Stats


@frozen
class Update(SilentVerb):
    """`machine update`: changes options of a stopped machine; the allow lists also of a running one.

    If it fails, nothing is changed.
    """

    VERB: ClassVar[str] = "machine update"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.UPDATE
    NEEDS: ClassVar[str] = "something to change, for example cpus=2"
    FINISH: ClassVar[bool] = True


@frozen
class Resize(SilentVerb):
    """`machine resize`: grows the CPUs and memory of a running machine now, and its disks at the next start."""

    VERB: ClassVar[str] = "machine resize"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.RESIZE
    NEEDS: ClassVar[str] = "something to change: cpus, memory, storage or overlay"
    FINISH: ClassVar[bool] = True


@frozen
class Pause(SilentVerb):
    """`machine pause`: saves the machine's memory to disk and ends its process."""

    VERB: ClassVar[str] = "machine pause"
    BOUND: ClassVar[float | None] = LONG
    FINISH: ClassVar[bool] = True


@frozen
class Resume(SilentVerb):
    """`machine resume`: continues a paused machine, with its memory."""

    VERB: ClassVar[str] = "machine resume"
    BOUND: ClassVar[float | None] = LONG
    BOOTS: ClassVar[bool] = True
    FINISH: ClassVar[bool] = True


@frozen
class Branch(SilentVerb):
    """`machine branch` (before 1.14.0: `fork`): makes machines that continue from where the source is.

    `operands` is the source. `name` is the new machine, or None for several or for a name of the engine's choice.
    """

    VERB: ClassVar[str] = "machine branch"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.BRANCH
    BOUND: ClassVar[float | None] = LONG
    BOOTS: ClassVar[bool] = True
    FINISH: ClassVar[bool] = True

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        verb = self.VERB if dialect.supports(self.VERB) else "machine fork"
        flags: list[str] = []
        if dialect.supports(f"{verb} --secret-env"):  # else the child has only the secrets on the source's record
            flags += secret_args.arguments(verb, self._inherited(), dialect, secret_args.MACHINES)
        flags += options.argv(verb, self.OPTIONS, self.chosen, dialect)
        flags += options.variables(self.env)
        return dialect.argv(verb, *flags, *self._family(dialect))

    def _family(self, dialect: Dialect) -> Iterator[str]:
        """The source and the child."""
        (source,) = self.operands
        if not dialect.classic:
            yield "--from" if dialect.supports(self.VERB) else "--golden"
        yield source
        if self.name is not None:
            yield from (self.name,) if dialect.classic else ("--name", self.name)

    def _inherited(self) -> secret_args.Secrets:
        """The source's secrets, without those that the child overrides: the engine accepts each name once."""
        own = {str(pair).partition("=")[0] for key, pairs in self.chosen if key in option_tables.SECRETS for pair in pairs}
        return tuple(pair for pair in self.machine_secrets if pair[0] not in own)


@frozen
class BranchRelease(SilentVerb):
    """`machine branch-release`: lets a child that was branched with hold=True run, with these variables."""

    VERB: ClassVar[str] = "machine branch-release"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.RELEASE
    BOUND: ClassVar[float | None] = LONG
    FINISH: ClassVar[bool] = True


@frozen
class Checkpoint(SilentVerb):
    """`machine checkpoint`: saves a running machine, memory and disks, to a file (with a store: to a directory)."""

    VERB: ClassVar[str] = "machine checkpoint"
    OPTIONS: ClassVar[Mapping[str, Option]] = {**option_tables.CHECKPOINT, "output": Option("--output", options.path)}
    BOUND: ClassVar[float | None] = None


@frozen
class CheckpointLog(TextVerb):
    """`machine checkpoint-log`: lists the content of a checkpoint or a store, as text."""

    VERB: ClassVar[str] = "machine checkpoint-log"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.CHECKPOINT_LOG
    NEEDS: ClassVar[str] = "a checkpoint or a store"


@frozen
class CheckpointPrune(TextVerb):
    """`machine checkpoint-prune`: removes from a store what no checkpoint needs. The answer is text."""

    VERB: ClassVar[str] = "machine checkpoint-prune"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.CHECKPOINT_PRUNE
    BOUND: ClassVar[float | None] = LONG


@frozen
class CheckpointWarm(SilentVerb):
    """`machine checkpoint-warm`: prepares a checkpoint, so that the next machine from it starts sooner."""

    VERB: ClassVar[str] = "machine checkpoint-warm"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.CHECKPOINT_WARM
    BOUND: ClassVar[float | None] = LONG


@frozen
class MountAdd(SilentVerb):
    """`machine mount add`: mounts a host directory in a running machine."""

    VERB: ClassVar[str] = "machine mount add"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"volume": Option("--volume", options.text)}


@frozen
class MountRemove(SilentVerb):
    """`machine mount remove`: removes such a mount."""

    VERB: ClassVar[str] = "machine mount remove"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"target": Option("--target", options.guest_path)}


@frozen
class MountLs(Verb[tuple[Any, ...]]):
    """`machine mount ls --json`: the records of these mounts, unchanged."""

    VERB: ClassVar[str] = "machine mount ls"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "list"

    def answer(self, completed: values.Completed) -> tuple[Any, ...]:
        return tuple(dicts_of(completed))


@frozen
class Sync(SilentVerb):
    """`machine sync`: copies what a machine wrote to its staged volumes to the host."""

    VERB: ClassVar[str] = "machine sync"
    BOUND: ClassVar[float | None] = LONG


@frozen
class StatsOf(Verb[Stats]):
    """`machine stats --json`: CPU and memory of a machine."""

    VERB: ClassVar[str] = "machine stats"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "object"

    def answer(self, completed: values.Completed) -> Stats:
        return stats(completed)


@frozen
class Logs(FollowedVerb[bytes]):
    """`machine logs`: the output of a machine's workload."""

    VERB: ClassVar[str] = "machine logs"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"tail": Option("--tail", integer(0)), "follow": Option("--follow", switch)}

    def answer(self, completed: values.Completed) -> bytes:
        return completed.stdout


@frozen
class EgressEvents(Verb[tuple[EgressEvent, ...]]):
    """`machine egress-events --json`: a machine's egress events, oldest first; none if the machine is missing (1.32.2)."""

    VERB: ClassVar[str] = "machine egress-events"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "list"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"limit": Option("--limit", integer(1))}

    def answer(self, completed: values.Completed) -> tuple[EgressEvent, ...]:
        return tuple(egress_event(item, completed) for item in list_of(completed))


@frozen
class Monitor(FollowedVerb[None]):
    """`machine monitor`: watches a machine and restarts it, without a time limit."""

    VERB: ClassVar[str] = "machine monitor"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.MONITOR

    def answer(self, completed: values.Completed) -> None:
        return None


@frozen
class Images(Verb[dict[str, Any]]):
    """`machine images --json`: the images in a machine. A stopped machine is booted for it, and stopped again."""

    VERB: ClassVar[str] = "machine images"
    FIXED: ClassVar[tuple[str, ...]] = ("--json",)
    JSON: ClassVar[str] = "object"
    BOUND: ClassVar[float | None] = LONG

    def answer(self, completed: values.Completed) -> dict[str, Any]:
        return dict_of(completed)


@frozen
class Prune(TextVerb):
    """`machine prune`: removes image layers that nothing needs. A stopped machine is booted for it, and stopped again."""

    VERB: ClassVar[str] = "machine prune"
    OPTIONS: ClassVar[Mapping[str, Option]] = option_tables.PRUNE
    BOUND: ClassVar[float | None] = LONG


@frozen
class NetworkTest(TextVerb):
    """`machine network-test`: tests whether the machine can reach a URL. The answer is text."""

    VERB: ClassVar[str] = "machine network-test"


@frozen
class ConfigShow(TextVerb):
    """`config show`: the configuration, as text."""

    VERB: ClassVar[str] = "config show"


@frozen
class RegistriesPath(TextVerb):
    """`config registries path`: the path of the registries file."""

    VERB: ClassVar[str] = "config registries path"


@frozen
class RegistriesShow(TextVerb):
    """`config registries show`: the registries, as text."""

    VERB: ClassVar[str] = "config registries show"


@frozen
class RegistriesInit(SilentVerb):
    """`config registries init`: writes a registries file to start from."""

    VERB: ClassVar[str] = "config registries init"


@frozen
class Cli(Verb["values.Completed"]):
    """Any arguments, which are not checked. Failures of the engine raise smolkit's errors."""

    BOUND: ClassVar[float | None] = None

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.raw_argv(*self.operands)

    def answer(self, completed: values.Completed) -> values.Completed:
        return completed

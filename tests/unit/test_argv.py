"""The argv of each command, in both grammars."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from importlib import import_module
from inspect import isabstract, isclass
from itertools import takewhile
from pkgutil import iter_modules
from typing import Any

import pytest

import smolkit.commands
from smolkit import errors
from smolkit.commands import (
    Branch,
    BranchRelease,
    Checkpoint,
    CheckpointLog,
    CheckpointPrune,
    CheckpointWarm,
    Cli,
    Command,
    ConfigShow,
    Cp,
    Create,
    DataDir,
    Delete,
    EgressEvents,
    Exec,
    Images,
    Logs,
    Ls,
    MachineSpec,
    Monitor,
    MountAdd,
    MountLs,
    MountRemove,
    NetworkTest,
    PackCreate,
    PackInfo,
    PackInspect,
    PackList,
    PackPrune,
    PackPull,
    PackPush,
    PackRun,
    Pause,
    Prune,
    RegistriesInit,
    RegistriesPath,
    RegistriesShow,
    Resize,
    Resume,
    Run,
    RunDetached,
    RunTerminal,
    ScanDirs,
    Script,
    Shell,
    Spawn,
    Start,
    StatsOf,
    Status,
    Stop,
    Sync,
    Terminal,
    Update,
    Version,
    guest_scripts,
)
from smolkit.commands.dialect import Dialect
from smolkit.commands.option_tables import CREATE, PACK, START
from smolkit.commands.option_types import MachineOptions, PackOptions
from smolkit.commands.options import choose
from smolkit.commands.verb import SilentVerb, TextVerb
from smolkit.commands.versions import ALWAYS, LONG, MINIMUM, SINCE
from tests.samples import CREATE_OPTIONS, PACK_OPTIONS, commands, create

CLASSIC, CURRENT, NEWEST = Dialect.of("1.0.1"), Dialect.of("1.0.2"), Dialect.of("1.32.2")

_EXEC = Exec("NAME", ["ARGV", "--flag"], env={"K": "V"}, workdir="/DIR", timeout=30)
_SCRIPT = shlex.join(guest_scripts.words(guest_scripts.EXISTS, "/DIR"))
_SCAN = shlex.join(guest_scripts.words(guest_scripts.SCAN, "/DIR", "/OTHER", ""))
# Command, classic argv, argv of the flag grammar.
TABLE: list[tuple[Command[Any], str, str]] = [
    (Version(), "--version", "--version"),
    (PackCreate.of("OUT", {"image": "IMAGE"}), "pack create --image IMAGE -o OUT", "pack create --image IMAGE -o OUT"),
    (create("NAME"), "machine create NAME", "machine create --name NAME"),
    (create("NAME", from_path="PATH"), "machine create --from PATH NAME", "machine create --from PATH --name NAME"),
    (create("NAME", smolfile="P"), "machine create --smolfile P NAME", "machine create --smolfile P --name NAME"),
    (Start("NAME"), "machine start --name NAME", "machine start --name NAME"),
    (Stop("NAME"), "machine stop --name NAME", "machine stop --name NAME"),
    (Delete("NAME"), "machine delete -f NAME", "machine delete -f --name NAME"),
    (
        _EXEC,
        "machine exec --name NAME -e K=V -w /DIR --timeout 30s -- ARGV --flag",
        "machine exec --name NAME -e K=V -w /DIR --timeout 30s -- ARGV --flag",
    ),
    (Exec("NAME", ["A"]), "machine exec --name NAME -- A", "machine exec --name NAME -- A"),
    (Exec("NAME", ["A"], input=b"x"), "machine exec --name NAME -i -- A", "machine exec --name NAME -i -- A"),
    (Cp("SRC", "NAME:/path"), "machine cp SRC NAME:/path", "machine cp SRC NAME:/path"),
    (Cp("NAME:/path", "DST"), "machine cp NAME:/path DST", "machine cp NAME:/path DST"),
    (Status("NAME"), "machine status --name NAME --json", "machine status --name NAME --json"),
    (
        Script("NAME", guest_scripts.EXISTS, "/DIR"),
        f"machine exec --name NAME -- {_SCRIPT}",
        f"machine exec --name NAME -- {_SCRIPT}",
    ),
    (
        ScanDirs("NAME", ("/DIR", "/OTHER")),
        f"machine exec --name NAME -- {_SCAN}",
        f"machine exec --name NAME -- {_SCAN}",
    ),
    (Shell("NAME"), "machine shell --name NAME", "machine shell --name NAME"),
    (Ls(), "machine ls --json", "machine ls --json"),
    (DataDir("NAME"), "machine data-dir NAME", "machine data-dir --name NAME"),
]


# Later verbs, or ones with more flags for newer engines: command, classic argv ("" for none), the newest engine's argv.
LATER: list[tuple[Command[Any], str, str]] = [
    (Spawn("NAME", ["A"]), "", "machine exec --name NAME -d -- A"),
    (Terminal("NAME", ["A"]), "machine exec --name NAME -i -t -- A", "machine exec --name NAME -i -t -- A"),
    (Update.of("NAME", {"cpus": 1}), "machine update --cpus 1 NAME", "machine update --cpus 1 --name NAME"),
    (Resize.of("NAME", {"cpus": 1}), "", "machine resize --cpus 1 --name NAME"),
    (Pause.of("NAME"), "", "machine pause --name NAME"),
    (Resume.of("NAME"), "", "machine resume --name NAME"),
    (Branch.of("NEW", operands=["NAME"]), "machine fork NAME NEW", "machine branch --from NAME --name NEW"),
    (BranchRelease.of("NAME"), "", "machine branch-release --name NAME"),
    (Checkpoint.of("NAME", {"output": "OUT"}), "", "machine checkpoint --output OUT --name NAME"),
    (CheckpointLog.of(operands=["FILE"]), "", "machine checkpoint-log FILE"),
    (CheckpointPrune.of(None, {"store": "DIR"}), "", "machine checkpoint-prune --store DIR"),
    (CheckpointWarm.of(None, {"source": "DIR"}), "", "machine checkpoint-warm --from DIR"),
    (MountAdd.of("NAME", {"volume": "/a:/b"}), "", "machine mount add --volume /a:/b --name NAME"),
    (MountRemove.of("NAME", {"target": "/b"}), "", "machine mount remove --target /b --name NAME"),
    (MountLs.of("NAME"), "", "machine mount ls --json --name NAME"),
    (Sync.of("NAME"), "", "machine sync --name NAME"),
    (StatsOf.of("NAME"), "", "machine stats --json --name NAME"),
    (Logs.of("NAME", {"tail": 3}), "", "machine logs --tail 3 --name NAME"),
    (EgressEvents.of("NAME", {"limit": 3}), "", "machine egress-events --json --limit 3 --name NAME"),
    (
        Monitor.of("NAME", {"interval": 1}),
        "machine monitor --interval 1 --name NAME",
        "machine monitor --interval 1 --name NAME",
    ),
    (Images.of("NAME"), "machine images --json --name NAME", "machine images --json --name NAME"),
    (Prune.of("NAME", {"dry_run": True}), "machine prune --dry-run --name NAME", "machine prune --dry-run --name NAME"),
    (
        NetworkTest.of("NAME", operands=["URL"]),
        "machine network-test --name NAME URL",
        "machine network-test --name NAME URL",
    ),
    (PackPush.of(None, {"file": "F"}, operands=["REF"]), "pack push --file F REF", "pack push --file F REF"),
    (PackPull.of(None, {"output": "F"}, operands=["REF"]), "pack pull --output F REF", "pack pull --output F REF"),
    (PackInspect.of(operands=["REF"]), "pack inspect --json REF", "pack inspect --json REF"),
    (PackList.of(), "", "pack list --json"),
    (PackPrune.of(None, {"keep": 1}), "pack prune --keep 1", "pack prune --keep 1"),
    (PackInfo.of(None, {"sidecar": "F"}), "pack run --info --sidecar F", "pack run --info --sidecar F"),
    (ConfigShow.of(), "config show", "config show"),
    (RegistriesPath.of(), "config registries path", "config registries path"),
    (RegistriesShow.of(), "config registries show", "config registries show"),
    (RegistriesInit.of(), "config registries init", "config registries init"),
    (Cli(None, ("machine", "ls")), "machine ls", "machine ls"),
    (
        Run.of(None, {"cpus": 1, "timeout": 30}, command=["A"]),
        "machine run --cpus 1 --timeout 30s -- A",
        "machine run --cpus 1 -i --timeout 30s -- A",
    ),
    (
        RunDetached.of("NAME", {"cpus": 1, "env": {"K": "V"}}, command=["A"]),
        "machine run --detach --cpus 1 -e K=V --name NAME -- A",
        "machine run --detach --cpus 1 -e K=V --name NAME -- A",
    ),
    (
        RunTerminal.of(None, {"cpus": 1, "timeout": 30}, command=["A"]),
        "machine run --cpus 1 -i -t --timeout 30s -- A",
        "machine run --cpus 1 -i -t --timeout 30s -- A",
    ),
    (PackRun.of(None, {"sidecar": "F"}, command=["A"]), "pack run --sidecar F -- A", "pack run --sidecar F -i -- A"),
]


@pytest.mark.parametrize(("command", "classic", "newest"), LATER)
def test_later_verbs_have_the_newest_argv(command: Command[Any], classic: str, newest: str) -> None:
    """Commands of later engines have the newest engine's argv, and older engines are not called."""
    assert ("--error-format", "json", *newest.split()) == command.argv(NEWEST)
    if classic:
        assert tuple(classic.split()) == command.argv(CLASSIC)
        return
    with pytest.raises(errors.UnsupportedByEngineError):
        command.argv(CLASSIC)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.0.1", "machine fork a b"),
        ("1.13.1", "machine fork --golden a --name b"),
        ("1.14.0", "machine branch --from a --name b"),
    ],
)
def test_branch_was_called_fork(version: str, words: str) -> None:
    """Older engines have branch as fork, its source as golden, and branchable as forkable."""
    assert tuple(words.split()) == Branch.of("b", operands=["a"]).argv(Dialect.of(version))
    flag = "--branchable" if "branch" in words else "--forkable"
    start = Start("a", chosen=choose("start", START, {"branchable": True}))
    assert ("machine", "start", flag, "--name", "a") == start.argv(Dialect.of(version))
    with pytest.raises(errors.UnsupportedByEngineError, match="--label"):
        Branch.of("b", {"labels": {"k": "v"}}, operands=["a"]).argv(Dialect.of(version))


@pytest.mark.parametrize(("command", "classic", "current"), TABLE)
def test_each_command_has_the_argv_of_its_grammar(command: Command[Any], classic: str, current: str) -> None:
    """create, delete and data-dir take a name as a positional argument up to 1.0.1 and as a flag from 1.0.2 on."""
    assert tuple(shlex.split(classic)) == command.argv(CLASSIC)
    assert tuple(shlex.split(current)) == command.argv(CURRENT)


# Bases that are not abstract.
BASES = {SilentVerb, TextVerb}


def concrete_commands() -> set[type]:
    """Every concrete command class of the package."""
    modules = [import_module(f"smolkit.commands.{found.name}") for found in iter_modules(smolkit.commands.__path__)]
    kinds = {kind for module in modules for kind in vars(module).values() if isclass(kind) and issubclass(kind, Command)}
    return {kind for kind in kinds if not isabstract(kind)} - BASES


def test_every_command_is_exported() -> None:
    """Every concrete command is in `__all__`."""
    exported = {getattr(smolkit.commands, name) for name in smolkit.commands.__all__}

    assert concrete_commands() == {kind for kind in exported if issubclass(kind, Command) and not isabstract(kind)}


def test_the_table_has_every_command() -> None:
    """Every concrete command is in the argv table."""
    assert concrete_commands() == {type(row[0]) for row in [*TABLE, *LATER]}


def test_the_samples_have_every_command() -> None:
    """Every concrete command is in the samples, which the grammar test and the value tests use."""
    assert concrete_commands() == {type(command) for command in commands()}


def features_of(argv: tuple[str, ...]) -> set[str]:
    """The rows of the version table that an argv needs: its verb and each of its flags."""
    words = list(takewhile(lambda word: word != "--", argv[2:] if argv[0] == "--error-format" else argv))
    verb = " ".join(takewhile(lambda word: not word.startswith("-"), words))
    while verb and verb not in SINCE and verb not in ALWAYS:
        verb = verb.rpartition(" ")[0]
    flags = {word.partition("=")[0] for word in words if word.startswith("-")}
    return {verb, *(f"{verb} {LONG.get(flag, flag)}" for flag in flags)}


@pytest.mark.parametrize("version", sorted({MINIMUM, *SINCE.values()}), ids=lambda version: ".".join(map(str, version)))
def test_no_engine_is_told_what_it_does_not_have(version: tuple[int, int, int]) -> None:
    """Each verb and each flag of each command has a row in the version table, and goes only to engines that have it."""
    dialect, sent = Dialect(version), set()
    for command in commands():
        if not isinstance(command, Version | Cli):
            with suppress(errors.UnsupportedByEngineError):
                sent |= features_of(command.argv(dialect))

    assert {"machine create", "machine create --env"} <= sent
    assert set() == {feature for feature in sent if feature not in ALWAYS and SINCE.get(feature, (9999,)) > version}


def test_the_samples_have_every_flag_of_the_version_table() -> None:
    """Every row of the version table is needed by a command; fork and forkable are older names of branch and branchable."""
    sent = {row for command in commands() if type(command) is not Version for row in features_of(command.argv(NEWEST))}
    rows = {row for row in {*SINCE, *ALWAYS} if re.fullmatch(r"[a-z -]+ --[a-z-]+", row) and "fork" not in row}

    assert set() == rows - sent


def test_a_command_with_a_flag_that_has_no_row_is_an_error() -> None:
    """A missing or misspelt row raises LookupError at the first call, for any version."""

    class Misspelt(SilentVerb):
        VERB = "machine stop"
        FIXED = ("--timeuot", "3")

    for dialect in (CLASSIC, NEWEST):
        with pytest.raises(LookupError, match="names the feature 'machine stop --timeuot'"):
            Misspelt("m").argv(dialect)


def test_from_and_smolfile_together_are_classic_only() -> None:
    """--from with --smolfile raises for engines of the flag grammar, whose parsers refuse it (from 1.4.0 on)."""
    command = create("NAME", from_path="PATH", smolfile="FILE")

    assert ("machine", "create", "--from", "PATH", "--smolfile", "FILE", "NAME") == command.argv(CLASSIC)
    with pytest.raises(errors.UnsupportedByEngineError, match=r"needs smolvm 1\.0\.1 or older"):
        command.argv(CURRENT)


@pytest.mark.parametrize("command", [row[0] for row in TABLE if not isinstance(row[0], Version)])
def test_newer_engines_are_asked_for_json_errors(command: Command[Any]) -> None:
    """From 1.28.1 on every command begins with --error-format json."""
    assert ("--error-format", "json") == command.argv(Dialect.of("1.28.1"))[:2]
    assert "--error-format" not in command.argv(Dialect.of("1.28.0"))


def test_exec_is_interactive_where_errors_are_json() -> None:
    """From 1.28.1 on exec runs with -i: without an output cap, and with separate streams."""
    words = ("--error-format", "json", "machine", "exec", "--name", "m", "-i", "--", "true")

    assert words == Exec("m", ["true"]).argv(NEWEST)


def test_large_input_needs_an_engine_that_does_not_deadlock_on_it() -> None:
    """Large input is refused before 1.8.1, where a large stdin could hang the engine."""
    command = Exec("m", ["cat"], input=b"x" * 65_537)

    assert "-i" in command.argv(Dialect.of("1.8.1"))
    with pytest.raises(errors.UnsupportedByEngineError, match="input over 64 KiB"):
        command.argv(Dialect.of("1.8.0"))


@pytest.mark.parametrize(
    ("timeout", "word"), [(30, "30s"), (30.0, "30s"), (1.5, "1500ms"), (0.0001, "1ms"), (2.0005, "2001ms")]
)
def test_timeouts_have_a_unit_and_are_never_cut_short(timeout: float, word: str) -> None:
    """Timeouts have a unit, since the engine refuses a bare number, and fractions of milliseconds are rounded up."""
    assert word in Exec("m", ["true"], timeout=timeout).argv(NEWEST)


def test_values_that_look_like_flags_are_joined_to_their_flag() -> None:
    """A value that begins with a dash is joined to its flag, since `-e -dash=x` would be parsed as a flag."""
    assert "-e=-dash=x" in Exec("m", ["true"], env={"-dash": "x"}).argv(NEWEST)
    assert "./-dash" in Cp("-dash", "m:/x").argv(NEWEST)


def test_secrets_are_named_in_argv_and_carried_by_the_environment() -> None:
    """argv has only the names of secrets, and the environment of the engine's process has their values."""
    invocation = Exec("m", ["true"], secrets={"TOKEN": "s3cr3t"}).invocation(NEWEST)

    assert "TOKEN=SMOLKIT_SECRET_TOKEN" in invocation.argv
    assert not [word for word in invocation.argv if "s3cr3t" in word]
    assert {"SMOLKIT_SECRET_TOKEN": "s3cr3t"} == {key: value.reveal() for key, value in invocation.env}
    assert "s3cr3t" not in repr(invocation)


def test_an_unknown_feature_raises() -> None:
    """A feature without a row in the version table, or misspelt, raises instead of being taken as always supported."""
    for ask in (NEWEST.supports, NEWEST.require):
        with pytest.raises(LookupError, match=r"no row of .* names the feature 'machine create --labels'"):
            ask("machine create --labels")


@pytest.mark.parametrize(("name", "value"), CREATE_OPTIONS.items())
def test_every_option_of_create_is_refused_by_an_engine_that_lacks_it(name: str, value: object) -> None:
    """Each option of create raises for the version before the one that added it, and names both."""
    command = create("m", **{name: value})
    feature = f"machine create {CREATE[name].flag}" if name in CREATE else f"machine create {name.upper()}"
    since = SINCE.get(feature)

    command.argv(NEWEST)
    if since is not None:
        before = Dialect((since[0], since[1], since[2] - 1) if since[2] else (since[0], since[1] - 1, 99))
        with pytest.raises(errors.UnsupportedByEngineError) as caught:
            command.argv(before)
        assert str(before) == caught.value.have


@pytest.mark.parametrize(
    ("options", "before", "since"),
    [
        ({"ports": ["8000-8010:8000-8010"]}, "1.13.0", "1.13.1"),
        ({"ports": ["53:53/udp"]}, "1.28.0", "1.28.1"),
        ({"volumes": ["/a:/b:rw"]}, "1.13.9", "1.14.0"),
        ({"volumes": ["/a:/b:staged"]}, "1.13.9", "1.14.0"),
        ({"volumes": ["s3://bucket/prefix:/data"]}, "1.9.2", "1.9.3"),
        ({"volumes": ["/a:/b:ro"], "ports": [8080, (8081, 80)]}, "", "1.0.0"),
    ],
)
def test_values_that_later_engines_added_to_older_flags(options: dict[str, Any], before: str, since: str) -> None:
    """Values that later versions added to older flags are refused by name for engines whose --help lacks them."""
    create("m", **options).argv(Dialect.of(since))
    if before:
        with pytest.raises(errors.UnsupportedByEngineError, match=r" with | of a remote"):
            create("m", **options).argv(Dialect.of(before))


def test_an_allow_list_that_cannot_be_read_back_is_refused() -> None:
    """An allow list is refused below 1.27.3, where it cannot be read back."""
    with pytest.raises(errors.UnsupportedByEngineError, match="allow lists in ls"):
        create("m", allow_cidrs=["10.0.0.0/8"]).argv(Dialect.of("1.27.0"))


@pytest.mark.parametrize("option", [name for name, row in CREATE.items() if row.policy])
def test_a_network_policy_adds_net(option: str) -> None:
    """A network policy always adds --net, without which some engines record neither network nor policy."""
    assert "--net" in create("m", **{option: CREATE_OPTIONS[option]}).argv(NEWEST)


def test_typed_options_match_the_tables() -> None:
    """MachineOptions and PackOptions have the same options as the tables that build argv."""
    assert {*CREATE, "env", "command", "secrets"} == set(MachineOptions.__annotations__) == set(CREATE_OPTIONS)
    assert {*PACK} - {"image"} == set(PackOptions.__annotations__) == set(PACK_OPTIONS)


def test_every_option_is_explained() -> None:
    """The docstring of MachineOptions explains each option."""
    text = f"{MachineOptions.__doc__}{PackOptions.__doc__}"

    assert [] == [name for name in {*MachineOptions.__annotations__, *PackOptions.__annotations__} if name not in text]


@pytest.mark.parametrize("option", ["cpus", "memory", "ports", "net", "labels", "env", "command"])
def test_none_leaves_the_default(option: str) -> None:
    """An option that is None is not passed to the engine."""
    assert MachineSpec() == MachineSpec.of({option: None})


def test_commands_are_values() -> None:
    """Commands with equal fields are equal and hash alike."""
    assert commands() == commands()
    assert len(commands()) == len(set(commands()))
    assert hash(create("a", cpus=1)) == hash(create("a", cpus=1))
    assert Create("a") != Create("b")

"""The real engine's parser and records, which need no VM: every argv it can be given, and what it does with machines.

These run on any host, against the engine of the smolmachines package, in a state directory that is thrown away.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve

from smolkit import Invocation, Machine, Smolvm, SubprocessRunner, errors
from smolkit.commands import Command, DataDir, Delete, Exec, Run
from smolkit.commands.option_tables import CREATE, PACK, START
from tests import hostile
from tests.conftest import Table
from tests.engines import FOLDER, throwaway_client
from tests.samples import CREATE_OPTIONS, MORE_OPTIONS, VERBS, commands, create


@pytest.fixture
def real() -> Iterator[Smolvm]:
    """A client of the real engine."""
    with throwaway_client() as client:
        yield client


@pytest.fixture(scope="module")
def parser() -> SubprocessRunner:
    """A real engine that can store nothing: it fails once it has parsed its arguments."""
    return SubprocessRunner(state_dir="/dev/null/none")


@pytest.mark.parametrize("command", commands("grammar"), ids=lambda command: type(command).__name__)
def test_the_engines_parser_accepts_every_argv(parser: SubprocessRunner, command: Command[Any]) -> None:
    """No argv is a usage error (exit 2) of the engine's parser, whatever fails later (no such file, no state)."""
    completed = parser.execute(command.invocation(parser.engine.dialect))

    assert completed.returncode in {0, 1}, completed.stderr.decode()


# Messages of the engine about options that are valid alone and conflict, or need others: a ConfigError.
_TOGETHER = re.compile(r"cannot be used with|required arguments were not provided")
HOSTILE_VERBS = sorted({argument.verb for argument in hostile.arguments()} - {"Smolvm.cli"})


@pytest.mark.parametrize("verb", HOSTILE_VERBS)
@pytest.mark.parametrize("version", [None, "1.20.2"])
def test_the_engines_parser_accepts_every_value_that_smolkit_accepts(
    version: str | None, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that smolkit accepts for an argument of any verb is no usage error (exit 2) of the engine."""
    monkeypatch.chdir(tmp_path)
    if version and not (FOLDER / version).exists():
        pytest.skip(f"needs {version}: python -m tests.engines")
    program = FOLDER / version / "smol/smol-vmm" if version else None
    parser = SubprocessRunner(program, state_dir="/dev/null/none")
    asked = set()
    for argument in hostile.arguments():
        for value in hostile.VALUES.values() if argument.verb == verb else ():
            fake = hostile.agreeable(parser.engine.version)
            with suppress(TypeError, ValueError, OSError, errors.SmolvmError):
                argument.call(Smolvm(runner=fake), value)
            asked |= set(fake.invocations)
    for invocation in asked:
        completed = parser.execute(evolve(invocation, timeout=30))
        assert completed.returncode in {0, 1} or _TOGETHER.search(completed.stderr.decode()), (invocation.argv, completed)


def test_the_engines_parser_accepts_options_together(parser: SubprocessRunner) -> None:
    """Any five options together are no usage error, and conflicting ones raise ConfigError in the engine's words."""
    random, values = Random(13), {**CREATE_OPTIONS, **MORE_OPTIONS}  # noqa: S311  (no secret)
    makers: list[tuple[Iterable[str], Callable[[dict[str, Any]], Command[Any]]]]
    makers = [(CREATE, lambda given: create("m", **given))]
    makers += [(kind.OPTIONS, partial(kind.of, None)) for kind in VERBS if len(kind.OPTIONS) > 1]
    for options, make in makers:
        for _ in range(8):
            given = {name: values[name] for name in random.sample(sorted(options), min(5, len(list(options))))}
            with suppress(ValueError):
                completed = parser.execute(make(given).invocation(parser.engine.dialect))
                said = completed.stderr.decode()
                assert completed.returncode in {0, 1} or _TOGETHER.search(said), (given, said)


def test_the_engines_refusal_of_a_value_is_not_the_guests_result(parser: SubprocessRunner) -> None:
    """Exit status 2 of the engine's parser raises, also for exec and run, and is not returned as the guest's."""
    for command in (Exec("m", ["true"], timeout=1), Run.of(None, {"timeout": 1}, command=["true"])):
        argv = command.argv(parser.engine.dialect)
        for wrong in (
            [word.replace("1s", "1x") for word in argv],
            [*argv[:4], "--no-such-flag", *argv[4:]],
            [word.replace("1s", "9" * 30 + "s") for word in argv],
        ):
            completed = parser.execute(Invocation(tuple(wrong)))
            assert completed.returncode == 2, completed
            with pytest.raises((errors.UsageError, errors.ConfigError)):
                command.read(completed)


# Subcommands and flags that smolkit does not have, and why.
LEFT_OUT = {
    "completion": "for shells, not for programs",
    "config registries edit": "opens an editor",
    "serve openapi": "of the server",
    "serve start": "a server of its own, which drives machines instead of this program",
    "machine exec --stream": "-i is live too, and without its cap of 11 MiB (1.32.2)",
    "machine ls --quiet": "ls() has the names",
    "machine ls --verbose": "the JSON has more",
    "pack run --tty": "machine.terminal() of a machine from the pack does this",
}
# Flags that are in no option table.
ALSO: dict[str, set[str]] = {
    "machine create": {"--name", "--env"},
    "machine start": {"--name"},
    "machine stop": {"--name", "--timeout"},
    "machine delete": {"--name", "--force", "--cascade"},
    "machine status": {"--name", "--json"},
    "machine ls": {"--json"},
    "machine data-dir": {"--name"},
    "machine cp": {"--mode", "--uid", "--gid"},
    "machine exec": {"--name", "--env", "--secret-env", "--secret-file", "--secret-keychain", "--workdir", "--user"}
    | {"--timeout", "--interactive", "--tty", "--detach"},
    "machine shell": {"--name"},
    "machine run": {"--env", "--timeout", "--interactive", "--tty", "--detach", "--name"},
    "pack run": {"--env", "--timeout", "--interactive", "--info"},
    "pack create": {"--output"},
    "machine update": {"--env"},
    "machine branch": {"--from", "--env"},
    "machine branch-release": {"--env"},
}


def theirs(path: str, words: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Every subcommand of the engine with its flags, from its --help."""
    text = subprocess.run([path, *words, "--help"], capture_output=True, text=True, check=True).stdout
    below = text.partition("\nCommands:\n")[2].partition("\n\n")[0]
    names = re.findall(r"(?m)^  ([a-z][a-z-]*)", below)
    if names:
        for name in names:
            if name != "help":
                yield from theirs(path, (*words, name))
    else:
        flags = set(re.findall(r"(?m)^ +(?:-\w, )?(--[a-z-]+)", text))
        yield " ".join(words), flags - {"--help", "--error-format", "--state-dir"}


def test_smolkit_has_every_subcommand_and_flag(real: Smolvm, table: Table) -> None:
    """smolkit has every subcommand and flag of the engine's --help, except those on a short list."""
    ours: dict[str, set[str]] = {verb: set(flags) for verb, flags in ALSO.items()}
    for verb, options in (("machine create", CREATE), ("machine start", START), ("pack create", PACK)):
        ours[verb] |= {row.flag for row in options.values()}
    for kind in VERBS:
        flags = ours.setdefault(kind.VERB, set())
        flags |= {row.flag for row in kind.OPTIONS.values()} | set(kind.FIXED)
        flags |= {"--name"} if kind.VERB.startswith("machine") and not issubclass(kind, Run) else set()

    missing, verbs, said = [], 0, 0
    for verb, known in theirs(real.engine.path):
        if verb in ours:
            verbs += 1
            said += len(known & ours[verb])
            missing += [f"{verb} {flag}" for flag in sorted(known - ours[verb])]
        else:
            missing.append(verb)
    title = f"the engine's verbs and flags that smolkit says: {verbs} and {said}; left out on purpose"
    for name in missing:
        table(title, f"{name}: {LEFT_OUT.get(name, 'NO REASON')}")
    assert [] == [name for name in missing if name not in LEFT_OUT]


@pytest.mark.parametrize(
    "change",
    [
        lambda real: real.machine("created").resize(storage=30),
        lambda real: real.machine("created").update(storage=30),
        lambda real: real.machine("created").update(overlay=30),
        lambda real: real.pack_create(None, "out", from_machine="created"),
    ],
)
def test_disks_that_do_not_exist_yet(
    real: Smolvm, change: Callable[[Smolvm], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """resize and pack of a machine that was never started raise a typed error and leave nothing."""
    monkeypatch.chdir(tmp_path)
    real.machine("created").create()

    with pytest.raises(errors.MachineNeverStartedError):
        change(real)
    assert [] == list(tmp_path.iterdir())
    assert real.machine("created").status().raw["storage_gb"] is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.update(net=True, no_net=True), "'--net' cannot be used with '--no-net'"),
        (lambda m: m.update(reset_allow_list=True, remove_allow_hosts=["x.org"]), "cannot be used with"),
        (lambda m: m.branch(worker_ready_timeout="5s"), "required arguments were not provided"),
        (lambda m: m.branch(wait_ready=True, no_wait_ready=True), "cannot be used with"),
    ],
)
def test_conflicting_options(real: Smolvm, call: Callable[[Machine], object], words: str) -> None:
    """Conflicting options raise ConfigError in the engine's words."""
    with pytest.raises(errors.ConfigError, match=words) as caught:
        call(real.machine("missing"))
    assert "please report" not in str(caught.value)


def test_help_answers(real: Smolvm) -> None:
    """`smolvm --help` answers: the wrapper's first live check."""
    assert 0 == subprocess.run([real.engine.path, "--help"], capture_output=True, check=False).returncode


def test_ls_is_a_list(real: Smolvm) -> None:
    """`smolvm machine ls --json` parses as a list: the wrapper's second live check."""
    assert [] == real.ls()


def test_the_engine_is_recognised(real: Smolvm) -> None:
    """Version, path, dialect and capabilities of the smolmachines package's engine are found."""
    assert real.is_available()
    assert re.fullmatch(r"\d+\.\d+\.\d+", real.engine.version)
    assert os.access(real.engine.path, os.X_OK)
    assert not real.engine.dialect.classic
    assert {"--error-format", "machine create --label"} <= real.engine.capabilities


def test_a_machines_record(real: Smolvm) -> None:
    """The engine's record has what create asked for, and delete removes it."""
    machine = real.machine("record", cpus=1, memory=512, labels={"owner": "me"}, env={"KEY": "value"})
    machine.create()
    info = machine.status()

    assert ("record", "created", 1, 512) == (info.name, info.state, info.cpus, info.memory)
    assert {"owner": "me"}.items() <= info.labels.items()
    assert [info] == real.owned()
    assert info.created_at
    assert info.network is False
    assert [info] == real.ls()
    folder = Path(real.runner.run(DataDir("record")))
    assert folder.is_absolute()
    assert real.runner.host.endswith(str(folder.parents[3]))

    machine.delete()

    assert not machine.exists()
    assert [] == real.ls()
    with pytest.raises(errors.MachineNotFoundError):
        machine.delete()
    machine.delete(missing_ok=True)


def test_a_name_that_is_taken_is_not_touched(real: Smolvm) -> None:
    """A second create of a name raises, and the existing machine stays."""
    real.machine("taken", memory=512).create()

    with pytest.raises(errors.MachineExistsError), real.machine("taken", memory=1024):
        pass
    assert [512] == [info.memory for info in real.ls()]


@pytest.mark.parametrize("verb", ["start", "stop", "status", "delete"])
def test_a_missing_machine_is_a_typed_error(real: Smolvm, verb: str) -> None:
    """Each verb's own message for a missing machine is the same typed error."""
    with pytest.raises(errors.MachineNotFoundError):
        getattr(real.machine("missing"), verb)()


@pytest.mark.parametrize("hand_over", [Machine.shell, lambda machine: machine.terminal(["true"])])
def test_a_terminal_of_machines_that_do_not_run(
    real: Smolvm, hand_over: Callable[[Machine], int], capfd: pytest.CaptureFixture[str]
) -> None:
    """shell and terminal tell stopped from missing machines, as exec does, and write nothing to the terminal."""
    real.machine("created").create()

    with pytest.raises(errors.MachineNotFoundError):
        hand_over(real.machine("missing"))
    with pytest.raises(errors.MachineNotRunningError):
        hand_over(real.machine("created"))
    assert ("", "") == capfd.readouterr()


def test_exec_and_cp_of_machines_that_do_not_run(real: Smolvm, tmp_path: Path) -> None:
    """exec and cp tell stopped from missing machines, and start nothing."""
    machine = real.machine("created")
    machine.create()
    file = tmp_path / "file"
    file.write_bytes(b"x")

    calls: list[Callable[[Machine], object]] = [
        lambda m: m.exec(["true"]),
        lambda m: m.cp(file, m.path("/x")),
        lambda m: m.cp(m.path("/x"), tmp_path / "new"),
    ]
    for call in calls:
        with pytest.raises(errors.MachineNotRunningError):
            call(machine)
        with pytest.raises(errors.MachineNotFoundError):
            call(real.machine("missing"))
    assert "created" == machine.status().state
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        ({"allow_cidrs": ["10.0.0.0/8", "1.2.3.4"]}, ("1.2.3.4/32", "10.0.0.0/8")),
        ({"outbound_localhost_only": True}, ("127.0.0.0/8", "::1/128")),
        ({"allow_cidrs": ["10.1.2.3/8"], "outbound_localhost_only": True}, ("10.0.0.0/8", "127.0.0.0/8", "::1/128")),
        ({"block_private": True}, ()),
        ({"deny_cidrs": ["10.0.0.0/8"], "allow_udp": ["10.0.0.0/8:53"]}, ()),
    ],
)
def test_a_network_policy_is_recorded_as_asked(real: Smolvm, options: dict[str, Any], recorded: tuple[str, ...]) -> None:
    """The network policy read back after create is the requested one, in the engine's notation."""
    machine = real.machine("policy", **options)
    machine.create()

    assert machine.status().network is True
    assert recorded == tuple(sorted(machine.status().allowed_cidrs or ()))


def test_an_allowed_host_is_recorded_with_its_addresses(real: Smolvm) -> None:
    """The engine resolves an allowed host at create and records its addresses."""
    machine = real.machine("policy", allow_hosts=["localhost"])
    machine.create()

    assert ("localhost",) == machine.status().allowed_hosts
    assert machine.status().allowed_cidrs


@pytest.mark.parametrize("name", ["a", "A-b_c", "x_", "a" * 128, "0"])
def test_names_that_smolkit_accepts_the_engine_accepts(real: Smolvm, name: str) -> None:
    """The engine accepts every machine name that smolkit accepts."""
    real.machine(name).create()

    assert real.machine(name).exists()


@pytest.mark.parametrize("name", ["-x", "a.b", "a b", "a:b", "é", "a/b", "a--b", "x-", "_x", "a" * 129, ""])
def test_names_that_smolkit_refuses_the_engine_refuses(real: Smolvm, name: str) -> None:
    """The engine refuses every machine name that smolkit refuses."""
    with pytest.raises(errors.InvalidNameError):
        real.machine(name)
    command = [real.engine.path, "machine", "create", f"--name={name}"]
    assert 0 != subprocess.run(command, capture_output=True, check=False).returncode


def test_a_variable_names_no_machine(real: Smolvm, monkeypatch: pytest.MonkeyPatch) -> None:
    """SMOLVM_MACHINE_NAME, a default name of newer engines even for `delete -f`, is not passed to the engine."""
    monkeypatch.setenv("SMOLVM_MACHINE_NAME", "default-name")
    completed = real.runner.execute(Delete("x").invocation(real.engine.dialect))

    assert b"vm not found: x" in completed.stderr


def test_a_start_works_or_says_why_not_and_leaves_nothing(real: Smolvm) -> None:
    """Without KVM a `with` raises a typed StartError, and on every host it leaves no machine."""
    machine = real.machine("boots", cpus=1, memory=512)
    try:
        with machine:
            assert machine.exec(["true"]).ok
    except errors.StartError as error:
        assert 1 == error.returncode
        assert "start machine" in str(error)
    assert [] == real.ls()


def test_nothing_but_the_guests_stderr_is_in_stderr(real: Smolvm) -> None:
    """The note that an engine of another name writes first on stderr is not part of the guest's stderr."""
    completed = real.runner.execute(Exec("missing", ["true"]).invocation(real.engine.dialect))

    assert completed.stderr.startswith(b'{"error"')


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "./no-such.tar"}, "cannot read archive"),
        ({"from_path": "./no-such.smolmachine"}, "file not found"),
        ({"allow_hosts": ["no-such-host.invalid"]}, "failed to resolve"),
        ({"volumes": ["/no/such/folder:/mnt"]}, "mount source not found"),
    ],
)
def test_a_setting_that_the_engine_refuses(real: Smolvm, options: dict[str, Any], words: str) -> None:
    """A setting that the engine refuses raises ConfigError in its words, and nothing is created."""
    with pytest.raises(errors.ConfigError, match=words):
        real.machine("refused", **options).create()
    assert [] == real.ls()

"""Secrets are passed by the engine's environment or by name, and shown nowhere else."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit import Machine, Secret, Smolvm, SmolvmError, SubprocessRunner, errors
from smolkit.commands import Create, Exec, Spawn, Start
from smolkit.commands.secret_args import MACHINES, OWN, carrier
from smolkit.testing import FakeRunner, FakeSmolvm, NamespaceEngine, UnexpectedCommandError
from tests.processes import of_each_process, running, until
from tests.recorded import as_json

VALUE = "t0p-s3cret"


def test_nothing_shows_a_secret(client: Smolvm, fake: FakeRunner, caplog: pytest.LogCaptureFixture) -> None:
    """No repr, str, pickle, log, error or recorded call shows a secret."""
    secret = Secret(VALUE)
    fake.answer(["machine"], returncode=1, stderr=as_json("CONFIG_ERROR", "config operation failed: nope"))
    machine = client.machine("m", secrets={"A": secret, "B": VALUE})
    shown = [
        repr(secret),
        str(secret),
        repr(machine._spec),
        pickle.dumps(secret).decode("latin-1"),
        repr(copy.deepcopy(secret)),
    ]
    with caplog.at_level(logging.DEBUG), pytest.raises(SmolvmError) as caught:
        machine.create()
    with pytest.raises(SmolvmError) as second:
        machine.exec(["true"], secrets={"C": secret})
    for error in (caught.value, second.value):
        shown += [str(error), repr(error), repr(error.argv), pickle.dumps(error).decode("latin-1")]
    shown += [repr(fake.commands), repr(fake.invocations), repr(fake.argvs), caplog.text]
    shown += [pickle.dumps(machine.__reduce__()[1][2]).decode("latin-1")]

    assert [] == [text for text in shown if VALUE in text]
    with pytest.raises(ValueError, match="not pickled"):
        pickle.loads(pickle.dumps(secret)).text.reveal()


def test_the_arguments_of_each_kind_of_secret(client: Smolvm, fake: FakeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret's value is passed in a variable, a file by its absolute path, and a keychain item by its name."""
    monkeypatch.setenv("HOST_TOKEN", VALUE)
    fake.answer(["machine"])
    secrets: dict[str, str | Secret] = {
        "A": Secret.env("HOST_TOKEN"),
        "B": Secret.file("relative"),
        "C": Secret.keychain("s/a"),
        "D": "plain",
    }
    client.machine("m").exec(["true"], secrets=secrets)

    words = fake.argvs[0]
    assert "A=SMOLKIT_SECRET_A" == words[words.index("--secret-env") + 1]
    assert f"B={Path('relative').resolve()}" == words[words.index("--secret-file") + 1]
    assert "C=s/a" == words[words.index("--secret-keychain") + 1]
    assert {"SMOLKIT_SECRET_A": VALUE, "SMOLKIT_SECRET_D": "plain"} == revealed(fake, 0)
    with pytest.raises(KeyError):
        Secret.env("NO_SUCH_VARIABLE")
    with pytest.raises(TypeError, match="secrets must be a mapping"):
        client.machine("m").exec(["true"], secrets=["A"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NUL"):
        client.machine("m").exec(["true"], secrets={"A": Secret("a\0b")})


def revealed(fake: FakeRunner, number: int) -> dict[str, str]:
    """The environment variables that the engine got for a call."""
    return {key: value.reveal() for key, value in fake.invocations[number].env}


def test_a_machines_secrets_come_with_every_start_and_command(client: Smolvm, fake: FakeRunner) -> None:
    """A machine's secrets are passed with every start and command, since the engine stores only their names."""
    fake.answer(Spawn, stdout="7")
    fake.answer(["machine"])
    with client.machine("m", secrets={"TOKEN": VALUE}) as machine:
        machine.exec(["true"], secrets={"MORE": "x"})
        machine.spawn(["true"])
        machine.popen(["true"]).wait()
        machine.read_bytes("/x")
        machine.wait_until(command=["true"])
        machine.start()

    assert ("--secret-env", "TOKEN=SMOLKIT_MACHINE_SECRET_TOKEN") == fake.argvs[0][2:4]
    carried = {"SMOLKIT_MACHINE_SECRET_TOKEN": VALUE}
    kinds = [type(command) for command in fake.commands]
    assert [Create, Start, Exec, Spawn, Exec] == kinds[:5]
    assert [{**carried, "SMOLKIT_SECRET_MORE": "x"}, *[carried] * 5] == [revealed(fake, number) for number in range(2, 8)]
    assert carried == revealed(fake, 1)


def test_variables_of_similar_names_keep_their_values(engine: NamespaceEngine) -> None:
    """Variables with similar names, which guests allow and shells do not, keep their own values."""
    names = ["DB.PASS", "DB_PASS", "DB-PASS", "DB PASS", "X_44", "ключ", "ключи", "É", "a" * 200]
    for kind in ("secrets", "SECRETS"):
        values = {name: f"{kind} {number}" for number, name in enumerate(names)}
        fake = FakeSmolvm()
        with Smolvm(runner=fake).machine("m", secrets=values if kind == "SECRETS" else None) as machine:
            fake.on("show", lambda call: json.dumps(dict(call.env)))
            output = machine.exec(["show"], secrets=values if kind == "secrets" else None).stdout
        assert values == json.loads(output)
    with Smolvm(engine.program).machine("m") as machine:
        output = machine.exec(["printenv", "DB_PASS", "DB"], secrets={"DB_PASS": "one", "DB": "two"}).stdout
        assert "one\ntwo\n" == output


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="=\0", exclude_categories=["Cs"]), min_size=1), unique=True))
def test_no_two_variables_share_a_carrier(names: list[str]) -> None:
    """No two secrets share a carrier variable, within one mapping or across them."""
    carriers = {carrier(name, place) for name in names for place in (MACHINES, OWN)}

    assert 2 * len(names) == len(carriers)


def test_a_handle_passes_its_secrets_to_anothers_machine() -> None:
    """A handle passes its secrets to a machine that another made, to its workload and terminal too, and a command's win."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    client.machine("m").create()
    machine = client.machine("m", secrets={"TOKEN": VALUE, "KEY": "the machine's"})
    machine.start()
    fake.on("show", lambda call: f"{call.env['TOKEN']} {call.env['KEY']}")

    assert f"{VALUE} the machine's" == machine.exec(["show"]).stdout
    assert f"{VALUE} own" == machine.exec(["show"], secrets={"KEY": "own"}).stdout
    with machine.popen(["show"], text=True) as process:
        assert [("stdout", f"{VALUE} the machine's")] == list(process)
    machine.spawn(["show"])
    machine.wait_until(command=["show"])
    machine.write_text("/root/x", "x")
    machine.terminal(["show"])
    fake.on(["/bin/sh"], lambda call: f"{call.env['TOKEN']} {call.env['KEY']}")
    machine.shell()
    assert {VALUE} == {call.env["TOKEN"] for call in fake.machines["m"].calls}
    assert 8 == len(fake.machines["m"].calls)


def test_a_handle_without_a_machines_secrets_raises() -> None:
    """A handle without a machine's secrets raises SecretUnsetError, at the start and at each command."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    made = client.machine("m", secrets={"TOKEN": VALUE})
    made.create()
    with pytest.raises(errors.SecretUnsetError, match="use a handle that was made with these secrets"):
        client.machine("m").start()
    made.start()
    with pytest.raises(errors.SecretUnsetError, match="resolve secret 'TOKEN': env_unset"):
        client.machine("m").exec(["true"])


def test_branches_have_their_sources_secrets() -> None:
    """A branch has its source's secrets, for its own commands and branches."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    with client.machine("m", secrets={"TOKEN": VALUE}, branchable=True) as machine:
        with machine.branch(branchable=True) as child, child.branch() as grandchild:
            for one in (child, grandchild):
                assert f"{VALUE}\n" == one.sh('echo "$TOKEN"').stdout
        with machine.branch_many(1, no_wait_ready=True)[0] as child:
            assert f"{VALUE}\n" == child.sh('echo "$TOKEN"').stdout


@pytest.mark.parametrize(("version", "named"), [("1.32.2", True), ("1.8.3", True), ("1.4.0", False)])
def test_a_branch_gets_secrets_if_the_engine_can(version: str, named: bool) -> None:
    """A branch gets secrets where the engine supports it, and elsewhere has those on its source's record."""
    fake = FakeRunner(version)
    fake.answer(["machine"])
    Smolvm(runner=fake).machine("m", secrets={"TOKEN": VALUE}).branch("child")

    assert named == ("--secret-env" in fake.argvs[-1])
    assert {"SMOLKIT_MACHINE_SECRET_TOKEN": VALUE} == revealed(fake, -1)


def test_each_secret_is_named_once() -> None:
    """No secret is named twice, which the engine refuses: a branch's own win, and with a machine's it is an error."""
    fake = FakeSmolvm(env={"HOST": "own"})
    client = Smolvm(runner=fake)
    source = client.machine("m", secrets={"TOKEN": VALUE, "KEY": VALUE}, branchable=True)
    with source, source.branch(secret_env={"TOKEN": "HOST"}) as child:
        sources = fake.machines[child.name].secrets
        assert ("--secret-env", "HOST") == sources["TOKEN"]
        assert ("--secret-env", "SMOLKIT_MACHINE_SECRET_KEY") == sources["KEY"]
        assert "own\n" == child.sh('echo "$TOKEN"').stdout
    with pytest.raises(errors.ConfigError, match="secret 'TOKEN' specified more than once"):
        client.machine("m", secrets={"TOKEN": VALUE}, secret_env={"TOKEN": "HOST"}).create()


@pytest.mark.parametrize(
    "verb",
    [
        lambda machine: machine.monitor().__enter__().stop(),
        lambda machine: machine.resume(),
        lambda machine: machine.images(),
        lambda machine: machine.prune(),
        lambda machine: machine.network_test(),
        lambda machine: machine.release(),
        lambda machine: machine.start(),
    ],
)
def test_calls_that_may_boot_a_machine_pass_its_secrets(
    client: Smolvm, fake: FakeRunner, verb: Callable[[Machine], Any]
) -> None:
    """Every call that may boot a machine, or look into it, passes its secrets, since the engine resolves them."""
    fake.answer(["machine"], stdout="{}")
    verb(client.machine("m", secrets={"TOKEN": VALUE}))

    assert {"SMOLKIT_MACHINE_SECRET_TOKEN": VALUE} == revealed(fake, -1)


def test_machines_for_one_command_have_secrets() -> None:
    """Machines for one command have secrets, and a detached one keeps them on record for its handle to pass."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    fake.on("show", lambda call: call.env["TOKEN"])

    assert VALUE == client.run(["show"], secrets={"TOKEN": VALUE}).stdout
    with client.run_detached(["show"], secrets={"TOKEN": VALUE}) as machine:
        assert VALUE == machine.exec(["show"]).stdout
    with pytest.raises(TypeError, match="no option 'secrets'"):
        client.pack_run("x.smolmachine", ["show"], secrets={"TOKEN": VALUE})  # type: ignore[call-arg]


def test_a_fake_finds_secrets_as_the_engine_does(tmp_path: Path) -> None:
    """The fake reads secret files at each command, and refuses missing sources in the engine's words."""
    fake = FakeSmolvm(env={"HOST": VALUE})
    client = Smolvm(runner=fake)
    (tmp_path / "file").write_text("from a file\n\n")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "large").write_bytes(b"x" * (2**20 + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    secrets = {"A": Secret.file(tmp_path / "file")}
    with client.machine("m", secrets=secrets, secret_env={"B": "HOST"}) as machine:
        assert f"from a file {VALUE}\n" == machine.sh('echo "$A $B"').stdout
        (tmp_path / "file").write_text("changed")
        assert f"changed {VALUE}\n" == machine.sh('echo "$A $B"').stdout
        for name, reason in (
            ("missing", "file_read_failed"),
            ("link", "file_read_failed"),
            ("binary", "file_read_failed"),
            ("large", "file_too_large"),
        ):
            with pytest.raises(errors.ConfigError, match=f"resolve secret 'C': {reason}"):
                machine.exec(["true"], secrets={"C": Secret.file(tmp_path / name)})
        with pytest.raises(UnexpectedCommandError, match="no keychain"):
            machine.exec(["true"], secrets={"C": Secret.keychain("x")})
    with pytest.raises(errors.SecretUnsetError), client.machine("m", secret_env={"B": "NOT_SET"}):
        pass


def test_engines_that_cannot_take_secrets() -> None:
    """Engines that cannot take secrets refuse them, unless the caller allows them in argv."""
    fake = FakeRunner("0.9.0")
    fake.answer(["machine"])
    machine = Smolvm(runner=fake).machine("m")
    with pytest.raises(errors.UnsupportedByEngineError, match="--secret-env"):
        machine.exec(["true"], secrets={"A": VALUE})
    assert [] == fake.commands

    machine.exec(["true"], secrets={"A": Secret(VALUE, allow_argv=True)})
    assert ("-e", f"A={VALUE}") == fake.argvs[0][4:6]
    assert VALUE not in repr(fake.invocations)


def read(path: Path) -> bytes:
    """The file's content, if it still exists."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("version", "stderr"),
    [
        ("1.32.2", as_json("CONFIG_ERROR", "config operation failed: resolve secret 'X': env_unset")),
        ("1.8.3", "Error: config operation failed: resolve secret 'X': env_unset\n"),
    ],
)
def test_a_secret_that_the_engine_cannot_find_says_how_to_pass_it(version: str, stderr: str) -> None:
    """A secret that the engine cannot find (a Smolfile's `from_env`) raises an error that says how to pass the variable."""
    fake = FakeRunner(version)
    fake.answer(["machine", "start"], returncode=1, stderr=stderr)
    with pytest.raises(errors.ConfigError, match=r"SubprocessRunner\(pass_env=\['NAME'\]\)") as caught:
        Smolvm(runner=fake).machine("m", smolfile="Smolfile").start()
    assert isinstance(caught.value, errors.SecretUnsetError)


def test_no_command_line_has_a_secret(tmp_path: Path) -> None:
    """No /proc/*/cmdline shows a secret while the engine runs."""
    (tmp_path / "smolvm").write_text('#!/bin/sh\nuntil [ -e "${0%/*}/seen" ]; do sleep 0.01; done\n')
    (tmp_path / "smolvm").chmod(0o755)
    machine: Machine = Smolvm(runner=SubprocessRunner(tmp_path / "smolvm", version="1.32.2")).machine(
        "m", secrets={"A": VALUE}
    )
    thread = threading.Thread(target=machine.exec, args=(["true"],), kwargs={"secrets": {"B": VALUE}})
    thread.start()
    until(lambda: running("B=SMOLKIT_SECRET_B"))
    seen = [read(path) for path in of_each_process("cmdline")]
    (tmp_path / "seen").touch()
    thread.join()

    assert any(b"SMOLKIT_SECRET_B" in line for line in seen)
    assert not any(VALUE.encode() in line for line in seen)


def test_recorded_calls_show_no_secret() -> None:
    """A recorded call that a failing test prints shows no secret."""
    code = (
        "from smolkit import Smolvm; from smolkit.testing import FakeRunner\n"
        "fake = FakeRunner(); fake.answer(['machine'])\n"
        f"Smolvm(runner=fake).machine('m').exec(['true'], secrets={{'A': '{VALUE}'}})\n"
        "print(vars(fake))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "SMOLKIT_SECRET_A" in done.stdout
    assert VALUE not in done.stdout
    assert json.dumps(VALUE) not in done.stdout

"""Secrets: in the engine's environment or by name, and nowhere else."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from smolkit import Machine, Secret, Smolvm, SmolvmError, SubprocessRunner, errors
from smolkit.commands import Create, Exec, Spawn, Start
from smolkit.testing import FakeRunner
from tests.processes import running, until
from tests.recorded import as_json

VALUE = "t0p-s3cret"


def test_nothing_shows_a_secret(client: Smolvm, fake: FakeRunner, caplog: pytest.LogCaptureFixture) -> None:
    """Not repr, str, pickles, logs, errors, nor what a fake has recorded."""
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
    with pytest.raises(ValueError, match="does not travel by pickle"):
        pickle.loads(pickle.dumps(secret)).text.reveal()


def test_each_kind_is_said_as_the_engine_has_it(client: Smolvm, fake: FakeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values by a variable, files by their absolute path, keychain items by their name."""
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
    with pytest.raises(TypeError, match="secrets is a mapping"):
        client.machine("m").exec(["true"], secrets=["A"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NUL"):
        client.machine("m").exec(["true"], secrets={"A": Secret("a\0b")})


def revealed(fake: FakeRunner, number: int) -> dict[str, str]:
    """The variables that a call's engine got."""
    return {key: value.reveal() for key, value in fake.invocations[number].env}


def test_a_machines_secrets_come_with_every_start_and_command(client: Smolvm, fake: FakeRunner) -> None:
    """The engine has only names on record, and resolves them each time."""
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


def test_engines_without_a_way_for_secrets() -> None:
    """Refused, unless the caller says that argv is acceptable."""
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
    """What the file has, if it is still there."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("1.32.2", as_json("CONFIG_ERROR", "config operation failed: resolve secret 'X': env_unset")),
        ("1.8.3", "Error: config operation failed: resolve secret 'X': env_unset\n"),
    ],
)
def test_a_secret_that_the_engine_cannot_find_says_how_to_pass_it(version: str, said: str) -> None:
    """A Smolfile's `{from_env = "X"}`: the engine does not get all of this process's variables."""
    fake = FakeRunner(version)
    fake.answer(["machine", "start"], returncode=1, stderr=said)
    with pytest.raises(errors.ConfigError, match=r"SubprocessRunner\(pass_env=\['NAME'\]\)") as caught:
        Smolvm(runner=fake).machine("m", smolfile="Smolfile").start()
    assert isinstance(caught.value, errors.SecretUnsetError)


def test_no_command_line_has_a_secret(tmp_path: Path) -> None:
    """Seen as another user would: in /proc/*/cmdline, while the engine runs."""
    (tmp_path / "smolvm").write_text('#!/bin/sh\nuntil [ -e "${0%/*}/seen" ]; do sleep 0.01; done\n')
    (tmp_path / "smolvm").chmod(0o755)
    machine: Machine = Smolvm(runner=SubprocessRunner(tmp_path / "smolvm", version="1.32.2")).machine(
        "m", secrets={"A": VALUE}
    )
    thread = threading.Thread(target=machine.exec, args=(["true"],), kwargs={"secrets": {"B": VALUE}})
    thread.start()
    until(lambda: running("B=SMOLKIT_SECRET_B"))
    seen = [read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    (tmp_path / "seen").touch()
    thread.join()

    assert any(b"SMOLKIT_SECRET_B" in line for line in seen)
    assert not any(VALUE.encode() in line for line in seen)


def test_a_dump_of_what_a_fake_recorded() -> None:
    """As a test's failure report would print it."""
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

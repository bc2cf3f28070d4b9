"""Machine and Smolvm on the fake runner: calls, their order, and invalid input."""

from __future__ import annotations

import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smolkit import Check, Machine, Smolvm, SmolvmError, SubprocessRunner, errors
from smolkit.commands import Cp, Create, DataDir, Delete, Exec, Ls, MachineSpec, PackCreate, Start, Status, Stop
from smolkit.testing import FakeRunner
from tests.recorded import as_json
from tests.samples import create

NOT_FOUND = as_json("NOT_FOUND", "vm not found: agent")


def test_the_quickstarts_calls(client: Smolvm, fake: FakeRunner, tmp_path: Path) -> None:
    """create, start, cp, exec and delete make one engine call each, and no other."""
    fake.answer(Exec, stdout="hi\n")
    fake.answer(["machine"])
    (tmp_path / "job.sh").write_text("echo hi")

    with client.machine("agent", cpus=1, memory=512) as m:
        m.cp(tmp_path / "job.sh", m.path("/root/job.sh"))
        result = m.exec(["sh", "/root/job.sh"], env={"GREETING": "hi"}, timeout=30)

    assert (0, "hi\n") == (result.returncode, result.stdout)
    assert [
        create("agent", cpus=1, memory=512),
        Start("agent"),
        Cp(str(tmp_path / "job.sh"), "agent:/root/job.sh"),
        Exec("agent", ["sh", "/root/job.sh"], env={"GREETING": "hi"}, timeout=30),
        Delete("agent"),
    ] == fake.commands


def test_a_block_of_one_exec_makes_four_calls(client: Smolvm, fake: FakeRunner) -> None:
    """A block with one exec makes four engine calls."""
    fake.answer(["machine"])
    with client.machine() as m:
        m.exec(["true"])

    assert ["create", "start", "exec", "delete"] == [argv[1] for argv in fake.argvs]


def test_each_verb_is_one_call(client: Smolvm, fake: FakeRunner) -> None:
    """Each verb of a handle that did not make its machine is one engine call."""
    fake.answer(Status, stdout='{"name": "agent", "state": "running"}')
    fake.answer(["machine"])
    client.machine("agent").create()
    m = client.machine("agent")
    m.start(timeout=5)
    m.stop()
    assert m.status().running
    assert m.exists()
    m.delete()

    assert [
        Create("agent"),
        Start("agent", 5),
        Stop("agent"),
        Status("agent"),
        Status("agent"),
        Delete("agent"),
    ] == fake.commands


def test_exec_returns_a_result_for_any_status(client: Smolvm, fake: FakeRunner) -> None:
    """exec returns a result whatever the guest's exit status."""
    fake.answer(Exec, returncode=1, stdout="out", stderr="err", duration=0.25)
    result = client.machine("agent").exec(["false"])

    assert (1, "out", "err", False, 0.25) == (result.returncode, result.stdout, result.stderr, result.ok, result.duration)


@pytest.mark.parametrize("verb", ["create", "start", "stop", "delete"])
def test_every_other_verb_raises_on_non_zero(client: Smolvm, fake: FakeRunner, verb: str) -> None:
    """Every other verb raises SmolvmError with the status and the engine's message if the engine fails."""
    fake.answer(["machine", "ls"], stdout='[{"name": "agent"}]')
    fake.answer(["machine"], returncode=1, stderr="Error: something unheard of\n")

    with pytest.raises(SmolvmError, match="something unheard of") as caught:
        getattr(client.machine("agent"), verb)()
    assert 1 == caught.value.returncode


def test_check_and_sh(client: Smolvm, fake: FakeRunner) -> None:
    """sh runs a shell, and check=True raises an error with the result for a non-zero status."""
    fake.answer(Exec, returncode=3, stderr="no")
    m = client.machine("agent")

    assert 3 == m.sh("a | b").returncode
    with pytest.raises(errors.CommandFailedError, match=r"status 3: sh -c 'a \| b'"):
        m.sh("a | b", check=True, timeout=5)
    assert Exec("agent", ["sh", "-c", "a | b"]) == fake.commands[0]


def test_the_hosts_bounds(client: Smolvm, fake: FakeRunner) -> None:
    """The host timeout is the guest's plus 30 s for exec, start's own for start, and a generous one for the rest."""
    fake.answer(["machine"])
    m = client.machine("agent")
    m.exec(["true"])
    m.exec(["true"], timeout=5)
    m.start()
    m.start(timeout=None)
    m.stop()

    assert [None, 35, 900, None, 120] == [call.timeout for call in fake.invocations]


def test_a_machine_without_a_name_has_a_fresh_one(client: Smolvm) -> None:
    """Machines without a name get different names."""
    names = {client.machine().name for _ in range(100)}

    assert 100 == len(names)
    assert all(name.startswith("smolkit-") for name in names)


def test_handles_are_values_and_pickle(client: Smolvm) -> None:
    """Handles compare by name and engine, and an unpickled one is the same machine, without owning it or having its env."""
    assert client.machine("a") == client.machine("a", cpus=2)
    assert client.machine("a") != client.machine("b")
    assert client.machine("a") != Smolvm(runner=FakeRunner()).machine("a")
    assert 1 == len({client.machine("a"), client.machine("a")})
    assert "<Machine 'a'>" == repr(client.machine("a"))

    runner = SubprocessRunner("/bin/true", state_dir="/tmp/state", env={"TOKEN": "s3cr3t"}, version="1.32.2")
    machine = Smolvm(runner=runner).machine("a", env={"KEY": "s3cr3t"})
    data = pickle.dumps(machine)
    assert pickle.loads(data) == machine
    assert b"s3cr3t" not in data
    with pytest.raises(ValueError, match="env, secrets and proxy are not pickled"):
        Smolvm(runner=pickle.loads(pickle.dumps(runner))).machine("a").stop()


def test_status_asks_old_engines_by_ls() -> None:
    """status asks by ls before 1.15.0, where status could create a 20 GiB disk, and raises if ls fails."""
    fake = FakeRunner("1.14.2")
    fake.answer(Ls(), stdout='[{"name": "b"}, {"name": "agent", "state": "stopped"}]', times=2)
    fake.answer(Ls(), returncode=1, stderr="Error: database error: disk I/O error\n")
    client = Smolvm(runner=fake)

    assert "stopped" == client.machine("agent").status().state
    assert not client.machine("other").exists()
    with pytest.raises(errors.UnknownEngineError, match="disk I/O error"):
        client.machine("agent").exists()


LS = json.dumps(
    [
        {
            "name": "b",
            "state": "unreachable",
            "cpus": 1,
            "memory_mib": 512,
            "pid": None,
            "created_at": 1795344446,
            "new": {},
        },
        {"name": "a", "state": "hibernating", "cpus": "?", "created_at": "1795344446", "labels": {"x": "y"}},
    ]
)


def test_ls_is_lenient_and_sorted(client: Smolvm, fake: FakeRunner) -> None:
    """ls keeps unknown states and keys, reads missing or wrong ones as None, and sorts by name."""
    fake.answer(Ls(), stdout=LS)
    a, b = client.ls()

    assert ("a", "hibernating", None, 1795344446, {"x": "y"}) == (a.name, a.state, a.cpus, a.created_at, a.labels)
    assert ("b", "unreachable", 512, 1795344446) == (b.name, b.state, b.memory, b.created_at)
    assert {} == b.raw["new"]


def test_unreachable_is_not_dead(client: Smolvm, fake: FakeRunner) -> None:
    """An unreachable machine is reported as such, since one probe may fail, and is neither started nor stopped."""
    fake.answer(Status, stdout='{"name": "agent", "state": "unreachable"}')
    fake.answer(Exec, stdout="alive")
    m = client.machine("agent")

    assert "unreachable" == m.status().state
    assert "alive" == m.exec(["true"]).stdout
    assert [Status("agent"), Exec("agent", ["true"])] == fake.commands


def test_ls_of_an_engine_that_logs_on_stdout() -> None:
    """ls ignores log lines before the answer, as engines up to 0.7.2 wrote them."""
    fake = FakeRunner("0.7.2")
    fake.answer(Ls(), stdout=f"\x1b[2m2026-01-01T00:00:00Z\x1b[0m WARN something\n{LS}\n")

    assert ["a", "b"] == [info.name for info in Smolvm(runner=fake).ls()]


@pytest.mark.parametrize("answer", ["", "{}", "[", "null", '[{"state": "x"}]', "[1]", "[" * 50_000, "No machines"])
def test_an_answer_that_is_not_a_list_is_an_error(client: Smolvm, fake: FakeRunner, answer: str) -> None:
    """An answer of ls that is not a list is an error."""
    fake.answer(Ls(), stdout=answer)

    with pytest.raises(errors.UnknownEngineError):
        client.ls()


def test_pack_create(client: Smolvm, fake: FakeRunner) -> None:
    """pack_create packs an image or a stopped machine, with or without the suffix, and returns the pack's path."""
    fake.answer(PackCreate)
    fake.answer(Status, stdout='{"name": "agent", "state": "stopped"}', times=1)
    fake.answer(Status, stdout='{"name": "agent", "state": "running"}')

    assert os.path.abspath("out.smolmachine") == client.pack_create("alpine", "out")
    assert os.path.abspath("out.smolmachine") == client.pack_create("alpine", "out.smolmachine")
    assert os.path.abspath("out") == client.pack_create(None, "out", from_machine="agent", single_file=True)
    assert [
        ("pack", "create", "--image", "alpine", "-o", "out"),
        ("pack", "create", "--image", "alpine", "-o", "out"),
        ("machine", "status", "--name", "agent", "--json"),
        ("pack", "create", "--from-vm", "agent", "--single-file", "-o", "out"),
    ] == fake.argvs
    with pytest.raises(errors.MachineRunningError, match="only a stopped machine can be packed"):
        client.pack_create(None, "out", from_machine="agent")
    for image, options in ((None, {}), ("alpine", {"from_machine": "agent"})):
        with pytest.raises(ValueError, match="and only one of them"):
            client.pack_create(image, "out", **options)  # type: ignore[arg-type]


def test_cp_out(client: Smolvm, fake: FakeRunner, tmp_path: Path) -> None:
    """cp from the guest accepts NAME:/path, too."""
    fake.answer(Cp)
    m = client.machine("agent")
    m.cp(m.path("/root/x"), tmp_path / "x")
    m.cp("agent:/root/x", str(tmp_path / "y"))

    assert [Cp("agent:/root/x", str(tmp_path / "x")), Cp("agent:/root/x", str(tmp_path / "y"))] == fake.commands


def test_cp_of_an_empty_path_runs_nothing(client: Smolvm, fake: FakeRunner) -> None:
    """cp with an empty path on either side runs nothing."""
    m = client.machine("agent")
    m.cp("", m.path("/x"))
    m.cp(m.path("/x"), "")

    assert [] == fake.commands


def test_cp_of_a_file_with_a_colon(client: Smolvm, fake: FakeRunner, tmp_path: Path) -> None:
    """cp of a host file with a colon in its name goes by a name without one, as the engine would see a machine."""
    file = tmp_path / "a:b"
    file.write_text("content")
    seen = []
    fake.answer(lambda command: bool(seen.append((command.source, Path(command.source).read_text())) or True))  # type: ignore[attr-defined, func-returns-value]
    m = client.machine("agent")
    m.cp(file, m.path("/x"))

    (name, content) = seen[0]
    assert ":" not in name
    assert "content" == content
    assert not Path(name).is_symlink()


Bad = Callable[[Machine], Any]
BAD_INPUT: list[tuple[type[Exception], str, Bad]] = [
    (TypeError, r"write \['uname', '-r'\]", lambda m: m.exec("uname -r")),
    (TypeError, "list of arguments", lambda m: m.exec(b"true")),  # type: ignore[arg-type]
    (TypeError, "list of arguments", lambda m: m.exec(5)),  # type: ignore[arg-type]
    (TypeError, "an argument is int", lambda m: m.exec(["sleep", 5])),  # type: ignore[list-item]
    (ValueError, "command must not be empty", lambda m: m.exec([])),
    (ValueError, "must begin with the name of a program", lambda m: m.exec([""])),
    (ValueError, "NUL", lambda m: m.exec(["a\0b"])),
    (ValueError, "must be valid UTF-8", lambda m: m.exec(["\ud800"])),
    (ValueError, "NUL", lambda m: m.exec(["true"], env={"A": "b\0c"})),
    (ValueError, "key of env must not be empty", lambda m: m.exec(["true"], env={"": "x"})),
    (ValueError, "must not contain '='", lambda m: m.exec(["true"], env={"A=B": "x"})),
    (ValueError, "must be valid UTF-8", lambda m: m.exec(["true"], env={"A": "\ud800"})),
    (TypeError, "must be a str, not int", lambda m: m.exec(["true"], env={"A": 1})),  # type: ignore[dict-item]
    (TypeError, "env must be a mapping", lambda m: m.exec(["true"], env=["A=1"])),  # type: ignore[arg-type]
    (ValueError, "must not contain '='", lambda m: m.exec(["true"], secrets={"A=B": "x"})),
    (ValueError, "positive", lambda m: m.exec(["true"], timeout=-1)),
    (ValueError, "positive", lambda m: m.exec(["true"], timeout=0)),
    (ValueError, "positive", lambda m: m.exec(["true"], timeout=math.nan)),
    (ValueError, "positive", lambda m: m.exec(["true"], timeout=10**400)),
    (ValueError, "positive", lambda m: m.exec(["true"], timeout=math.inf)),
    (TypeError, "number of seconds", lambda m: m.exec(["true"], timeout="5s")),  # type: ignore[arg-type]
    (TypeError, "number of seconds", lambda m: m.exec(["true"], timeout=True)),
    (ValueError, "positive", lambda m: m.start(timeout=-1)),
    (ValueError, "must be an absolute path", lambda m: m.exec(["true"], workdir="root")),
    (ValueError, "user must not be empty", lambda m: m.exec(["true"], user="")),
    (TypeError, "input must be bytes or str", lambda m: m.exec(["true"], input=5)),  # type: ignore[arg-type]
    (ValueError, "script must not be empty", lambda m: m.sh("")),
    (FileNotFoundError, "no-such-file", lambda m: m.cp("no-such-file", m.path("/x"))),
    (IsADirectoryError, "one file", lambda m: m.cp("/tmp", m.path("/x"))),
    (ValueError, "neither", lambda m: m.cp("a", "b")),
    (ValueError, "neither", lambda m: m.cp("a", "other:/b")),
    (ValueError, "both", lambda m: m.cp(m.path("/a"), m.path("/b"))),
    (ValueError, "another machine", lambda m: m.cp("a", Smolvm(runner=FakeRunner()).machine("agent").path("/b"))),
    (ValueError, "another machine", lambda m: m.cp(Machine(m._runner, "other").path("/a"), "b")),
    (ValueError, "NUL", lambda m: m.cp("a\0b", m.path("/x"))),
    (ValueError, "NUL", lambda m: m.path("/a\0b")),
    (ValueError, "must be an absolute path", lambda m: m.path("root")),
    (TypeError, "must be a str or os.PathLike", lambda m: m.cp(5, m.path("/x"))),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("error", "words", "call"), BAD_INPUT)
def test_bad_input_runs_nothing(client: Smolvm, fake: FakeRunner, error: type[Exception], words: str, call: Bad) -> None:
    """Invalid input is a clear error, before any process starts."""
    with pytest.raises(error, match=words):
        call(client.machine("agent"))

    assert [] == fake.commands


@pytest.mark.parametrize(
    "name", ["-x", ".x", "/x", "a/b", "a b", "a.b", "é", "a\n", "", "a" * 129, "a--b", "a-", "_a", "a\0", "a:b", "\uff11"]
)
def test_invalid_names_are_refused(client: Smolvm, name: str) -> None:
    """An invalid name is refused before a handle exists, as SmolvmError and ValueError."""
    with pytest.raises(errors.InvalidNameError):
        client.machine(name)
    with pytest.raises(ValueError, match="not a machine name"):
        Start(name)
    with pytest.raises(TypeError):
        client.machine(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a", "0", "A_b-9", "a_", "a" * 128])
def test_valid_names_are_accepted(client: Smolvm, name: str) -> None:
    """Every name that the engine accepts is accepted."""
    assert name == client.machine(name).name


BAD_OPTIONS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "did you mean 'memory'", {"mem": 512}),
    (TypeError, "no option 'xyzzy'$", {"xyzzy": 1}),
    (ValueError, "cpus must be from 1 to 255", {"cpus": 0}),
    (TypeError, "cpus must be an int", {"cpus": "2"}),
    (TypeError, "cpus must be an int", {"cpus": True}),
    (ValueError, "memory must be from 64", {"memory": 63}),
    (ValueError, "image must not be empty", {"image": ""}),
    (ValueError, "one of them", {"image": "a", "from_path": "b"}),
    (TypeError, r"write \['8080'\]", {"ports": "8080"}),
    (ValueError, r"a port of ports\[0\] must be from 1 to 65535", {"ports": [0]}),
    (TypeError, "volumes must be a list", {"volumes": "/a:/b"}),
    (ValueError, r"volumes\[0\] must not be empty", {"volumes": [""]}),
    (ValueError, "does not appear to be", {"allow_cidrs": ["nonsense"]}),
    (ValueError, "allow_cidrs must not be empty, which would restrict nothing", {"net": True, "allow_cidrs": []}),
    (ValueError, "allow_hosts must not be empty", {"allow_hosts": ()}),
    (ValueError, "leave one of them out", {"allow_cidrs": ["10.0.0.0/8"], "net": False}),
    (TypeError, "net must be True or False", {"net": "yes"}),
    (ValueError, "block_io must be one of 'sync', 'async'", {"block_io": "fast"}),
    (TypeError, "labels must be a mapping", {"labels": ["a=b"]}),
    (ValueError, "must not contain '='", {"labels": {"a=b": "c"}}),
    (ValueError, "workdir must be an absolute path", {"workdir": "x"}),
    (ValueError, "stop_timeout must be from 1 to 300", {"stop_timeout": 301}),
    (TypeError, "command must be a list of arguments", {"command": "sleep 60"}),
    (ValueError, "key of env must not be empty", {"env": {"": "x"}}),
    (ValueError, "max_image_size must be from 1", {"max_image_size": 0}),
]


@pytest.mark.parametrize(("error", "words", "options"), BAD_OPTIONS)
def test_invalid_options_are_refused(
    client: Smolvm, fake: FakeRunner, error: type[Exception], words: str, options: dict[str, Any]
) -> None:
    """Invalid options are refused when the handle is made."""
    with pytest.raises(error, match=words):
        client.machine("agent", **options)

    assert [] == fake.commands


def test_a_client_takes_a_program_or_a_runner() -> None:
    """A client given both a program and a runner is refused."""
    with pytest.raises(TypeError, match="pass program to the runner"):
        Smolvm("/bin/smolvm", runner=FakeRunner())


def test_data_dir_and_unknown_answers(fake: FakeRunner) -> None:
    """data_dir is the last line of the answer, and an empty answer is an error."""
    fake.answer(DataDir("a"), stdout="/state/vms/1\n", times=1)
    fake.answer(DataDir("a"))

    assert "/state/vms/1" == fake.run(DataDir("a"))
    with pytest.raises(errors.UnknownEngineError, match="no data directory"):
        fake.run(DataDir("a"))


def test_engine_and_doctor_of_a_custom_runner(client: Smolvm) -> None:
    """engine and doctor work with a custom runner."""
    assert "1.32.2" == client.engine.version
    assert client.is_available()
    assert [("program", True), ("version", True)] == [(check.name, check.ok) for check in client.doctor()]
    assert "FakeRunner" in repr(client)


def test_a_doctor_never_raises(fake: FakeRunner) -> None:
    """doctor does not raise, whatever its runner does."""

    class Broken(FakeRunner):
        def look(self) -> list[Check]:
            raise OSError("no network")

    (check,) = Smolvm(runner=Broken()).doctor()
    assert (False, "OSError: no network") == (check.ok, check.detail)


def test_a_spec_is_a_value() -> None:
    """Specs with the same options in another order are equal."""
    assert MachineSpec.of({"net": True, "cpus": 1}) == MachineSpec.of({"cpus": 1, "net": True, "gpu": False})


@pytest.mark.parametrize(("version", "noted"), [("1.9.1", True), ("1.32.2", False)])
def test_a_timeout_names_engines_that_leave_children(version: str, *, noted: bool) -> None:
    """A timeout's error has a note on engines that end only the command itself, and not its children."""
    fake = FakeRunner(version)
    fake.answer(Exec, returncode=124, duration=2.5)
    with pytest.raises(errors.ExecTimeoutError) as caught:
        Smolvm(runner=fake).machine("m").exec(["sleep", "9"], timeout=2)

    assert noted == ("may run on" in "".join(getattr(caught.value, "__notes__", [])))

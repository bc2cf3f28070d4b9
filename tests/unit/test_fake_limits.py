"""FakeSmolvm does not do what its docstring says it does not do, and nothing else that a user would take for granted."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smolkit import AsyncSmolvm, Smolvm
from smolkit.runners import Runner
from smolkit.testing import FakeRunner, FakeSmolvm, Recorder, Replayer, UnexpectedCommandError
from smolkit.testing.programs import PROGRAMS
from smolkit.testing.subcommands import ANSWERED, STREAMED

DOCSTRING = re.sub(r"\s+", " ", FakeSmolvm.__doc__ or "")


def listed(text: str, before: str, after: str) -> set[str]:
    """The words of a list in a text."""
    found = text.partition(before)[2].partition(after)[0]
    return set(re.findall(r"[a-z-]+", found)) - {"and"}


def test_its_programs_and_subcommands_are_listed() -> None:
    """Its docstring and the README have them all, and no others."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()

    assert PROGRAMS.keys() == listed(DOCSTRING, "built-in programs: ", ", and a small")
    assert {*ANSWERED, *STREAMED} == listed(DOCSTRING, "subcommands exist: ", ". Others are scripted")
    assert PROGRAMS.keys() == listed(readme, "The fake knows `", "`")


def test_machines_have_no_files_and_no_network(tmp_path: Path) -> None:
    """An image, a volume, a port and `init` are recorded only, and users have no permissions."""
    fake = FakeSmolvm()
    given: dict[str, Any] = {"image": "alpine", "volumes": {tmp_path: "/data"}, "ports": {8080: 80}, "init": ["touch /ran"]}
    with Smolvm(runner=fake).machine("m", **given) as machine:
        machine.write_text("/root/key", "s3cr3t", mode=0o600)

        assert ["bin", "etc", "proc", "root", "tmp"] == machine.listdir("/")
        assert [] == machine.listdir("/bin") == machine.listdir("/etc")
        assert "s3cr3t" == machine.exec(["cat", "/root/key"], user="nobody").stdout
        assert ("alpine", [{"host": 8080, "guest": 80}]) == (
            fake.machines["m"].image,
            fake.machines["m"].record["published_ports"],
        )


def test_commands_run_while_they_are_read() -> None:
    """Two commands that sleep take the sum of their times, and a killed one is abandoned where it is."""
    fake, seen = FakeSmolvm(), []
    fake.on("work", lambda call: iter_steps())

    def iter_steps() -> Any:
        for step in ("first", "second"):
            seen.append(step)
            yield step

    with Smolvm(runner=fake).machine("m") as machine:
        for process in [machine.popen(["sleep", "5"]), machine.popen(["sleep", "5"])]:
            process.wait()
        assert 10.0 == fake.clock()
        process = machine.popen(["work"])
        assert [] == seen
        next(iter(process))
        process.kill()
        process.wait()
    assert ["first"] == seen


@pytest.mark.parametrize("verb", ["pause", "images", "mounts", "network_test", "config_show"])
def test_other_subcommands_are_refused(verb: str) -> None:
    """A subcommand that it does not implement is refused, with how to script an answer."""
    client = Smolvm(runner=FakeSmolvm())
    call: Callable[[], object] = getattr(client.machine("m"), verb, None) or getattr(client, verb)
    with pytest.raises(UnexpectedCommandError, match=r"does not implement.*\n.*fake\.answer"):
        call()


def runners(folder: Path) -> dict[str, Runner]:
    """A double of each kind."""
    scripted = FakeRunner()
    scripted.answer(["machine", "exec"], ["one\n", "two\n"])
    with Recorder(FakeSmolvm(), folder / "tape.json") as recorder, Smolvm(runner=recorder).machine("m"):
        pass
    return {"fake": FakeSmolvm(), "scripted": scripted, "recorder": recorder, "replayer": Replayer(folder / "tape.json")}


@pytest.mark.parametrize("kind", ["fake", "recorder"])
@pytest.mark.parametrize(
    "copied", [lambda item: pickle.loads(pickle.dumps(item)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
def test_doubles_with_state_in_this_process_do_not_pickle(kind: str, copied: Callable[[Any], Any], tmp_path: Path) -> None:
    """Runner, client, machine and their async twins raise a TypeError that says why, and what to do instead."""
    runner = runners(tmp_path)[kind]
    made = [
        runner,
        *(each for client in (Smolvm, AsyncSmolvm) for each in (client(runner=runner), client(runner=runner).machine("m"))),
    ]
    for item in made:
        with pytest.raises(
            TypeError, match=f"a {type(runner).__name__}, or a handle on it, cannot be pickled.* in each process"
        ):
            copied(item)


def test_doubles_that_are_data_pickle(tmp_path: Path) -> None:
    """Copies of a FakeRunner and a Replayer have answers of their own."""
    made = runners(tmp_path)
    machine = Smolvm(runner=made["scripted"]).machine("m")
    other = pickle.loads(pickle.dumps(machine))
    assert ["one\n", "one\n", "two\n"] == [each.exec(["x"]).stdout for each in (machine, other, other)]
    for client in (pickle.loads(pickle.dumps(Smolvm(runner=made["replayer"]))), Smolvm(runner=made["replayer"])):
        with client.machine("m"):
            pass
    made["replayer"].assert_done()  # type: ignore[attr-defined]

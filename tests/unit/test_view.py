"""Views of a machine: its commands and files, with defaults."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from smolkit import AsyncSmolvm, Machine, MachineView, Secret, Smolvm, errors
from smolkit.testing import FakeSmolvm, GuestCall


@pytest.fixture
def fake() -> FakeSmolvm:
    """A fake with a program that tells how it was called."""
    fake = FakeSmolvm()

    @fake.on("tell")
    def tell(call: GuestCall) -> str:
        variables = {key: value for key, value in call.env.items() if len(key) == 1}
        return f"{call.workdir} {call.user} {dict(sorted(variables.items()))}"

    return fake


@pytest.fixture
def machine(fake: FakeSmolvm) -> Any:
    """A running image machine with a directory /repo/src."""
    with Smolvm(runner=fake).machine("m", image="alpine") as machine:
        machine.mkdir("/repo/src", parents=True)
        yield machine


def timeout_of(fake: FakeSmolvm) -> str | None:
    """The timeout of the last command."""
    argv = fake.argvs[-1]
    return argv[argv.index("--timeout") + 1] if "--timeout" in argv[: argv.index("--")] else None


def test_commands_get_the_defaults(fake: FakeSmolvm, machine: Machine) -> None:
    """Every kind of command gets what its call leaves out, and the machine itself has no defaults."""
    view = machine.at(workdir="/repo", env={"A": "1"}, secrets={"S": "x"}, user="agent", timeout=60)
    expected = "/repo agent {'A': '1', 'S': 'x'}"

    assert expected == view.exec(["tell"]).stdout
    assert "60s" == timeout_of(fake)
    assert expected == view.sh("tell").stdout
    with view.popen(["tell"], text=True) as process:
        assert [("stdout", expected)] == list(process)
    assert "60s" == timeout_of(fake)
    assert machine == view.spawn(["tell"]).machine
    assert ("/repo", "agent") == (fake.machines["m"].calls[-1].workdir, fake.machines["m"].calls[-1].user)
    assert "/ None {}" == machine.exec(["tell"]).stdout
    assert None is timeout_of(fake)


def test_what_a_call_gives_wins(fake: FakeSmolvm, machine: Machine) -> None:
    """A call's own options win, its variables are added, and a relative workdir starts at the view's."""
    view = machine.at(workdir="/repo", env={"A": "1", "B": "2"}, secrets={"S": "x"}, user="agent", timeout=60)
    result = view.exec(["tell"], workdir="src", env={"A": "9", "S": "plain"}, secrets={"B": "y"}, user="root", timeout=5)

    assert "/repo/src root {'A': '9', 'B': 'y', 'S': 'plain'}" == result.stdout
    assert "5s" == timeout_of(fake)
    assert "/ agent" in view.exec(["tell"], workdir="/").stdout


def test_a_view_of_a_view(machine: Machine) -> None:
    """A view of a view has the defaults of both; its relative workdir starts at the outer one's."""
    view = machine.at(workdir="/repo", env={"A": "1", "B": "2"}, user="agent").at(workdir="src", env={"B": "3"})

    assert "/repo/src agent {'A': '1', 'B': '3'}" == view.exec(["tell"]).stdout
    assert "<MachineView 'm' at '/repo/src'>" == repr(view)


def test_relative_paths_start_at_the_workdir(fake: FakeSmolvm, machine: Machine, tmp_path: Path) -> None:
    """All file methods of a view take relative paths, and absolute ones as ever."""
    view, files = machine.at(workdir="/repo"), fake.machines["m"].files
    view.write_text("src/a.py", "one")
    assert ("one", "one") == (files.read_text("/repo/src/a.py"), view.read_text("/repo/src/a.py"))
    assert ("one", True, False) == (view.read_text("./src/a.py"), view.exists("src/a.py"), view.exists("a.py"))
    view.mkdir("new")
    view.rename("src/a.py", "new/b.py")
    assert (["b.py"], 3) == (view.listdir("new"), view.stat("new/b.py").size)
    (tmp_path / "up").write_text("up")
    view.upload(tmp_path / "up", "up")
    view.cp(tmp_path / "up", view.path("copied"))
    view.download("copied", tmp_path / "down")
    assert ("up", "/repo/copied") == ((tmp_path / "down").read_text(), view.path("copied").path)
    assert ["/repo/new/b.py"] == view.glob(".", "**/*.py")
    view.remove("new", recursive=True)
    assert ["copied", "src", "up"] == view.listdir(".")
    for other in (machine, machine.at(user="agent")):
        with pytest.raises(ValueError, match="absolute path"):
            other.read_text("src/a.py")
    with pytest.raises(FileNotFoundError, match="/repo/none"):
        view.read_text("none")


def test_file_methods_run_as_the_views_user(fake: FakeSmolvm, machine: Machine, tmp_path: Path) -> None:
    """File methods get the view's user and timeout, unless a call has its own."""
    view = machine.at(workdir="/repo", user="agent", timeout=60)
    (tmp_path / "file").write_text("x")
    calls: list[Callable[..., Any]] = [
        lambda **own: view.write_text("x", "y", **own),
        lambda **own: view.read_text("x", **own),
        lambda **own: view.upload(tmp_path / "file", "up", **own),
        lambda **own: view.exists("x", **own),
        lambda **own: view.scandir(".", **own),
    ]
    for call in calls:
        call()
        assert ("agent", "60s") == (fake.machines["m"].calls[-1].user, timeout_of(fake))
        call(user="root", timeout=7)
        assert ("root", "7s") == (fake.machines["m"].calls[-1].user, timeout_of(fake))


def test_a_missing_workdir(machine: Machine) -> None:
    """A view may have a workdir that is not there yet: its commands say so, and it can be made."""
    view = machine.at(workdir="/later")
    with pytest.raises(errors.WorkdirNotFoundError):
        view.exec(["tell"])
    view.mkdir(".")
    assert view.exec(["tell"]).ok


def test_views_are_values(machine: Machine) -> None:
    """Views compare by machine and defaults, show no value of a variable, and pickle without them."""
    secret = Secret("hush")
    view = machine.at(workdir="/repo", env={"A": "hush"}, secrets={"S": secret})
    same, other = machine.at(workdir="/repo", env={"A": "hush"}, secrets={"S": secret}), machine.at(workdir="/x")
    assert (True, False, False) == (view == same, view == other, view == machine)
    assert "hush" not in repr(view) + repr(view._defaults)

    far = Smolvm("/no/such").machine("m").at(workdir="/repo", env={"A": "hush"})
    assert b"hush" not in pickle.dumps(far)
    assert "<MachineView 'm' at '/repo'>" == repr(pickle.loads(pickle.dumps(far)))


@pytest.mark.parametrize(
    "given", [{"workdir": "repo"}, {"user": ""}, {"timeout": 0}, {"env": {"A=": "x"}}, {"env": {"A": 1}}, {"workdir": 3}]
)
def test_wrong_defaults_are_refused_at_once(given: dict[str, Any]) -> None:
    """Defaults that no call could use are refused where the view is made."""
    with pytest.raises((ValueError, TypeError)):
        Smolvm(runner=FakeSmolvm()).machine("m").at(**given)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_an_async_view(fake: FakeSmolvm, machine: Machine, loop: str) -> None:
    """The async side has the same views, made without await."""

    async def main() -> None:
        view = AsyncSmolvm(runner=fake).machine(machine.name).at(workdir="/repo").at(env={"A": "1"})
        assert "/repo None {'A': '1'}" == (await view.exec(["tell"])).stdout
        await view.write_text("x", "y")
        assert "y" == await view.read_text("x")
        async with await view.popen(["tell"], text=True) as process:
            assert ["/repo None {'A': '1'}"] == [line async for _, line in process]

    anyio.run(main, backend=loop)


def test_a_bare_machine_says_so(fake: FakeSmolvm, machine: Machine) -> None:
    """is_bare tells what a machine is made of, asking only where the handle does not know."""
    client = Smolvm(runner=fake)
    with client.machine("bare") as bare:
        before = len(fake.argvs)
        assert (True, False) == (bare.is_bare(), machine.is_bare())
        assert before == len(fake.argvs)
        assert (True, False) == (client.machine("bare").is_bare(), client.machine("m").is_bare())
        with pytest.raises(errors.MachineNotFoundError):
            client.machine("none").is_bare()


def test_a_branch_is_made_of_what_its_source_is() -> None:
    """A branch of an image machine is no bare one, and its commands have the engine's users."""
    fake = FakeSmolvm()
    with Smolvm(runner=fake).machine(image="debian", branchable=True) as source, source.branch() as branch:
        assert not branch.is_bare()
        branch.exec(["true"], user="1000:1000")
        assert "1000:1000" in fake.invocations[-1].argv


def test_the_type_of_a_view(machine: Machine) -> None:
    """A view is a MachineView, which is no machine: it has no lifetime."""
    view = machine.at()

    assert isinstance(view, MachineView)
    assert not hasattr(view, "__enter__")
    assert not hasattr(view, "delete")

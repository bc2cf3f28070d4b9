"""Custom runners: the base class takes care of what they could get wrong."""

from __future__ import annotations

import inspect
import pickle
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from attrs import define, frozen

import smolkit
from smolkit import AsyncRunner, Completed, Invocation, Machine, Runner, Smolvm, commands, errors, runners, values
from smolkit.commands import Command, Create, Exec, Ls, Stop
from smolkit.runners import Live
from smolkit.testing import FakeRunner, NamespaceEngine, Recorder
from tests.recorded import as_json


class Careless(Runner):
    """A runner that returns only the output, and an argv of its own."""

    def __init__(self, returncode: int, stderr: bytes = b"", seconds: float = 0.0) -> None:
        super().__init__(version="1.32.2")
        self._returncode, self._stderr, self._seconds, self._time = returncode, stderr, seconds, 0.0

    def clock(self) -> float:
        """The test's clock."""
        return self._time

    def execute(self, invocation: Invocation) -> Completed:
        """Advance the clock by the call's duration."""
        self._time += self._seconds
        return Completed(("ssh", "host", *invocation.argv[:1]), self._returncode, stderr=self._stderr)


def test_a_guest_timeout_needs_no_duration_of_the_runner() -> None:
    """A guest's timeout is detected for a runner that gives no duration, and status 124 before it is a result."""
    with pytest.raises(errors.ExecTimeoutError):
        Smolvm(runner=Careless(124, seconds=5.5)).machine("m").exec(["sleep", "9"], timeout=5)
    result = Smolvm(runner=Careless(124, seconds=1)).machine("m").exec(["false"], timeout=5)

    assert (124, 1) == (result.returncode, result.duration)


def test_an_engine_failure_needs_no_argv_of_the_runner() -> None:
    """An engine's failure is detected for a runner that returns another argv than it was given."""
    failed = Careless(1, as_json("NOT_FOUND", "vm not found: m").encode())
    with pytest.raises(errors.MachineNotFoundError) as caught:
        Smolvm(runner=failed).machine("m").exec(["true"])

    assert caught.value.completed is not None
    assert "ssh" not in caught.value.completed.argv


class CarelessLive(Live):
    """A followed call that has ended, of which the runner gives only the status."""

    def __init__(self, runner: Careless) -> None:
        self._runner = runner

    def read(self, timeout: float | None) -> None:
        """No output."""

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Discard the input."""

    def close_stdin(self) -> None:
        """No-op."""

    def poll(self) -> int | None:
        """Return that it has ended."""
        return 0

    def end(self, *, kill: bool = False) -> None:
        """No-op."""

    def close(self) -> Completed:
        """The runner's result."""
        return self._runner.execute(Invocation(("cat",)))


class CarelessOnTheWhole(Careless):
    """A careless runner, also for followed calls and terminals."""

    def open(self, invocation: Invocation, *, stdin: bool) -> Live:  # noqa: ARG002
        """Follow a call that has ended."""
        return CarelessLive(self)

    def interact(self, invocation: Invocation) -> Completed:
        """Run the call as execute does."""
        return self.execute(invocation)


def test_a_process_that_timed_out_did_so_for_any_runner() -> None:
    """popen detects a timeout for a runner that gives no duration."""
    runner = CarelessOnTheWhole(124, seconds=5.5)
    with pytest.raises(errors.ExecTimeoutError) as caught:
        Smolvm(runner=runner).machine("m").popen(["sleep", "9"], timeout=5).wait()
    early = Smolvm(runner=CarelessOnTheWhole(124, seconds=1)).machine("m").popen(["false"], timeout=5)

    assert 124 == early.wait()
    assert caught.value.completed is not None
    assert "machine" in caught.value.completed.argv


def test_a_terminal_fails_for_any_runner() -> None:
    """A terminal raises the engine's error for a careless runner, and does not return it as the shell's status."""
    runner = CarelessOnTheWhole(1, as_json("NOT_FOUND", "vm not found: m").encode())
    with pytest.raises(errors.MachineNotFoundError):
        Smolvm(runner=runner).machine("m").shell()


class Wrong(Runner):
    """A runner whose execute returns something of another type."""

    def __init__(self, given: object, version: str | None = "1.32.2") -> None:
        super().__init__(version=version)
        self._given = given

    def execute(self, invocation: Invocation) -> Completed:  # noqa: ARG002
        """Return a value of the wrong type."""
        return self._given  # type: ignore[return-value]


async def answer() -> Completed:
    """A coroutine, as an async `execute` would return."""
    return Completed((), 0)


@pytest.mark.parametrize("version", ["1.32.2", None])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: None, "execute must return a smolkit.Completed, not NoneType"),
        (lambda: b"out", "execute must return a smolkit.Completed, not bytes"),
        (answer, "not coroutine: a runner whose execute is async is a smolkit.AsyncRunner"),
        (lambda: Completed((), None), "returncode of a smolkit.Completed must be int, not NoneType"),  # type: ignore[arg-type]
        (lambda: Completed((), 0, "out"), "stdout of a smolkit.Completed must be bytes, not str"),  # type: ignore[arg-type]
        (lambda: Completed((), 0, b"", "err"), "stderr of a smolkit.Completed must be bytes, not str"),  # type: ignore[arg-type]
    ],
)
def test_an_answer_of_the_wrong_type_is_named(given: Callable[[], object], words: str, version: str | None) -> None:
    """An answer of the wrong type is named in a TypeError, for any command, the version's too."""
    uses: list[Callable[[Machine], object]] = [
        lambda m: m.exec(["true"]),
        lambda m: m.stop(),
        lambda m: m._runner.follow(Exec("m", ["true"]), stdin=False).read(None),
    ]
    for use in uses:
        with pytest.raises(TypeError, match=re.escape(words)):
            use(Smolvm(runner=Wrong(given(), version)).machine("m"))


MEMBERS = sorted(name for name in dir(Runner) if not name.startswith("_"))


def role(kind: type[Any], name: str) -> str:
    """The role of a member, from the first line of its docstring."""
    said = inspect.getdoc(getattr(kind, name)) or ""
    found = re.search(r"\((call|override)\)$", said.partition("\n")[0])
    return found[1] if found else "not said"


def is_final(kind: type[Any], name: str) -> bool:
    """True if a type checker refuses an override of the member."""
    member = inspect.getattr_static(kind, name)
    return getattr(getattr(member, "fget", member), "__final__", False) is True


@pytest.mark.parametrize("kind", [Runner, AsyncRunner])
@pytest.mark.parametrize("name", MEMBERS)
def test_each_public_member_says_what_it_is_for(kind: type[Any], name: str) -> None:
    """Each public member of a runner is documented as to be called, and final, or as to be overridden, and not final."""
    assert ("call" if is_final(kind, name) else "override") == role(kind, name)


@pytest.mark.parametrize("name", [name for name in MEMBERS if is_final(Runner, name)] + ["_ask_version"])
def test_what_a_runner_does_by_itself_is_not_replaced(name: str) -> None:
    """A class that overrides a final member is refused when it is defined, since only some calls would use the override."""
    with pytest.raises(TypeError, match=f"Mine.{name} replaces what a runner does by itself: override execute"):
        type("Mine", (Runner,), {name: lambda *_: None})


def test_nor_by_a_class_beside_the_runner() -> None:
    """A class whose mixin overrides a final member is refused, too."""

    class Loud:
        def attempt(self) -> None:
            """Return something else than a handle expects."""

    with pytest.raises(TypeError, match=r"Mine\.attempt replaces"):
        type("Mine", (Loud, WithoutSuper), {})
    assert type("Mine", (WithoutSuper, Loud), {})


def test_how_a_call_ended_is_one_of_a_few_words() -> None:
    """ended_by must be one of its words, since any other would count as a limit of the output."""
    runner = Wrong(Completed((), -9, ended_by="killed"))
    with pytest.raises(ValueError, match=r"ended_by of .* must be one of .*'output limit'.*, not 'killed'"):
        Smolvm(runner=runner).machine("m").exec(["true"])


@pytest.mark.parametrize("name", [name for name in MEMBERS if not is_final(Runner, name)])
def test_what_is_to_be_overridden_can_be(name: str) -> None:
    """Each member that may be overridden can be."""
    assert type("Mine", (Runner,), {name: lambda *_: None})


@pytest.mark.parametrize("name", MEMBERS)
def test_the_types_of_a_runners_members_are_exported(name: str) -> None:
    """The types in the signatures of a runner's members are exported by smolkit or its packages."""
    member = inspect.getattr_static(Runner, name)
    function = inspect.unwrap(getattr(member, "fget", member))
    public = {getattr(module, found) for module in (smolkit, runners, commands, values) for found in module.__all__}
    named = re.findall(r"\b[A-Z]\w+", " ".join(map(str, function.__annotations__.values())))
    others = {"Any", "AbstractContextManager", "Callable", "Iterator", "BaseException", "None"}

    assert set() == {found for found in named if found not in others} - {
        kind.__name__ for kind in public if inspect.isclass(kind)
    }


@define
class WithAttrs(Runner):
    """A runner whose __init__ is written by attrs, which does not call the base class's."""

    far: str

    def execute(self, invocation: Invocation) -> Completed:
        """Answer every call with the version."""
        return Completed(invocation.argv, 0, b"smolvm 1.32.2\n")


@frozen
class Frozen(WithAttrs):
    """A runner on which no attribute can be set."""


@dataclass
class WithDataclasses(WithAttrs):
    """A runner whose __init__ is written by dataclasses."""

    far: str


class WithoutSuper(WithAttrs):
    """A runner whose own __init__ does not call the base class's."""

    def __init__(self, far: str) -> None:
        self.far = far


@pytest.mark.parametrize("kind", [WithAttrs, Frozen, WithDataclasses, WithoutSuper])
def test_a_runner_may_leave_out_the_base_class_init(kind: Callable[[str], Runner]) -> None:
    """A runner without the base class's __init__ asks for the version, plans, is observed and pickles."""
    told: list[object] = []
    runner = kind("far")
    client = Smolvm(runner=runner, on_call=told.append)
    with client.machine("m") as machine:
        assert machine.exec(["true"]).ok
    with client.dry_run(echo=False) as plan:
        client.machine("n").create()

    assert ("1.32.2", 4, [Create]) == (client.engine.version, len(told), [type(command) for command in plan.commands])
    assert "1.32.2" == pickle.loads(pickle.dumps(runner)).engine.version


def test_a_runner_has_its_names_for_itself() -> None:
    """A runner may use any attribute name of its own, since the base class keeps its state in one attribute."""

    class Mine(WithoutSuper):
        def __init__(self) -> None:
            super().__init__("far")
            self._engine = self._version = self._starts = self._observers = self._plan = self.plan = self.calls = "mine"

        def _probe(self) -> None:
            raise AssertionError

        def _prepare(self) -> None:
            raise AssertionError

        def _attempt(self) -> None:
            raise AssertionError

    client = Smolvm(runner=Mine())
    with client.machine("m") as machine:
        assert machine.exec(["true"]).ok


def test_an_invocation_has_its_command() -> None:
    """An invocation has its command, which does not count for equality and is not shown."""
    seen: list[Invocation] = []

    class Mine(WithoutSuper):
        def execute(self, invocation: Invocation) -> Completed:
            seen.append(invocation)
            return super().execute(invocation)

        def interact(self, invocation: Invocation) -> Completed:
            return self.execute(invocation)

    machine = Smolvm(runner=Mine("far")).machine("m", secrets={"S": "hidden"})
    machine.exec(["true"])
    machine.popen(["true"]).wait()
    machine.shell()
    machine.stop()

    assert ["Version", "Exec", "Exec", "Terminal", "Stop"] == [type(invocation.command).__name__ for invocation in seen]
    assert Invocation(seen[-1].argv, timeout=120, finish=True) == seen[-1]
    assert "Stop" not in repr(seen[-1])


def test_a_fake_that_is_wrapped_knows_the_commands() -> None:
    """A fake behind a Recorder records the commands."""
    fake = FakeRunner()
    fake.answer(Ls, "[]")
    fake.answer(Stop)
    recorder = Recorder(fake, "tape.json")
    client = Smolvm(runner=recorder)
    assert [] == client.ls()
    client.machine("m").stop()

    assert [Ls(), Stop("m")] == fake.commands


def test_a_fake_that_threads_share_knows_whose_command_it_answers() -> None:
    """A fake shared by threads answers each with its own command's answer, also during a call made by a reply."""
    fake = FakeRunner()
    client = Smolvm(runner=fake)

    def reply(command: Command[Any]) -> str:
        assert isinstance(command, Exec)
        if command.command[0] == "outer":
            client.machine(command.name).exec(["inner"])
        return f"{command.name} {command.command[0]}"

    fake.answer(Exec, reply)
    said: list[str] = []
    threads = [
        threading.Thread(target=lambda name=f"m{number}": said.append(client.machine(name).exec(["outer"]).stdout))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(f"m{number} outer" for number in range(8)) == sorted(said)


README = (Path(smolkit.__file__).parents[1] / "README.md").read_text()


@pytest.mark.usefixtures("ctrl_c")
def test_the_readmes_runner_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's runner creates, uses and deletes a machine, and has an error, a timeout and a Ctrl-C."""
    chapter = README.partition("## Write your own runner\n")[2]
    code = re.findall(r"(?ms)^```python\n(.*?)^```", chapter)[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"Smolvm": Smolvm}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  (our own README)
    engine = NamespaceEngine(tmp_path / "other")
    client = Smolvm(runner=names["ShellRunner"]("sh", "-c", smolvm=str(engine.program)))
    with client.machine("m") as machine:
        assert "hi" == machine.exec(["cat"], input="hi").stdout
        assert "s" == machine.sh("printf $TOKEN", secrets={"TOKEN": "s"}).stdout
        assert [("stdout", b"out\n")] == list(machine.popen(["echo", "out"]))
        with pytest.raises(errors.EngineTimeoutError):
            client.runner.run(Exec("m", ["sleep", "600"]), within=0.5)
    with pytest.raises(errors.MachineNotFoundError):
        machine.start()
    engine.strike("start", "INT")
    with pytest.raises(KeyboardInterrupt), client.machine("m"):
        pytest.fail("the block ran")

    assert [] == engine.left

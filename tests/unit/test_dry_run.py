"""Dry runs: which calls they plan, and what they leave unchanged."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

import anyio
import pytest

from smolkit import AsyncSmolvm, Completed, Invocation, Machine, Runner, Smolvm, errors
from smolkit.commands import Create, Delete, Exec, Ls, Start, Status, Stop
from smolkit.handles.monitoring import Monitoring
from smolkit.handles.process import Process
from smolkit.runners import Plan
from smolkit.testing import FakeRunner, FakeSmolvm
from tests.hostile import NEEDED

VERSIONS = ["0.7.2", "1.8.3", "1.32.2"]


def kinds(plan: Plan) -> list[type[Any]]:
    """The classes of the planned commands."""
    return [type(command) for command in plan.commands]


def begin(machine: Machine) -> Machine:
    """Create and start the machine."""
    machine.create()
    machine.start()
    return machine


def leave_alone(machine: Machine) -> Machine:
    """Leave the machine as it is."""
    return machine


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("before", [leave_alone, begin], ids=["fresh", "made before"])
def test_a_handle_made_before_the_block_plans(version: str, before: Callable[[Machine], Machine]) -> None:
    """A handle made before a dry run, or used before it, plans its whole life in it, and nothing is run."""
    fake = FakeSmolvm(version)
    client = Smolvm(runner=fake)
    machine = before(client.machine("m"))
    ran = len(fake.commands)
    with client.dry_run(echo=False) as plan:
        with machine:
            assert machine.exec(["true"]).ok
        machine.create()
        machine.stop()
        machine.delete()

    assert ran == len(fake.commands)
    created = [] if before is begin else [Create]
    ends = [Delete] if version != "0.7.2" else [Stop, Delete]
    expected = [*created, Start, Exec, *ends, Create, Stop, *ends]
    assert expected == [kind for kind in kinds(plan) if kind is not Ls]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_planned_changes_no_handle(version: str) -> None:
    """After a dry run, a planned machine is not its handle's, and a machine made before still is."""
    fake = FakeSmolvm(version)
    client = Smolvm(runner=fake)
    planned, made = client.machine("planned"), client.machine("made")
    made.create()
    with client.dry_run(echo=False):
        begin(planned)
        made.delete()
    with made, planned:
        assert {"made", "planned"} == set(fake.machines)
    assert {} == fake.machines


def test_a_with_that_began_in_a_dry_run_deletes_nothing_after_it() -> None:
    """A `with` that began in a dry run deletes nothing after it, since the name would be another's."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    client.machine("m").create()
    with ExitStack() as stack:  # noqa: SIM117  (it ends last)
        with client.dry_run(echo=False):
            stack.enter_context(client.machine("m"))

    assert ["m"] == list(fake.machines)


def test_a_with_that_ends_in_a_dry_run_ends_after_it() -> None:
    """A `with` that ends in a dry run plans its end there, and deletes its machine when it really ends."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    machine = client.machine("m")
    with machine:
        with client.dry_run(echo=False) as plan:
            machine.__exit__(None, None, None)
        assert ["m"] == list(fake.machines)

    assert [Delete] == kinds(plan)
    assert {} == fake.machines


def test_a_block_that_fails_in_a_dry_run_plans_its_end() -> None:
    """A block that fails in a dry run plans its end without a look, since there is nothing to find."""
    client = Smolvm(runner=FakeSmolvm())
    with client.dry_run(echo=False) as plan, pytest.raises(KeyError) as caught, client.machine("m"):
        raise KeyError

    assert [Create, Start, Delete] == kinds(plan)
    assert [] == getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize("version", ["1.28.1", "1.32.2"])
def test_a_policy_counts_as_recorded(version: str) -> None:
    """create, update and run with allow lists are planned as if the lists had been recorded."""
    client = Smolvm(runner=FakeSmolvm(version))
    with client.dry_run(echo=False) as plan:
        machine = client.machine("m", allow_cidrs=["10.0.0.0/8"])
        begin(machine)
        machine.update(allow_cidrs=["10.1.0.0/16"])
        client.run_detached(["true"], image="x", allow_cidrs=["10.0.0.0/8"]).delete()

    done = [kind.__name__ for kind in kinds(plan) if kind is not Ls]
    assert ["Create", "Start", "Update", "RunDetached", "Delete"] == done


@pytest.mark.parametrize("condition", [{"command": ["true"]}, {"path": "/x"}, {"port": 80}, {"log": "ready"}])
def test_what_is_waited_for_is_ready(condition: dict[str, Any]) -> None:
    """wait_until plans one look, and does not wait."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    with client.dry_run(echo=False) as plan:
        client.machine("m").wait_until(**condition)

    assert 1 == len(plan.commands)
    assert [] == fake.pauses


@pytest.mark.parametrize("version", VERSIONS)
def test_every_machine_that_is_asked_for_exists(version: str) -> None:
    """Every machine exists in a dry run, also on engines where exists asks by ls, which is empty."""
    client = Smolvm(runner=FakeSmolvm(version))
    with client.dry_run(echo=False) as plan:
        assert client.machine("m").exists()
        assert "m" == client.machine("m").status().name
        assert [] == client.ls()

    asked = Status if version == "1.32.2" else Ls
    assert [asked, asked, Ls] == kinds(plan)


def test_a_runner_used_by_itself_plans_too() -> None:
    """A dry run applies to all calls of its runner, by any client, and to no other runner."""
    fake = FakeRunner()
    client, other = Smolvm(runner=fake), Smolvm(runner=FakeSmolvm())
    with client.dry_run(echo=False) as plan:
        fake.run(Stop("a"))
        Smolvm(runner=fake).machine("b").stop()
        other.machine("c").create()  # another runner's

    assert [Stop("a"), Stop("b")] == plan.commands
    assert [] == fake.commands


class Far(Runner):
    """A runner with its own hooks, none of which may be called in a dry run."""

    def __init__(self) -> None:
        super().__init__(version="1.32.2")
        self.used: list[str] = []

    def execute(self, invocation: Invocation) -> Completed:
        """Record the use, which is an error in a dry run."""
        self.used.append("execute")
        return Completed(invocation.argv, 0)

    @contextmanager
    def provide_source(self, path: str) -> Iterator[str]:
        """Record the use, which is an error in a dry run."""
        self.used.append("source")
        yield path

    @contextmanager
    def provide_target(self, path: str, part: str | None = None) -> Iterator[str]:
        """Record the use, which is an error in a dry run."""
        self.used.append("target")
        yield part or path

    def read_log(self, path: str, start: int) -> bytes:  # noqa: ARG002
        """Record the use, which is an error in a dry run."""
        self.used.append("read_log")
        return b""

    def pause(self, seconds: float) -> None:  # noqa: ARG002
        """Record the use, which is an error in a dry run."""
        self.used.append("pause")


VERBS = [
    (kind, name)
    for kind in (Smolvm, Machine)
    for name, _ in inspect.getmembers(kind, inspect.isfunction)
    if not name.startswith("_") and name not in {"to_async", "to_sync", "dry_run", "free_port", "url"}
]
MORE: dict[str, dict[str, Any]] = {
    "resize": {"cpus": 2},
    "update": {"cpus": 2},
    "wait_until": {"log": "x"},
    "checkpoint": {"output": "out"},
    "checkpoint_export": {"output": "out"},
    "download": {"target": "out"},
    "pack_create": {"output": "out"},
    "pack_pull": {"output": "out"},
}


@pytest.mark.parametrize(("kind", "name"), VERBS, ids=[f"{kind.__name__}.{name}" for kind, name in VERBS])
def test_no_verb_does_anything(
    kind: type[Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No method in a dry run calls a custom runner or changes files of this host."""
    monkeypatch.chdir(tmp_path)
    runner = Far()
    client = Smolvm(runner=runner)
    target = client if kind is Smolvm else client.machine("m")
    given = {**NEEDED.get(f"{kind.__name__}.{name}", {}), **MORE.get(name, {})}
    parameters = list(inspect.signature(getattr(kind, name)).parameters.values())[1:]
    first = [
        given.pop(parameter.name)
        for parameter in parameters
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL} and parameter.name in given
    ]
    with client.dry_run() as plan:
        found = getattr(target, name)(*first, **given)
        if isinstance(found, (Process, Monitoring)):
            with found:
                list(found)

    assert [] == runner.used
    assert [] == os.listdir(tmp_path)
    assert "".join(f"{line}\n" for line in plan.lines) == capsys.readouterr().out


def test_a_file_that_goes_nowhere_is_refused_as_for_real(tmp_path: Path) -> None:
    """A cp with an impossible source or target raises in a dry run as it would for real."""
    client = Smolvm(runner=FakeRunner())
    machine = client.machine("m")
    with client.dry_run(echo=False) as plan:
        with pytest.raises(FileNotFoundError):
            machine.cp(machine.path("/x"), tmp_path / "none" / "x")
        with pytest.raises(FileNotFoundError):
            machine.cp(tmp_path / "none", machine.path("/x"))
        with pytest.raises(IsADirectoryError):
            machine.cp(machine.path("/x"), tmp_path)

    assert [] == plan.commands


def test_a_download_with_progress_is_planned(tmp_path: Path) -> None:
    """A planned download reports no progress and writes no file."""
    client, seen = Smolvm(runner=FakeRunner()), list[tuple[int, int]]()
    with client.dry_run(echo=False):
        client.machine("m").download("/x", tmp_path / "x", progress=lambda *done: seen.append(done))

    assert ([], []) == (seen, os.listdir(tmp_path))


def test_what_is_written_to_a_planned_process_is_not_kept() -> None:
    """Input of a planned process is discarded, and unread input is no error."""
    client = Smolvm(runner=FakeRunner())
    with client.dry_run(echo=False) as plan, client.machine("m").popen(["cat"], stdin=True) as process:
        assert process.stdin is not None
        for _ in range(3):
            process.stdin.write(b"x" * 2**20)
        assert not process._live._written  # type: ignore[attr-defined]
        assert [] == list(process)

    assert (0, [Exec]) == (process.returncode, kinds(plan))


def test_no_observer_is_told_of_what_is_planned() -> None:
    """Observers are not called for planned calls."""
    told: list[object] = []
    client = Smolvm(runner=FakeRunner(), on_call=told.append)
    with client.dry_run(echo=False):
        machine = begin(client.machine("m"))
        machine.popen(["true"]).wait()
        machine.shell()

    assert [] == told


def in_thread(function: Callable[[], object]) -> None:
    """Run a function in a thread, to its end."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_a_thread_that_is_not_in_the_block_is_not_in_the_dry_run() -> None:
    """Another thread runs its calls for real during a dry run, also with the same handle."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    machine = client.machine("m")
    inside, done = threading.Event(), threading.Event()

    def work() -> None:
        inside.wait(60)
        machine.create()
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    with client.dry_run(echo=False) as plan:
        machine.create()
        machine.delete()
        inside.set()
        assert done.wait(60)
        assert ["m"] == list(fake.machines)
        machine.stop()
    thread.join()
    with machine:
        pass

    assert [Create, Delete, Stop] == kinds(plan)
    assert {} == fake.machines


def test_a_thread_that_runs_in_the_blocks_context_is_in_the_dry_run() -> None:
    """A thread in a copy of the block's context (as `asyncio.to_thread` starts it) is in the dry run."""
    fake = FakeRunner()
    client = Smolvm(runner=fake)
    with client.dry_run(echo=False) as plan:
        context = copy_context()
        in_thread(lambda: context.run(client.machine("m").create))

    assert ([Create], []) == (kinds(plan), fake.commands)


def test_dry_runs_of_two_threads_are_apart() -> None:
    """Dry runs of two threads have their own commands, whichever ends first."""
    client = Smolvm(runner=FakeRunner())
    both = threading.Barrier(2, timeout=60)
    plans: dict[str, list[str]] = {}

    def work(name: str) -> None:
        with client.dry_run(echo=False) as plan:
            both.wait()
            client.machine(name).create()
            both.wait()
        plans[name] = [command.name for command in plan.commands]  # type: ignore[attr-defined]

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert {"a": ["a"], "b": ["b"]} == plans


def test_blocks_that_end_in_another_order_end_all_the_same() -> None:
    """Dry runs that end in the order in which they began each end on their own."""
    fake = FakeSmolvm()
    client = Smolvm(runner=fake)
    first, second = client.dry_run(echo=False), client.dry_run(echo=False)
    first.__enter__()
    plan = second.__enter__()
    first.__exit__(None, None, None)
    client.machine("planned").create()
    second.__exit__(None, None, None)
    client.machine("real").create()

    assert [Create] == kinds(plan)
    assert ["real"] == list(fake.machines)


def test_a_dry_run_in_a_dry_run_begins_where_that_is() -> None:
    """An inner dry run begins with what the outer one planned, and the outer one continues unchanged."""
    client = Smolvm(runner=FakeSmolvm())
    machine = client.machine("m")
    with client.dry_run(echo=False) as outer:
        machine.create()
        with client.dry_run(echo=False) as inner:
            machine.delete()
        with machine:
            pass

    assert [Create, Start, Delete] == kinds(outer)
    assert [Delete] == kinds(inner)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_that_are_not_in_the_block_are_not_in_the_dry_run(backend: str) -> None:
    """Tasks begun before a dry run go on for real, and tasks begun in it are planned."""
    fake = FakeSmolvm()
    client = AsyncSmolvm(runner=fake)
    existing = client.machine("existing")

    async def outside(inside: anyio.Event, done: anyio.Event) -> None:
        await inside.wait()
        await client.machine("real").create()
        done.set()

    async def work() -> Plan:
        inside, done = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outside, inside, done)
            with client.dry_run(echo=False) as plan:
                inside.set()
                await done.wait()
                async with existing as m, anyio.create_task_group() as inner:
                    inner.start_soon(m.exec, ["true"])
                    inner.start_soon(client.machine("other").create)
        return plan

    plan = anyio.run(work, backend=backend)

    assert ["real"] == list(fake.machines)
    assert {Create("existing"), Create("other"), Start("existing"), Exec("existing", ["true"]), Delete("existing")} <= {
        command if not isinstance(command, Create) else Create(command.name) for command in plan.commands
    }
    assert 5 == len(plan.commands)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_that_outlives_the_block_is_planned_to_its_end(backend: str) -> None:
    """A task that outlives the dry run is planned to its end, or its `with` would really delete a machine of that name."""
    fake = FakeSmolvm()
    client = AsyncSmolvm(runner=fake)

    async def live(over: anyio.Event) -> None:
        async with client.machine("m"):
            await over.wait()

    async def work() -> Plan:
        await client.machine("m").create()
        async with anyio.create_task_group() as tasks:
            over = anyio.Event()
            with client.dry_run(echo=False) as plan:
                tasks.start_soon(live, over)
                await anyio.wait_all_tasks_blocked()
            over.set()
        return plan

    plan = anyio.run(work, backend=backend)

    assert [Create, Start, Delete] == kinds(plan)
    assert ["m"] == list(fake.machines)


def test_a_plan_hides_who_is_in_the_programs_address() -> None:
    """A plan hides the password in a runner's address."""

    class Hub(Far):
        @property
        def program(self) -> str:
            return "https://me:hidden@hub/smolvm"

    client = Smolvm(runner=Hub())
    with client.dry_run(echo=False) as plan:
        client.machine("m").start()

    assert "hidden" not in f"{plan} {plan!r} {vars(plan)}"


def test_the_state_of_a_host_is_looked_at_for_real(tmp_path: Path) -> None:
    """doctor checks the real host in a dry run."""
    client = Smolvm(tmp_path / "none")
    with client.dry_run(echo=False):
        assert "program" in [check.name for check in client.doctor() if not check.ok]
    with pytest.raises(errors.EngineNotFoundError):
        client.engine  # noqa: B018

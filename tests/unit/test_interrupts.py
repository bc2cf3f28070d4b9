"""Interrupts at every step of a lifecycle, with real processes as the engine, leave nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from smolkit import Smolvm, SubprocessRunner, errors
from smolkit.testing import NamespaceEngine


class AlarmError(Exception):
    """The exception of a program's own signal handler."""


KINDS: dict[str, type[BaseException]] = {"INT": KeyboardInterrupt, "TERM": SystemExit, "USR1": AlarmError}


@pytest.fixture
def engine(tmp_path: Path) -> NamespaceEngine:
    """The engine."""
    return NamespaceEngine(tmp_path)


@pytest.fixture
def client(engine: NamespaceEngine) -> Iterator[Smolvm]:
    """A client of the engine, in a program whose signal handlers raise."""

    def raising(kind: type[BaseException]) -> Callable[[int, FrameType | None], None]:
        def handler(number: int, frame: FrameType | None) -> None:
            raise kind

        return handler

    before = {name: signal.signal(getattr(signal, f"SIG{name}"), raising(kind)) for name, kind in KINDS.items()}
    yield Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2"))
    for name, handler in before.items():
        signal.signal(getattr(signal, f"SIG{name}"), handler)


def lifecycle(client: Smolvm) -> None:
    """The lifecycle that is interrupted."""
    with client.machine("m") as machine:
        machine.exec(["true"])


ALL = ["create", "start", "exec", "delete"]
LOOKED = ["create", "start", "exec", "status", "delete"]  # status: a look at whether it is still the same machine


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("create", ["create", "delete"]),
        ("start", ["create", "start", "stop", "delete"]),
        ("exec", LOOKED),
        ("delete", ALL),
    ],
)
def test_an_interrupt_leaves_nothing(
    engine: NamespaceEngine, client: Smolvm, verb: str, expected: list[str], name: str
) -> None:
    """Ctrl-C, SIGTERM or a handler's exception lets the step end, removes what was made, and comes out."""
    engine.strike(verb, name)

    with pytest.raises(KINDS[name]) as caught:
        lifecycle(client)
    assert expected == engine.calls
    assert [] == engine.left
    assert [] == getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize(
    ("verb", "expected", "remains"),
    [
        ("create", ["create", "ls"], []),  # ls: a look at whether it was made
        ("start", ["create", "start", "stop", "delete"], []),
        ("delete", ALL, ["m-m", "running-m"]),
    ],
)
def test_a_second_interrupt_ends_the_step_at_once(
    engine: NamespaceEngine, client: Smolvm, verb: str, expected: list[str], remains: list[str]
) -> None:
    """A second interrupt ends the step at once, and a note says what may be left."""
    engine.strike(verb, "INT", "INT", "INT")

    with pytest.raises(KeyboardInterrupt) as caught:
        lifecycle(client)
    assert expected == engine.calls
    assert remains == engine.left
    assert bool(remains) == ("machine 'm' may" in "".join(getattr(caught.value, "__notes__", [])))


def test_a_second_interrupt_during_the_look_at_the_machine(engine: NamespaceEngine, client: Smolvm) -> None:
    """A second Ctrl-C during the look at the machine does not keep it from being deleted."""
    for verb in ("exec", "status"):
        engine.strike(verb, "INT")

    with pytest.raises(KeyboardInterrupt):
        lifecycle(client)
    assert (LOOKED, []) == (engine.calls, engine.left)


def test_an_interrupt_during_a_rollback(engine: NamespaceEngine, client: Smolvm) -> None:
    """A Ctrl-C during a rollback, after one during start, lets stop and delete end and leaves nothing."""
    for verb in ("start", "stop", "delete"):
        engine.strike(verb, "INT")

    with pytest.raises(KeyboardInterrupt):
        lifecycle(client)
    assert ["create", "start", "stop", "delete"] == engine.calls
    assert [] == engine.left


def test_an_interrupt_during_the_create_of_a_name_that_is_taken(engine: NamespaceEngine, client: Smolvm) -> None:
    """An interrupted create of a name that is taken does not touch the existing machine."""
    (engine.folder / "state/m-m").touch()
    engine.strike("create", "INT")

    with pytest.raises(KeyboardInterrupt) as caught:
        lifecycle(client)
    assert (["create"], ["m-m"]) == (engine.calls, engine.left)
    assert isinstance(caught.value.__cause__, errors.MachineExistsError)


def test_an_interrupt_during_a_single_step(engine: NamespaceEngine, client: Smolvm) -> None:
    """An interrupt undoes create() and lets stop() complete, and comes out of both."""
    machine = client.machine("m")
    engine.strike("create", "INT")
    with pytest.raises(KeyboardInterrupt):
        machine.create()
    assert [] == engine.left

    machine.create()
    machine.start()
    engine.strike("stop", "INT")
    with pytest.raises(KeyboardInterrupt):
        machine.stop()
    assert ["m-m"] == engine.left


def test_an_interrupted_body_keeps_its_machine_on_error(engine: NamespaceEngine, client: Smolvm) -> None:
    """With keep="on_error" an interrupted block keeps its machine, and a note has the command line for a shell."""
    engine.strike("exec", "INT")

    with pytest.raises(KeyboardInterrupt) as caught, client.machine("m", keep="on_error") as machine:
        machine.exec(["true"])
    assert ["m-m", "running-m"] == engine.left
    assert "smolvm machine shell --name m" in "".join(caught.value.__notes__)

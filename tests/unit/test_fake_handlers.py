"""Handlers of FakeSmolvm: what they may answer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from smolkit import Machine, Smolvm, SmolvmError
from smolkit.testing import FakeSmolvm, GuestCall, GuestResult


@pytest.fixture
def smolvm() -> FakeSmolvm:
    """A fake engine."""
    return FakeSmolvm()


@pytest.fixture
def machine(smolvm: FakeSmolvm) -> Iterator[Machine]:
    """A running machine of the fake."""
    with Smolvm(runner=smolvm).machine("m") as made:
        yield made


async def coroutine(call: object) -> str:
    """No handler: the fake does not await it."""
    return "never"


def pieces_of(*pieces: object, status: object = None) -> Callable[[GuestCall], Iterator[Any]]:
    """A handler that yields these, and returns this."""

    def handler(call: GuestCall) -> Iterator[Any]:
        yield from pieces
        return status  # type: ignore[return-value]

    return handler


ANSWERS = r"must be .*stdout \(str or bytes\), its exit status .*GuestResult\(returncode, stdout, stderr\)"
WRONG_ANSWERS: list[tuple[Any, type[Exception], str]] = [
    (lambda _: (0, "out", "err"), TypeError, rf"answer {ANSWERS}.*, not tuple"),
    (lambda _: True, TypeError, rf"{ANSWERS}.*, not bool"),
    (lambda _: ["a"], TypeError, rf"{ANSWERS}.*, not list"),
    (lambda _: lambda: "x", TypeError, rf"{ANSWERS}.*, not function"),
    (coroutine, TypeError, rf"{ANSWERS}.*, not a coroutine: .* smolkit.aio.wait_for"),
    (lambda _: 256, ValueError, "exit status must be an int from 0 to 255, not 256"),
    (lambda _: GuestResult("1"), ValueError, "exit status must be an int"),  # type: ignore[arg-type]
    (pieces_of("a", 3), TypeError, r"yields must be .*\('stderr', text\).*, not 3"),
    (pieces_of(("err", "text")), TypeError, r"yields must be .*, not \('err', 'text'\)"),
    (pieces_of(("stderr", "a", "b")), TypeError, r"yields must be"),
    (pieces_of("a", status="failed"), ValueError, "exit status must be an int from 0 to 255, not 'failed'"),
]


@pytest.mark.parametrize(("handler", "error", "words"), WRONG_ANSWERS, ids=range(len(WRONG_ANSWERS)))
def test_wrong_answers_of_handlers(
    smolvm: FakeSmolvm, machine: Machine, handler: Any, error: type[Exception], words: str
) -> None:
    """An answer of another type raises in the call that gets it, and the message has what a handler may answer."""
    smolvm.on("make", handler)
    with pytest.raises(error, match=words):
        machine.exec(["make"])


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        ("git clone", ValueError, r"command must be a program, .*, not 'git clone': write \['git', 'clone'\]"),
        ("", ValueError, "command must be a program"),
        ([], ValueError, "command must not be empty"),
        (["make", 3], TypeError, "command"),
        (pieces_of("a"), TypeError, r"registered for a command: @fake.on\('python3'\), not @fake.on"),
    ],
)
def test_wrong_commands(smolvm: FakeSmolvm, command: Any, error: type[Exception], words: str) -> None:
    """What can be no command is refused, with a handler and as a decorator."""
    with pytest.raises(error, match=words):
        smolvm.on(command, "")
    with pytest.raises(error, match=words):
        smolvm.on(command)


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (("stderr", "text"), rf"a handler must be a function of the call, or .*{ANSWERS[8:]}.*, not tuple"),
        (GuestResult, "not type"),
        (False, "not bool"),
        (pieces_of("a")(None), "not a generator: pass the function that makes it"),  # type: ignore[arg-type]
    ],
)
def test_wrong_handlers(smolvm: FakeSmolvm, handler: Any, words: str) -> None:
    """A handler that could answer nothing is refused when it is registered."""
    with pytest.raises(TypeError, match=words):
        smolvm.on("make", handler)


def test_none_is_an_answer(smolvm: FakeSmolvm, machine: Machine) -> None:
    """None is a success without output, also in place of a function."""
    smolvm.on("quiet", None)

    assert (0, "", "") == ((said := machine.exec(["quiet"])).returncode, said.stdout, said.stderr)


def test_an_oserror_that_a_handler_raises_is_its_own(smolvm: FakeSmolvm, machine: Machine) -> None:
    """Only one that it returns says that the program cannot be started."""
    smolvm.on("make", lambda call: call.files.read_text("/no/such/file"))
    with pytest.raises(FileNotFoundError, match="/no/such/file") as caught:
        machine.exec(["make"])

    assert not isinstance(caught.value, SmolvmError)

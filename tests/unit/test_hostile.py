"""Invalid arguments of every verb are refused before any process starts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from smolkit import Machine, Smolvm, SubprocessRunner, errors
from smolkit.testing import FakeRunner
from tests import hostile
from tests.hostile import Argument

VERBS = sorted({argument.verb for argument in hostile.arguments()})


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory, so that relative names of host files lead nowhere."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("argument", list(hostile.arguments()), ids=str)
def test_an_argument_is_used_or_refused_before_any_process_starts(argument: Argument) -> None:
    """Each value is a TypeError, a ValueError or an OSError of a host file with nothing run, or reaches the engine."""
    for label, value in hostile.VALUES.items():
        fake = hostile.agreeable()
        try:
            argument.call(Smolvm(runner=fake), value)
        except errors.SmolvmError as error:
            assert isinstance(error, ValueError) <= (not fake.invocations), label
        except (TypeError, ValueError) as error:
            assert not fake.invocations or "is not published" in str(error), label
            assert len(str(error)) < 1000, label
        except OSError as error:
            assert error.filename or error.args, label


def test_the_table_has_every_verb() -> None:
    """The table has every public method with arguments, and every option."""
    assert {"Smolvm.run", "Smolvm.machine", "Machine.exec", "Machine.cp", "Machine.update"} <= set(VERBS)
    assert {verb.split(".")[0] for verb in VERBS} == {"Machine", "Smolvm"}
    assert 350 < len(list(hostile.arguments()))


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_options_are_refused(verb: str) -> None:
    """An unknown option of any verb is refused, with nothing run."""
    kind, _, name = verb.partition(".")
    function = getattr(Smolvm if kind == "Smolvm" else Machine, name)
    fake = hostile.agreeable()
    with pytest.raises(TypeError, match="nonsense"):
        hostile.caller(verb, name, function, "nonsense")(Smolvm(runner=fake), 1)
    assert not fake.invocations


@pytest.mark.parametrize("name", ["timeout", "input", "text", "stdin", "command"])
def test_options_of_other_verbs_are_refused(client: Smolvm, fake: FakeRunner, name: str) -> None:
    """spawn and terminal refuse timeouts and input, which they could not honour."""
    given: Any = {name: 1}
    for call in (client.machine("m").spawn, client.machine("m").terminal):
        with pytest.raises(TypeError, match=name):
            call(["true"], **given)
    assert not fake.invocations


@pytest.mark.parametrize("kind", [Smolvm, SubprocessRunner])
def test_clients_and_runners_refuse_invalid_arguments(kind: Callable[..., object]) -> None:
    """Clients and runners refuse invalid arguments when they are made."""
    for name in inspect.signature(kind).parameters.keys() - {"runner"}:
        for label, value in hostile.VALUES.items():
            with suppress(TypeError, ValueError, errors.UnsupportedByEngineError, NotImplementedError):
                kind(**{name: value})
                assert label not in {"NUL", "complex", "nan", "huge", "list in itself"}, name


REFUSED: list[tuple[str, Callable[[Smolvm], object], type[Exception]]] = [
    ("must not begin with '-'", lambda c: c.machine("m").network_test("--help"), ValueError),
    ("must not begin with '-'", lambda c: c.machine("m").network_test("-x"), ValueError),
    (
        "must not begin with '-'",
        lambda c: c.machine("m").write_text("/x", "x", owner="--reference=/etc/shadow"),
        ValueError,
    ),
    ("must not begin with '-'", lambda c: c.machine("m").upload(__file__, "/x", owner="-R"), ValueError),
    ("must be valid UTF-8", lambda c: c.machine("m").exec(["\udcff"]), ValueError),
    ("must be valid UTF-8", lambda c: c.machine("m").exec(["true"], env={"A": "\udcff"}), ValueError),
    ("must be valid UTF-8", lambda c: c.machine("m").exec(["true"], workdir="/\udcff"), ValueError),
    ("must be valid UTF-8", lambda c: c.machine("m").exec(["cat"], input="\ud800"), ValueError),
    ("must be valid UTF-8", lambda c: c.machine("m").cp(__file__, "m:/\udcff"), ValueError),
    ("must be valid UTF-8", lambda c: c.cli("\udcff"), ValueError),
    ("pair", lambda c: c.machine("m", ports=[()]), ValueError),  # type: ignore[list-item]
    ("pair", lambda c: c.machine("m", ports=[(1, 2, 3)]), ValueError),  # type: ignore[list-item]
    ("like '8080'", lambda c: c.machine("m", ports=["x"]), ValueError),
    ("as many ports", lambda c: c.machine("m", ports=["80-81:80"]), ValueError),
    ("must be a list", lambda c: c.machine("m", ports={80: 81}), TypeError),  # type: ignore[arg-type]
    ("like '9.9.9.9'", lambda c: c.machine("m", dns="x"), ValueError),
    ("0.0.0.0/8|/8 to /30", lambda c: c.machine("m", guest_subnet="10.0.0.0/31"), ValueError),
    ("uid", lambda c: c.machine("m").cp(__file__, "m:/x", uid=-1), ValueError),
    ("uid", lambda c: c.machine("m").cp(__file__, "m:/x", uid=2**32 - 1), ValueError),
    ("mode", lambda c: c.machine("m").cp(__file__, "m:/tmp/x", mode=0o10000), ValueError),
    ("mode", lambda c: c.machine("m").mkdir("/x", mode=-1), ValueError),
    ("from 0 to 300", lambda c: c.machine("m").stop(timeout=86_400), ValueError),
    ("positive", lambda c: c.machine("m").exec(["true"], timeout=1e300), ValueError),
    ("positive", lambda c: c.machine("m").exec(["true"], timeout=10**400), ValueError),
    ("positive", lambda c: c.machine("m", lifetime=float("nan")), ValueError),
    ("True or False", lambda c: c.machine("m").delete(cascade="no"), TypeError),  # type: ignore[arg-type]
    ("True or False", lambda c: c.machine("m").exec(["true"], check="no"), TypeError),  # type: ignore[arg-type]
    ("function", lambda c: c.machine("m").upload(__file__, "/x", progress=True), TypeError),  # type: ignore[arg-type]
    ("regular expression", lambda c: c.machine("m").wait_until(log="("), ValueError),
    ("encoding", lambda c: c.machine("m").read_text("/x", "nonsense"), ValueError),
    ("must be a text encoding", lambda c: c.machine("m").read_text("/x", "hex"), ValueError),
]


@pytest.mark.parametrize(("words", "call", "kind"), REFUSED)
def test_the_error_names_the_invalid_value(
    client: Smolvm, fake: FakeRunner, words: str, call: Callable[[Smolvm], object], kind: type[Exception]
) -> None:
    """The error says what is wrong with the value, and nothing is run."""
    fake.answer([])
    with pytest.raises(kind, match=words) as caught:
        call(client)
    assert type(caught.value) is kind
    assert not fake.invocations


class _Word(str, Enum):  # noqa: UP042  (whose format is not its value)
    WORD = "async"


def test_a_str_subclass_is_used_by_its_text(client: Smolvm, fake: FakeRunner) -> None:
    """A str subclass is used by its own text (an enum member's value), not by its `__str__`."""
    fake.answer([])
    given: Any = {"labels": {_Word.WORD: _Word.WORD}, "block_io": _Word.WORD, "network": _Word.WORD}
    client.machine("m", **given).create()

    argv = fake.argvs[0]
    assert {str} == {type(word) for word in argv}
    assert {"async=async", "async"} <= set(argv)


class Nasty:
    """An object whose repr raises."""

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("value", [Nasty(), 10**5000, ["x" * 10_000], "\0" * 10_000], ids=["repr", "int", "list", "NUL"])
def test_any_value_is_shown_abbreviated(client: Smolvm, value: Any) -> None:
    """An error's message shows any value, abbreviated."""
    with pytest.raises((TypeError, ValueError), match="user") as caught:
        client.machine("m").exec(["true"], user=value)
    assert len(str(caught.value)) < 200

"""Plain values."""

from __future__ import annotations

import copy
import pickle
from inspect import isroutine
from pathlib import PurePosixPath
from typing import get_type_hints

import pytest

import smolkit.commands
import smolkit.options
from smolkit import Dialect, ExecResult, GuestPath, MachineInfo, errors
from smolkit.commands import Create, Exec, MachineSpec
from smolkit.values import Completed, Invocation
from smolkit.values.hidden import Hidden
from smolkit.values.shown import redact


def test_redact_hides_values_up_to_the_guests_command() -> None:
    """redact hides values up to `--`, and shows the guest's command after it."""
    argv = ("machine", "exec", "-e", "A=1", "-e=-b=2", "--env", "C=3=4", "--proxy", "http://u:p@h", "--", "-e", "D=5")
    shown = ("machine", "exec", "-e", "A=***", "-e=-b=***", "--env", "C=***", "--proxy", "***", "--", "-e", "D=5")

    assert shown == redact(argv)


def test_redact_accepts_two_dashes_as_a_value() -> None:
    """redact does not take a value `--` for the end of the options."""
    assert ("-e", "***", "-e", "K=***") == redact(("-e", "--", "-e", "K=V"))


def test_hidden_values_are_in_no_repr_and_no_pickle() -> None:
    """Commands and invocations show and pickle no values of env and secrets."""
    command = Exec("m", ["true"], env={"A": "s3cr3t"}, secrets={"B": "s3cr3t"}, input="s3cr3t")
    create = Create("m", MachineSpec.of({"env": {"A": "s3cr3t"}}))
    for value in (command, create, create.invocation(Dialect.of("1.32.2")), Completed(("-e", "A=s3cr3t"), 0)):
        assert "s3cr3t" not in repr(value)
    assert b"s3cr3t" not in pickle.dumps(create)
    with pytest.raises(ValueError, match="not pickled"):
        pickle.loads(pickle.dumps(create)).argv(Dialect.of("1.32.2"))


def test_a_copy_within_the_process_keeps_hidden_values() -> None:
    """A copy within the process keeps hidden values, and a pickle drops them."""
    command = Exec("m", ["true"], env={"A": "b"})

    assert command == copy.copy(command) == copy.deepcopy(command)


def test_hidden_values_compare() -> None:
    """Commands with equal env are equal."""
    assert Hidden("a") == Hidden("a")
    assert Hidden("a") != Hidden("b")
    assert Hidden("a") != "a"
    assert hash(Hidden("a")) == hash(Hidden("a"))


def test_a_result_is_bytes_with_a_view_as_text() -> None:
    """A result has exact bytes, and text in which invalid UTF-8 is replaced."""
    result = ExecResult(("true",), 0, b"\xff\xc3\xbc", b"\x00")

    assert ("\ufffd\u00fc", "\x00") == (result.stdout, result.stderr)
    assert result.check() is result
    with pytest.raises(errors.CommandFailedError):
        ExecResult(("false",), 1).check()


def test_large_values_have_short_reprs() -> None:
    """Large values have a short repr."""
    assert len(repr(ExecResult(("true",), 0, b"x" * 10**6))) < 400
    assert "<3 bytes>" in repr(Invocation((), (), b"abc"))
    assert "stdin=None" in repr(Invocation(()))


def test_guest_paths_are_values() -> None:
    """Guest paths join, compare and print like pathlib's."""
    path = GuestPath("m", "/root")

    assert "/root/a/b" == str(path / "a" / "b")
    assert path == (path / "a").parent
    assert "b" == (path / "a/b").name
    assert path / "a" == path / PurePosixPath("a")
    assert {path} == {GuestPath("m", "/root")}


def test_a_machine_info_is_hashable() -> None:
    """MachineInfo is hashable despite its labels and raw record."""
    assert {MachineInfo("m", labels={"a": "b"})} == {MachineInfo("m", labels={"a": "b"})}
    assert MachineInfo("m", state="running").running


@pytest.mark.parametrize("version", ["1.32.2", "1.32.2-rc.1", "1.32.2+x"])
def test_versions(version: str) -> None:
    """A version's suffix does not change its dialect."""
    assert (1, 32, 2) == Dialect.of(version).version


@pytest.mark.parametrize("version", ["", "x", "1.2", "v1.2.3"])
def test_invalid_versions(version: str) -> None:
    """Text that is not a version is a ValueError."""
    with pytest.raises(ValueError, match="version must be like"):
        Dialect.of(version)


def test_an_engine_that_is_too_old() -> None:
    """Versions below 0.7.2 are refused."""
    with pytest.raises(errors.UnsupportedByEngineError, match=r"smolkit needs smolvm 0\.7\.2; this engine is 0\.7\.1"):
        Dialect.of("0.7.1")


def test_the_flag_grammar_begins_with_1_0_2() -> None:
    """The flag grammar begins with 1.0.2."""
    assert Dialect.of("1.0.1").classic
    assert not Dialect.of("1.0.2").classic
    assert Dialect.of("1.8.0").capabilities - Dialect.of("1.7.9").capabilities == {"lifetime", "machine create --label"}


@pytest.mark.parametrize("name", [*smolkit.commands.__all__, *smolkit.options.__all__])
def test_the_annotations_of_commands_and_options_can_be_evaluated(name: str) -> None:
    """`typing.get_type_hints` works on commands and options: on the class, its constructor and its methods."""
    kind = getattr(smolkit.commands if name in smolkit.commands.__all__ else smolkit.options, name)
    methods = [getattr(kind, method) for method in dir(kind) if not method.startswith("_")]

    assert set(kind.__annotations__) <= set(get_type_hints(kind))
    for method in [kind.__init__, *filter(isroutine, methods)]:
        if hasattr(method, "__annotations__"):
            assert list(method.__annotations__) == list(get_type_hints(method))

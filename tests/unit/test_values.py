"""The plain values."""

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
    """What follows `--` is the guest's, and shown."""
    argv = ("machine", "exec", "-e", "A=1", "-e=-b=2", "--env", "C=3=4", "--proxy", "http://u:p@h", "--", "-e", "D=5")
    shown = ("machine", "exec", "-e", "A=***", "-e=-b=***", "--env", "C=***", "--proxy", "***", "--", "-e", "D=5")

    assert shown == redact(argv)


def test_redact_is_not_fooled_by_a_value_that_is_two_dashes() -> None:
    """`-e --` would be no end of options."""
    assert ("-e", "***", "-e", "K=***") == redact(("-e", "--", "-e", "K=V"))


def test_hidden_values_are_in_no_repr_and_no_pickle() -> None:
    """Commands and invocations can be shown and sent; their env and secrets cannot."""
    command = Exec("m", ["true"], env={"A": "s3cr3t"}, secrets={"B": "s3cr3t"}, input="s3cr3t")
    create = Create("m", MachineSpec.of({"env": {"A": "s3cr3t"}}))
    for value in (command, create, create.invocation(Dialect.of("1.32.2")), Completed(("-e", "A=s3cr3t"), 0)):
        assert "s3cr3t" not in repr(value)
    assert b"s3cr3t" not in pickle.dumps(create)
    with pytest.raises(ValueError, match="not pickled"):
        pickle.loads(pickle.dumps(create)).argv(Dialect.of("1.32.2"))


def test_a_copy_within_the_process_keeps_hidden_values() -> None:
    """Only what leaves the process leaves them behind."""
    command = Exec("m", ["true"], env={"A": "b"})

    assert command == copy.copy(command) == copy.deepcopy(command)


def test_hidden_values_compare() -> None:
    """Commands with equal env are equal."""
    assert Hidden("a") == Hidden("a")
    assert Hidden("a") != Hidden("b")
    assert Hidden("a") != "a"
    assert hash(Hidden("a")) == hash(Hidden("a"))


def test_a_result_is_bytes_with_a_view_as_text() -> None:
    """Bytes are exact; text replaces what is no UTF-8."""
    result = ExecResult(("true",), 0, b"\xff\xc3\xbc", b"\x00")

    assert ("\ufffd\u00fc", "\x00") == (result.stdout, result.stderr)
    assert result.check() is result
    with pytest.raises(errors.CommandFailedError):
        ExecResult(("false",), 1).check()


def test_large_values_have_short_reprs() -> None:
    """Megabytes in a traceback help nobody."""
    assert len(repr(ExecResult(("true",), 0, b"x" * 10**6))) < 400
    assert "<3 bytes>" in repr(Invocation((), (), b"abc"))
    assert "stdin=None" in repr(Invocation(()))


def test_guest_paths_are_values() -> None:
    """They join, compare and print like pathlib's."""
    path = GuestPath("m", "/root")

    assert "/root/a/b" == str(path / "a" / "b")
    assert path == (path / "a").parent
    assert "b" == (path / "a/b").name
    assert path / "a" == path / PurePosixPath("a")
    assert {path} == {GuestPath("m", "/root")}


def test_an_info_hashes() -> None:
    """Labels and the raw record do not stand in its way."""
    assert {MachineInfo("m", labels={"a": "b"})} == {MachineInfo("m", labels={"a": "b"})}
    assert MachineInfo("m", state="running").running


@pytest.mark.parametrize("version", ["1.32.2", "1.32.2-rc.1", "1.32.2+x"])
def test_versions(version: str) -> None:
    """A suffix does not change what an engine understands."""
    assert (1, 32, 2) == Dialect.of(version).version


@pytest.mark.parametrize("version", ["", "x", "1.2", "v1.2.3"])
def test_no_versions(version: str) -> None:
    """What is no version is a ValueError."""
    with pytest.raises(ValueError, match="not a version"):
        Dialect.of(version)


def test_an_engine_that_is_too_old() -> None:
    """Below 0.7.2 there is no driving it."""
    with pytest.raises(errors.UnsupportedByEngineError, match=r"smolkit needs smolvm 0\.7\.2; this engine is 0\.7\.1"):
        Dialect.of("0.7.1")


def test_where_the_grammars_part() -> None:
    """The boundary is exactly 1.0.2."""
    assert Dialect.of("1.0.1").classic
    assert not Dialect.of("1.0.2").classic
    assert Dialect.of("1.8.0").capabilities - Dialect.of("1.7.9").capabilities == {"machine create --label"}


@pytest.mark.parametrize("name", [*smolkit.commands.__all__, *smolkit.options.__all__])
def test_the_annotations_of_commands_and_options_can_be_evaluated(name: str) -> None:
    """Tools that build schemas ask `typing.get_type_hints` of a class, of its constructor and of its methods."""
    kind = getattr(smolkit.commands if name in smolkit.commands.__all__ else smolkit.options, name)
    methods = [getattr(kind, method) for method in dir(kind) if not method.startswith("_")]

    assert set(kind.__annotations__) <= set(get_type_hints(kind))
    for method in [kind.__init__, *filter(isroutine, methods)]:
        if hasattr(method, "__annotations__"):
            assert list(method.__annotations__) == list(get_type_hints(method))

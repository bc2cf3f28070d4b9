"""The errors: their tree, their text, their pickles."""

from __future__ import annotations

import builtins
import inspect
import pickle
import re
from typing import Any

import pytest

from smolkit import SmolvmError, errors
from smolkit.values import Completed, ExecResult

COMPLETED = Completed(
    ("machine", "exec", "-e", "TOKEN=s3cr3t", "--", "true"), 1, b"out", b"one\ntwo \x1b[31mred\nError: it broke\n", 0.5
)
CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


def make(kind: type[SmolvmError]) -> SmolvmError:
    """An error of this class with everything it can hold."""
    special: dict[type, tuple[Any, ...]] = {
        errors.UnsupportedByEngineError: ("machine create --label", "1.8.0", "1.0.2"),
        errors.CommandFailedError: (ExecResult(("false",), 1, b"out", b"err"),),
        errors.ExecTimeoutError: ("too slow", COMPLETED, 2.0, True),
        errors.ExecOutcomeUnknownError: ("too slow", COMPLETED, 2.0, False),
    }
    return kind(*special.get(kind, ("it broke", COMPLETED)))


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_pickle(kind: type[SmolvmError]) -> None:
    """Every error keeps its text, evidence and notes when pickled."""
    error = make(kind)
    error.add_note("a note")
    copy = pickle.loads(pickle.dumps(error))

    assert kind is type(copy)
    assert str(error) == str(copy)
    assert vars(error) == vars(copy)
    assert (error.returncode, error.stdout, error.stderr) == (copy.returncode, copy.stdout, copy.stderr)


@pytest.mark.parametrize("kind", CLASSES)
def test_no_error_shows_values_of_env(kind: type[SmolvmError]) -> None:
    """No error shows values of env in its text, repr, attributes or pickle."""
    error = make(kind)

    assert "s3cr3t" not in f"{error} {error!r} {error.argv} {vars(error)}"
    assert b"s3cr3t" not in pickle.dumps(error)


@pytest.mark.parametrize("kind", CLASSES)
def test_one_tree_and_no_builtins_names(kind: type[SmolvmError]) -> None:
    """All errors have one root, no builtin's name, and a place in the tree at the top of the module."""
    assert issubclass(kind, SmolvmError)
    assert not hasattr(builtins, kind.__name__)
    assert re.search(rf"\b{kind.__name__}\b", str(errors.__doc__))
    assert inspect.getdoc(kind)


def test_the_parts_of_an_errors_text() -> None:
    """An error's text is the message, command line, exit status, end of stderr without repetition, and a hint."""
    expected = """\
it broke
  command: smolvm machine exec -e 'TOKEN=***' -- true
  exit status: 1
  stderr:
    one
    two \\x1b[31mred
  hint: try again in a moment"""

    assert expected == str(errors.EngineBusyError("it broke", COMPLETED))


def test_an_error_from_before_any_process() -> None:
    """An error from before any process has no command line and no status."""
    error = errors.EngineNotFoundError("no smolvm")

    assert ("", "", None, ()) == (error.stdout, error.stderr, error.returncode, error.argv)
    assert str(error).startswith("no smolvm\n  hint: install smolvm")


def test_a_guests_output_is_bounded_and_escaped() -> None:
    """A guest's output in an error is escaped and cut to its last lines."""
    flood = b"".join(b"line %d\x1b]0;title\x07\n" % number for number in range(100_000))
    text = str(errors.UnknownEngineError("x" * 100_000, Completed((), 1, stderr=flood)))

    assert len(text) < 6000
    assert "\x1b" not in text
    assert "line 99999\\x1b]0;title\\x07" in text


def test_the_text_of_a_failed_command_is_the_end_of_its_output() -> None:
    """The text of CommandFailedError is the end of stderr, or of stdout if that is empty."""
    assert "status 1: false\n    err" in str(errors.CommandFailedError(ExecResult(("false",), 1, b"out", b"err\n")))
    assert "status 1: false\n    out" in str(errors.CommandFailedError(ExecResult(("false",), 1, b"out", b"")))

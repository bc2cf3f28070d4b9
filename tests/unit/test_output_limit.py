"""Output within a limit: an error with what there was, or its beginning and its end."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from smolkit import Machine, RemoteRunner, Smolvm, StdioLink, errors
from smolkit.commands import Exec
from smolkit.testing import FakeRunner, FakeSmolvm, NamespaceEngine, Recorder, Replayer
from smolkit.values import Cut
from smolkit.values.cut import KeptOutput, shares, shortened


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 12, 99, 1000])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_kept_output_is_both_ends(size: int, step: int) -> None:
    """However it comes, the first and last bytes are kept, and the rest is counted."""
    data, kept = bytes(number % 251 for number in range(size)), KeptOutput(10)
    for start in range(0, size, step):
        kept.add(data[start : start + step])

    assert size == len(kept.data) + (kept.cut.size if kept.cut else 0)
    assert len(kept.data) <= 30
    expected = (data, None) if size <= 10 else (data[:5] + data[-5:], Cut(5, size - 10))
    assert expected == shortened(kept.data, kept.cut, 10)


def test_a_stream_gets_what_the_other_one_leaves() -> None:
    """Each stream has half of the limit, and what the other one does not need."""
    found = [shares(10, one, other) for one, other in ((3, 4), (20, 20), (20, 2), (2, 20), (20, 0), (0, 20), (5, 6))]

    assert [(3, 4), (5, 5), (8, 2), (2, 8), (10, 0), (0, 10), (5, 5)] == found
    assert (0, 0) == shares(0, 5, 5)


def machine(output: str | bytes, stderr: str = "", returncode: int = 0) -> Machine:
    """A machine of an engine that writes this, whatever the limit."""
    fake = FakeRunner()
    fake.answer(Exec, stdout=output, stderr=stderr, returncode=returncode)
    return Smolvm(runner=fake).machine("m")


def test_a_runner_without_limits_of_its_own() -> None:
    """What a runner returns is cut to the limit, or refused, also if the runner does not know of limits."""
    result = machine("x" * 40 + "y" * 60, "z" * 30).exec(["a"], output_limit=20, on_limit="truncate")
    assert (b"x" * 5 + b"y" * 5, b"z" * 10) == (result.stdout_bytes, result.stderr_bytes)
    assert (Cut(5, 90), Cut(5, 20), True) == (result.stdout_cut, result.stderr_cut, result.truncated)
    assert "xxxxx\n[... 90 bytes are missing here ...]\nyyyyy" == result.stdout

    with pytest.raises(errors.OutputLimitError, match="more than the limit of 20 bytes") as caught:
        machine("x" * 40, "z" * 4).exec(["a"], output_limit=20)
    assert (20, "x" * 16, "z" * 4) == (caught.value.limit, caught.value.stdout, caught.value.stderr)
    assert 20 == pickle.loads(pickle.dumps(caught.value)).limit


def test_output_within_the_limit_is_whole() -> None:
    """Output of exactly the limit is a result, in both modes."""
    modes: list[Any] = ["raise", "truncate"]
    for mode in modes:
        result = machine("x" * 15, "z" * 5, 3).exec(["a"], output_limit=20, on_limit=mode)
        assert ("x" * 15, "z" * 5, 3, False) == (result.stdout, result.stderr, result.returncode, result.truncated)
    assert machine("").exec(["a"], output_limit=0).ok


def test_the_engines_own_words_are_no_output() -> None:
    """A failure of the engine is told from output also where the limit is smaller than its words."""
    modes: list[Any] = ["raise", "truncate"]
    for mode in modes:
        client = Smolvm(runner=FakeSmolvm())
        client.machine("m").create()
        with pytest.raises(errors.MachineNotRunningError):
            client.machine("m").exec(["true"], output_limit=1, on_limit=mode)
        with pytest.raises(errors.MachineNotFoundError):
            client.machine("none").exec(["true"], output_limit=0, on_limit=mode)


def test_a_hostile_handler_of_a_fake() -> None:
    """A fake ends a command that writes for ever, as a runner does."""
    fake, ended = FakeSmolvm(), []

    @fake.on("yes")
    def yes(_call: object) -> Iterator[str]:
        try:
            while True:
                yield "y\n" * 1000
        finally:
            ended.append(True)

    with Smolvm(runner=fake).machine("m") as machine:
        with pytest.raises(errors.OutputLimitError) as caught:
            machine.exec(["yes"], output_limit=1000)
        assert (1000, [True]) == (len(caught.value.stdout), ended)


def test_wrong_limits() -> None:
    """A limit is a number of bytes, and truncation needs one."""
    given: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"output_limit": -1}, ValueError),
        ({"output_limit": "1M"}, TypeError),
        ({"output_limit": 1, "on_limit": "cut"}, ValueError),
        ({"output_limit": 1, "on_limit": ["raise"]}, ValueError),
        ({"on_limit": "truncate"}, ValueError),
    ]
    for options, kind in given:
        with pytest.raises(kind):
            machine("").exec(["a"], **options)


def test_a_cassette_has_what_was_cut(tmp_path: Any) -> None:
    """A recorded result says the same of what is missing."""
    tape = tmp_path / "tape.json"
    fake = FakeSmolvm()
    fake.on("flood", "a" * 200_000)
    with Recorder(fake, tape) as recorder, Smolvm(runner=recorder).machine("m") as recorded:
        first = recorded.exec(["flood"], output_limit=10, on_limit="truncate")
    with Smolvm(runner=Replayer(tape)).machine("m") as replayed:
        assert first == replayed.exec(["flood"], output_limit=10, on_limit="truncate")
    assert (Cut(5, 199_990), 200_000 > tape.stat().st_size) == (first.stdout_cut, True)


FLOOD = "head -c 100000000 /dev/zero; echo the end; sleep 0.1; echo err >&2; exit 5"


@pytest.mark.parametrize("far", [False, True], ids=["here", "far"])
def test_memory_stays_bounded(far: bool) -> None:
    """A guest that writes 100 MB takes little memory here, whether its output is cut or it is ended."""
    if why := NamespaceEngine.unavailable():
        pytest.skip(why)
    with NamespaceEngine() as engine:
        runner = RemoteRunner(StdioLink(["env"]), program=engine.program) if far else None
        client = Smolvm(None if far else engine.program, runner=runner)
        with client.machine("m") as machine:
            machine.exec(["true"])
            tracemalloc.start()
            try:
                result = machine.sh(FLOOD, output_limit=1000, on_limit="truncate", timeout=120)
                with pytest.raises(errors.OutputLimitError) as caught:
                    machine.sh("cat /dev/zero", output_limit=1000, timeout=120)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert 0 == machine.sh("ps | grep -c 'cat /dev/[z]ero'").stdout.count("1\n")

    assert (5, "err\n", Cut(498, 100_000_008 - 996)) == (result.returncode, result.stderr, result.stdout_cut)
    assert result.stdout_bytes.endswith(b"\0the end\n")
    assert (1000, 1000) == (caught.value.limit, len(caught.value.stdout))
    assert peak < (60_000_000 if far else 20_000_000)  # what a link has under way is some of it

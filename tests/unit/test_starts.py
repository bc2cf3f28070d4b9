"""Concurrent starts: a host's first start runs alone, and later ones up to max_starts at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from smolkit import Smolvm, SubprocessRunner, errors
from smolkit.commands import Start

# `start` records how many starts run. While the file `wanted` exists, none ends before that many have begun.
PRETEND = """\
#!/bin/sh
cd "$(dirname "$0")" || exit 9
[ "$4" = start ] || exit 0
[ -e broken ] && { echo '{"error":{"code":"X","message":"agent did not become ready"}}' >&2; exit 1; }
touch "running/$6"
while number=$(ls running | wc -l); echo $number >>counts; [ -e wanted ]; do
    [ $number -ge $(cat wanted) ] && mv wanted met
    sleep 0.01
done 2>/dev/null
sleep 0.1; ls running | wc -l >>counts; rm "running/$6"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the pretend engine, on a host where no machine was ever started."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "running").mkdir()
    (tmp_path / "smolvm").write_text(PRETEND)
    (tmp_path / "smolvm").chmod(0o755)
    return tmp_path


def runner(place: Path, **options: int) -> SubprocessRunner:
    """A runner of the pretend engine."""
    return SubprocessRunner(place / "smolvm", version="1.32.2", state_dir=place / "state", **options)  # type: ignore[arg-type]


def start_all(shared: SubprocessRunner, number: int, place: Path, met: int) -> None:
    """Start this many machines, until this many run at once."""
    (place / "wanted").write_text(str(met))
    threads = [threading.Thread(target=shared.run, args=(Start(f"m{n}"),)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def most_at_once(place: Path) -> int:
    """The highest number of starts at once, since the last call."""
    counts = (place / "counts").read_text().split()
    (place / "counts").unlink()
    return max(map(int, counts))


def test_the_first_start_is_alone_and_later_ones_are_not(place: Path) -> None:
    """Starts run alone until one has succeeded, and then up to max_starts at a time."""
    shared = runner(place)
    shared.run(Start("first"))
    assert 1 == most_at_once(place)

    start_all(shared, 8, place, 4)
    assert 4 == most_at_once(place)
    start_all(runner(place, max_starts=2), 6, place, 2)
    assert 2 == most_at_once(place)


def test_first_starts_of_several_processes_take_turns(place: Path) -> None:
    """First starts of several processes take turns by a lock, since they would destroy the engine's disk templates."""
    code = (
        "import sys; from smolkit import SubprocessRunner; from smolkit.commands import Start\n"
        "SubprocessRunner(sys.argv[1], version='1.32.2', state_dir=sys.argv[2]).run(Start(sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, str(place / "smolvm"), str(place / "state")]
    # All of them begin during the first start, which takes longer than beginning.
    (place / "smolvm").write_text(PRETEND.replace("sleep 0.1", "[ -e state/.cache ] || sleep 2"))
    programs = [subprocess.Popen([*command, f"m{number}"]) for number in range(6)]

    assert [0] * 6 == [program.wait() for program in programs]
    counts = [int(count) for count in (place / "counts").read_text().split()]
    assert [1, 1] == counts[:2]


def test_a_first_start_that_fails_is_followed_by_another(place: Path) -> None:
    """A failed first start is followed by another first start, without a hang."""
    shared = runner(place)
    (place / "broken").touch()
    with pytest.raises(errors.BootFailedError):
        shared.run(Start("m"))
    assert [] == list(place.glob("state/.cache/smolvm/.smolkit-started-*"))

    (place / "broken").unlink()
    shared.run(Start("m"))
    assert 1 == len(list(place.glob("state/.cache/smolvm/.smolkit-started-*")))


def test_a_host_where_nothing_can_be_locked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts work on a host where nothing can be locked."""
    (place / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "file"))
    runner(place).run(Start("m"))

    assert 1 == most_at_once(place)


def test_files_of_an_engine_behind_a_prefix_are_not_looked_at(place: Path) -> None:
    """The files of an engine behind a prefix are not looked at, since they may be on another host."""
    SubprocessRunner(place / "smolvm", prefix=["env"], version="1.32.2").run(Start("m"))

    assert not (place / "cache/smolkit").exists()


def test_sixteen_threads_and_one_client(place: Path) -> None:
    """Sixteen threads with one client run sixteen lifecycles without an error, four boots at a time."""
    client = Smolvm(runner=runner(place))
    failures: list[BaseException] = []

    def lifecycle() -> None:
        try:
            with client.machine() as machine:
                machine.exec(["true"])
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=lifecycle) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    assert most_at_once(place) <= 4


def test_an_unreadable_state_directory_prevents_no_start(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state directory that cannot be inspected (here, too long a name) does not prevent a start."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / ("x" * 300)))
    SubprocessRunner(place / "smolvm", version="1.32.2").run(Start("m"))
    assert ["1", "1"] == (place / "counts").read_text().split()


def test_an_uninstalled_engine_is_reported_as_missing(place: Path) -> None:
    """An engine that was uninstalled after it was found is reported as missing."""
    ours = SubprocessRunner(place / "smolvm", version="1.32.2")
    ours.run(Start("m"))
    (place / "smolvm").unlink()
    with pytest.raises(errors.EngineNotFoundError, match="cannot run"):
        ours.run(Start("m"))

"""The pytest plugin, run in a pytest of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from smolkit.testing import NamespaceEngine
from tests.inner_pytest import run_pytest


def run(
    folder: Path, code: str, *options: str, plugins: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run pytest on this module, and return its exit status and output."""
    (folder / "test_it.py").write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return run_pytest(folder, *options, plugins=plugins, env=env)


def test_machines_are_fixtures(tmp_path: Path) -> None:
    """Machines are fixtures, new and fake for each test, made with the mark's options and gone at the end."""
    code = """
import pytest
from smolkit.testing import FakeSmolvm

seen = []

@pytest.mark.smolvm(cpus=2, labels={"a": "b"})
def test_one(smolvm, machine, fake_smolvm):
    assert smolvm.runner is fake_smolvm
    assert machine.name.startswith("test-one-")
    assert (2, "b") == (machine.status().cpus, machine.status().labels["a"])
    fake_smolvm.on("uname", "6.1\\n")
    assert "6.1\\n" == machine.exec(["uname"]).stdout
    seen.append(fake_smolvm)

@pytest.mark.parametrize("x", ["a/b", "ä" * 100])
def test_two(machine, smolvm, x):
    assert {} == seen[0].machines
    assert [machine.name] == [info.name for info in smolvm.ls()]
"""
    status, output = run(tmp_path, code, "--strict-markers")

    assert (0, True) == (status, "3 passed" in output), output


def test_a_failed_test_shows_the_console(tmp_path: Path) -> None:
    """A failed test's report has its machine's console, and its machine is deleted."""
    code = """
def test_fails(machine, fake_smolvm):
    fake_smolvm.machines[machine.name].console = b"kernel says hello"
    assert False
"""
    status, output = run(tmp_path, code)

    assert 1 == status
    assert "console of machine 'test-fails-" in output
    assert "kernel says hello" in output
    assert "was kept" not in output


@pytest.mark.parametrize(
    ("option", "names"), [("never", []), ("on-failure", ["m-test-fails"]), ("always", ["m-test-fails", "m-test-passes"])]
)
def test_machines_may_be_kept(tmp_path: Path, option: str, names: list[str]) -> None:
    """--keep-machines keeps machines of failed tests or of all, and a note has the command line for a shell."""
    engine = NamespaceEngine(tmp_path / "engine")
    code = """
import pytest

def test_passes(machine): assert "hi\\n" == machine.exec(["echo", "hi"]).stdout
def test_fails(machine): assert False
def test_needs_the_fake(fake_smolvm): assert False
"""
    status, output = run(
        *(tmp_path, code, "--smolvm=real", f"--keep-machines={option}"),
        env={"SMOLKIT_SMOLVM": str(engine.program), "HOME": str(tmp_path)},
    )

    assert 1 == status
    assert "1 failed, 1 passed, 1 skipped" in output
    assert "this test needs the fake" in output
    assert names == kept(engine)
    assert ("smolvm machine shell --name test-fails-" in output) == (option != "never")


KEPT = """
import pathlib
def test_flaky(machine):
    again = pathlib.Path("again")
    if not again.exists():
        again.touch()
        assert False
"""


def kept(engine: NamespaceEngine) -> list[str]:
    """The machines that are left, without the random part of their names."""
    return sorted(name.rpartition("-")[0] for name in engine.left if name.startswith("m-"))


def test_a_rerun_that_passes_keeps_nothing(tmp_path: Path) -> None:
    """A test that passes when rerun leaves only the machine of the failed run."""
    engine = NamespaceEngine(tmp_path / "engine")
    env = {"SMOLKIT_SMOLVM": str(engine.program), "HOME": str(tmp_path)}
    status, output = run(
        tmp_path,
        KEPT,
        "--smolvm=real",
        "--keep-machines=on-failure",
        "--reruns=1",
        plugins=("pytest_rerunfailures",),
        env=env,
    )

    assert (0, True) == (status, "1 passed, 1 rerun" in output), output
    assert ["m-test-flaky"] == kept(engine)


def test_what_was_kept_outlives_later_sessions(tmp_path: Path) -> None:
    """Kept machines outlive later sessions, whose reap removes only what killed sessions left."""
    engine = NamespaceEngine(tmp_path / "engine")
    env = {"SMOLKIT_SMOLVM": str(engine.program), "HOME": str(tmp_path)}
    for _ in range(3):  # the first fails, the others pass
        output = run(tmp_path, KEPT, "--smolvm=real", "--keep-machines=on-failure", env=env)[1]

    assert "1 passed" in output, output
    assert ["m-test-flaky"] == kept(engine)


def test_a_test_whose_setup_fails_keeps_its_machine(tmp_path: Path) -> None:
    """A failed setup keeps the machine, whichever fixture failed."""
    engine = NamespaceEngine(tmp_path / "engine")
    code = """
import pytest

@pytest.fixture
def prepared(machine): raise RuntimeError

def test_it(prepared): pass
"""
    env = {"SMOLKIT_SMOLVM": str(engine.program), "HOME": str(tmp_path)}
    status, output = run(tmp_path, code, "--smolvm=real", "--keep-machines=on-failure", env=env)

    assert (1, True) == (status, "console of machine 'test-it-" in output), output
    assert ["m-test-it"] == kept(engine)


def test_the_session_ends_with_a_reap(tmp_path: Path) -> None:
    """A session ends with a reap of what killed sessions left, whose failure is reported and fails no test."""
    engine = NamespaceEngine(tmp_path / "engine")
    env = {"SMOLKIT_SMOLVM": str(engine.program), "HOME": str(tmp_path)}
    code = "import os\ndef test_dies(machine): os._exit(9)\n"
    assert 9 == run(tmp_path, code, "--smolvm=real", env=env)[0]
    assert 2 == len(engine.left)

    status, output = run(tmp_path, "def test_passes(smolvm): pass\n", "--smolvm=real", env=env)
    assert (0, []) == (status, engine.left), output
    engine.fault("ls", "fail")
    status, output = run(tmp_path, "def test_passes(smolvm): pass\n", "--smolvm=real", env=env)
    assert (0, True) == (status, "smolkit: " in output), output


def test_auto_takes_the_fake_where_nothing_boots(tmp_path: Path) -> None:
    """--smolvm=auto uses the fake where no engine boots."""
    code = "def test_fake(fake_smolvm): pass\n"
    status, output = run(tmp_path, code, "--smolvm=auto", env={"SMOLKIT_SMOLVM": "/no/such/smolvm"})

    assert (0, True) == (status, "1 passed" in output), output


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_tests_have_the_same_fixtures(tmp_path: Path, backend: str) -> None:
    """Async tests have the same fixtures, with any async plugin (here anyio's)."""
    code = f"""
import pytest
pytestmark = pytest.mark.anyio
@pytest.fixture
def anyio_backend(): return {backend!r}
async def test_it(async_smolvm, async_machine, fake_smolvm):
    fake_smolvm.on("uname", "6.12")
    assert (await async_machine.exec(["uname"])).stdout == "6.12"
    assert [async_machine.name] == [info.name for info in await async_smolvm.ls()]
    async with async_smolvm.machine("other") as other:
        assert await other.exists()
"""
    status, output = run(tmp_path, code, plugins=("anyio.pytest_plugin",))

    assert (0, True) == (status, "1 passed" in output), output


def test_it_costs_nothing_unless_used(tmp_path: Path) -> None:
    """A pytest that uses none of the fixtures imports only the plugin's module."""
    code = """
import sys
def test_nothing():
    found = sorted(name for name in sys.modules if name.startswith("smolkit") or name in {"attr", "attrs"})
    assert ["smolkit", "smolkit.pytest_plugin"] == found
"""
    status, output = run(tmp_path, code)

    assert (0, True) == (status, "1 passed" in output), output

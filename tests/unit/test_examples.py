"""The examples: those that are tests, and the README's picture. (The gate shows that an installed wheel has the plugin.)"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from smolkit.testing import NamespaceEngine
from tests import python_root as python_root_file_system
from tests.inner_pytest import run_pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
TEXT = "{http://www.w3.org/2000/svg}text"


def test_the_examples_tests_pass() -> None:
    """The examples' tests pass on the fake, without configuration."""
    words = [
        "-c",
        "/dev/null",
        f"--rootdir={EXAMPLES}",
        "test_agent.py",
        "test_faults.py",
        "test_first_to_solve.py",
        "test_long_work.py",
        "test_pools.py",
    ]
    status, said = run_pytest(EXAMPLES, *words)

    assert (0, True) == (status, "16 passed" in said), said


def test_the_examples_tests_run_locally() -> None:
    """With --smolvm=local those that need the fake are skipped, and the others really run their commands."""
    if why := NamespaceEngine.unavailable():
        pytest.skip(why)
    status, said = run_pytest(EXAMPLES, "-c", "/dev/null", f"--rootdir={EXAMPLES}", "--smolvm=local")

    assert (0, True) == (status, "1 passed, 15 skipped" in said), said


def run_example(name: str, session: str = "", env: dict[str, str] | None = None) -> str:
    """Run an example with this input and return its output, stderr in between."""
    command = [sys.executable, "-u", str(EXAMPLES / name)]
    both = subprocess.STDOUT
    done = subprocess.run(command, input=session, stdout=subprocess.PIPE, stderr=both, text=True, check=True, env=env)
    return done.stdout


@pytest.fixture(scope="module")
def python_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root file system for machines that run Python."""
    if why := NamespaceEngine.unavailable():
        pytest.skip(why)
    return str(python_root_file_system.make(tmp_path_factory.mktemp("image") / "root"))


LONG_WORK = """
import asyncio, json, sys
from pathlib import Path
from smolkit import AsyncSmolvm, Smolvm
from ci import Suite
from interpreter import interpreter
from rollouts import rollouts
engine, image, project = sys.argv[1:]
pieces = []
with interpreter(Smolvm(engine), image) as python:
    program = "print(open('data').read()); open('plot', 'w').write('plot')"
    first = python.run(program, files={"data": b"1,2"}, write=pieces.append)
    late = python.run("import time; print('once', flush=True); time.sleep(600)", timeout=2)
    endless = python.run("while True: print('x' * 1000)")
    python.download(Path("outputs"))
suite = Suite(AsyncSmolvm(engine), Path(project), image=image)
passed = asyncio.run(suite.run(["test_a.py", "test_b.py", "test_c.py"], machines=2))
played = asyncio.run(rollouts(AsyncSmolvm(engine), range(4), image))
print(json.dumps({
    "interpreter": [first.output, first.returncode, pieces, late.output[:4], late.returncode, len(endless.output)],
    "outputs": Path("outputs/plot").read_text(),
    "suite": [passed, {file: result.returncode for file, result in suite.results.items()}],
    "rewards": [rollout.reward for rollout in played],
    "left": [info.name for info in Smolvm(engine).ls()],
}))
"""


def test_the_long_work_really_runs(python_root: str, tmp_path: Path) -> None:
    """The interpreter, the CI runner and the rollouts run real Python in machines of the stand-in, and leave none."""
    project = tmp_path / "project"
    project.mkdir()
    for name, check in (("a", "1 + 1 == 2"), ("b", "False"), ("c", "True")):
        test = f"def test(self): self.assertTrue({check})"
        (project / f"test_{name}.py").write_text(f"import unittest\nclass Test(unittest.TestCase):\n    {test}\n")
    with NamespaceEngine() as engine:
        command = [sys.executable, "-c", LONG_WORK, str(engine.program), python_root, str(project)]
        env = {**os.environ, "PYTHONPATH": str(EXAMPLES)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert [] == engine.left
    assert 0 == done.returncode, done.stderr

    found = json.loads(done.stdout)
    assert ["1,2\n", 0, ["1,2\n"], "once", None, 1_000_000] == found["interpreter"]
    assert "plot" == found["outputs"]
    assert [False, {"test_a.py": 0, "test_b.py": 1, "test_c.py": 0}] == found["suite"]
    assert (4, True) == (len(found["rewards"]), all(isinstance(reward, float) for reward in found["rewards"]))
    assert [] == found["left"]


def hide(line: str) -> str:
    """Return the line without the kernel's release."""
    return re.sub(r"Linux \S+", "Linux", line)


def drawn(svg: str) -> list[str]:
    """Return the lines of text in a picture of a terminal, without its title."""
    rows: dict[float, str] = {}
    for text in ET.fromstring(svg).iter(TEXT):  # noqa: S314  (our own picture)
        if "textLength" in text.attrib:
            row = float(text.attrib["y"])
            rows[row] = rows.get(row, "") + (text.text or "").replace("\xa0", " ").rstrip("\n")
    return [rows[row] for row in sorted(rows)]


def test_a_session_is_drawn_as_the_terminal_showed_it() -> None:
    """The picture has each line of the session, in order, with markup as text and colours instead of escapes."""
    svg = run_example("terminal_svg.py", "$ echo '<b> & [red]'\n<b> & [red]\n\x1b[32mgreen\x1b[0m, plain\n")

    assert ["$ echo '<b> & [red]'", "<b> & [red]", "green, plain"] == drawn(svg)


def test_the_readmes_picture_shows_the_quickstart() -> None:
    """The picture has the lines that the quickstart prints today; the kernel's release is the real guest's."""
    env = {"PATH": "/usr/bin:/bin", "SMOLKIT_SMOLVM": "/no/such/smolvm"}
    printed = run_example("quickstart.py", env=env).partition("NamespaceEngine):\n")[2].splitlines()
    command, *shown = drawn((EXAMPLES / "quickstart.svg").read_text())

    assert "$ .venv/bin/python examples/quickstart.py" == command
    assert [hide(line) for line in printed] == [hide(line) for line in shown]

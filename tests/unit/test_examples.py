"""The examples: those that are tests, and the README's picture. (The gate shows that an installed wheel has the plugin.)"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.inner_pytest import run_pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
TEXT = "{http://www.w3.org/2000/svg}text"


def test_the_examples_tests_pass() -> None:
    """The examples' tests pass on the fake, without configuration."""
    words = ["-c", "/dev/null", f"--rootdir={EXAMPLES}", "test_agent.py", "test_faults.py", "test_rollouts.py"]
    status, said = run_pytest(EXAMPLES, *words)

    assert (0, True) == (status, "7 passed" in said), said


def run_example(name: str, session: str = "", env: dict[str, str] | None = None) -> str:
    """Run an example with this input and return its output, stderr in between."""
    command = [sys.executable, "-u", str(EXAMPLES / name)]
    both = subprocess.STDOUT
    done = subprocess.run(command, input=session, stdout=subprocess.PIPE, stderr=both, text=True, check=True, env=env)
    return done.stdout


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
    printed = run_example("quickstart.py", env=env).partition("(no machine is booted):\n")[2].splitlines()
    command, *shown = drawn((EXAMPLES / "quickstart.svg").read_text())

    assert "$ .venv/bin/python examples/quickstart.py" == command
    assert printed == [re.sub(r"Linux \S+", "Linux 6.0.0-fake", line) for line in shown]

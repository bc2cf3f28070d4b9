"""smolkit with attrs alone, as after `pip install smolkit`."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
import importlib.abc, inspect, pydoc, sys
class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {"anyio", "fsspec", "greenlet", "trio", "opentelemetry", "ray", "rich"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Bare())
import smolkit
"""


def run(code: str) -> str:
    """The last line of stderr of a program that runs without the extras."""
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=False)
    return (done.stderr.splitlines() or [""])[-1]


@pytest.mark.parametrize(
    "code",
    [
        "from smolkit import *",
        "pydoc.render_doc(smolkit)",
        "inspect.getmembers(smolkit)",
        "assert hasattr(smolkit, 'AsyncSmolvm') and 'AsyncSmolvm' in dir(smolkit)",
        "import smolkit.testing, smolkit.otel, smolkit.commands, smolkit.progress, smolkit.values, smolkit.pytest_plugin",
        "from smolkit.ray import *; import smolkit.ray; pydoc.render_doc(smolkit.ray)",
        "smolkit.testing.FakeSmolvm, smolkit.otel.spans, smolkit.commands.Branch, smolkit.options.ExecOptions",
        "smolkit.progress.bar, smolkit.values.Secret, smolkit.errors.ConfigError, smolkit.aio.in_loop",
        "from smolkit.aio import *",
        "pydoc.render_doc(smolkit.aio)",
        "assert all(hasattr(smolkit, name) for name in dir(smolkit))",
        "assert not hasattr(smolkit.aio, 'nonsense')",
        "assert not hasattr(smolkit, 'AsyncSmolvn')",
    ],
)
def test_importing_needs_no_extra(code: str) -> None:
    """Importing, listing and inspecting smolkit needs no extra."""
    assert run(code) == ""


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("smolkit.AsyncSmolvm()", "async"),
        ("smolkit.AsyncRunner(version='1.32.2')", "async"),
        ("class Own(smolkit.AsyncRunner): pass\nOwn()", "async"),
        ("smolkit.aio.in_loop(print)", "async"),
        ("smolkit.Smolvm('/no/such/smolvm').machine('a').to_async()", "async"),
        ("import smolkit.otel; smolkit.otel.spans()", "otel"),
        ("from smolkit.ray import RaySmolvm; RaySmolvm()", "ray"),
        ("import smolkit.progress; smolkit.progress.bar('x').__enter__()", "progress"),
        ("import smolkit.integrations.fsspec", "fsspec"),
    ],
)
def test_a_missing_extra_is_named_when_it_is_used(code: str, extra: str) -> None:
    """Using what needs an extra raises an error with the command that installs it."""
    assert f"pip install 'smolkit[{extra}]'" in run(code)

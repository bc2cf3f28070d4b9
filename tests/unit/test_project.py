"""The project's own shape: layers, exports, docs, and the blocks of its README."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import smolkit
from smolkit import Smolvm, commands, errors, runners, testing
from smolkit.commands import Spawn, Status
from smolkit.testing import FakeRunner
from tests.samples import marked

ROOT = Path(smolkit.__file__).parent
# A folder is a layer: a module imports from its own and from those before it, also for the type checker, also late.
LAYERS = [
    {"values", "extras"},
    {"errors"},
    {"commands"},
    {"runners"},
    {"flows"},
    {"handles"},
    {"aio", "testing"},
    {"options", "otel", "progress", "pytest_plugin", "__init__"},
]
UP = {
    ("handles.machine", "aio"),  # imported when it is called: `machine.to_async()`
    ("handles.base", "aio"),
    ("values.results", "errors"),  # imported when it is called: `ExecResult.check()`
}
IMPURE = {"subprocess", "asyncio", "os.path", "time", "socket", "selectors", "signal", "shutil", "tempfile", "pathlib"}
MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    """A module's name below smolkit."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer_of(name: str) -> int:
    """A module's place in the order."""
    return next(number for number, folders in enumerate(LAYERS) if name.partition(".")[0] in folders)


def imports_of(path: Path, *, typing: bool = False) -> set[str]:
    """What a module imports when it runs, and with typing also what the type checker sees."""
    found = set()
    tree = ast.parse(path.read_text())
    skipped = set() if typing else {id(node) for block in ast.walk(tree) if is_typing(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_typing(node: ast.AST) -> bool:
    """Whether this is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=name_of)
def test_a_folder_is_a_layer(path: Path) -> None:
    """values < errors < commands < runners < flows < handles < aio, testing < plugins."""
    own = name_of(path)
    ours = {found.removeprefix("smolkit.") for found in imports_of(path, typing=True) if found.startswith("smolkit.")}
    above = {name for name in ours & {name_of(other) for other in MODULES} if layer_of(name) > layer_of(own)}

    assert set() == {name for name in above if (own, name) not in UP}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_runners_know_processes_and_clocks(path: Path) -> None:
    """The pure layers import nothing that does I/O."""
    name = name_of(path)
    if layer_of(name) < layer_of("runners"):
        assert set() == (imports_of(path) & IMPURE) - ({"pathlib"} if name == "values.results" else set())
    if name not in {"runners.local.watchdog", "aio.greenlets"}:
        assert not {"subprocess", "asyncio"} & imports_of(path)


# What blocks a thread, and so an event loop: what waits, waits by `runners.blocking`.
BLOCKING = re.compile(r"time\.sleep\(|threading\.(?:Lock|Semaphore|Condition|Event)|os\.wait|\.select\(|\.poll\(\w")
BLOCKING_LINES = {
    "runners.blocking": 3,  # sleep, the wait for a file, and a Gate's event
    "runners.local.pipes": 1,  # the select, which does not wait in an event loop
    "runners.local.posix": 4,  # looks at a child that do not wait
    "runners.local.child": 1,  # a lock that a writer holds for moments, and a reader asks for
}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_else_blocks_an_event_loop(path: Path) -> None:
    """Few lines of smolkit may wait by themselves."""
    found = BLOCKING.findall(path.read_text())

    assert BLOCKING_LINES.get(name_of(path), 0) == len(found), found


@pytest.mark.parametrize("module", [smolkit, commands, runners])
def test_exports_are_sorted_and_complete(module: object) -> None:
    """`__all__` is in order, and has every public class that the module imports."""
    names = module.__all__  # type: ignore[attr-defined]
    public = {name for name, value in vars(module).items() if inspect.isclass(value) and not name.startswith("_")}

    assert sorted(names) == list(names)
    assert all(getattr(module, name) for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        module.nonsense  # type: ignore[attr-defined]  # noqa: B018
    assert public <= set(names)


def test_classes_are_final_unless_they_are_meant_to_be_extended() -> None:
    """Runners are the extension point, and errors a tree."""
    classes = {value for name in smolkit.__all__ if inspect.isclass(value := getattr(smolkit, name))}
    open_ones = {kind.__name__ for kind in classes if not getattr(kind, "__final__", False)}

    assert {"AsyncRunner", "Runner", "SmolvmError", "SubprocessRunner"} == open_ones


@pytest.mark.parametrize("module", [smolkit, commands, errors, testing])
def test_everything_public_is_explained(module: object) -> None:
    """Public classes, and their public methods and properties, have docstrings."""
    for name, value in vars(module).items():
        if name.startswith("_") or not inspect.isclass(value) or not value.__module__.startswith("smolkit"):
            continue
        assert inspect.getdoc(value), name
        for member, function in vars(value).items():
            if not member.startswith("_") and (inspect.isfunction(function) or isinstance(function, property)):
                assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"


def test_files_are_short() -> None:
    """About 300 lines each."""
    modules = [path for path in MODULES if path.name != "option_types.py"]
    assert [] == [path.name for path in modules if len(path.read_text().splitlines()) > 350]


PORT = {"host": 1, "guest": 80}
README = (ROOT.parent / "README.md").read_text()
BLOCKS = re.findall(r"(?ms)^```python\n(.*?)^```", README)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_readmes_python_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block by itself, against a fake where it asks for an engine."""
    fake = FakeRunner()
    fake.answer(["machine", "ls"], stdout='[{"name": "agent", "state": "running"}]')
    fake.answer(Status, lambda command: json.dumps({**marked(fake, command.name), "published_ports": [PORT]}))
    fake.answer(["machine", "stats"], stdout="{}")
    fake.answer(["machine", "data-dir"], stdout="/srv/vms/1\n")
    fake.answer(Spawn, stdout="615\n")
    fake.answer(["machine", "exec"], stdout="6.18.55\n")
    fake.answer(["machine"])
    (tmp_path / "job.sh").write_text("echo hi")
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # which is an example of a secret
    # A README's `Smolvm()` is the user's; here it is one that boots nothing.
    code = re.sub(r"(?<!Fake)Smolvm\(\)", "Smolvm(runner=_fake)", block)
    names: dict[str, object] = {"_fake": fake, "client": Smolvm(runner=fake), "errors": errors, "Smolvm": Smolvm}
    names["m"] = names["client"].machine("agent")  # type: ignore[attr-defined]
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  (our own README)


def test_the_readmes_commands_are_those_that_run() -> None:
    """The gate runs every line of the README's shell blocks."""
    gate = (ROOT.parent / ".ci/run").read_text()
    lines = "".join(re.findall(r"(?ms)^```sh\n(.*?)^```", README)).splitlines()
    run = re.findall(r"readme '(.*)'", gate)

    assert [] == [line for line in lines if not any(line.endswith(end) for end in run)]
    assert 5 == len(lines) == len(run)


def test_the_quickstart_runs_anywhere() -> None:
    """Where no microVM boots it gives the reason, and says that what follows is the fake."""
    code = "import runpy, sys; sys.modules['smol'] = None; runpy.run_path('examples/quickstart.py', run_name='__main__')"
    env = {"PATH": "/usr/bin:/bin", "SMOLKIT_SMOLVM": "/no/such/smolvm"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=ROOT.parent
    )

    assert "No microVM here: no program SMOLKIT_SMOLVM=/no/such/smolvm" in done.stdout
    assert "in-memory fake (no machine is booted):\n0 hi from Linux 6.0.0-fake\n" in done.stdout


def test_importing_smolkit_spares_what_it_does_not_need() -> None:
    """No asyncio, no json, no logging, no subprocess: each costs a tenth of the import or more. The fakes need some."""
    spared = ["asyncio", "logging", "subprocess", "tempfile"]
    code = f"""import sys
from smolkit import Smolvm; print([name for name in {[*spared, "json", "pathlib"]} if name in sys.modules])
import smolkit.testing; print([name for name in {spared} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]\n[]\n" == done.stdout

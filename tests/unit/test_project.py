"""The project's structure: layers, exports, documentation, and the code blocks of the README."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import smolkit
from smolkit import Smolvm, commands, errors, runners, testing
from smolkit.commands import ScanDirs, Script, Spawn, Status
from smolkit.runners.dry_run import said
from smolkit.testing import FakeRunner, NamespaceEngine
from smolkit.values import Completed
from tests.samples import marked

ROOT = Path(smolkit.__file__).parent
# A folder is a layer: a module imports from its own and from those before it, also for the type checker, also late.
LAYERS = [
    {"extras", "lazy"},
    {"values"},
    {"errors"},
    {"commands", "options"},
    {"runners"},
    {"flows"},
    {"handles"},
    {"aio", "testing"},
    {"integrations", "otel", "progress", "pytest_plugin", "ray", "__init__"},
    {"cli"},
    {"__main__"},
]
IMPURE = {"subprocess", "asyncio", "os.path", "time", "socket", "selectors", "signal", "shutil", "tempfile", "pathlib"}
MODULES = sorted(ROOT.rglob("*.py"))
IN_PROCESS = [path for path in MODULES if "testing/namespace" not in str(path)]  # NamespaceEngine is a program of its own


def name_of(path: Path) -> str:
    """A module's name below smolkit."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer_of(name: str) -> int:
    """A module's position in LAYERS."""
    return next(number for number, folders in enumerate(LAYERS) if name.partition(".")[0] in folders)


def imports_of(path: Path, *, typing: bool = False) -> set[str]:
    """The modules that a module imports at run time, and with `typing` also for the type checker."""
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
    """True for `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_folder_is_a_layer(path: Path) -> None:
    """values < errors < commands < runners < flows < handles < aio, testing < plugins."""
    own = name_of(path)
    ours = {found.removeprefix("smolkit.") for found in imports_of(path, typing=True) if found.startswith("smolkit.")}
    above = {name for name in ours & {name_of(other) for other in MODULES} if layer_of(name) > layer_of(own)}

    assert set() == above


def test_one_method_reaches_up() -> None:
    """Only `Machine.to_async` imports from a later layer, when it is called."""
    lines = {
        name_of(path): re.findall(r"(?m)^import smolkit\b.*|\bsmolkit\.Async\w+\(", path.read_text()) for path in MODULES
    }
    found = {name: len(matches) for name, matches in lines.items() if matches}

    assert {"handles.machine": 2} == found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_type_checkers_see_the_names_of_a_module_only(path: Path) -> None:
    """A module's `__getattr__` is hidden from type checkers, so that they refuse a misspelt name."""
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]

    assert "__getattr__" not in {function.name for function in functions}


@pytest.mark.parametrize("path", IN_PROCESS, ids=name_of)
def test_only_runners_know_processes_and_clocks(path: Path) -> None:
    """Layers below the runners import nothing that does I/O."""
    name = name_of(path)
    if layer_of(name) < layer_of("runners"):
        assert set() == (imports_of(path) & IMPURE) - ({"pathlib"} if name == "values.results" else set())
    assert "subprocess" not in imports_of(path)
    assert name in {"aio.greenlets", "ray.keeper"} or "asyncio" not in imports_of(path)  # the keeper is an actor of Ray


def test_there_are_no_import_cycles() -> None:
    """Imports have no cycles, late ones and those for the type checker included. (Packages do not count.)"""
    modules = {name_of(path): path for path in MODULES if path.name != "__init__.py"}
    imported = {
        name: {found.removeprefix("smolkit.") for found in imports_of(path, typing=True)} & set(modules)
        for name, path in modules.items()
    }

    assert set() == {name for name in modules if name in closure(name, imported)}


def closure(name: str, imported: dict[str, set[str]]) -> set[str]:
    """All modules that a module imports, directly or through others."""
    found: set[str] = set()
    todo = [name]
    while todo:
        new = imported.get(todo.pop(), set()) - found
        found |= new
        todo += new
    return found


def test_tests_patch_nothing_of_smolkit() -> None:
    """Tests inject their doubles, and patch nothing of smolkit."""
    patch = re.compile(r"""(?:setattr|patch)\(\s*["']smolkit""")
    tests = ROOT.parent / "tests"

    assert [] == [str(path.relative_to(tests)) for path in tests.rglob("*.py") if patch.search(path.read_text())]


# Code that blocks a thread, and so an event loop. All other waits are made by `runners.blocking`.
BLOCKING = re.compile(r"time\.sleep\(|threading\.(?:Lock|Semaphore|Condition|Event)|os\.wait|\.select\(|\.poll\(\w")
BLOCKING_LINES = {
    "runners.blocking": 3,  # sleep, the wait for a file, and a Gate's event
    "runners.local.pipes": 2,  # selects, with no wait in an event loop
    "runners.local.posix": 4,  # looks at a child, without a wait
    "runners.local.child": 1,  # a lock that a writer holds briefly, and a reader takes
    "runners.local.watchdog": 1,  # the start of a shell, a millisecond
    "ray.groups": 1,  # a lock in a keeper, which is held briefly
    "ray.hosts": 1,  # a lock around a dict
    "ray.keeper": 2,  # in a keeper, which has threads of its own
    "ray.link": 2,  # in threads that serve a link
    "runners.remote.connection": 1,  # a poll, in the thread that serves a link
    "runners.remote.far": 1,  # in a far process, which has no event loop
    "runners.remote.leftovers": 1,  # likewise
    "runners.remote.terminal": 1,  # a poll, in a thread that reads a terminal
}


@pytest.mark.parametrize("path", IN_PROCESS, ids=name_of)
def test_nothing_else_blocks_an_event_loop(path: Path) -> None:
    """Only the listed lines of smolkit may block a thread."""
    found = BLOCKING.findall(path.read_text())

    assert BLOCKING_LINES.get(name_of(path), 0) == len(found), found


@pytest.mark.parametrize("module", [smolkit, commands, runners, testing])
def test_exports_are_sorted_and_complete(module: object) -> None:
    """`__all__` is sorted, and has every public class that the module imports."""
    names = module.__all__  # type: ignore[attr-defined]
    public = {name for name, value in vars(module).items() if inspect.isclass(value) and not name.startswith("_")}

    assert sorted(names) == list(names)
    assert all(getattr(module, name) for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        module.nonsense  # type: ignore[attr-defined]  # noqa: B018
    assert public <= set(names)


def test_classes_are_final_unless_they_are_meant_to_be_extended() -> None:
    """Public classes are final, except runners and errors."""
    classes = {value for name in smolkit.__all__ if inspect.isclass(value := getattr(smolkit, name))}
    open_ones = {kind.__name__ for kind in classes if not getattr(kind, "__final__", False)}

    assert {"AsyncRunner", "RemoteRunner", "Runner", "SmolvmError", "SubprocessRunner"} == open_ones


@pytest.mark.parametrize("module", [smolkit, commands, errors, testing])
def test_everything_public_has_a_docstring(module: object) -> None:
    """Public classes, methods and properties have docstrings."""
    for name in {*vars(module), *module.__all__}:  # type: ignore[attr-defined]
        value = getattr(module, name)
        if name.startswith("_") or not inspect.isclass(value) or not value.__module__.startswith("smolkit"):
            continue
        assert inspect.getdoc(value), name
        for member, function in vars(value).items():
            if not member.startswith("_") and (inspect.isfunction(function) or isinstance(function, property)):
                assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"


def test_files_are_short() -> None:
    """Files have at most 350 lines."""
    modules = [path for path in MODULES if path.name != "option_types.py"]
    assert [] == [path.name for path in modules if len(path.read_text().splitlines()) > 350]


PORT = {"host": 1, "guest": 80}
README = (ROOT.parent / "README.md").read_text()
BLOCKS = re.findall(r"(?ms)^```python\n(.*?)^```", README)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_readmes_python_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Python block of the README runs by itself, on a fake."""
    fake = FakeRunner()
    fake.answer(["machine", "ls"], stdout='[{"name": "agent", "state": "running"}]')
    fake.answer(Status, lambda command: json.dumps({**marked(fake, command.name), "published_ports": [PORT]}))
    fake.answer(["machine", "stats"], stdout="{}")
    fake.answer(["machine", "data-dir"], stdout="/srv/vms/1\n")
    fake.answer(Spawn, stdout="615\n")
    for kind in (Script, ScanDirs):  # there is nothing in the guest's files
        fake.answer(kind, lambda command: Completed((), 0, said(command)))
    fake.answer(["machine", "exec"], stdout="6.18.55\n")
    fake.answer(["machine"])
    (tmp_path / "job.sh").write_text("echo hi")
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # the README uses it as an example of a secret
    # `Smolvm()` in the README is the user's engine; here it is the fake.
    code = re.sub(r"(?<!Fake)Smolvm\(\)", "Smolvm(runner=_fake)", block)
    names: dict[str, object] = {"_fake": fake, "client": Smolvm(runner=fake), "errors": errors, "Smolvm": Smolvm}
    names["m"] = names["client"].machine("agent")  # type: ignore[attr-defined]
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  (our own README)


def test_the_gate_runs_the_readmes_commands() -> None:
    """The gate runs every line of the README's shell blocks."""
    gate = (ROOT.parent / ".ci/run").read_text()
    lines = "".join(re.findall(r"(?ms)^```sh\n(.*?)^```", README)).splitlines()
    run = re.findall(r"readme '(.*)'", gate)

    assert [] == [line for line in lines if not any(line.endswith(end) for end in run)]
    assert 5 == len(lines) == len(run)


def test_the_readmes_links_lead_somewhere() -> None:
    """Each link is to a heading of the README, as GitHub names it, or to a file that is there."""
    headings = re.findall(r"(?m)^##+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", README))
    anchors = {"#" + re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", README)
    local = [link for link in links if not link.startswith("https://") and not (ROOT.parent / link).exists()]

    assert [] == [link for link in local if link not in anchors]
    assert len(links) > 10


def test_the_older_engines_are_installed_without_pytest() -> None:
    """The gate fetches them with the quickstart's environment, before the suite whose tests use them."""
    gate = (ROOT.parent / ".ci/run").read_text()
    code = "import sys; sys.modules['pytest'] = None; import tests.engines"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT.parent)

    assert "" == done.stderr
    assert gate.index("step 'older engines'") < gate.index("step 'the test suite")


def quickstart(*prefix: str) -> str:
    """Run the quickstart on a host without an engine, and return its output."""
    code = "import runpy, sys; sys.modules['smol'] = None; runpy.run_path('examples/quickstart.py', run_name='__main__')"
    env = {"PATH": "/usr/bin:/bin", "SMOLKIT_SMOLVM": "/no/such/smolvm"}
    command = [*prefix, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, cwd=ROOT.parent)
    assert "No microVM here: no program SMOLKIT_SMOLVM=/no/such/smolvm" in done.stdout
    return done.stdout


def test_the_quickstart_really_runs_without_a_microvm() -> None:
    """Without a microVM the quickstart says why, and really does its job in namespaces of this host."""
    if why := NamespaceEngine.unavailable():
        pytest.skip(why)
    said = quickstart().splitlines()

    assert "The same job in namespaces of this host, which isolate nothing (smolkit.testing.NamespaceEngine):" in said
    assert f"0 hi from Linux {os.uname().release}" == said[-1]


def test_the_quickstart_runs_anywhere() -> None:
    """Without a microVM and without namespaces the quickstart says why, and that it continues with the fake."""
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    said = quickstart("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh").splitlines()

    assert said[-2].startswith("The same calls against the in-memory fake (nor are there namespaces: Error: ")
    assert "0 hi from Linux 6.0.0-fake" == said[-1]


def test_importing_smolkit_imports_no_slow_modules() -> None:
    """Importing smolkit or its fakes does not import slow modules that they may never need."""
    spared = ["asyncio", "logging", "subprocess", "tempfile"]
    code = f"""import sys
from smolkit import Smolvm; print([name for name in {[*spared, "json", "pathlib", "attr"]} if name in sys.modules])
from smolkit.testing import FakeRunner, FakeSmolvm; print([name for name in {spared} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]\n[]\n" == done.stdout

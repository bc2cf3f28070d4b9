"""File operations give the same results in Python, in real shells and on FakeSmolvm."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smolkit import Smolvm
from smolkit.testing import FakeSmolvm
from tests.guests import KINDS, guest

# The initial files: a directory (None), a file (bytes) or a symlink (str).
THERE: dict[str, bytes | str | None] = {
    "file": b"content",
    "other": b"other",
    "full": None,
    "full/one": b"1",
    "full/sub": None,
    "full/up": "../file",
    "empty": None,
    "to-file": "file",
    "to-full": "full",
    "to-empty": "{w}/empty",
    "chain": "full/up",
    "dangling": "nowhere",
    "far": "{w}/no/where",
    "deep": "full/new",
    "below": "file/x",
    "loop": "loop",
    "new\nline\n": b"newline",
    "to-newline\n": "new\nline\n",
    "dangling\n": "none\n",
}
PATHS = (
    *(
        "file",
        "none",
        "none/x",
        "file/x",
        "file/x/y",
        "full",
        "full/one",
        "full/up",
        "empty",
        "to-file",
        "to-full",
        "to-empty",
    ),
    *(
        "to-full/one",
        "to-full/none",
        "to-full/../file",
        "to-full/sub/../../other",
        "chain",
        "dangling",
        "dangling/x",
        "far",
    ),
    *("deep", "below", "loop", "loop/x", "new\nline\n", "to-newline\n", "dangling\n", "./full//one", "none/../file"),
)
NAMED = (
    "file",
    "none",
    "none/x",
    "file/x",
    "full",
    "full/in",
    "full/sub",
    "empty",
    "to-file",
    "to-full",
    "dangling",
    "loop",
)


class Python:
    """Python's own functions, under the names of Machine's methods."""

    def read_bytes(self, path: str) -> bytes:
        """As Path.read_bytes."""
        return Path(path).read_bytes()

    def write_bytes(self, path: str, data: bytes) -> None:
        """As Path.write_bytes."""
        Path(path).write_bytes(data)

    def listdir(self, path: str) -> list[str]:
        """As os.listdir, sorted."""
        return sorted(os.listdir(path))

    def scandir(self, path: str) -> list[os.DirEntry[str]]:
        """As os.scandir, sorted."""
        return sorted(os.scandir(path), key=lambda entry: entry.name)

    def walk(self, path: str, *, follow_symlinks: bool = False) -> Iterator[tuple[str, list[str], list[str]]]:
        """As Path.walk of Python 3.12, sorted: symlinks that are not followed are files."""
        for above, names, files in os.walk(path, followlinks=follow_symlinks):
            links = [] if follow_symlinks else [name for name in names if os.path.islink(os.path.join(above, name))]
            names[:] = sorted(set(names) - set(links))
            yield above, names, sorted([*files, *links])

    def glob(self, path: str, pattern: str) -> list[str]:
        """As Path.glob, sorted."""
        return sorted({str(found) for found in Path(path).glob(pattern)})

    def exists(self, path: str) -> bool:
        """As os.path.lexists."""
        return os.path.lexists(path)

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """As os.stat."""
        return os.stat(path, follow_symlinks=follow_symlinks)

    def mkdir(self, path: str, *, parents: bool = False, exist_ok: bool = False) -> None:
        """As Path.mkdir, or with parents as os.makedirs."""
        if parents:
            os.makedirs(path, exist_ok=exist_ok)
        else:
            Path(path).mkdir(exist_ok=exist_ok)

    def remove(self, path: str, *, recursive: bool = False, missing_ok: bool = False) -> None:
        """As Path.unlink, Path.rmdir or shutil.rmtree."""
        if os.path.islink(path) or not os.path.isdir(path):
            Path(path).unlink(missing_ok=missing_ok)
        elif recursive:
            shutil.rmtree(path)
        else:
            Path(path).rmdir()

    def rename(self, path: str, target: str) -> None:
        """As os.rename."""
        os.rename(path, target)


def _kind(found: Any) -> tuple[str, int]:
    mode = getattr(found, "st_mode", None) or found.mode
    size = found.size if hasattr(found, "size") else found.st_size
    return oct(mode), size if stat.S_ISREG(mode) else 0


def _entry(entry: Any, folder: str) -> tuple[object, ...]:
    try:
        target: object = _kind(entry.stat())
    except OSError:  # of a circular symlink Python says so, and smolkit that there is nothing
        target = None
    kinds = [entry.is_dir(), entry.is_file(), entry.is_symlink(), entry.is_dir(follow_symlinks=False)]
    return entry.name, entry.path.removeprefix(folder), *kinds, _kind(entry.stat(follow_symlinks=False)), target


def _walked(steps: Iterator[tuple[str, list[str], list[str]]], folder: str) -> list[object]:
    return [(above.removeprefix(folder), names, files) for above, names, files in steps]


# Those that Path.glob of Python 3.11 to 3.13 agrees on. (A last `**` matches files from 3.13 on.)
PATTERNS = ("*", "*/*", "**/*", "**/*e*/*", "[!f]*e?", "full/*", "*l/../f*", "**/", "**/full/**/*n*", "nothing/*")

ACTS: dict[str, Callable[[Any, str], object]] = {
    "read": lambda m, path: m.read_bytes(path),
    "write": lambda m, path: m.write_bytes(path, b"written"),
    "listdir": lambda m, path: m.listdir(path),
    "scandir": lambda m, path: [_entry(entry, path) for entry in m.scandir(path)],
    "walk": lambda m, path: _walked(m.walk(path), path),
    "walk links": lambda m, path: _walked(m.walk(path, follow_symlinks=True), path),
    "exists": lambda m, path: m.exists(path),
    "stat": lambda m, path: _kind(m.stat(path)),
    "lstat": lambda m, path: _kind(m.stat(path, follow_symlinks=False)),
    "mkdir": lambda m, path: m.mkdir(path),
    "mkdir if need be": lambda m, path: m.mkdir(path, exist_ok=True),
    "mkdir all": lambda m, path: m.mkdir(path, parents=True, exist_ok=True),
    "remove": lambda m, path: m.remove(path),
    "remove if there": lambda m, path: m.remove(path, missing_ok=True),
    "remove all": lambda m, path: m.remove(path, recursive=True),
}


def fill(folder: Path, inside: str) -> None:
    """Create the initial files, and remove everything else."""
    for entry in os.scandir(folder):
        shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)
    for name, content in THERE.items():
        if content is None:
            (folder / name).mkdir()
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            (folder / name).symlink_to(content.replace("{w}", inside))


def listing(folder: Path, inside: str) -> dict[str, tuple[int, object]]:
    """Every name below a directory, with its mode and content."""
    found: dict[str, tuple[int, object]] = {}
    for above, names, files in os.walk(folder):
        for name in names + files:
            path = os.path.join(above, name)
            mode = os.lstat(path).st_mode
            content: object = None
            if stat.S_ISLNK(mode):
                content = os.readlink(path).replace(inside, "{w}")
            elif stat.S_ISREG(mode):
                content = Path(path).read_bytes()
            found[os.path.relpath(path, folder)] = (mode, content)
    return found


PRISTINE = {
    name: (stat.S_IFDIR | 0o755, None)
    if content is None
    else (stat.S_IFREG | 0o644, content)
    if isinstance(content, bytes)
    else (stat.S_IFLNK | 0o777, content)
    for name, content in THERE.items()
}


def outcome(act: Callable[[], object]) -> object:
    """The result of an operation: its return value or the type of its error."""
    try:
        return act()
    except OSError as error:
        builtin = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
        return (builtin.__name__ if builtin is not Exception else "OSError", error.errno and os.strerror(error.errno))


def on_files(machine: Any, folder: Path, inside: str, act: Callable[[Any, str], object]) -> tuple[object, object]:
    """The result of an operation on real files, and the files after it."""
    if listing(folder, inside) != PRISTINE:
        fill(folder, inside)
    return outcome(lambda: act(machine, inside)), listing(folder, inside)


def on_fake(act: Callable[[Any, str], object]) -> tuple[object, object]:
    """The result of an operation on FakeSmolvm, and the files after it."""
    fake = FakeSmolvm()
    with Smolvm(runner=fake).machine("m") as machine:
        files = fake.machines["m"].files
        files.mkdir("/guest-files")
        for name, content in THERE.items():
            if content is None:
                files.mkdir(f"/guest-files/{name}")
            elif isinstance(content, bytes):
                files.write_bytes(f"/guest-files/{name}", content)
            else:
                files.symlink(f"/guest-files/{name}", content.replace("{w}", "/guest-files"))
        came = outcome(lambda: act(machine, "/guest-files"))
        held: dict[str, tuple[int, object]] = {}
        for name, node in files.walk("/guest-files"):
            held[name] = (node.mode, None if stat.S_ISDIR(node.mode) else node.data)
            if stat.S_ISLNK(node.mode):
                held[name] = (node.mode, os.fsdecode(node.data).replace("/guest-files", "{w}"))
        return came, held


Cases = dict[str, Callable[[Any, str], object]]


def _cases() -> Cases:
    cases: Cases = {}
    for what, act in ACTS.items():
        for path in PATHS:
            cases[f"{what} {path!r}"] = lambda m, w, act=act, path=path: act(m, f"{w}/{path}")  # type: ignore[misc]
    return cases


def _renames() -> Cases:
    def act(old: str, new: str) -> Callable[[Any, str], object]:
        return lambda m, w: m.rename(f"{w}/{old}", f"{w}/{new}")

    return {f"rename {old!r} {new!r}": act(old, new) for old in NAMED for new in NAMED}


def _globs() -> Cases:
    def act(path: str, pattern: str) -> Callable[[Any, str], object]:
        return lambda m, w: [name.removeprefix(w) for name in m.glob(f"{w}/{path}", pattern)]

    folders = ("", "full", "to-full", "none", "file", "loop")
    return {f"glob {path!r} {pattern!r}": act(path, pattern) for path in folders for pattern in PATTERNS}


CASES = {"one": _cases(), "renames": _renames(), "globs": _globs()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, object]]:
    """The result in Python."""
    folder, mask = tmp_path_factory.mktemp("python"), os.umask(0o022)
    try:
        return {
            name: on_files(Python(), folder, str(folder), act) for cases in CASES.values() for name, act in cases.items()
        }
    finally:
        os.umask(mask)


def differences(
    cases: Cases, expected: dict[str, Any], do: Callable[[Callable[[Any, str], object]], Any]
) -> dict[str, object]:
    """The operations whose results differ from Python's, with both results and files."""
    found: dict[str, object] = {}
    for name, act in cases.items():
        (came, held), (wanted, left) = do(act), expected[name]
        if (came, held) != (wanted, left):
            found[name] = (
                "python",
                wanted,
                set(left.items()) - set(held.items()),
                "here",
                came,
                set(held.items()) - set(left.items()),
            )
    return found


@pytest.mark.parametrize("which", CASES)
def test_the_fake_is_as_python(which: str, expected: dict[str, tuple[object, object]]) -> None:
    """FakeSmolvm gives the same answers, errors and files as Python."""
    assert {} == differences(CASES[which], expected, on_fake)


@pytest.mark.parametrize("which", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_real_shells_are_as_python(
    kind: str, which: str, expected: dict[str, tuple[object, object]], tmp_path: Path
) -> None:
    """Real shells and programs give the same answers, errors and files as Python."""
    there = guest(kind, tmp_path)

    assert {} == differences(CASES[which], expected, lambda act: on_files(there.machine, there.folder, there.inside, act))

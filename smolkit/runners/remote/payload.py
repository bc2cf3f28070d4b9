"""The beginning of a far process: one line for its shell, the text of `bootstrap`, and smolkit with attrs as one zip."""

from __future__ import annotations

import hashlib
import io
import pkgutil
import zipfile
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

# For `sh -c`. Without quotes, backslashes and exclamation marks, so that every login shell leaves it as it is. A shim of a
# version manager may be on PATH without its Python (127), and `python3` may be an old one (97).
_FIND = (
    "for p in python3.13 python3.12 python3.11 python3 python3.14; do "
    "command -v $p >/dev/null 2>&1 || continue; "
    '$p -I -X utf8 -c "$1"; s=$?; '
    "case $s in 97|126|127) ;; *) exit $s;; esac; done; "
    "echo smolkit: this host has no Python 3.11 or later on PATH >&2; exit 96"
)
# -X utf8: words of any bytes arrive as they are, whatever the locale. The text's length stands in its first line.
_LOAD = 'import sys;sys.version_info<(3,11)and sys.exit(97);f=open(0,"rb",0,closefd=False);exec(f.read(int(f.readline())))'
COMMAND = ("sh", "-c", _FIND, "smolkit", _LOAD)
_FOLDERS = ("values", "errors", "commands", "runners", "flows")  # of smolkit: what the far process and a watchdog import
_MODULES = ("__init__.py", "lazy.py")


@lru_cache(1)
def archive() -> tuple[str, bytes]:
    """The zip, and its SHA-256. The same sources give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in sorted(_sources()):
            made.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return hashlib.sha256(buffer.getvalue()).hexdigest(), buffer.getvalue()


def greeting() -> bytes:
    """The bytes that the far end reads first."""
    text = pkgutil.get_data("smolkit.runners.remote", "bootstrap.py")
    assert text is not None  # noqa: S101  (for the type checker: it is beside this file)
    return b"%d\n%b%b" % (len(text), text, archive()[0].encode())


def parcel() -> bytes:
    """The zip as it is sent: behind its length in ten digits."""
    content = archive()[1]
    return b"%010d%b" % (len(content), content)


def _sources() -> Iterator[tuple[str, bytes]]:
    ours = files("smolkit")
    for name in _MODULES:
        yield f"smolkit/{name}", (ours / name).read_bytes()
    for folder in _FOLDERS:
        yield from _below(ours / folder, f"smolkit/{folder}")
    for package in ("attr", "attrs"):
        yield from _below(files(package), package)


def _below(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            yield from _below(item, f"{name}/{item.name}")
        elif item.name.endswith(".py"):
            yield f"{name}/{item.name}", item.read_bytes()

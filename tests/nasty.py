"""A directory tree of unusual names, modes, links and times, and the complete state of a tree for comparison."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

TIME = 1_000_000_000
TARGETS = {
    "file": "../bytes/\udcff",
    "dir": "../many",
    "here": ".",
    "up": "..",
    "dangling": "none/such",
    "loop": "loop",
    "through": "up/links/../many",
    "long": "x" * 200,
    "by the way": "../links/dir/0",
}


def nasty(top: Path, files: int) -> Path:
    """Make a tree with names of any bytes, long names and deep paths, many files, all modes, all kinds of links and times.

    Args:
        top: The directory to make.
        files: The number of files in `many`.
    """
    for name in ("bytes", "many", "modes", "empty/still empty"):
        (top / name).mkdir(parents=True)
    for byte in range(1, 256):
        if bytes([byte]) not in {b".", b"/"}:
            (top / "bytes" / os.fsdecode(bytes([byte]))).write_bytes(bytes([byte]) * byte)
    for name in ("...", "..x", " ", "-rf", "n" * 255, "文" * 85, "\udcff" * 255, "a\nb", "c\n"):
        (top / "bytes" / name).write_text("named")
    for number in range(files):
        (top / "many" / f"{number}").write_bytes(b"%d" % number * (number % 600))
    for name in modes():
        (top / "modes" / name).write_text("mode")
        (top / "modes" / f"{name}.d").mkdir()
        (top / "modes" / f"{name}.d/x").write_text("inside")
    (top / "/".join(["deep"] * 100)).mkdir(parents=True)
    links(top)
    date(top)
    for name, mode in modes().items():
        (top / "modes" / name).chmod(mode)
        (top / "modes" / f"{name}.d").chmod(mode)
    top.chmod(0o711)
    return top


def modes() -> dict[str, int]:
    """Return modes by their octal names. All let the owner read, unless the owner is root, who needs no permission."""
    needed = 0 if os.geteuid() == 0 else 0o500
    found = (0o000, 0o111, 0o222, 0o400, 0o444, 0o500, 0o555, 0o600, 0o644, 0o711, 0o750, 0o777)
    return {f"{mode:o}": mode for mode in found if mode & needed == needed}


def as_tar(top: Path) -> bytes:
    """Return a tree as a tar archive, made by `tarfile`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        tar.add(top, ".")
    return out.getvalue()


def links(top: Path) -> None:
    """Make symlinks (dangling, circular, through others, to directories, with long targets) and hard links."""
    (top / "links").mkdir()
    for name, target in TARGETS.items():
        (top / "links" / name).symlink_to(target)
    os.link(top / "many/0", top / "links/hard")
    os.link(top / "many/0", top / "links/harder")


def date(top: Path) -> None:
    """Give each file its own time, the innermost first: a change in a directory changes the directory's time."""
    for number, (folder, folders, files) in enumerate(os.walk(top, topdown=False)):
        for place, name in enumerate([*files, *folders, "."]):
            path, seconds = os.path.join(folder, name), TIME + number * 20_000 + place
            if os.path.islink(path) or name in {*files, "."}:
                os.utime(path, (seconds, seconds), follow_symlinks=False)
    os.utime(top, (1, 1))


def state(top: Path) -> dict[str, tuple[int, int, int, object]]:
    """Return (mode, time in ns, link count, content or target) for each path of a tree. Owners are left out.

    Afterwards the owner has the permission to remove all of it.
    """
    found: dict[str, tuple[int, int, int, object]] = {}
    waiting = [top]
    while waiting:
        path = waiting.pop()
        info = path.lstat()
        kept: object = os.readlink(path) if path.is_symlink() else None
        if not path.is_symlink():
            path.chmod(0o700)
        if path.is_dir() and not path.is_symlink():
            waiting += path.iterdir()
        elif not path.is_symlink():
            kept = path.read_bytes()
            path.chmod(stat.S_IMODE(info.st_mode))  # it may have another name
        names = 0 if stat.S_ISDIR(info.st_mode) else info.st_nlink
        found[os.path.relpath(path, top)] = (info.st_mode, info.st_mtime_ns, names, kept)
    return found

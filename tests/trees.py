"""A directory tree with everything that a file system can hold, and the complete state of a tree for comparison."""

from __future__ import annotations

import os
import stat
from pathlib import Path

NASTY = (
    *("plain", "with space", "new\nline", "last newline\n", "-dash", "--help", "-", "*", "[x]", "!", "(", "=", "~", "#x"),
    *("quo'te\"$x`", "back\\slash", "\\0", "\\060", "%s%b", "grün", "漢" * 80, "a" * 255, ".hidden", "..dots", "..."),
    *(".smolkit-whole", "tree", "times", "modes", "chmod", "a: Is a directory"),
    *(os.fsdecode(name) for name in (b"\xff\xfe", b".\xff", b"\x01\x1b[31m", "\xfc".encode("latin-1"))),
)
MODES = (0o644, 0o600, 0o755, 0o000, 0o444, 0o4755, 0o2755, 0o777, 0o640)
FOLDER_MODES = {"read-only": 0o555, "write-only": 0o333, "closed": 0, "sticky": 0o1777, "setgid": 0o2750, "private": 0o700}


def make(folder: Path, many: int = 0, *, harmless: bool = False) -> None:
    """Make the tree, with `many` more files in it.

    With `harmless`, the tree has only what a guest may send, and its owner can read all of it. Only root makes files that
    their owner cannot read.
    """
    readable = harmless or os.getuid() != 0
    folder.mkdir()
    for number, name in enumerate(NASTY):
        for path in (folder / name, folder / "sub" / name):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(os.urandom(number * 7))
            path.chmod(MODES[number % len(MODES)] | (0o400 if readable else 0))
            os.utime(path, (1, 10**9 + number))
        (folder / "folders" / name).mkdir(parents=True)
        (folder / "folders" / name / name).symlink_to(f"../{name}")
    for name, mode in FOLDER_MODES.items():
        (folder / name / "inside").mkdir(parents=True)
        (folder / name / "inside/file").write_text(name)
        (folder / name / "inside").chmod(mode | (0o500 if readable else 0))
        (folder / name).chmod(mode | (0o500 if readable else 0))
    _times_and_links(folder)
    if not harmless:
        for time in (-1000, 2**33 + 5):
            (folder / f"of {time}").touch()
            os.utime(folder / f"of {time}", (time, time))
        (folder / "outside").symlink_to("../../x")
        (folder / "absolute").symlink_to("/etc/passwd")
    for number in range(many):
        (folder / "sub" / f"{number}").write_bytes(b"%d" % number)
    for above, _, _ in os.walk(folder, topdown=False):
        os.utime(above, (5, 10**9 + len(above)))
    folder.chmod(0o751)


def _times_and_links(folder: Path) -> None:
    deep = folder.joinpath(*["deep" * 8] * 30)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    for time in (0, 2**31 + 1):
        (folder / f"of {time}").touch()
        os.utime(folder / f"of {time}", (time, time))
    for number, target in enumerate(("nowhere\n", "sub", "x" * 200, "link 3", "-f")):
        (folder / f"link {number}").symlink_to(target)
    os.link(folder / "plain", folder / "hard")


def held(folder: Path, mask: int = 0o7777) -> dict[str, tuple[str, object, int]]:
    """Return (kind and mode, content, time in seconds) for each path of a tree and itself. A symlink's time is 0."""
    found: dict[str, tuple[str, object, int]] = {}
    for above, folders, files in os.walk(folder):
        for path in [above, *(os.path.join(above, name) for name in files + folders)]:
            info = os.lstat(path)
            link = stat.S_ISLNK(info.st_mode)
            content = os.readlink(path) if link else Path(path).read_bytes() if stat.S_ISREG(info.st_mode) else None
            found[os.path.relpath(path, folder)] = (
                oct(info.st_mode & (~0o7777 | mask)),
                content,
                0 if link else info.st_mtime_ns // 10**9,
            )
    return found

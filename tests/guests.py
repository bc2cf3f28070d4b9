"""Guests that run on this host: several shells and sets of programs, in which smolkit's scripts run as in a machine.

    host            this host's own programs (GNU's), on its own files
    bash            the same, with bash for sh
    busybox         a static busybox in a chroot
    engine          the root file system of an engine's bare machines, in a chroot

The last two need root. A test whose guest is missing is skipped, and says why.
"""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
from attrs import frozen

from smolkit import Machine, Smolvm, SubprocessRunner
from tests.engines import FOLDER, OLDER

CHROOTS = ("busybox", "engine")  # these have mounts of their own
KINDS = ("host", "bash", *CHROOTS)
USER = 1234  # a user of the guest who is not root


@frozen
class Guest:
    """A guest and the machine whose commands it runs.

    Attributes:
        machine: The machine; its engine is a script that runs commands in the guest.
        folder: A directory for the test, by its path on this host.
        inside: The path of `folder` in the guest.
    """

    machine: Machine
    folder: Path
    inside: str


def guest(kind: str, place: Path, *, user: int = 0) -> Guest:
    """Return a new guest with an empty directory below `place`, whose commands run as this user."""
    if user and os.getuid() != 0:
        pytest.skip("only root can be somebody else")
    folder = place / "guest-files"
    folder.mkdir()
    os.chown(folder, user or -1, user or -1)
    place.chmod(0o755)
    root = None if kind in {"host", "bash"} else _root(kind)
    path = _bash(place) if kind == "bash" else ""
    program, words = place / "smolvm", _words(root, folder, user)
    program.write_text(f"""#!/bin/sh
while [ "$1" != -- ]; do shift; done; shift
PATH={path}/usr/sbin:/usr/bin:/sbin:/bin; umask 022; cd /
exec {words} "$@"
""")
    program.chmod(0o755)
    machine = Smolvm(runner=SubprocessRunner(program, version="1.32.2")).machine("m")
    return Guest(machine, folder, str(folder) if root is None else "/guest-files")


def _bash(place: Path) -> str:
    """Make a directory in which `sh` is bash, and return it as the beginning of a PATH."""
    program = shutil.which("bash")
    if program is None:
        pytest.skip("there is no bash")
    (place / "bin").mkdir()
    (place / "bin/sh").symlink_to(program)
    return f"{place}/bin:"


def _words(root: Path | None, folder: Path, user: int) -> str:
    """Return the shell words before a guest's command. In a chroot the command has a /proc, as in a machine."""
    if root is None:
        return f"setpriv --reuid={user} --regid={user} --clear-groups" if user else ""
    inside = f"""
mount --rbind /proc {root}/proc && mount --bind {shlex.quote(str(folder))} {root}/guest-files &&
    mount --bind {root}/mounted {root}/mounted && exec chroot --userspec={user}:{user} {root} "$@"
"""
    return f"unshare -m sh -c {shlex.quote(inside)} sh"


@cache
def _root(kind: str) -> Path:
    if os.getuid() != 0:
        pytest.skip("chroot needs root")
    if subprocess.run(["unshare", "-m", "mount", "--bind", "/", "/"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("root may not mount here")
    root = Path(tempfile.mkdtemp(prefix="smolkit-guest-", dir="/tmp"))
    atexit.register(shutil.rmtree, root)
    root.chmod(0o755)
    (_busybox if kind == "busybox" else _engine)(root)
    (root / "mounted").touch()
    for name in ("dev", "proc", "guest-files"):
        (root / name).mkdir(exist_ok=True)
    if not (root / "dev/null").exists():
        os.mknod(root / "dev/null", 0o020666, os.makedev(1, 3))
        (root / "dev/null").chmod(0o666)
    return root


def _busybox(root: Path) -> None:
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("there is no busybox (apt install busybox-static)")
    (root / "bin").mkdir()
    shutil.copy(program, root / "bin/busybox")
    if subprocess.run(
        ["chroot", root, "/bin/busybox", "--install", "-s", "/bin"], check=False, capture_output=True
    ).returncode:
        pytest.skip("busybox is not static (apt install busybox-static)")


def _engine(root: Path) -> None:
    archive = next((found for folder in _wheels() for found in folder.glob("agent-rootfs.tar*")), None)
    if archive is None:
        pytest.skip("there is no engine with a root file system that this host can unpack")
    subprocess.run(["tar", "-x", "-a", "--no-same-owner", "-f", archive, "-C", root], check=True)


def _wheels() -> list[Path]:
    """Return the directories of the engines: the installed one, whose files need zstd, and those in .engines."""
    from importlib.util import find_spec

    found = find_spec("smol")
    installed = [Path(found.origin).parent] if found and found.origin and shutil.which("zstd") else []
    return [*installed, *(FOLDER / version / "smol" for version in OLDER)]

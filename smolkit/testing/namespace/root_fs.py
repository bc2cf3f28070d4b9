"""Root file systems of machines: where they come from, and how one is mounted.

A machine without an image has the engine's own (from the package `smolmachines`), else busybox's programs. An image is an
unpacked root file system or a `docker save` archive. Archives are unpacked once, in a cache. A machine has an overlay over
that, or a copy of it where the kernel mounts no overlay.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from smolkit.testing.engine_failures import config
from smolkit.testing.namespace import linux
from smolkit.testing.namespace.records import Machine, remove_tree

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_PULLS_NOTHING = "NamespaceEngine takes an unpacked root file system or a `docker save` archive, and pulls nothing"
_NO_ROOT = "NamespaceEngine has no root file system: install smolmachines and zstd, or busybox-static"
_DIRECTORIES = ("dev", "proc", "sys", "tmp", "root", "etc")


def image_config(machine: Machine) -> dict[str, Any]:
    """Return the configuration of a machine's image, as in Docker's `Config`; {} if it has none."""
    with suppress(FileNotFoundError), open(f"{_lower(machine)}.json") as file:
        found: dict[str, Any] = json.load(file)
        return found
    return {}


def prepare(machine: Machine) -> None:
    """Make the directories of a machine that is about to start, and unpack what its root file system comes from.

    Raises:
        EngineFailure: There is no root file system.
    """
    lower = _lower(machine)
    if not os.path.isdir(lower):
        from smolkit.testing.namespace import unpack  # late: it needs archives, processes and much time

        unpack.unpack(machine.data["source"], lower)
    for name in ("disk/upper", "disk/work", "root"):
        os.makedirs(f"{machine.directory}/{name}", exist_ok=True)
    with suppress(FileExistsError):
        os.symlink(lower, f"{machine.directory}/lower")
    with open(f"{machine.directory}/started", "a"):
        pass


def copy_disk(source: Machine, target: Machine) -> None:
    """Give a new machine the files of another one."""
    from smolkit.testing.namespace import unpack  # late, as above

    os.makedirs(target.directory)
    unpack.copy(f"{source.directory}/disk", f"{target.directory}/disk")
    remove_tree(f"{target.directory}/disk/work")


def mount_all(machine: Machine) -> None:
    """Mount a machine's root file system in this mount namespace, and make it the root."""
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    os.chdir(machine.directory)  # so that no path in the mount's options needs quotes
    _mount_root()
    for name in _DIRECTORIES:
        os.makedirs(f"root/{name}", exist_ok=True)
    linux.mount("proc", "root/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV)
    _bind("root/proc/sys", "root/proc/sys", read_only=True)  # root outside owns the kernel's settings
    with suppress(OSError):  # not with the network of the host, whose user namespace is another one
        linux.mount("sysfs", "root/sys", "sysfs", linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV)
    _mount_devices()
    if machine.record["image"]:  # as in the engine's containers
        linux.mount("tmpfs", "root/tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777")
    for volume in machine.data["volumes"]:
        source, target, mode = (*volume.split(":"), "")[:3]
        os.makedirs(f"root{target}", exist_ok=True)
        _bind(source, f"root{target}", read_only=mode == "ro")
    if machine.record["network"]:
        with suppress(OSError), open("/etc/resolv.conf") as source_file, open("root/etc/resolv.conf", "w") as file:
            file.write(source_file.read())
    linux.pivot_root("root")


def _lower(machine: Machine) -> str:
    """Return the directory of the root file system that a machine starts from."""
    source = machine.data["source"]
    if os.path.isdir(source):
        if os.path.commonpath([source, machine.directory]) == source:
            raise config(f"image '{source}' holds the engine's own files: its machines would change it")
        return str(source)
    try:
        found = os.stat(source)
    except OSError:
        image = machine.record["image"]
        raise config(f"image '{image}': {_PULLS_NOTHING}" if image else _NO_ROOT) from None
    return f"{machine.data['cache']}/{found.st_dev:x}-{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"


def _mount_root() -> None:
    try:
        linux.mount("overlay", "root", "overlay", 0, "lowerdir=lower,upperdir=disk/upper,workdir=disk/work,userxattr")
    except OSError:
        if not os.path.isdir("disk/copy"):
            from smolkit.testing.namespace import unpack  # late, as above

            unpack.copy(os.path.realpath("lower"), "disk/copy")
        linux.mount("disk/copy", "root", flags=linux.MS_BIND)


def _mount_devices() -> None:
    linux.mount("tmpfs", "root/dev", "tmpfs", linux.MS_NOSUID, "mode=755")
    for name in _DEVICES:
        with open(f"root/dev/{name}", "w"):
            pass
        linux.mount(f"/dev/{name}", f"root/dev/{name}", flags=linux.MS_BIND)
    for name, target in _LINKS.items():
        os.symlink(target, f"root/dev/{name}")
    for name, kind, options in (("pts", "devpts", "newinstance,ptmxmode=0666,mode=620"), ("shm", "tmpfs", "mode=1777")):
        os.mkdir(f"root/dev/{name}")
        linux.mount(kind, f"root/dev/{name}", kind, linux.MS_NOSUID, options)


def _bind(source: str, target: str, *, read_only: bool) -> None:
    linux.mount(source, target, flags=linux.MS_BIND | linux.MS_REC)
    if read_only:
        linux.mount("none", target, flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY)

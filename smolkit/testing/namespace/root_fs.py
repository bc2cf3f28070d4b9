"""Root file systems of machines: where they come from, and how one is mounted.

A machine without an image has the engine's own (from the package `smolmachines`), else busybox's programs. An image is an
unpacked root file system or a `docker save` archive. Archives are unpacked once, in a cache. A machine has an overlay over
that, or a copy of it where the kernel mounts no overlay.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from smolkit.testing.engine_failures import config
from smolkit.testing.namespace import linux
from smolkit.testing.namespace.records import Machine

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_PULLS_NOTHING = "NamespaceEngine takes an unpacked root file system or a `docker save` archive, and pulls nothing"
_NO_ROOT = "NamespaceEngine has no root file system: install smolmachines and zstd, or busybox-static"
_DIRECTORIES = ("/dev", "/proc", "/sys", "/tmp", "/root", "/etc")  # noqa: S108


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
    """Give a new machine the files of another one, which is running."""
    from smolkit.testing.namespace import unpack  # late, as above

    os.makedirs(f"{target.directory}/disk")
    for name in ("upper", "copy"):
        if os.path.isdir(f"{source.directory}/disk/{name}"):
            unpack.copy(f"{source.directory}/disk/{name}", f"{target.directory}/disk/{name}", source.vm)


def mount_all(machine: Machine) -> None:
    """Mount a machine's root file system in this mount namespace, and make it the root."""
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    os.chdir(machine.directory)  # so that no path in the mount's options needs quotes
    _mount_root()
    devices = {f"/dev/{name}": os.open(f"/dev/{name}", os.O_PATH) for name in _DEVICES if os.path.exists(f"/dev/{name}")}
    volumes = [split_volume(volume) for volume in machine.data["volumes"]]
    shared = [os.open(source, os.O_PATH) for source, _, _ in volumes]
    resolv_conf = _read("/etc/resolv.conf") if machine.record["network"] else ""
    linux.pivot_root("root")  # Before anything is mounted in it: an image's symlinks must not lead to files of the host.
    for path in _DIRECTORIES:
        os.makedirs(path, exist_ok=True)
    _mount_proc()
    with suppress(OSError):  # not with the network of the host, whose user namespace is another one
        linux.mount("sysfs", "/sys", "sysfs", linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV)
    _mount_devices(devices)
    if machine.record["image"]:  # as in the engine's containers
        linux.mount("tmpfs", "/tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777")  # noqa: S108
    for source, (_, target, mode) in zip(shared, volumes, strict=True):
        os.makedirs(target, exist_ok=True)
        _bind(source, target, read_only=mode == "ro")
    if resolv_conf:
        with suppress(OSError), open("/etc/resolv.conf", "w") as file:
            file.write(resolv_conf)
    linux.unmount_old_root()


def split_volume(volume: str) -> tuple[str, str, str]:
    """Return the host's directory, the guest's, and the mode of a volume."""
    source, target, mode = (*volume.split(":"), "", "")[:3]
    return source, target, mode


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


def _mount_proc() -> None:
    """Mount /proc. What is not of a process is the host's, whose root may also be the guest's: it is read-only."""
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV)
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() and not entry.is_symlink():
            linux.mount(entry.path, entry.path, flags=linux.MS_BIND)
            linux.make_read_only(entry.path)


def _mount_devices(sources: Mapping[str, int]) -> None:
    """Mount /dev. Its devices are the host's: all but their permissions can be written."""
    linux.mount("tmpfs", "/dev", "tmpfs", linux.MS_NOSUID, "mode=755")
    for path, source in sources.items():
        with open(path, "w"):
            pass
        _bind(source, path, read_only=True)
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    for name, kind, options in (("pts", "devpts", "newinstance,ptmxmode=0666,mode=620"), ("shm", "tmpfs", "mode=1777")):
        os.mkdir(f"/dev/{name}")
        linux.mount(kind, f"/dev/{name}", kind, linux.MS_NOSUID, options)


def _bind(source: int, target: str, *, read_only: bool) -> None:
    """Mount a file or directory of the old root, given by a descriptor, and let go of it."""
    linux.mount(f"/proc/self/fd/{source}", target, flags=linux.MS_BIND | linux.MS_REC)
    os.close(source)
    if read_only:
        linux.make_read_only(target)


def _read(path: str) -> str:
    with suppress(OSError), open(path, errors="replace") as file:
        return file.read()
    return ""

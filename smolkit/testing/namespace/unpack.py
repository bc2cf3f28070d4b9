"""Root file systems from archives: the engine's own, `docker save`, or busybox."""

from __future__ import annotations

import errno
import json
import os
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
from typing import IO, Any

from smolkit.testing.engine_failures import config
from smolkit.testing.namespace import linux
from smolkit.testing.namespace.records import remove_tree

_REMOVED, _EMPTIED = ".wh.", ".wh..wh..opq"  # in a layer: this file, or all of this directory, is gone (OCI image spec)


def unpack(source: str, target: str) -> None:
    """Make a root file system, all or nothing.

    Args:
        source: The engine's archive, a `docker save` archive, or busybox.
        target: The new directory. An image's configuration is written to `target` + ".json".

    Raises:
        EngineFailure: The source cannot be used.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    part = os.path.realpath(tempfile.mkdtemp(dir=os.path.dirname(target)))
    os.chmod(part, 0o755)  # noqa: S103  (the root directory of a guest, whose users are not all root)
    try:
        _fill(part, source, f"{target}.json")
        os.rename(part, target)
    except Exception as error:  # noqa: BLE001  (an archive of others goes wrong in all ways)
        if not os.path.isdir(target):  # else another process was faster
            raise config(f"image '{source}': {error}") from None
    finally:
        remove_tree(part)


def _fill(root: str, source: str, config_file: str) -> None:
    if not tarfile.is_tarfile(source):  # zstd's is not one for this Python
        if os.path.basename(source) == "busybox":
            return _install_busybox(source, root)
        return _run("tar", "-x", "-p", "-a", "--no-same-owner", "-f", source, "-C", root)
    with tarfile.open(source) as archive:
        names = archive.getnames()
        if "manifest.json" in names:
            return _unpack_image(archive, root, config_file)
    if "oci-layout" in names:
        raise ValueError("an OCI archive must have a manifest.json, as `docker save` makes it")
    return _run("tar", "-x", "-p", "-a", "--no-same-owner", "-f", source, "-C", root)


def copy(source: str, target: str, vm: int | None = None) -> None:
    """Copy a directory with all that its files have, all or nothing.

    Args:
        source: The directory.
        target: Where its copy is to be.
        vm: The process of a VM, whose root may read what its users have forbidden to themselves.

    Raises:
        OSError: It cannot be copied.
    """
    part = f"{target}.{os.urandom(4).hex()}"
    try:
        _run("cp", "-a", source, part, vm=vm)
        os.rename(part, target)
    finally:
        remove_tree(part)


def _run(*words: str, vm: int | None = None) -> None:
    def enter() -> None:
        with open(f"/proc/{vm}/ns/user") as place:
            linux.setns(place.fileno())

    done = subprocess.run(
        words, preexec_fn=enter if vm else None, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        raise OSError(errno.EIO, done.stderr.decode("utf-8", "replace").strip()[-300:])


def _install_busybox(program: str, root: str) -> None:
    os.makedirs(f"{root}/bin")
    shutil.copy(program, f"{root}/bin/busybox")
    for name in subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split():
        if name != "busybox":
            os.symlink("busybox", f"{root}/bin/{name}")
    for name, text in (("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n")):
        os.makedirs(f"{root}/etc", exist_ok=True)
        with open(f"{root}/etc/{name}", "w") as file:
            file.write(text)


def _unpack_image(archive: tarfile.TarFile, root: str, config_file: str) -> None:
    manifests = json.load(_member(archive, "manifest.json"))
    if len(manifests) != 1:
        raise ValueError(f"a `docker save` archive must have one image, not {len(manifests)}")
    (manifest,) = manifests
    for layer in manifest["Layers"]:
        with tarfile.open(fileobj=_member(archive, layer)) as opened:
            _unpack_layer(opened, root)
    found: dict[str, Any] = json.load(_member(archive, manifest["Config"])).get("config") or {}
    with open(config_file, "w") as file:
        json.dump(found, file)


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        raise ValueError(f"{name} is no file")
    return found


def _unpack_layer(layer: tarfile.TarFile, root: str) -> None:
    for member in layer:
        path = _place(root, member.name)
        directory, name = os.path.split(path)
        if name == _EMPTIED:
            for other in os.listdir(directory):
                _remove(f"{directory}/{other}")
        elif name.startswith(_REMOVED):
            _remove(f"{directory}/{name.removeprefix(_REMOVED)}")
        elif not member.isdev():
            if not member.isdir() or os.path.islink(path):
                _remove(path)
            # A hard link's target is a path of the image, like the name; a symlink's is the guest's.
            link = os.path.relpath(_place(root, member.linkname), root) if member.islnk() else member.linkname
            placed = member.replace(name=os.path.relpath(path, root), linkname=link)
            layer.extract(placed, root, numeric_owner=True, filter="fully_trusted")


def _place(root: str, path: str) -> str:
    """Return where a path of an image lies on this host; if that is a symlink, the symlink itself.

    Raises:
        ValueError: It lies outside of the image.
    """
    directory, name = posixpath.split(posixpath.normpath(f"/{path}"))
    place = os.path.realpath(f"{root}/{directory}")
    if os.path.commonpath([root, place]) != root:
        raise ValueError(f"{path} lies outside of the image")
    return os.path.normpath(f"{place}/{name}")


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)

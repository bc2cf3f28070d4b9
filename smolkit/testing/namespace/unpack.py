"""Root file systems from archives: the engine's own, `docker save`, or busybox."""

from __future__ import annotations

import json
import os
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
from typing import IO, Any

from smolkit.testing.engine_failures import config
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
        if tarfile.is_tarfile(source) and "manifest.json" in (archive := tarfile.open(source)).getnames():  # noqa: SIM115
            _unpack_image(archive, part, f"{target}.json")
        elif os.path.basename(source) == "busybox":
            _install_busybox(source, part)
        else:
            _run("tar", "-x", "-a", "--no-same-owner", "-f", source, "-C", part)
        os.rename(part, target)
    except (tarfile.TarError, KeyError, ValueError, OSError, subprocess.CalledProcessError) as error:
        if not os.path.isdir(target):  # else another process was faster
            raise config(f"image '{source}': {error}") from None
    finally:
        remove_tree(part)


def copy(source: str, target: str) -> None:
    """Copy a directory with all that its files have."""
    _run("cp", "-a", source, target)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


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
    (manifest,) = json.load(_member(archive, "manifest.json"))
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
        directory, name = posixpath.split(posixpath.normpath(member.name).lstrip("/"))
        place = os.path.realpath(f"{root}/{directory}")
        if os.path.commonpath([root, place]) != root:
            raise ValueError(f"{member.name} lies outside of the image")
        if name == _EMPTIED:
            for other in os.listdir(place):
                _remove(f"{place}/{other}")
        elif name.startswith(_REMOVED):
            _remove(f"{place}/{name.removeprefix(_REMOVED)}")
        elif not member.isdev():
            if not member.isdir():
                _remove(f"{place}/{name}")
            layer.extract(member, root, numeric_owner=True, filter="tar")


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)

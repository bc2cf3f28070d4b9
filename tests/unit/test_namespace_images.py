"""Root file systems of NamespaceEngine: from `docker save` archives, hostile and malformed ones, too."""

from __future__ import annotations

import gzip
import io
import json
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from smolkit import Smolvm, errors
from smolkit.testing import NamespaceEngine
from tests.processes import until


def layer(**files: str | None) -> bytes:
    """Return a layer of an image: names (`__` for a slash) and contents; None for a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("WH_", ".wh."))
            member.mode, member.size = 0o755, len(text or "")
            member.type = tarfile.DIRTYPE if text is None else tarfile.REGTYPE
            tar.addfile(member, io.BytesIO((text or "").encode()))
    return out.getvalue()


def docker_save(path: Path, config: dict[str, object], *layers: bytes) -> Path:
    """Write a `docker save` archive."""
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["it:latest"], "Layers": names}]
    members = {"config.json": json.dumps({"config": config}).encode(), **dict(zip(names, layers, strict=True))}
    with tarfile.open(path, "w") as tar:
        for name, data in {**members, "manifest.json": json.dumps(manifest).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def busybox_layer(engine: NamespaceEngine) -> bytes:
    """Return a layer with the root file system of machines without an image."""
    with Smolvm(engine.program).machine("base"):
        root = (engine.folder / "data/base/lower").resolve()
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            tar.add(root, ".")
    return out.getvalue()


def test_an_image_is_its_layers_and_its_configuration(engine: NamespaceEngine, tmp_path: Path) -> None:
    """Later layers replace and remove files of earlier ones; a command has the image's variables and directory."""
    config: dict[str, object] = {"Env": ["COLOUR=red", "SIZE=1"], "WorkingDir": "/work"}
    first = layer(work=None, work__kept="1", work__gone="1", work__new="1", full=None, full__a="1")
    later = layer(**{"work__WH_gone": "", "work__new": "2", "full__WH_.wh..opq": "", "full__b": "1"})
    archive = docker_save(tmp_path / "image.tar", config, busybox_layer(engine), first, later)
    with Smolvm(engine.program).machine("m", image=archive, env={"SIZE": "2"}) as machine:
        shown = machine.sh("pwd; ls; cat new; echo; ls /full; echo $COLOUR $SIZE").stdout.split()
    assert ["/work", "kept", "new", "2", "b", "red", "2"] == shown


def test_an_images_command_is_its_workload(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A machine runs its image's command when it starts, unless it has one of its own."""
    config: dict[str, object] = {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo from $(pwd)"], "WorkingDir": "/etc"}
    archive = docker_save(tmp_path / "image.tar", config, busybox_layer(engine))
    with Smolvm(engine.program).machine("m", image=archive) as machine:
        until(lambda: "from /etc\n" == machine.logs())
    with Smolvm(engine.program).machine("m", image=archive, command=["echo", "from create"]) as machine:
        until(lambda: "from create\n" == machine.logs())


def test_a_layer_cannot_reach_out_of_its_image(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A layer that removes or writes a file outside, by a symlink of an earlier one, is refused."""
    (tmp_path / "precious").touch()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
    for name in ("link__WH_precious", "link__new"):
        archive = docker_save(tmp_path / "image.tar", {}, out.getvalue(), layer(**{name: "x"}))
        with pytest.raises(errors.ConfigError, match="outside"), Smolvm(engine.program).machine("m", image=archive):
            raise AssertionError("the body ran")
    assert {"precious", "image.tar"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "new").exists()


def members(*found: tarfile.TarInfo) -> bytes:
    """Return a layer of empty members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in found:
            tar.addfile(member)
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    """Return a member of a layer."""
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, mode
    return found


def test_a_layers_links_stay_in_its_image(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A hard link leads to a file of the image, an absolute name is one of the image, and a symlink is replaced."""
    secret = tmp_path / "secret"
    secret.write_text("host's")
    secret.chmod(0o600)
    links = [member("absolute", tarfile.LNKTYPE, str(secret)), member("up", tarfile.LNKTYPE, f"../../../..{secret}")]
    for link in links:
        archive = docker_save(tmp_path / "image.tar", {}, busybox_layer(engine), members(link))
        with pytest.raises(errors.ConfigError), Smolvm(engine.program).machine("m", image=archive):
            raise AssertionError("the body ran")
    first = members(
        member("dir", tarfile.SYMTYPE, str(tmp_path)), member("target"), member("hard", tarfile.LNKTYPE, "/target")
    )
    later = members(member("dir", tarfile.DIRTYPE, mode=0o1777), member("../up"), member("/etc/absolute"))
    before = tmp_path.stat().st_mode
    archive = docker_save(tmp_path / "image.tar", {}, busybox_layer(engine), first, gzip.compress(later))
    with Smolvm(engine.program).machine("m", image=archive) as machine:
        assert machine.sh("test -e /up && test -e /etc/absolute && test /target -ef /hard").ok
        assert "drwxrwxrwt" == machine.sh("ls -ld /dir").stdout[:10]
    assert before == tmp_path.stat().st_mode


def test_malformed_archives_are_refused(engine: NamespaceEngine, tmp_path: Path) -> None:
    """An archive that is cut off, of something else, or of several images is an error that names it, and leaves nothing."""
    whole = docker_save(tmp_path / "whole.tar", {}, busybox_layer(engine)).read_bytes()
    manifests = {b"{}": "image", b"[1, 2]": "must have one image, not 2", b"[1]": "image"}
    archives = [(whole[:100_000], "image"), (gzip.compress(whole)[:100_000], "image"), (b"text", "image")]
    for text, words in manifests.items():
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            info = member("manifest.json")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        archives.append((out.getvalue(), words))
    archives.append((members(member("oci-layout")), "must have a manifest.json"))
    for number, (data, words) in enumerate(archives):
        archive = tmp_path / f"{number}.tar"
        archive.write_bytes(data)
        with pytest.raises(errors.ConfigError, match=words) as caught, Smolvm(engine.program).machine("m", image=archive):
            raise AssertionError("the body ran")
        assert archive.name in str(caught.value)
    assert [] == engine.left


def test_users_of_a_guest_reach_their_root(engine: NamespaceEngine, tmp_path: Path) -> None:
    """The umask of the caller is not the guest's: a user that is not root gets at programs and files."""
    archive = docker_save(tmp_path / "image.tar", {}, busybox_layer(engine))
    call = f"umask 077; for verb in 'create --image {archive}' start; do '{engine.program}' machine $verb --name m; done"
    subprocess.run(["sh", "-c", call], check=True)
    assert 0o755 == stat.S_IMODE((engine.folder / "data/m/disk/upper").stat().st_mode)
    umask = Smolvm(engine.program).machine("m").sh("umask; ls -ld /").stdout
    assert umask.startswith("0022\ndrwxr-xr-x")

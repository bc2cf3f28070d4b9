"""Properties of all inputs, tested with random ones."""

from __future__ import annotations

import io
import os
import posixpath
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit import errors
from smolkit.commands import Exec
from smolkit.commands.converters import machine_name
from smolkit.commands.dialect import Dialect
from smolkit.commands.guest_scripts import encode
from smolkit.handles import archive
from smolkit.handles.host_tree import fresh_directory
from smolkit.values.shown import redact
from tests.unit.test_files import tree

NEWEST = Dialect.of("1.32.2")
# Derandomized: a gate that fails at random teaches people to rerun it.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate")
PARTS = st.binary(min_size=1, max_size=40).filter(
    lambda part: b"/" not in part and b"\0" not in part and part not in {b".", b".."}
)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@given(st.text(max_size=140))
def test_names_are_safe_or_refused(text: str) -> None:
    """A name is refused before anything runs, or can be no flag, path or second argument."""
    try:
        name = machine_name(text)
    except errors.InvalidNameError:
        return
    assert name == text
    assert 1 <= len(name) <= 128
    assert name.isascii()
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert name[0] not in "-_"


@given(st.lists(WORDS, max_size=5), st.dictionaries(WORDS.filter(lambda key: key and "=" not in key), WORDS, max_size=4))
def test_the_guests_command_stays_the_guests(words: list[str], env: dict[str, str]) -> None:
    """Everything after the first `--` is the guest's command, and no value of env survives redaction."""
    command = Exec("m", ["program", *words], env=env)
    argv = command.argv(NEWEST)
    place = argv.index("--") if "--" in argv else -1

    assert ("program", *words) == argv[len(argv) - len(words) - 1 :]
    assert "--" == argv[len(argv) - len(words) - 2]
    shown = redact(argv)
    assert len(shown) == len(argv)
    values = {f"{key}={value}" for key, value in env.items() if value and value != "***"}
    assert not values & set(shown[: len(argv) - len(words) - 2])
    assert place >= 0


@given(st.binary(min_size=1, max_size=60).filter(lambda path: b"\0" not in path))
@settings(max_examples=30)
def test_paths_reach_the_guest_byte_by_byte(path: bytes) -> None:
    """Paths of any bytes reach the guest's sh through the engine, which takes only UTF-8."""
    word = encode(os.fsdecode(path))
    assert word.isascii()
    script = """decoded=$(printf '%b.' "$1"); printf %s "${decoded%.}\""""
    assert path == subprocess.run(["sh", "-c", script, "sh", word], capture_output=True, check=True).stdout


@given(st.dictionaries(PARTS, st.binary(max_size=2000), max_size=6), st.sets(PARTS, max_size=3))
@settings(max_examples=40)
def test_trees_survive_packing(files: dict[bytes, bytes], folders: set[bytes]) -> None:
    """Trees with names and contents of any bytes survive packing and unpacking."""
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "source"), Path(place, "target")
        for folder in (source, target):
            folder.mkdir()
        for name in folders - files.keys():
            (source / os.fsdecode(name)).mkdir()
        for name, content in files.items():
            (source / os.fsdecode(name)).write_bytes(content)
        stream = io.BytesIO()
        archive.pack(str(source), stream.write, lambda _: None)
        stream.seek(0)
        archive.Unpacker(str(target), 10**6, lambda _: None).unpack(stream)
        assert {archive.TREE, archive.TIMES, archive.MODES} == set(os.listdir(target))
        assert tree(source) == tree(target / archive.TREE)


KINDS = [
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
    b"S",
    b"x",
    b"L",
]
NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", "c"]), min_size=1, max_size=4).map("/".join)


# Python 3.11's realpath gives a wrong answer for a link that leads to itself by `//`.
LINKS = NAMES.map(lambda name: "/".join(filter(None, name.split("/"))) if not name.startswith("/") else name)


@given(st.lists(st.tuples(st.sampled_from(KINDS), NAMES, LINKS, st.binary(max_size=20)), max_size=8))
@settings(max_examples=300)
def test_nothing_leaves_the_folder(members: list[tuple[bytes, str, str, bytes]]) -> None:
    """An archive is refused and leaves nothing, or what it creates is below the target, where every symlink leads."""
    stream = b""
    for kind, name, link, content in members:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, len(content)
        stream += info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % 512)
    with tempfile.TemporaryDirectory() as place:
        folder, expected = Path(place, "folder"), ["folder"]
        # As `download` does it: a refused archive may have made the very symlink that it is refused for.
        try:
            with fresh_directory(str(folder)) as part:
                archive.Unpacker(part, 100_000, lambda _: None).unpack(io.BytesIO(stream + b"\0" * 1024))
        except errors.UnsafeArchiveError:
            expected = []
        assert expected == os.listdir(place)
        for path in folder.rglob("*"):
            if path.is_symlink():
                assert posixpath.realpath(path).startswith(posixpath.realpath(folder))


@given(st.binary(max_size=3000))
def test_random_bytes_are_no_archive(noise: bytes) -> None:
    """Random bytes are refused as an archive, or empty, without any other error."""
    with tempfile.TemporaryDirectory() as place, suppress(errors.UnsafeArchiveError):
        archive.Unpacker(place, 10**5, lambda _: None).unpack(io.BytesIO(noise))

"""The fake's shell against this host's: what it knows, it does the same way."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from smolkit import Smolvm
from smolkit.testing import FakeSmolvm
from tests.unit import test_properties  # noqa: F401  (its profile: the same examples in every run)

_WORD = st.sampled_from(["a", "b c", "$X", "*", "it's", 'say "hi"', "", "x=y", "2", "#", "-n", "~", ";", "&&", "|", "é"])


@st.composite
def quoted(draw: st.DrawFn) -> str:
    """A word as a script has it: quoted in one way or another."""
    word, how = draw(_WORD), draw(st.sampled_from(["single", "double", "escaped"]))
    if how == "single" or not word:
        return "'" + word.replace("'", "'\\''") + "'"
    if how == "double":
        return '"' + word.replace('"', '\\"') + '"'
    return "".join(f"\\{letter}" for letter in word)


@st.composite
def simple(draw: st.DrawFn) -> str:
    """One command, perhaps with redirections."""
    alone = draw(st.sampled_from([""] * 6 + ["cat f", "cat nosuch 2>/dev/null", "nosuch 2>/dev/null"]))
    if alone:  # a file that is not written to while it is read; what says its own words
        return alone
    words = draw(
        st.one_of(
            st.sampled_from(["true", "false", "cat", "cat g", "exit 3"]),
            st.lists(quoted(), max_size=3).map(lambda words: " ".join(["echo .", *words])),
            st.just('echo "$X ${X}$NOSUCH $?"'),
        )
    )
    redirect = draw(st.sampled_from(["", "", "", " >f", " >>f", " <g", " 2>&1", " >&2", " >/dev/null", " >f 2>&1"]))
    return words + redirect


@st.composite
def scripts(draw: st.DrawFn) -> str:
    """A script of what the fake's shell knows. The parts of a pipe run at once in a real one: theirs go nowhere else."""
    joints = st.sampled_from(["; ", " && ", " || ", " | ", "\n", " # c\n"])
    parts = draw(st.lists(st.tuples(simple(), joints), min_size=1, max_size=9))
    script, piped = "echo seed >f; echo read >g; ", False
    for part, joint in parts:
        if piped or joint == " | ":
            part = part.partition(" >")[0].partition(" 2>")[0].replace("nosuch", "echo")  # noqa: PLW2901
        script, piped = script + part + joint, joint == " | "
    return script + ("cat" if piped else "true")


@given(scripts())
def test_the_fakes_shell_does_as_this_hosts(script: str) -> None:
    """Status, stdout, what comes on stderr but for the shell's own words, and the file that is left."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["sh", "-c", script]
        real = subprocess.run(
            words, cwd=folder, capture_output=True, check=False, env={"X": "1", "PATH": os.environ["PATH"]}
        )
        file = Path(folder, "f").read_bytes()
    fake = FakeSmolvm()
    fake.on("nosuch", FileNotFoundError)
    with Smolvm(runner=fake).machine("m") as machine:
        found = machine.exec(words, env={"X": "1"}, workdir="/root")
        ours = machine.read_bytes("/root/f")

    assert (real.returncode, real.stdout, file) == (found.returncode, found.stdout_bytes, ours)
    assert own(real.stderr) == own(found.stderr_bytes)


def own(stderr: bytes) -> list[bytes]:
    """Its lines, without those of the shell."""
    return [line for line in stderr.splitlines() if not line.startswith((b"sh: ", b"/bin/sh: ", b"cat: "))]

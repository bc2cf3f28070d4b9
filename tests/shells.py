"""Scripts of all kinds for the fake's small shell, and what a real one does with them.

    python -m tests.shells 20000 busybox sh

tries so many, with that shell (this host's `sh`, if none is named), and prints what differs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

from attrs import evolve, frozen

from smolkit import Smolvm
from smolkit.testing import FakeSmolvm, UnexpectedCommandError

ENV = {"X": "1", "S": "b  c", "E": "", "HOME": "/nonexistent"}
_COMMANDS = [
    *(
        "echo",
        "echo",
        "echo a",
        "cat",
        "cat f",
        "cat g",
        "true",
        "false",
        "exit",
        "exit 3",
        "nosuch",
        "test -e f",
        "test -d d",
    ),
    *(
        "test -f",
        "echo $?",
        'echo "$?"',
        "cat d",
        "cat nosuch",
        "echo -n",
        "echo -n x",
        "exit 300",
        "sleep 0",
        "cat l",
        ">f",
    ),
    *("<g cat", "cat ''", "cat /dev/null", "test -e /dev/null"),
    *(
        "cd d",
        "cd nosuch",
        "cd f",
        "cd ..",
        "cd .",
        "cd ./d/",
        "cd nosuch 2>/dev/null || pwd",
        "pwd",
        "ls",
        "ls -a",
        "ls d",
    ),
    *(
        "ls -1A",
        "ls nosuch",
        "ls f d",
        "ls d .",
        "ls -- l",
        "mkdir d",
        "mkdir new",
        "mkdir new d/x",
        "mkdir -p p/q/r p d/x",
    ),
    *("mkdir f/x", "mkdir ''", "mkdir nodir/x", "mkdir -p .", "mkdir l", "ls d/x", "ls ''", "rm f", "rm l", "rm nosuch"),
    *("rm -f nosuch", "rm -f", "rm d", "rm -r d", "rm -rf p new", "rm -f -r d nosuch", "rm ''", "rm f g", "rm f/x"),
    *(r"printf 'a\n'", r"printf '%s-%s\n' a", "printf '%s, '", "printf %s", "printf '%5s|%-5s|%.1s|' é bc", "printf a b"),
    *(
        r"printf '\101\t\060%%'",
        "printf '%d %03d %+d %-4d|' 1 -2 3 4",
        "printf '%d|' 0 7",
        "printf ''",
        "printf '%s %d|' x 5 y",
    ),
]
_OPERATORS = ["; ", ";", "&&", " && ", "||", " || ", "|", " | ", "\n", "\n\n", " # c\n"]
_REDIRECTS = [
    *(" >f", ">f", " >>f", " <g", " <f", " 2>&1", " >&2", " 2>f", " 1>f", " 2>>f", " 1>&2", " >/dev/null ", " </dev/null "),
    *(" 2>/dev/null ", " >d/x", " >l", " >new", " >f2>g", " >'a b'"),
]
_FAILING = [" <nosuch", " >nodir/x", " >d"]
_WORDS = [
    *("a", "b", "'b c'", '"b c"', "$X", "${X}", '"$X"', '"${X}"', '"$S"', "$E", '"$E"', "$NO", "''", '""', "\\$X", "'$X'"),
    *(
        "a$X",
        "$X$X",
        '"$"',
        '"a $ b"',
        "a#b",
        "a!b",
        "\\a",
        "'it'\\''s'",
        "é",
        "-n",
        "--",
        "-",
        "=",
        "x=y",
        "%",
        "2",
        "1",
        "0",
    ),
    *("a\\ b", "$X#", "$X-", "$?", "@", "a]b", "f", "d", "'X'=2", ",", "a \\\n b"),
]
# What it refuses, by itself or where it meets something else.
_ODD = [
    *(
        "sh -c",
        "exit x",
        "exit 1 2",
        "exit ''",
        "cat -",
        "cat -n f",
        "sleep x",
        "sleep",
        "pwd x",
        "./f",
        "cd",
        "cd -",
        "cd ''",
        "cd d d",
        "cd nosuch/..",
        "cd d/../d",
        "cd k",
        "ls k",
        "ls -l",
        "ls *",
        "ls -d d",
        "mkdir",
        "mkdir -m 700 x",
        "mkdir .",
        "mkdir -p .f/",
        "mkdir -p f/x",
        "rm",
        "rm -i f",
        "rm -r .",
        "rm -r ../w",
        "rm -f f/x",
        "rm d/",
        "rm -r k",
        "printf",
        "printf -x",
        "printf %d",
        "printf %d x",
        "printf %d 010",
        "printf %x 5",
        "printf %z",
        r"printf '\q'",
        "set a",
        "f/",
    ),
    *(
        "&",
        ";;",
        " \\\n",
        "\\\n",
        "a\\\nb",
        "!",
        "if",
        "then",
        "fi",
        "done",
        "{",
        "}",
        "case",
        "for",
        "'if'",
        "X=2",
        "echo -e",
    ),
    *(
        " 0>f",
        " 0<g",
        " 3>f",
        " 12>f",
        " 2>&1x",
        " 2>&12",
        " >&1",
        " >|f",
        " <>f",
        " <<f",
        " >$X",
        " >$E",
        " <d",
        " >f/",
        " &>f",
    ),
    *(
        " >&-",
        "$S",
        "$12",
        "$1",
        "$$",
        "$@",
        "$#",
        '"$5"',
        '"$(echo x)"',
        "$(echo x)",
        "`echo x`",
        "*",
        "?",
        "[a]",
        "a*",
        "~",
    ),
    *(
        "a~",
        "~a",
        "#c",
        "{a,b}",
        "a{",
        "\\\\",
        '"\\\\"',
        '"\\a"',
        "$é",
        "$Xé",
        "${X:-d}",
        "$_",
        "$PWD",
        "a;b",
        "$?x",
        ";~",
        ">~",
    ),
]
_MESSAGES = re.compile(
    rb"(?:(?:/bin/)?sh: |dash: |cat: |mkdir: |ls: |rm: |can't (?:open|create) |nosuch: not found).*"
)  # each has its own words


_PLACE = "/".join([*map(str, range(20)), "w"])  # so deep that no number of `cd ..` in a script gets out of it


@frozen
class Outcome:
    """What became of a script, but for the shell's own words."""

    status: int
    stdout: bytes
    stderr: tuple[bytes, ...]
    files: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, text: str, status: int, stdout: bytes, stderr: bytes, files: dict[str, bytes]) -> Outcome:
        """Such an outcome. Where stderr went elsewhere, words of the shell may be in the midst of others.

        The parts of a pipeline run at once, and what they write to stderr may be mixed: none is kept.
        """
        kept = tuple(sorted(line for line in _MESSAGES.sub(b"", stderr).splitlines() if line.strip()))
        kept = () if re.search(r"(?<!\|)\|(?!\|)", text) else kept
        washed = {name: _MESSAGES.sub(b"", data).strip() for name, data in files.items()}
        return cls(status, _MESSAGES.sub(b"", stdout).strip(), kept, tuple(sorted(washed.items())))


def script(random: Random) -> str:
    """A script: three of five of what the fake knows, the others of anything."""
    if random.random() < 0.6:
        return "".join(
            random.choice(_COMMANDS)
            + "".join(f" {random.choice(_WORDS)}" for _ in range(random.choice([0, 0, 1, 1, 2, 3])))
            + "".join(random.choice(_REDIRECTS) for _ in range(random.choice([0, 0, 0, 1, 1, 2])))
            + random.choice(_OPERATORS)
            for _ in range(random.randint(1, 7))
        ).rstrip("&|")
    kinds = [_COMMANDS, _WORDS, _WORDS, _OPERATORS, _REDIRECTS, _FAILING, _ODD, _ODD]
    return "".join(random.choice(random.choice(kinds)) + random.choice(["", " "]) for _ in range(random.randint(1, 9)))


def faked(text: str) -> Outcome | None:
    """What the fake makes of it; None, where it refuses."""
    fake = FakeSmolvm()
    fake.on("nosuch", FileNotFoundError)
    machine, place = Smolvm(runner=fake).machine("m"), f"/root/{_PLACE}"
    machine.create()
    machine.start()
    files = fake.machines["m"].files
    files.mkdir(f"{place}/d", parents=True)
    files.write_bytes(f"{place}/f", b"seed\n")
    files.write_bytes(f"{place}/g", b"read\n")
    files.symlink(f"{place}/l", "f")
    files.symlink(f"{place}/k", "d")
    try:
        result = machine.exec(["sh", "-c", text], env=ENV, workdir=place)
    except UnexpectedCommandError:
        return None
    left = {name: node.data for name, node in files.walk(place)}
    return Outcome.of(text, result.returncode, result.stdout_bytes, result.stderr_bytes, left)


def real(text: str, shell: list[str]) -> Outcome:
    """What a real shell makes of it, in a directory of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, _PLACE)
        (folder / "d").mkdir(parents=True)
        (folder / "f").write_bytes(b"seed\n")
        (folder / "g").write_bytes(b"read\n")
        (folder / "l").symlink_to("f")
        (folder / "k").symlink_to("d")
        env = {**ENV, "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [*shell, "-c", text],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )
        left = {str(path.relative_to(folder)): _content(path) for path in folder.rglob("*")}
    here = place.encode()
    left = {name: content.replace(here, b"/root") for name, content in left.items()}
    return Outcome.of(text, done.returncode, done.stdout.replace(here, b"/root"), done.stderr.replace(here, b"/root"), left)


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return b"" if path.is_dir() else path.read_bytes()


def differing(text: str, shell: list[str]) -> tuple[Outcome, Outcome] | None:
    """What the fake and the real shell make of it, where that differs.

    The status of what cannot be opened, listed or changed to is busybox' in the fake, 1 or 2, and may be the other one
    elsewhere: of other shells both are taken.
    """
    ours, as_busybox = faked(text), shell == ["busybox", "sh"]
    if ours is None or (not as_busybox and "$?" in text and re.search(r"[<>]|\b(ls|cd)\b", text)):
        return None
    theirs = real(text, shell)
    if not as_busybox and {ours.status, theirs.status} == {1, 2}:
        theirs = evolve(theirs, status=ours.status)
    return None if ours == theirs else (ours, theirs)


if __name__ == "__main__":
    number, asked = int(sys.argv[1]), sys.argv[2:] or ["sh"]
    source, taken, wrong = Random(number), 0, 0  # noqa: S311  (no secret)
    for _ in range(number):
        candidate = script(source)
        taken += faked(candidate) is not None
        if found := differing(candidate, asked):
            wrong += 1
            print(repr(candidate), *found, sep="\n  ")
    print(f"{number} scripts, of which the fake takes {taken}: {wrong} differ")

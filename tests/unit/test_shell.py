"""The fake's small shell compared with this host's."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit import Smolvm, errors
from smolkit.testing import FakeSmolvm, UnexpectedCommandError
from tests import shells
from tests.unit import test_properties  # noqa: F401  (its profile: the same examples in every run)

_WORD = st.sampled_from(["a", "b c", "$X", "*", "it's", 'say "hi"', "", "x=y", "2", "#", "-n", "~", ";", "&&", "|", "é"])


@st.composite
def quoted(draw: st.DrawFn) -> str:
    """A word, quoted in one way or another."""
    word, how = draw(_WORD), draw(st.sampled_from(["single", "double", "escaped"]))
    if how == "single" or not word:
        return "'" + word.replace("'", "'\\''") + "'"
    if how == "double":
        return '"' + word.replace('"', '\\"') + '"'
    return "".join(f"\\{letter}" for letter in word)


@st.composite
def simple(draw: st.DrawFn) -> str:
    """One simple command, perhaps with redirections."""
    alone = draw(st.sampled_from([""] * 6 + ["cat f", "cat nosuch 2>/dev/null", "nosuch 2>/dev/null"]))
    if alone:  # reads a file that is not being written, or prints messages of its own
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
    """A script of supported syntax. Parts of a pipe run at once in a real shell, so theirs write nowhere else."""
    joints = st.sampled_from(["; ", " && ", " || ", " | ", "\n", " # c\n"])
    parts = draw(st.lists(st.tuples(simple(), joints), min_size=1, max_size=9))
    script, piped = "echo seed >f; echo read >g; ", False
    for part, joint in parts:
        if piped or joint == " | ":
            part = part.partition(" >")[0].partition(" 2>")[0].replace("nosuch", "echo")  # noqa: PLW2901
        script, piped = script + part + joint, joint == " | "
    return script + ("cat" if piped else "true")


@given(scripts())
def test_the_fakes_shell_agrees_with_this_hosts(script: str) -> None:
    """Status, stdout, stderr (except the shell's own messages) and the file are the same as in this host's shell."""
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
    """The lines without those of the shell itself."""
    return [line for line in stderr.splitlines() if not line.startswith((b"sh: ", b"/bin/sh: ", b"cat: "))]


def test_random_scripts() -> None:
    """A random script is refused, or does the same in this host's shell (`python -m tests.shells 20000`: more)."""
    random, taken = Random(7), 0  # noqa: S311  (no secret)
    for _ in range(300):
        script = shells.script(random)
        assert None is shells.differing(script, ["sh"]), script
        taken += shells.faked(script) is not None
    assert taken > 50


REFUSED = [
    *("exit x", "exit -1", "exit ''", "exit 1 2", "exit 99999999999", "echo a 0>f", "cat 0<f", "echo a 3>f"),
    *("echo a 12>f", "echo a 2>&12", "echo a 2>&1x", "echo $12", "echo $1", "echo ${1}", 'echo "$1"', 'echo "$(date)"'),
    *('echo "${X:-y}"', "echo ~", "echo a;~", "true;!", "echo a~", "echo {a,b}", "echo a[b]", "ec\\\nho a", "echo a >~"),
    *("echo '\\n'", 'echo "a\\\\b"', "echo -e a", "echo -n -n a", "cat -n f", "cat /dev/zero", "cat </dev/tty"),
    *(
        "cd",
        "cd -",
        "cd -P /tmp",
        "cd /tmp /etc",
        "cd ''",
        "cd nosuch/..",
        "cd k",
        "cd /dev",
        "mkdir",
        "mkdir -m 7 x",
    ),
    *(
        "mkdir -p f/x",
        "mkdir f/",
        "mkdir .",
        "mkdir /",
        "mkdir x | ls",
        "ls -l",
        "ls -d d",
        "ls k/dangling",
        "ls d",
        "ls | cat >new",
        "ls /dev",
        "rm",
    ),
    *(
        "rm -i f",
        "rm d/",
        "rm -r .",
        "rm -rf / >f",
        "rm -r ../root",
        "rm -f f/x",
        "rm f >f",
        "rm f | cat f",
        "rm /dev/null",
        "rm -r /proc",
    ),
    *("cd d && rm -r ../d", "sh -c 'cd d; sh -c \"cd ..; rm -r d\"; pwd'", "rm nosuch | mkdir x", "printf", "printf -x"),
    *("printf %d", "printf %d x", "printf %d 010", "printf %x 5", "printf '\\q'", "printf '\\x41'", "printf %05s a"),
    *("export X=2", "X=2 true", "sleep", "sleep x", "sleep 1 2", "sleep 1 | sleep 1", "pwd -P", "echo $PWD", "echo $HOME"),
    *(
        "cat f >f",
        "cat f >>f",
        "cat <f >f",
        "cat <f | cat >f",
        "echo a >f 2>f",
        "echo a >f | echo b >f",
        "cat f/",
        "echo a >f/",
    ),
    *(
        "cat l >f",
        "sh -c 'cat f' >f",
        "sh -c 'echo a >f' >f",
        "echo a >''",
        "cat <.",
        "if",
        "then",
        "a &",
        "a ;; b",
        "a &&",
        "(a)",
        "-x",
        "+x",
        "- >f",
    ),
]


@pytest.mark.parametrize("script", REFUSED)
def test_unsupported_syntax_is_refused(script: str) -> None:
    """Unsupported syntax is refused with UnexpectedCommandError, and nothing is guessed."""
    fake = FakeSmolvm()
    with Smolvm(runner=fake).machine("m") as machine:
        machine.write_text("/root/f", "x")
        files = fake.machines["m"].files
        for name in ("d", "d/é"):
            files.mkdir(f"/root/{name}")
        for name, target in (("l", "f"), ("k", "d"), ("d/dangling", "nowhere")):
            files.symlink(f"/root/{name}", target)
        with pytest.raises(UnexpectedCommandError):
            machine.sh(script, workdir="/root")


@pytest.mark.parametrize(
    "command",
    [
        "ls -l",
        "mkdir",
        "rm -i x",
        "printf %z",
        "sh -c",
        "sh",
        "sh f",
        "sleep",
        "sleep x",
        "echo -e a",
        "cat -n",
        "/bin/sh f",
        "/bin/echo -e a",
        "/usr/bin/true",
        "/usr/bin/env x",
    ],
)
def test_programs_refuse_too(command: str) -> None:
    """Built-in programs refuse unsupported arguments, also without a shell."""
    with Smolvm(runner=FakeSmolvm()).machine("m") as machine, pytest.raises(UnexpectedCommandError):
        machine.exec(command.split())


def test_programs_have_paths() -> None:
    """The fake's programs are found by the paths that they have in a bare machine, unless a test put a file there."""
    with Smolvm(runner=FakeSmolvm()).machine("m") as machine:
        commands = [["/bin/sh", "-c", "/bin/echo a; cd /etc; /bin/pwd"], ["/bin/true"], ["/usr/bin/printf", "%s|", "b"]]
        assert ["a\n/etc\n", "", "b|"] == [machine.exec(command, check=True).stdout for command in commands]
        machine.write_text("/bin/true", "#!/bin/sh\n")
        with pytest.raises(errors.ProgramNotExecutableError):
            machine.exec(["/bin/true"])


def test_cd_is_for_its_shell_and_the_programs_it_starts() -> None:
    """After `cd`, names start there, handlers see it, and a part of a pipeline or another shell changes only itself."""
    seen: list[tuple[str, str | None, str]] = []
    fake = FakeSmolvm()
    fake.on("make", lambda call: seen.append((call.workdir, call.env.get("PWD"), call.path("x"))))
    with Smolvm(runner=fake).machine("m") as machine:
        script = "mkdir -p d/e; cd d; make; echo a >f; sh -c 'cd e; make'; cd e | cd ..; make | make; pwd >&2"
        said = machine.sh(script, workdir="/root")

        assert ("", "/root/d\n", "a\n") == (said.stdout, said.stderr, machine.read_text("/root/d/f"))
    here = ("/root/d", "/root/d", "/root/d/x")
    assert [here, ("/root/d/e", "/root/d/e", "/root/d/e/x"), here, here] == seen


def test_a_guest_without_files_starts_no_program() -> None:
    """After `rm -rf /` programs and file methods fail as in a real guest, but what the shell has in itself still works."""
    fake = FakeSmolvm()
    fake.on("make", "made\n")
    with Smolvm(runner=fake).machine("m") as machine:
        with pytest.raises(OSError, match="busy"):
            machine.remove("/", recursive=True)
        assert ["bin", "etc", "proc", "root", "tmp"] == machine.listdir("/")
        said = machine.sh("rm -rf /; echo $?; test -e /bin; echo $?; ls; make")

        assert (127, "1\n1\n") == (said.returncode, said.stdout)
        assert "rm: can't remove '/': Resource busy\nsh: ls: not found\nsh: make: not found\n" == said.stderr
        for call in (lambda: machine.exec(["make"]), lambda: machine.sh("true"), lambda: machine.read_text("/etc/x")):
            with pytest.raises(errors.ProgramNotFoundError, match="No such file or directory"):
                call()
    assert {} == fake.machines


@pytest.mark.parametrize(
    ("script", "status", "stdout"),
    [
        ("cat </dev/null; cat /dev/null; test -e /dev/null", 0, ""),
        ("cat <//dev/../dev/null", 0, ""),
        ("echo a >f 2>&1; cat f", 0, "a\n"),
        ("cat nosuch 2>f; cat f", 0, "cat: can't open 'nosuch': No such file or directory\n"),
        ("true 2>f >nodir/x; cat f", 0, "sh: can't create nodir/x: nonexistent directory\n"),
        ("echo a 2>&1 >nodir/x; echo $?", 0, "sh: can't create nodir/x: nonexistent directory\n1\n"),
        ("cat <nosuch; echo $?", 0, "1\n"),
        ("echo a >f 2>nodir/x 2>&1; cat f; echo $?", 0, "0\n"),
        ("echo a 2>f >nodir/x 2>d; cat f", 0, "sh: can't create nodir/x: nonexistent directory\n"),
        ("false | exit; echo $?", 0, "0\n"),
        ("exit 300", 44, ""),
        ("f/; echo $?; ./d; echo $?; /dev/null; echo $?", 0, "127\n127\n126\n"),
        ("/root; echo $?", 0, "126\n"),
        ("exit 3 >f; echo a", 3, ""),
        ("test -e ''; echo $?", 0, "1\n"),
        ("echo a \\\n b", 0, "a b\n"),
        ("echo 'a\nb' \"c\nd\"", 0, "a\nb c\nd\n"),
        ('echo "$" "a $ b"', 0, "$ a $ b\n"),
    ],
)
def test_supported_scripts_agree_with_busybox(script: str, status: int, stdout: str) -> None:
    """Statuses and messages of supported scripts are busybox's."""
    with Smolvm(runner=FakeSmolvm()).machine("m") as machine:
        result = machine.sh(script, workdir="/root")
    assert (status, stdout) == (result.returncode, result.stdout)

"""Recording calls and replaying them."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shlex
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit import Invocation, Secret, Smolvm, errors
from smolkit.commands.guest_scripts import encode
from smolkit.testing import FakeRunner, FakeSmolvm, Recorder, Replayer, UnexpectedCommandError, UnusedAnswerError
from smolkit.testing.scrubbing import Scrubber


def session(client: Smolvm, folder: Path) -> list[object]:
    """The calls that are recorded and replayed."""
    (folder / "in").write_bytes(b"\xff\0")
    with client.machine(env={"BASE": "hidden-base"}) as machine:
        found: list[object] = [machine.exec(["echo", "out"]).stdout, machine.sh("echo err >&2; exit 3").returncode]
        found.append(machine.sh('echo "$TOKEN"', secrets={"TOKEN": "s3cr3t-value"}).returncode)
        machine.write_text("/root/file", "text s3cr3t-value")
        found.append(machine.exec(["cat"], input=b"\xff\xfe").stdout_bytes)
        machine.cp(folder / "in", machine.path("/root/in"))
        machine.cp(machine.path("/root/in"), folder / "out")
        found.append((folder / "out").read_bytes())
        with machine.popen(["cat"], stdin=True) as process:
            assert process.stdin is not None
            process.stdin.write("live")
            found.append(list(process))
        with pytest.raises(errors.ProgramNotFoundError):
            machine.exec(["missing"])
        found.append(machine.status().name == machine.name)
    return found


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """A recorded session."""
    fake = FakeSmolvm()
    fake.on("missing", FileNotFoundError)
    (tmp_path / "a").mkdir()
    with Recorder(fake, tmp_path / "tape.json") as runner:
        assert (fake.host, fake.program) == (runner.host, runner.program)
        client = Smolvm(runner=runner)
        assert ["out\n", 3, 0, b"\xff\xfe", b"\xff\0", [("stdout", b"live")], True] == session(client, tmp_path / "a")
        assert b"" == runner.read_log("/nowhere", 0)
    return tmp_path / "tape.json"


@pytest.mark.parametrize("ordered", [False, True])
def test_a_session_is_replayed(tape: Path, tmp_path: Path, ordered: bool) -> None:
    """A replayed session gives the same answers, errors and files, in another directory and with another fresh name."""
    (tmp_path / "b").mkdir()
    replayer = Replayer(tape, ordered=ordered)
    assert "1.32.2" == replayer.engine.version
    assert ["out\n", 3, 0, b"\xff\xfe", b"\xff\0", [("stdout", b"live")], True] == session(
        Smolvm(runner=replayer), tmp_path / "b"
    )
    replayer.assert_done()
    assert b"" == replayer.read_log("/nowhere", 0)


def test_no_secret_is_recorded(tape: Path) -> None:
    """A cassette has no secret, wherever it occurred, and no variable's value, and is readable otherwise."""
    text = tape.read_text()
    assert "s3cr3t-value" not in text
    assert "hidden-base" not in text
    assert "text ***" in text
    whole = json.loads(text)
    assert (1, "1.32.2") == (whole["smolkit cassette"], whole["engine"])
    assert ["--error-format", "json", "machine", "create", "-e", "BASE=***"] == whole["calls"][0]["argv"][:6]


def test_an_unrecorded_call_raises(tape: Path) -> None:
    """A call that was not recorded raises with a list of those that were, and so does an unused one at the end."""
    replayer = Replayer(tape)
    with pytest.raises(UnexpectedCommandError, match=r"has no such call: smolvm .*machine ls[^$]*machine create"):
        Smolvm(runner=replayer).ls()
    with pytest.raises(UnusedAnswerError, match="machine delete"):
        replayer.assert_done()


def test_order_is_strict_if_ordered(tmp_path: Path) -> None:
    """With ordered=True the order must match, otherwise any order works, and stdin must match in both."""
    fake = FakeSmolvm()
    with Recorder(fake, tmp_path / "tape.json") as runner, Smolvm(runner=runner).machine("m") as machine:
        machine.exec(["cat"], input="one")
        machine.exec(["cat"], input="two")

    for ordered in (False, True):
        replayer = Replayer(tmp_path / "tape.json", ordered=ordered)
        with Smolvm(runner=replayer).machine("m") as machine:
            if ordered:
                with pytest.raises(UnexpectedCommandError, match="has no such call next"):
                    machine.exec(["cat"], input="two")
            else:
                assert "two" == machine.exec(["cat"], input="two").stdout
            assert "one" == machine.exec(["cat"], input="one").stdout
            if ordered:
                assert "two" == machine.exec(["cat"], input="two").stdout
            with pytest.raises(UnexpectedCommandError):
                machine.exec(["cat"], input="three")
        replayer.assert_done()


def test_a_secret_in_a_command_hides_only_itself(tmp_path: Path) -> None:
    """A secret in an argument hides only itself, and the rest of the argument must match."""
    fake = FakeSmolvm()
    fake.on("deploy", "done\n")
    with Recorder(fake, tmp_path / "tape.json") as runner, Smolvm(runner=runner).machine("m") as machine:
        machine.exec(["deploy", "--key=s3cr3t-value"], secrets={"KEY": "s3cr3t-value"})

    assert "s3cr3t" not in (tmp_path / "tape.json").read_text()
    with Smolvm(runner=Replayer(tmp_path / "tape.json")).machine("m") as machine:
        with pytest.raises(UnexpectedCommandError):
            machine.exec(["deploy", "--other=another"], secrets={"KEY": "another"})
        assert "done\n" == machine.exec(["deploy", "--key=another"], secrets={"KEY": "another"}).stdout


def test_waiting_takes_no_time(tmp_path: Path) -> None:
    """Replaying takes no time: the clock advances by waits and recorded durations."""
    fake = FakeSmolvm()
    with Recorder(fake, tmp_path / "tape.json") as runner, Smolvm(runner=runner).machine("m") as machine:
        machine.exec(["sleep", "5"])
    replayer = Replayer(tmp_path / "tape.json")
    with Smolvm(runner=replayer).machine("m") as machine:
        machine.exec(["sleep", "5"])
        replayer.pause(2)
        assert 7 == replayer.clock()


def test_not_a_cassette(tmp_path: Path) -> None:
    """A file that is not a cassette, or of a later version, is refused."""
    (tmp_path / "x.json").write_text('{"smolkit cassette": 99}')
    with pytest.raises(ValueError, match="must be a cassette of version 1"):
        Replayer(tmp_path / "x.json")


def recorded(path: Path, said: str | bytes, **options: Any) -> str:
    """The cassette of a command with this output."""
    fake = FakeSmolvm()
    fake.on("say", said)
    with Recorder(fake, path) as runner, Smolvm(runner=runner).machine("m") as machine:
        machine.exec(["say"], **options)
    return path.read_text()


@pytest.mark.parametrize("order", [1, -1])
def test_overlapping_secrets_are_removed_completely(tmp_path: Path, order: int) -> None:
    """Secrets that overlap or contain each other are removed completely."""
    secrets = dict(list({"A": "s3cr3t", "B": "s3cr3t-and-more", "C": "more-and", "D": "xs3cr3t"}.items())[::order])
    text = recorded(tmp_path / "tape", "s3cr3t-and-more s3cr3t-and-more-and xs3cr3t-and-more s3cr3t", secrets=secrets)

    assert '"stdout": "*** *** *** ***"' in text


def test_short_secrets_are_removed_as_whole_words(tmp_path: Path) -> None:
    """Short secrets are removed as whole words, and kept inside other words."""
    text = recorded(tmp_path / "tape", "pin=7q;7q 7qx x7q '7q'", secrets={"A": "7q"})

    assert '"stdout": "pin=***;*** 7qx x7q \'***\'"' in text


def test_values_of_variables_are_removed_everywhere(tmp_path: Path) -> None:
    """Values of variables of command, machine, runner and files are removed everywhere, except very short ones."""
    (tmp_path / "file").write_text("f1le-secret\n")
    fake = FakeSmolvm(env={"HOST": "h0st-value", "PROXY": "http://me:p%40ss-word@proxy:1"})
    fake.on("say", "mach1ne-value c0mmand-value h0st-value f1le-secret 1 on true root p@ss-word p%40ss-word")
    env = {"A": "mach1ne-value", "B": "1", "USER": "root", "DEBUG": "true"}
    with Recorder(fake, tmp_path / "tape") as runner, Smolvm(runner=runner).machine("m", env=env) as machine:
        machine.exec(["say"], env={"C": "c0mmand-value", "D": "on"}, secrets={"E": Secret.file(tmp_path / "file")})

    assert '"stdout": "*** *** *** *** 1 on true root *** ***"' in (tmp_path / "tape").read_text()


def shell_quoted(text: str) -> str:
    """As busybox and set -x have it."""
    return "'" + text.replace("'", "'\\''") + "'"


def backslashed(text: str) -> str:
    """Quoted like bash's `printf %q`, except for line ends."""
    return "".join(c if c.isalnum() or c == "\n" else f"\\{c}" for c in text)


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON of PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "shlex": shlex.quote,
    "shlex in JSON": lambda text: json.dumps(shlex.quote(text)),
    "shell": shell_quoted,
    "printf %q": backslashed,
    "percent": urllib.parse.quote,
    "all percent": lambda text: urllib.parse.quote(text, safe=""),
    "form": urllib.parse.quote_plus,
    "lower case": lambda text: re.sub("%..", lambda found: found[0].lower(), urllib.parse.quote_plus(text)),
    "twice percent": lambda text: urllib.parse.quote(urllib.parse.quote(text)),
    "HTML": html.escape,
    "XML": lambda text: text.replace("&", "&#38;").replace("<", "&#x3C;"),
    "Python": lambda text: repr(text.encode()),
    "a path to smolkit's scripts": encode,
    "a terminal": lambda text: text.replace("\n", "\r\n"),
    "one line": lambda text: text.replace("\n", " "),
    "no line": lambda text: text.replace("\n", ""),
    "indented": lambda text: text.replace("\n", "\n    "),
    "unquoted": lambda text: " ".join(text.split()),
}
SECRETS = [
    "s3cr3t/+val=",
    'it\'s "q&a" <$x> `y`',
    "pass\\word\\\\n1",
    "ключ-é-🔑",
    "two lines\nof a key\n",
    "  spa  ced ",
    "%41%2f",
    "abc\tdef\tghi",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_removed_in_each_form(form: str, secret: str) -> None:
    """A secret is removed in each of its forms, and the text around it stays."""
    found = Scrubber([secret]).text(f"before [{FORMS[form](secret)}] after")
    left = found.removeprefix("before [").removesuffix("] after")

    assert found == f"before [{left}] after"
    assert "***" in left
    assert [] == [part for part in re.findall(r"\w{2,}", secret) if part in left.replace("u0020", "")]


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("after", ["", "\n", "and more text after it"])
@pytest.mark.parametrize("secret", [*SECRETS, "x" * 100 + "?" * 30])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
def test_a_secret_is_removed_in_base64(before: str, after: str, secret: str, encode: Callable[[bytes], bytes]) -> None:
    """A secret is removed in base64 of both alphabets, at each offset, alone, inside other text and across lines."""
    data = (before + secret + after).encode()
    text = encode(data).decode()
    for form in (text, text.rstrip("="), text.replace("\n", "\r\n"), json.dumps(text), urllib.parse.quote(text)):
        found = Scrubber([secret]).text(f"Basic {form}")
        kept = re.sub(r"\\n|\s|%0A|%3D|[\"=*]", "", found.removeprefix("Basic "))
        assert "***" in found
        assert len(base64.b64encode((before + after).encode())) + 1 >= len(kept)


@settings(derandomize=True, deadline=None)
@given(st.text(min_size=4).filter(lambda text: len(text.strip()) >= 4), st.text(), st.text())
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    """Any secret is removed from any text and from bytes that are not text."""
    scrub = Scrubber([secret])
    for data in (f"{before}{secret}{after}".encode(), b"\xff" + f"{before}{secret}{after}".encode() + b"\0"):
        assert secret.strip().encode() not in scrub.data(data)


def test_scrubbing_takes_linear_time() -> None:
    """Output that nearly matches a secret, without end, is scrubbed in linear time."""
    scrub = Scrubber(['\\\\ "\'quoted" \\ \n\t secret\\\\', "aaaa"])
    runs = [b"\\", b" ", b"a", b"%255c", b"\\n", b"\\ \n", b'\\\\ "\'quoted" ']
    started = time.process_time()
    for piece in (*runs, *(b'quoted"' + run * 500 for run in runs)):
        scrub.data(piece * (2**16 // len(piece)))

    assert time.process_time() - started < 60  # seconds; it takes about one, and hours if it is not linear


def test_the_engines_json_stays_json(tmp_path: Path) -> None:
    """The engine's JSON stays valid, also if a secret is one of its numbers."""
    fake = FakeSmolvm()
    secrets = {"PID": "4242", "MEM": "8192"}
    with Recorder(fake, tmp_path / "tape") as runner, Smolvm(runner=runner).machine("m", secrets=secrets) as machine:
        assert (4242, "running") == (machine.status().pid, machine.status().state)

    assert "4242" not in (tmp_path / "tape").read_text()
    with Smolvm(runner=Replayer(tmp_path / "tape")).machine("m", secrets=secrets) as machine:
        assert (None, "running") == (machine.status().pid, machine.status().state)


def test_a_tree_with_a_secret_in_it_is_replayed(tmp_path: Path) -> None:
    """Binary data keeps its length when a secret is removed from it."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "key").write_text("the s3cr3t-value and more")
    secrets = {"A": "s3cr3t-value"}
    with (
        Recorder(FakeSmolvm(), tmp_path / "tape") as runner,
        Smolvm(runner=runner).machine("m", secrets=secrets) as machine,
    ):
        machine.upload(tmp_path / "tree", "/root/tree")
        machine.download("/root/tree", tmp_path / "there")
    assert "s3cr3t-value" not in (tmp_path / "tape").read_text()

    with Smolvm(runner=Replayer(tmp_path / "tape")).machine("m", secrets=secrets) as machine:
        machine.upload(tmp_path / "tree", "/root/tree")
        machine.download("/root/tree", tmp_path / "again")
    assert "the ************ and more" == (tmp_path / "again" / "key").read_text()


def test_arguments_that_are_not_utf8_are_recorded(tmp_path: Path) -> None:
    """Arguments that are not UTF-8 are recorded byte by byte."""
    fake = FakeRunner()
    fake.answer(["machine"], "done\n")
    with Recorder(fake, tmp_path / "tape") as runner:
        runner.execute(Invocation(("machine", "cat", "/root/\udcff")))
    replayer = Replayer(tmp_path / "tape")
    with pytest.raises(UnexpectedCommandError):
        replayer.execute(Invocation(("machine", "cat", "/root/\udcfe")))
    assert b"done\n" == replayer.execute(Invocation(("machine", "cat", "/root/\udcff"))).stdout


@pytest.mark.parametrize("block_fails", [False, True])
def test_a_cassette_that_cannot_be_written_keeps_the_old_one_and_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_fails: bool
) -> None:
    """A cassette that cannot be written keeps the old file, and adds a note to the block's exception or raises its own."""
    recorded(tmp_path / "tape", "old")
    (tmp_path / "tape").chmod(0o600)
    old = (tmp_path / "tape").read_text()

    def work() -> None:
        with Recorder(FakeSmolvm(), tmp_path / "tape") as runner:
            Smolvm(runner=runner).ls()
            monkeypatch.setattr(os, "replace", no_space)
            if block_fails:
                raise KeyError("the block's")

    with pytest.raises(KeyError if block_fails else OSError) as error:
        work()
    monkeypatch.undo()
    assert not block_fails or "was not written: [Errno 28]" in error.value.__notes__[0]
    assert ([tmp_path / "tape"], old) == (list(tmp_path.iterdir()), (tmp_path / "tape").read_text())
    recorded(tmp_path / "tape", "new")
    assert 0o600 == (tmp_path / "tape").stat().st_mode & 0o777


def no_space(*_: object) -> None:
    """Fail as on a full disk."""
    raise OSError(28, "No space left on device")

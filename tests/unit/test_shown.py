"""No secret is shown, wherever it was passed and whatever shows it."""

from __future__ import annotations

import base64
import inspect
import logging
import os
import pickle
import re
import shlex
import subprocess
import sys
import textwrap
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from _pytest._io.saferepr import saferepr
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from smolkit import AsyncSmolvm, Machine, RemoteRunner, Secret, Smolvm, SmolvmError, StdioLink, SubprocessRunner
from smolkit.commands import Create, Exec, MachineSpec, Run, Update, option_types
from smolkit.commands.call import Call
from smolkit.testing import FakeRunner, FakeSmolvm, NamespaceEngine
from smolkit.values import Completed
from smolkit.values.hidden import Hidden, Variables, Word
from tests.inner_pytest import run_pytest
from tests.recorded import as_json
from tests.samples import stays_ours

CANARY = "c4n4ry/+ \"'%&=é"
PROXY = "http://user:c4n4ry=yy@proxy:3128"
SECRET_OPTIONS = {"env", "secrets", "proxy", "input"}
# All files of smolkit, and the code that attrs generates for them.
OURS = re.compile(r"[/\\]smolkit[/\\]|<attrs generated \w+ smolkit")


def forms(canary: str) -> set[str]:
    """The encodings of a canary that would reveal it."""
    data = canary.encode()
    middles = [base64.b64encode(b" " * pad + data).decode().rstrip("=")[4:-1] for pad in range(3)]
    return {canary, repr(canary)[1:-1], shlex.quote(canary), urllib.parse.quote(canary), "c4n4ry", *middles}


def canary_for(option: str, kind: str = "str") -> Any:
    """A canary in the form that this option takes."""
    if option in {"proxy", "input"}:
        return PROXY
    if option == "secrets" and kind == "Secret":
        return {"TOKEN": Secret(CANARY), "B": Secret(CANARY, allow_argv=True)}
    return {"TOKEN": CANARY}


def secret_options(options: str) -> set[str]:
    """The options of a TypedDict that hold secrets."""
    return SECRET_OPTIONS & set(getattr(option_types, options).__annotations__)


def secret_parameters(kind: type[Any]) -> Iterator[tuple[str, str]]:
    """Each public method that takes secrets, and the parameter."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        for parameter in inspect.signature(method).parameters.values() if name[0] != "_" else ():
            unpacked = re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation))
            found = secret_options(unpacked[1]) if unpacked else {parameter.name} & SECRET_OPTIONS
            yield from ((name, option) for option in sorted(found))


PLACES = [(kind, name, option) for kind in (Machine, Smolvm) for name, option in secret_parameters(kind)]
REFUSED = {("run_detached", "input"), ("terminal", "input")}  # refused by the method
# The other arguments of each method.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("exec", "popen", "spawn", "terminal", "run", "run_detached"), (["true"],)),
    "sh": ("true",),
    "checkpoint": ("/nonexistent/out",),
    "branch_many": (2,),
    "pack_run": ("/nonexistent/pack", ["true"]),
    "pack_create": ("image", "/nonexistent/pack"),
}


def call(client: Smolvm, kind: type[Any], name: str, **options: Any) -> Any:
    """Call the method, and use its result."""
    secrets: dict[str, Any] = {"M": Secret(CANARY, allow_argv=True)}
    holder = client.machine("m", secrets=secrets, env={"E": CANARY}, proxy=PROXY) if kind is Machine else client
    made = getattr(holder, name)(*ARGUMENTS.get(name, ()), **options)
    if name == "machine":
        with made:
            return made.exec(["true"])
    if name == "at":
        return made.exec(["true"])
    if name == "popen":
        with made:
            return made.wait()
    return made


def frames(error: BaseException | None) -> Iterator[FrameType]:
    """smolkit's frames in a report of the error, of its causes and contexts too."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        waiting += [error.__cause__, error.__context__]
        trace = error.__traceback__
        while trace is not None:
            if OURS.search(trace.tb_frame.f_code.co_filename):
                yield trace.tb_frame
            trace = trace.tb_next


def shown_by(error: BaseException) -> str:
    """Everything that shows an error: text, notes, pickle, and the locals of its frames as in pytest and rich."""
    pretty = pytest.importorskip("rich.pretty")
    texts = [str(error), repr(error), *getattr(error, "__notes__", ())]
    texts += [repr(vars(error)), pickle.dumps(error).decode("latin-1")] if isinstance(error, SmolvmError) else []
    for frame in frames(error):
        for name, value in frame.f_locals.items():
            shown = pretty.pretty_repr(value, max_string=80), saferepr(value, maxsize=None)
            texts += [f"{frame.f_code.co_qualname} {name} = {text}" for text in shown]
    return "\n".join(texts)


def revealed(text: str) -> list[str]:
    """The lines that contain a canary in any form."""
    return [line for line in text.splitlines() if any(form in line for form in forms(CANARY))]


@pytest.fixture
def report_of(caplog: pytest.LogCaptureFixture) -> Callable[[Callable[[], Any]], str]:
    """Everything shown when this fails, logs included."""

    def catch(work: Callable[[], Any]) -> str:
        with caplog.at_level(logging.DEBUG):
            try:
                work()
            except Exception as error:  # noqa: BLE001  (whatever it is)
                return f"{shown_by(error)}\n{caplog.text}"
        pytest.fail("nothing failed")

    return catch


@pytest.mark.parametrize(("kind", "name", "option"), PLACES)
@pytest.mark.parametrize("secret", ["str", "Secret"])
def test_a_failing_engine_reveals_no_secret(
    kind: type[Any], name: str, option: str, secret: str, report_of: Callable[..., str]
) -> None:
    """A failing engine reveals no secret in error, observers, recorded calls, pickles or locals of smolkit's frames."""
    fake, calls = FakeRunner(), list[Call]()
    client = Smolvm(runner=fake, on_call=calls.append)
    stays_ours(fake)
    fake.answer(["machine", "data-dir"], "/nonexistent\n")
    fake.answer(lambda _: True, returncode=1, stderr=as_json("CONFIG_ERROR", "config operation failed: no"))
    shown = report_of(lambda: call(client, kind, name, **{option: canary_for(option, secret)}))

    assert [] == revealed(shown)
    assert [] == revealed(f"{calls}\n{fake.commands}\n{fake.invocations}\n{fake.argvs}\n{vars(fake)}")


@pytest.mark.parametrize(("kind", "name", "option"), PLACES)
@pytest.mark.parametrize("version", ["0.7.2", "1.8.3", "1.32.2"])
def test_a_refused_call_reveals_no_secret(
    kind: type[Any], name: str, option: str, version: str, report_of: Callable[..., str]
) -> None:
    """A refused call (invalid value, old engine, wrong name) reveals no secret."""
    fake = FakeRunner(version)
    fake.answer(lambda _: True, returncode=1, stderr="Error: config operation failed: it broke")
    client = Smolvm(runner=fake)
    single = option in {"proxy", "input"}
    bad = 7 if single else {"TOKEN": CANARY, "BAD": b"c4n4ry"}
    key = "\0c4n4ry" if single else {"TOKEN": CANARY, "BAD=c4n4ry": ""}
    for value in (bad, *([] if option == "input" else [key]), ["c4n4ry"], "\ud800c4n4ry"):
        assert [] == revealed(report_of(lambda value=value: call(client, kind, name, **{option: value})))
    if version == "0.7.2":
        assert [] == revealed(report_of(lambda: call(client, kind, name, **{option: canary_for(option)})))


@pytest.mark.parametrize(("kind", "name", "option"), PLACES)
def test_a_program_that_cannot_be_started_reveals_no_secret(
    kind: type[Any], name: str, option: str, tmp_path: Path, report_of: Callable[..., str]
) -> None:
    """A program that cannot be started reveals no secret, also in the frames of the failing system call."""
    (tmp_path / "smolvm").write_bytes(b"no program")
    (tmp_path / "smolvm").chmod(0o755)
    runner = SubprocessRunner(tmp_path / "smolvm", version="1.32.2", env={"HTTPS_PROXY": PROXY, "X": CANARY})

    assert [] == revealed(report_of(lambda: call(Smolvm(runner=runner), kind, name, **{option: canary_for(option)})))


@pytest.mark.parametrize(("kind", "name", "option"), [place for place in PLACES if place[1:] not in REFUSED])
def test_a_dry_run_reveals_no_secret(
    kind: type[Any], name: str, option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run's lines and commands reveal no secret."""
    client = Smolvm(runner=FakeRunner())
    monkeypatch.setitem(ARGUMENTS, "checkpoint", ("out",))
    monkeypatch.setitem(ARGUMENTS, "pack_create", ("image", "out"))
    with client.dry_run() as plan:
        call(client, kind, name, **{option: canary_for(option)})

    assert plan.lines
    assert [] == revealed(f"{plan}\n{plan.commands}\n{vars(plan)}\n{capsys.readouterr().out}")


@pytest.mark.parametrize(("kind", "name", "option"), PLACES)
def test_the_async_client_reveals_no_secret(kind: type[Any], name: str, option: str, report_of: Callable[..., str]) -> None:
    """The async client reveals no secret."""
    import anyio

    fake = FakeRunner("0.7.2")
    client = AsyncSmolvm(runner=fake)
    fake.answer(lambda _: True, returncode=1, stderr="Error: config operation failed: it broke")

    async def work() -> None:
        holder = client if kind is Smolvm else client.machine("m")
        made = getattr(holder, name)(*ARGUMENTS.get(name, ()), **{option: canary_for(option)})
        if name == "machine":
            await made.create()
            await made.start()
        elif name == "popen":
            async with await made as process:
                await process.wait()
        else:
            await made

    assert [] == revealed(report_of(lambda: anyio.run(work)))


def test_a_file_that_cannot_be_written_reveals_no_content(report_of: Callable[..., str]) -> None:
    """A file that cannot be written does not reveal its content, which may be a key."""
    fake = FakeRunner()
    fake.answer(["machine", "exec"], returncode=82)
    machine = Smolvm(runner=fake).machine("m")
    for work in (lambda: machine.write_text("/x", CANARY), lambda: machine.write_bytes("/x", CANARY.encode())):
        assert [] == revealed(report_of(work))
        assert CANARY.encode() == fake.invocations[-1].stdin


def test_a_proxy_printed_by_the_engine_is_hidden() -> None:
    """An engine that prints a proxy's URL does not reveal its password in an error."""
    fake = FakeRunner()
    fake.answer(["machine"], returncode=1, stderr=as_json("CONFIG_ERROR", f"config operation failed: no {PROXY}"))
    with pytest.raises(SmolvmError) as error:
        Smolvm(runner=fake).machine("m", proxy=PROXY).start()

    assert "config operation failed: no http://***@proxy:3128" == error.value.message
    assert [] == revealed(f"{error.value} {error.value!r} {error.value.args} {vars(error.value)}")


def test_a_failing_handler_of_a_fake_reveals_no_secret(report_of: Callable[..., str]) -> None:
    """A failing handler of a fake reveals no secret, in its call or the fake's frames."""
    fake = FakeSmolvm(env={"HOST": CANARY})
    machine = Smolvm(runner=fake).machine("m", secrets={"A": CANARY}, secret_env={"B": "HOST"}, env={"C": CANARY})
    machine.create()
    machine.start()
    seen: list[Any] = []

    @fake.on("deploy")
    def deploy(call: Any) -> None:
        seen.append(call)
        assert [CANARY] * 4 == [call.env[key] for key in "ABCD"]
        raise RuntimeError("it broke")

    for work in (lambda: machine.exec(["deploy"], secrets={"D": CANARY}), lambda: machine.sh("deploy", env={"D": CANARY})):
        assert [] == revealed(report_of(work))
    assert [] == revealed(f"{seen} {fake.machines} {vars(fake)} {seen[0].env!r}")


def test_an_interrupt_reveals_no_secret(engine: NamespaceEngine, local: Smolvm, ctrl_c: None) -> None:
    """Ctrl-C while smolkit waits for the engine reveals no secret in its frames."""
    engine.strike("exec", "INT")
    machine = local.machine("m", secrets={"A": CANARY}, env={"B": CANARY})
    with machine, pytest.raises(KeyboardInterrupt) as error:
        machine.exec(["sleep", "60"], secrets={"C": CANARY}, env={"D": CANARY})

    assert list(frames(error.value))
    assert [] == revealed(shown_by(error.value))


def test_pytests_report_of_a_failed_test_has_no_secret(tmp_path: Path) -> None:
    """pytest's most verbose report with `-l` shows no secret."""
    test = """
        import os
        from smolkit import Secret

        def test_it(machine):
            machine.exec(["true"], secrets={"A": Secret(os.environ["CANARY"])}, env={"B": os.environ["CANARY"]}, user=7)
        """
    (tmp_path / "test_it.py").write_text(textwrap.dedent(test))
    status, output = run_pytest(tmp_path, "-l", "-vvv", "--tb=long", "--full-trace", env={"CANARY": CANARY})

    assert (1, True) == (status, "user must be a str" in output)
    assert [] == revealed(output)


def test_a_crash_report_of_rich_has_no_secret(tmp_path: Path) -> None:
    """rich's traceback with locals and causes shows no secret."""
    pytest.importorskip("rich.traceback")
    (tmp_path / "smolvm").write_bytes(b"no program")
    (tmp_path / "smolvm").chmod(0o755)
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
            import os, rich.traceback
            from smolkit import Secret, Smolvm, SubprocessRunner
            rich.traceback.install(show_locals=True, width=200, locals_max_string=80, max_frames=0)
            canary = lambda: os.environ["CANARY"] * 30
            machine = Smolvm(runner=SubprocessRunner("./smolvm", version="1.32.2")).machine("m")
            machine.exec(["true"], secrets={"A": Secret(canary()), "B": canary()}, env={"C": canary()}, input=canary())
            """)
    )
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "CANARY": "c4n4ry"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "EngineNotFoundError" in done.stderr
    assert "locals" in done.stderr
    assert "c4n4ry" not in done.stderr


def test_a_word_that_holds_a_secret_is_a_str_in_all_but_its_repr() -> None:
    """A word that holds a secret is a str whose repr, slices and pickle show only its public part."""
    word = Word("TOKEN=s3cr3t", "TOKEN=***")

    assert ("TOKEN=s3cr3t", hash("TOKEN=s3cr3t"), ["TOKEN", "s3cr3t"]) == (word, hash(word), word.split("="))
    assert "['TOKEN=***']" == repr([word])
    assert "'TOKEN=***'" == repr(word[:10])
    assert "TOKEN=***" == pickle.loads(pickle.dumps(word))
    out = subprocess.run(["printenv", "A"], env=dict(Variables({"A": Hidden(word)})), capture_output=True, check=True)
    assert b"TOKEN=s3cr3t\n" == out.stdout


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--proxy", PROXY], ["--proxy", "***"]),
        ([f"--proxy={PROXY}"], ["--proxy=***"]),
        (["-eTOKEN=a=b"], ["-eTOKEN=***"]),
        (["--env=TOKEN=a=b"], ["--env=TOKEN=***"]),
        (["--volume", "s3://key:pa@ss@bucket/x:/y"], ["--volume", "s3://***@bucket/x:/y"]),
        (["network-test", "https://token@host/a@b"], ["network-test", "https://***@host/a@b"]),
        (["--", "http://a:b@c"], ["--", "http://a:b@c"]),
    ],
)
def test_a_displayed_command_line_hides_values(words: list[str], shown: list[str]) -> None:
    """A displayed command line hides proxies, variables' values and URL passwords, and keeps the guest's command."""
    fake = FakeRunner()
    fake.answer(["machine"], returncode=1)
    with pytest.raises(SmolvmError) as error:
        Smolvm(runner=fake).cli("machine", *words)

    assert tuple(shown) == error.value.argv[3:]
    assert "c4n4ry" not in f"{fake.commands} {fake.invocations}"


def test_reprs_of_commands_have_no_secret() -> None:
    """The repr of a command shows no secret."""
    commands = [
        Run.of(None, {"proxy": PROXY, "env": {"A": CANARY}}, command=["true"]),
        Exec("m", ["true"], env={"A": CANARY}, secrets={"B": CANARY}, input=CANARY),
        Create("m", MachineSpec.of({"env": {"A": CANARY}, "secrets": {"B": CANARY}})),
        Update.of("m", {"env": {"A": CANARY}, "volumes": [f"s3://k:{PROXY}@b:/x"]}),
        MachineSpec.of({"volumes": ["s3://k:c4n4ry@b:/x"]}),
        Run.of(None, {"volumes": ["s3://k:c4n4ry@b:/x"], "input": CANARY}),
        Smolvm(runner=SubprocessRunner("smolvm", prefix=["env", f"HTTPS_PROXY={PROXY}"], env={"A": CANARY})),
        Smolvm(runner=RemoteRunner(StdioLink(["env", f"HTTPS_PROXY={PROXY}"]), env={"A": CANARY})),
    ]

    assert [] == revealed(f"{commands} {[command.runner for command in commands[-2:]]}")  # type: ignore[attr-defined]


def test_a_proxy_reaches_the_engine(engine: NamespaceEngine, local: Smolvm, caplog: pytest.LogCaptureFixture) -> None:
    """A hidden proxy reaches the engine complete."""
    fake = FakeRunner()
    fake.answer(["machine"])
    Smolvm(runner=fake).machine("m", proxy=PROXY).start(no_proxy="localhost")
    assert ("--proxy", PROXY, "--no-proxy", "localhost") == fake.argvs[0][2:6]

    with caplog.at_level(logging.DEBUG), local.machine("m", proxy=PROXY):
        pass
    assert ["create", "start", "delete"] == engine.calls
    assert "machine start --proxy '***'" in caplog.text


HOSTILE = "\x1b]0;owned\x07\x9b31m\r\u202e\udcff\ud800"
SAFE = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]*")


def test_a_guests_text_is_escaped() -> None:
    """A guest's names and output are escaped in errors, notes and command lines."""
    fake = FakeRunner()
    said = HOSTILE.encode("utf-8", "surrogatepass")
    forged = b'{"error":{"code":"X","message":"\\ud800 \\u001b[31m"}}\n'
    fake.answer(["machine", "exec"], [_failed(forged), _failed(said, 3)])
    machine = Smolvm(runner=fake).machine("m")
    for _ in range(2):
        with pytest.raises(SmolvmError) as error:
            machine.exec(["ls", HOSTILE.replace("\ud800", "").replace("\udcff", "")], check=True)
        error.value.add_note("mine")
        assert SAFE.fullmatch(str(error.value))
        assert str(error.value).encode()
        assert r"$'\x1b]0;owned\x07\u009b31m\r\u202e'" in str(error.value)


@settings(derandomize=True, deadline=None)
@given_any(st.lists(st.text(), min_size=1), st.binary(), st.text())
def test_an_errors_text_is_safe_whatever_it_quotes(argv: list[str], stderr: bytes, message: str) -> None:
    """An error's text is safe for any terminal, file or logger, and its command line is one line."""
    words = [os.fsdecode(word.encode("utf-8", "surrogatepass")) for word in argv]
    text = str(SmolvmError(message, Completed(("machine", "exec", "--", *words), 1, b"", stderr)))

    assert SAFE.fullmatch(text)
    assert text.encode()
    assert 1 == len(re.findall(r"(?m)^  command: smolvm machine exec -- .*\n  exit status: 1$", text))


def _failed(stderr: bytes, returncode: int = 1) -> Any:
    return Completed((), returncode, b"", stderr)


def test_notes_are_safe_to_print() -> None:
    """Notes are safe to print, whatever they quote."""
    from smolkit.errors import add_note

    error = ValueError()
    add_note(error, f"it said: {HOSTILE} {PROXY}\n\tand more")

    assert [r"it said: \x1b]0;owned\x07\x9b31m\r\u202e\xff\ud800 http://***@proxy:3128" + "\n\tand more"] == error.__notes__


def test_a_line_of_the_log_is_one_line_that_a_shell_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A log line is one line that a shell can read, also with control characters."""
    (tmp_path / "smolvm").write_text("#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done\n")
    (tmp_path / "smolvm").chmod(0o755)
    word = "a\n\x1b[31m\\x'\t\u202e\U000e0001$(x)"
    machine = Smolvm(runner=SubprocessRunner(tmp_path / "smolvm", version="1.8.3")).machine("m")
    with caplog.at_level(logging.DEBUG):
        said = machine.exec(["echo", word]).stdout_bytes
    (line,) = caplog.messages

    assert SAFE.fullmatch(line)
    assert "\n" not in line
    again = subprocess.run(["bash", "-c", line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert said == again.stdout


def test_a_report_of_pytest_shows_a_console_escaped(tmp_path: Path) -> None:
    """A pytest report shows a guest's console escaped."""
    test = """
        def test_it(machine, fake_smolvm):
            fake_smolvm.machines[machine.name].console = b"\\x1b]0;owned\\x07 \\xc2\\x9b31m"
            assert False
        """
    (tmp_path / "test_it.py").write_text(textwrap.dedent(test))
    status, output = run_pytest(tmp_path, "--color=no")

    assert (1, True) == (status, r"\x1b]0;owned\x07 \x9b31m" in output)
    assert "\x1b" not in output.replace(r"\x1b", "")


def test_files_of_a_guest_with_hostile_names_are_shown_escaped() -> None:
    """Hostile file names are escaped in SmolvmErrors and OSErrors."""
    machine = Smolvm(runner=FakeSmolvm()).machine("m")
    with machine, pytest.raises(FileNotFoundError) as error:
        machine.read_bytes("/root/\x1b[31m")

    assert SAFE.fullmatch(str(error.value))
    assert SAFE.fullmatch(repr(error.value))

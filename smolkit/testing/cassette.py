"""Recording real calls into a file for people to read, and replaying them where there is no engine.

A cassette is JSON: `{"smolkit cassette": 1, "engine": "1.32.2", "calls": [...]}`, each call with the engine's arguments,
stdin, stdout, stderr, exit status and duration. Bytes that are no text are `{"base64": ...}`. Values of variables in the
arguments are `***`, and so is every secret and every such value wherever it was heard, quoted, escaped and encoded too (see
`smolkit.testing.scrubbing`; secrets of fewer than four characters where they stand by themselves, and values of fewer than
six not at all). What a command writes by itself is kept: look a cassette over before you share it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any, final

from attrs import evolve, frozen

from smolkit.errors import add_note
from smolkit.runners.base import Runner
from smolkit.testing.known_secrets import known
from smolkit.testing.scripted import UnexpectedCommandError, UnusedAnswerError
from smolkit.testing.scrubbing import Scrubber
from smolkit.values.hidden import Hidden
from smolkit.values.results import Completed
from smolkit.values.shown import redact, shell_line

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from smolkit.commands.base import Command
    from smolkit.values.results import Invocation

_VERSION = 1
_KEY = "smolkit cassette"
# What differs from run to run: names that smolkit makes up, its labels, and names beside a file.
_OWNER = r"[0-9a-f]{8}-[0-9a-f]{8}-\d+-\d+"
_MARKS = {"session": "[0-9a-f]{16}", "creation": "[0-9a-f]{16}", "owner": _OWNER, "expires": r"\d+"}
_VARIABLE = re.compile(
    "|".join(
        [
            rf"smolkit-(?:{_OWNER}-)?[0-9a-f]{{12}}",
            *(rf"(?<=smolkit\.{mark}=)(?:{value}|none)" for mark, value in _MARKS.items()),
            r"(?<=\.)[0-9a-f]{12}(?=\.part)",
        ]
    )
)


@final
class Recorder(Runner):
    """Runs commands by another runner, and records them: `with Recorder(SubprocessRunner(), "tape.json") as runner:`.

    The file is written when the block ends, also by an exception. A command that is followed (`popen`) is recorded whole,
    and comes in one piece. Logs and terminals are not recorded.

    Args:
        runner: What runs them.
        path: The cassette; one that is there is replaced.
    """

    def __init__(self, runner: Runner, path: str | os.PathLike[str]) -> None:
        super().__init__(version=runner.engine.version)
        self._runner, self._path = runner, os.fspath(path)
        self._calls: list[dict[str, Any]] = []
        self._secrets: set[Hidden] = set()

    @property
    def host(self) -> str:
        """The other runner's."""
        return self._runner.host

    @property
    def program(self) -> str:
        """The other runner's."""
        return self._runner.program

    def watch(self) -> None:
        """The other runner's."""
        self._runner.watch()

    def watching(self, command: Command[Any]) -> AbstractContextManager[None]:
        """The other runner's."""
        return self._runner.watching(command)

    def execute(self, invocation: Invocation) -> Completed:
        """Has it done, and records it."""
        completed = self._runner.execute_sync(invocation)
        self._secrets |= known(invocation, self._runner.given())
        call = {
            "argv": redact(invocation.argv),
            "stdin": invocation.stdin,
            "returncode": completed.returncode,
            "stdout": completed.stdout,
            "stderr": completed.stderr,
            "duration": round(completed.duration, 3),
            "ended_by": completed.ended_by,
        }
        if (target := _copied_to(invocation.argv)) and completed.returncode == 0:
            with open(target, "rb") as file:
                call["file"] = file.read()
        self._calls.append(call)
        return completed

    def given(self) -> dict[str, Hidden]:
        """The other runner's."""
        return self._runner.given()

    def read_log(self, path: str, start: int) -> bytes:
        """The other runner's; not recorded."""
        return self._runner.read_log(path, start)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.save()
        except Exception as failure:
            if error is None:
                raise
            add_note(error, f"the cassette {self._path!r} was not written: {failure}")

    def save(self) -> None:
        """Writes the cassette, as far as it goes. An older one stays until this one is whole.

        Raises:
            OSError: it cannot be written.
        """
        scrub = Scrubber(secret.reveal() for secret in self._secrets)
        calls = [{key: _cleaned(value, scrub) for key, value in call.items()} for call in self._calls]
        text = json.dumps({_KEY: _VERSION, "engine": self.engine.version, "calls": calls}, indent=1, ensure_ascii=False)
        with self.provide_target(self._path) as part, open(part, "w", encoding="utf-8") as file:
            if os.path.exists(self._path):
                os.fchmod(file.fileno(), stat.S_IMODE(os.stat(self._path).st_mode))
            file.write(text + "\n")


def _cleaned(value: Any, scrub: Scrubber) -> Any:
    """As it is written: without secrets, bytes as text where they are text."""
    if isinstance(value, tuple):
        return [_cleaned(os.fsencode(word), scrub) for word in value]
    return _written(scrub.data(value)) if isinstance(value, bytes) else value


@frozen
class _Call:
    argv: tuple[str, ...]
    stdin: bytes | None
    completed: Completed
    file: bytes | None


@final
class Replayer(Runner):
    """Answers from a cassette. Each recorded call is given once, to the first command with the same arguments and stdin.

    What smolkit makes up anew in every run (names, labels) may differ, and binary input is not compared. Nobody waits: the
    clock goes on by what the calls took.

    Args:
        path: The cassette.
        ordered: Whether commands must come in the order in which they were recorded.
    """

    def __init__(self, path: str | os.PathLike[str], *, ordered: bool = False) -> None:
        with open(path, encoding="utf-8") as file:
            tape = json.load(file)
        if not isinstance(tape, dict) or tape.get(_KEY) != _VERSION:
            raise ValueError(f"not a cassette that this smolkit reads: {os.fspath(path)!r}")
        super().__init__(version=tape["engine"])
        self._calls = [_read(item) for item in tape["calls"]]
        self._ordered = ordered
        self._names: dict[str, str] = {}  # what was recorded, and what it is called now
        self._passed = 0.0

    def watch(self) -> None:
        """No-op: there are no machines."""

    def execute(self, invocation: Invocation) -> Completed:
        """The recorded answer.

        Raises:
            UnexpectedCommandError: there is none, or (ordered) it is another one's turn.
        """
        for number, call in enumerate(self._calls):
            if (names := _same(call, invocation)) is not None:
                del self._calls[number]
                self._names.update(names)
                return self._give(call, invocation)
            if self._ordered:
                break
        lines = [f"    smolvm {shell_line(call.argv)}" for call in self._calls[:5]]
        raise UnexpectedCommandError(
            f"the cassette has no such call{' next' if self._ordered else ''}: "
            f"smolvm {shell_line(redact(invocation.argv))}\n  it has:\n" + "\n".join(lines or ["    nothing more"])
        )

    def _give(self, call: _Call, invocation: Invocation) -> Completed:
        self._passed += call.completed.duration
        if call.file is not None and (target := _copied_to(invocation.argv)):
            with open(target, "wb") as file:
                file.write(call.file)
        stdout, stderr = self._renamed(call.completed.stdout), self._renamed(call.completed.stderr)
        return evolve(call.completed, argv=invocation.argv, stdout=stdout, stderr=stderr)

    def _renamed(self, data: bytes) -> bytes:
        for old, new in self._names.items():
            data = data.replace(old.encode(), new.encode())
        return data

    def assert_done(self) -> None:
        """Nothing, if every recorded call was asked for.

        Raises:
            UnusedAnswerError: one was not.
        """
        if self._calls:
            lines = "\n".join(f"  smolvm {shell_line(call.argv)}" for call in self._calls)
            raise UnusedAnswerError(f"the program did not run what was recorded:\n{lines}")

    def read_log(self, path: str, start: int) -> bytes:  # noqa: ARG002
        """Nothing: logs are not recorded."""
        return b""

    def clock(self) -> float:
        """The seconds that the calls took, and those that were waited."""
        return self._passed

    def pause(self, seconds: float) -> None:
        """Lets the clock go on, and does not wait."""
        self._passed += seconds


def _written(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _data(value: Any) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else str(value).encode()


def _read(item: dict[str, Any]) -> _Call:
    argv = tuple(os.fsdecode(_data(word) or b"") for word in item["argv"])
    stdout, stderr = _data(item["stdout"]) or b"", _data(item["stderr"]) or b""
    completed = Completed(argv, item["returncode"], stdout, stderr, item["duration"], item["ended_by"])
    stdin = item["stdin"]
    # Compared only where it is text: an archive has the time in it.
    return _Call(argv, None if isinstance(stdin, dict) else _data(stdin), completed, _data(item.get("file")))


def _same(call: _Call, invocation: Invocation) -> dict[str, str] | None:
    """What is called differently, if this is the call that was recorded; else None."""
    argv = redact(invocation.argv)
    if len(argv) != len(call.argv):
        return None
    if (
        call.stdin is not None
        and invocation.stdin is not None
        and b"***" not in call.stdin
        and call.stdin != invocation.stdin
    ):
        return None
    names: dict[str, str] = {}
    sides = _sides(argv)
    for place, (old, new) in enumerate(zip(call.argv, argv, strict=True)):
        if place in sides and ":/" not in new:
            old, new = (re.sub(r"^\.part-[0-9a-f]{8}-", "", os.path.basename(side)) for side in (old, new))  # noqa: PLW2901
        hidden = re.escape(_VARIABLE.sub("*", old)).replace(re.escape("***"), ".*")
        if not re.fullmatch(hidden, _VARIABLE.sub("*", new), re.DOTALL):
            return None
        names.update(zip(_VARIABLE.findall(old), _VARIABLE.findall(new), strict=False))
    return names


def _sides(argv: tuple[str, ...]) -> range:
    """Where in the arguments of `machine cp` its two sides are: one is a path of this host, another one each time."""
    return range(len(argv) - 2, len(argv)) if "cp" in argv[:4] and "--" not in argv else range(0)


def _copied_to(argv: tuple[str, ...]) -> str:
    """The file of this host that `machine cp` writes, or ""."""
    sides = [argv[place] for place in _sides(argv)]
    return sides[1] if sides and ":/" in sides[0] and ":/" not in sides[1] else ""

"""Recorder and Replayer: record real calls in a readable file, and replay them without an engine.

A cassette is JSON: `{"smolkit cassette": 1, "engine": "1.32.2", "calls": [...]}`. Each call has the engine's arguments,
stdin, stdout, stderr, exit status and duration. Bytes that are not UTF-8 are `{"base64": ...}`.

Secrets, and the values of environment variables, are replaced by `***` in arguments, input and output, also where they are
quoted, escaped or encoded (see `smolkit.testing.scrubbing`). Secrets of fewer than four characters are replaced only as
whole words; values of fewer than six characters only in arguments. Everything else that a command writes is kept: read a
cassette before you share it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, final

from attrs import asdict, evolve, frozen

from smolkit.errors import add_note
from smolkit.runners.base import Runner
from smolkit.runners.host import replacing
from smolkit.testing.forwarding import Forwarding
from smolkit.testing.known_secrets import secrets_of
from smolkit.testing.scripted import UnexpectedCommandError, UnusedAnswerError
from smolkit.testing.scrubbing import Scrubber
from smolkit.values.cut import Cut
from smolkit.values.hidden import Hidden
from smolkit.values.results import Completed, Invocation
from smolkit.values.shown import redact, shell_line

_VERSION = 1
_KEY = "smolkit cassette"
_CUTS = ("stdout_cut", "stderr_cut")  # of truncated output
# What differs from run to run: generated machine names, smolkit's labels, names of temporary files.
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
class Recorder(Forwarding):
    """Records the calls of another runner: `with Recorder(SubprocessRunner(), "tape.json") as runner:`.

    The cassette is written when the block ends, also by an exception. A command of `popen` is recorded as a whole, and its
    output comes in one piece. Logs and terminals are not recorded.

    Args:
        runner: The runner that runs the commands.
        path: The cassette. An existing file is replaced.
    """

    def __init__(self, runner: Runner, path: str | os.PathLike[str]) -> None:
        super().__init__(runner)
        self._path = os.fspath(path)
        self._calls: list[dict[str, Any]] = []
        self._secrets: set[Hidden] = set()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            "a Recorder, or a handle on it, cannot be pickled or copied: the cassette would lack the calls of the copy. "
            "Make a Recorder in each process, each with a cassette of its own"
        )

    def execute(self, invocation: Invocation) -> Completed:
        """Run a call by the other runner, and record it."""
        completed = self._runner.execute_sync(invocation)
        self._secrets |= secrets_of(invocation, self._runner.given())
        call = {
            "argv": redact(invocation.argv),
            "stdin": invocation.stdin,
            "returncode": completed.returncode,
            "stdout": completed.stdout,
            "stderr": completed.stderr,
            "duration": round(completed.duration, 3),
            "ended_by": completed.ended_by,
            **{name: asdict(cut) for name in _CUTS if (cut := getattr(completed, name)) is not None},
        }
        if (target := _cp_target(invocation.argv)) and completed.returncode == 0 and os.path.exists(target):
            with open(target, "rb") as file:
                call["file"] = file.read()
        self._calls.append(call)
        return completed

    @contextmanager
    def provide_target(self, path: str, part: str | None = None) -> Iterator[str]:
        """As the other runner, whose engine may write to another host: the file is recorded once it is here."""
        with self._runner.provide_target(path, part) as made:
            yield made
        for call in self._calls:
            if _cp_target(call["argv"]) == made and "file" not in call:
                with open(path, "rb") as file:
                    call["file"] = file.read()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.save()
        except Exception as failure:
            if error is None:
                raise
            add_note(error, f"cassette {self._path!r} was not written: {failure}")

    def save(self) -> None:
        """Write the calls so far to the cassette. An older file is replaced only when this one is complete.

        Raises:
            OSError: The file cannot be written.
        """
        scrub = Scrubber(secret.reveal() for secret in self._secrets)
        calls = [{key: _scrubbed(value, scrub) for key, value in call.items()} for call in self._calls]
        text = json.dumps({_KEY: _VERSION, "engine": self.engine.version, "calls": calls}, indent=1, ensure_ascii=False)
        with replacing(self._path) as part, open(part, "w", encoding="utf-8") as file:
            if os.path.exists(self._path):  # a cassette that its owner made private stays private
                os.fchmod(file.fileno(), stat.S_IMODE(os.stat(self._path).st_mode))
            file.write(text + "\n")


def _scrubbed(value: Any, scrub: Scrubber) -> Any:
    """The JSON of a value, without secrets."""
    if isinstance(value, tuple):
        return [_scrubbed(os.fsencode(word), scrub) for word in value]
    return _to_json(scrub.data(value)) if isinstance(value, bytes) else value


@frozen
class _Call:
    argv: tuple[str, ...]
    stdin: bytes | None
    completed: Completed
    file: bytes | None


@final
class Replayer(Runner):
    """Answers from a cassette. Each recorded call answers once, the first call with the same arguments and stdin.

    Names and labels that smolkit generates in each run may differ, and binary stdin is not compared. Nobody waits: the
    clock advances by the recorded durations.

    Args:
        path: The cassette.
        ordered: True if commands must come in the recorded order.

    Raises:
        ValueError: The file is not a cassette, or of another version.
        OSError: The file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], *, ordered: bool = False) -> None:
        with open(path, encoding="utf-8") as file:
            tape = json.load(file)
        if not isinstance(tape, dict) or tape.get(_KEY) != _VERSION:
            raise ValueError(f"{os.fspath(path)!r} must be a cassette of version {_VERSION}")
        super().__init__(version=tape["engine"])
        self._calls = [_load_call(item) for item in tape["calls"]]
        self._ordered = ordered
        self._names: dict[str, str] = {}  # generated names: as recorded, and as in this run
        self._seconds = 0.0

    def watch(self) -> None:
        """No-op: a Replayer has no machines."""

    def execute(self, invocation: Invocation) -> Completed:
        """Give the recorded answer.

        Raises:
            UnexpectedCommandError: The call was not recorded, or with `ordered` is not the next one.
        """
        for number, call in enumerate(self._calls):
            if (names := _match(call, invocation)) is not None:
                del self._calls[number]
                self._names.update(names)
                return self._give(call, invocation)
            if self._ordered:
                break
        lines = [f"    smolvm {shell_line(call.argv)}" for call in self._calls[:5]]
        raise UnexpectedCommandError(
            f"the cassette has no such call{' next' if self._ordered else ''}: "
            f"smolvm {shell_line(redact(invocation.argv))}\n  it has left:\n" + "\n".join(lines or ["    none"])
        )

    def _give(self, call: _Call, invocation: Invocation) -> Completed:
        self._seconds += call.completed.duration
        if call.file is not None and (target := _cp_target(invocation.argv)):
            with open(target, "wb") as file:
                file.write(call.file)
        stdout, stderr = self._renamed(call.completed.stdout), self._renamed(call.completed.stderr)
        return evolve(call.completed, argv=invocation.argv, stdout=stdout, stderr=stderr)

    def _renamed(self, data: bytes) -> bytes:
        for old, new in self._names.items():
            data = data.replace(old.encode(), new.encode())
        return data

    def assert_done(self) -> None:
        """Raise unless every recorded call was replayed.

        Raises:
            UnusedAnswerError: A recorded call was not replayed.
        """
        if self._calls:
            lines = "\n".join(f"  smolvm {shell_line(call.argv)}" for call in self._calls)
            raise UnusedAnswerError(f"the program did not run these recorded commands:\n{lines}")

    def read_log(self, path: str, start: int) -> bytes:  # noqa: ARG002
        """Empty, since logs are not recorded."""
        return b""

    def clock(self) -> float:
        """The sum of the recorded durations and the pauses so far, in seconds."""
        return self._seconds

    def pause(self, seconds: float) -> None:
        """Advance the clock, without waiting."""
        self._seconds += seconds


def _to_json(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _from_json(value: Any) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else str(value).encode()


def _load_call(item: dict[str, Any]) -> _Call:
    argv = tuple(os.fsdecode(_from_json(word) or b"") for word in item["argv"])
    stdout, stderr = _from_json(item["stdout"]) or b"", _from_json(item["stderr"]) or b""
    cuts = {name: Cut(**item[name]) for name in _CUTS if name in item}
    completed = Completed(argv, item["returncode"], stdout, stderr, item["duration"], item["ended_by"], **cuts)
    stdin = item["stdin"]
    # Binary stdin is not compared: an archive has the time in it.
    return _Call(argv, None if isinstance(stdin, dict) else _from_json(stdin), completed, _from_json(item.get("file")))


def _match(call: _Call, invocation: Invocation) -> dict[str, str] | None:
    """The generated names that differ, recorded to current, if this is the recorded call; else None."""
    argv = redact(invocation.argv)
    if len(argv) != len(call.argv):
        return None
    # Input in which secrets were masked cannot be compared.
    if (
        call.stdin is not None
        and invocation.stdin is not None
        and b"***" not in call.stdin
        and call.stdin != invocation.stdin
    ):
        return None
    names: dict[str, str] = {}
    sides = _cp_sides(argv)  # cp's file of this host may lie in another directory in each run: its name is compared
    for place, (old, new) in enumerate(zip(call.argv, argv, strict=True)):
        if place in sides and ":/" not in new:
            old, new = (re.sub(r"^\.part-[0-9a-f]{8}-", "", os.path.basename(side)) for side in (old, new))  # noqa: PLW2901
        # `***` in the recording stands for any text.
        hidden = re.escape(_VARIABLE.sub("*", old)).replace(re.escape("***"), ".*")
        if not re.fullmatch(hidden, _VARIABLE.sub("*", new), re.DOTALL):
            return None
        names.update(zip(_VARIABLE.findall(old), _VARIABLE.findall(new), strict=False))
    return names


def _cp_sides(argv: tuple[str, ...]) -> range:
    """The positions of the two sides of `machine cp`. One is a path of this host, which may differ in each run."""
    return range(len(argv) - 2, len(argv)) if "cp" in argv[:4] and "--" not in argv else range(0)


def _cp_target(argv: tuple[str, ...]) -> str:
    """The file of this host that `machine cp` writes to, or ""."""
    sides = [argv[place] for place in _cp_sides(argv)]
    return sides[1] if sides and ":/" in sides[0] and ":/" not in sides[1] else ""

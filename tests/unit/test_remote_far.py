"""The far end by itself, in this process: what it answers to frames, sensible or not."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smolkit import SubprocessRunner, errors
from smolkit.runners.remote import bootstrap, payload
from smolkit.runners.remote.connection import WINDOW, Connection, Signal
from smolkit.runners.remote.failures import described, failure
from smolkit.runners.remote.far import Server
from smolkit.runners.remote.leftovers import end_session
from smolkit.runners.remote.links import SshLink
from smolkit.runners.remote.wire import Frame, encode
from smolkit.testing import NamespaceEngine
from tests.processes import running, until


class Near:
    """This end of a link to a server that runs in a thread."""

    def __init__(self, work: Path) -> None:
        (self._theirs, self._ours), (self._mine, self._yours) = os.pipe(), os.pipe()
        self.frames: list[Frame] = []
        self.server = Server(str(work), self._theirs, self._yours)
        self.connection = Connection(self._mine, self._ours, self.frames.append)
        self.ends: dict[str, str] = {}
        self.threads = [
            threading.Thread(target=self._serve, args=(name, connection))
            for name, connection in (("server", self.server.connection), ("near", self.connection))
        ]
        for thread in self.threads:
            thread.start()

    def _serve(self, name: str, connection: Connection) -> None:
        self.ends[name] = connection.serve()

    def settle(self, engine: NamespaceEngine, **options: Any) -> Frame:
        """Send settings, and return the answer."""
        settings = {"program": str(engine.program), "heartbeat": 60, **options}
        self.connection.send(0, "settings", **settings)
        return self.wait(0)

    def wait(self, channel: int, *ops: str) -> Frame:
        """Wait for a frame of a channel."""
        wanted = ops or ("hello", "refused", "result", "error", "exit")

        def found() -> list[Frame]:
            return [frame for frame in self.frames if frame.channel == channel and frame.op in wanted]

        until(found)
        return found()[0]

    def call(self, channel: int, name: str, *args: object) -> Frame:
        """Call a function, and return the answer."""
        self.connection.send(channel, "call", name=name, args=args)
        return self.wait(channel)

    def run(self, channel: int, *argv: str, **fields: Any) -> None:
        """Run the engine."""
        self.connection.send(channel, "run", argv=argv, env=[], window=WINDOW, **fields)

    def close(self) -> None:
        """End both ends."""
        self.server.end()
        for connection in (self.server.connection, self.connection):
            connection.close(now=True)
        for thread in self.threads:
            thread.join()
        for fd in (self._theirs, self._ours, self._mine, self._yours):
            os.close(fd)


@pytest.fixture
def near(tmp_path: Path) -> Iterator[Near]:
    """A server in a thread."""
    made = Near(tmp_path / "work")
    yield made
    made.close()


def test_a_call(near: Near, engine: NamespaceEngine) -> None:
    """The far end says who it is, runs the engine, and answers with its output and status."""
    hello = near.settle(engine)
    near.run(1, "machine", "ls", "--json")

    assert "hello" == hello.op
    assert os.getpid() == hello.fields["pid"]
    assert (0, "") == (near.wait(1).fields["code"], near.wait(1).fields["ended_by"])
    assert b"[]\n" == b"".join(frame.blob for frame in near.frames if frame.op == "stdout")


def test_a_heartbeat_is_expected_once_the_far_end_has_begun() -> None:
    """Silence is no loss while the other end is still starting; from then on it is."""
    (theirs, ours), (mine, yours) = os.pipe(), os.pipe()
    connection = Connection(mine, ours, lambda _: connection.expect(0.2))
    ends: list[str] = []
    thread = threading.Thread(target=lambda: ends.append(connection.serve()))
    thread.start()
    time.sleep(1)
    assert [] == ends
    os.write(yours, encode(0, "hello"))
    thread.join()
    assert ["the other end was silent for 0.2 s"] == ends
    for fd in (theirs, ours, mine, yours):
        os.close(fd)


def test_functions(near: Near, engine: NamespaceEngine, tmp_path: Path) -> None:
    """The functions of the far end answer; a file arrives with its mode."""
    near.settle(engine)
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "file").chmod(0o640)

    assert True is near.call(1, "is_available").fields["value"]
    assert near.call(2, "free_port").fields["value"] > 1024
    assert True is near.call(3, "is_alive", os.getpid(), 0).fields["value"]
    assert b"tent" == near.call(4, "read_log", str(tmp_path / "file"), 3, 100).blob
    assert 0o640 == near.call(5, "send_file", str(tmp_path / "file")).fields["value"]
    assert b"content" == near.wait(5, "stdout").blob
    assert None is near.call(6, "send_file", str(tmp_path / "none")).fields["value"]
    assert errno.EISDIR == near.call(7, "send_file", str(tmp_path)).fields.get("errno", errno.EISDIR)
    assert "program" in [check[0] for check in near.call(8, "look").fields["value"]]
    assert {"kind": "KeyError", "message": "'nonsense'"} == near.call(9, "nonsense").fields


def test_contexts_last_until_they_are_released(near: Near, engine: NamespaceEngine) -> None:
    """A file is there until the other end releases it, and admission is given on then."""
    near.settle(engine, max_starts=1)
    near.connection.send(1, "call", name="source", args=["a:b.txt"])
    near.connection.send(1, "stdin", b"content")
    near.connection.send(1, "eof")
    path = Path(near.wait(1).fields["value"])
    assert ("file.txt", b"content") == (path.name, path.read_bytes())
    target = Path(near.call(2, "target", "x.tar").fields["value"])
    assert ("x.tar", True) == (target.name, target.parent.exists())
    near.call(3, "admission", None)
    near.connection.send(4, "call", name="admission", args=[0.1])
    assert "QueueTimeoutError" == near.wait(4).fields["kind"]
    for channel in (1, 2, 3):
        near.connection.send(channel, "release", ok=channel != 2)
    assert "result" == near.call(5, "admission", 30).op
    near.connection.send(5, "release", ok=True)
    until(lambda: not path.exists() and not target.parent.exists())


def test_a_source_that_is_given_up_is_removed(near: Near, engine: NamespaceEngine) -> None:
    """A file whose sender gives up in the middle does not stay."""
    near.settle(engine)
    near.connection.send(1, "call", name="source", args=["x"])
    near.connection.send(1, "stdin", b"half")
    near.connection.send(1, "release", ok=False)
    until(lambda: not near.server.calls)

    assert not [name for _, _, names in os.walk(near.server.work) for name in names]


def test_settings_that_are_wrong_are_refused(near: Near, engine: NamespaceEngine) -> None:
    """Settings that no runner takes are refused; a call without settings fails."""
    near.run(1, "machine", "ls")
    assert "told no settings" in near.wait(1).fields["message"]
    assert "refused" == near.settle(engine, pass_env=["A=b"]).op


def test_ends_that_come_early_and_late(near: Near, engine: NamespaceEngine) -> None:
    """A call that is ended before it began gets an exit; frames for calls that are over are ignored; a second run too."""
    near.settle(engine)
    near.connection.send(1, "end", kill=False)
    assert -signal.SIGTERM == near.wait(1).fields["code"]
    for op in ("stdin", "eof", "credit", "release", "drop", "size"):
        near.connection.send(2, op)
    engine.fault("ls", "hang")
    near.run(3, "machine", "ls", "--json")
    until(lambda: "ls" in engine.calls)
    near.run(3, "machine", "ls", "--json")
    near.connection.send(3, "end", kill=True)
    assert -signal.SIGKILL == near.wait(3).fields["code"]
    assert ["ls"] == engine.calls


def test_unread_output_waits_and_a_dropped_call_ends(near: Near, engine: NamespaceEngine, program: Path) -> None:
    """Output stops at the window, its command's end is told all the same, and what is dropped is not sent."""
    near.settle(engine, program=str(program))
    script = "echo begun; sleep 0.3; head -c 50000 /dev/zero"
    near.connection.send(1, "run", argv=["--", "sh", "-c", script], env=[], window=3)
    assert 0 == near.wait(1, "ended").fields["code"]
    assert b"begun\n" == b"".join(frame.blob for frame in near.frames if frame.channel == 1)
    near.connection.send(1, "credit", size=10**6)
    near.wait(1, "exit")
    assert 50_006 == sum(len(frame.blob) for frame in near.frames if frame.channel == 1)
    near.run(2, "--", "sleep", "68.5")
    until(lambda: running("68.5"))
    near.connection.send(2, "drop")
    until(lambda: not running("68.5"))


def test_a_machine_is_held_until_it_is_deleted(near: Near, engine: NamespaceEngine) -> None:
    """The watchdog knows of the machines that calls make, and forgets those that are deleted or were not made."""
    from smolkit.runners.local import watchdog

    near.settle(engine)
    near.run(1, "machine", "create", "--name", "m", makes=["m"], finish=True)
    near.wait(1)
    until(lambda: watchdog.mine()._held)
    engine.fault("create", "fail")
    near.run(2, "machine", "create", "--name", "n", makes=["n"], finish=True)
    assert 1 == near.wait(2).fields["code"]
    near.run(3, "machine", "delete", "-f", "--name", "m", deletes="m", finish=True)
    near.wait(3)
    until(lambda: not watchdog.mine()._held and not watchdog.mine()._making)
    watchdog.mine().close()


def test_the_end_of_a_link_ends_its_calls(near: Near, engine: NamespaceEngine) -> None:
    """At the end of the link, commands are ended at once, and calls that must finish have a few seconds."""
    near.settle(engine)
    near.run(1, "machine", "create", "--name", "m")
    near.wait(1)
    engine.fault("delete", "hang")
    near.run(2, "machine", "delete", "-f", "--name", "m", finish=True)
    until(lambda: "delete" in engine.calls)
    began = time.monotonic()
    near.server.end()

    assert not near.server.calls
    assert time.monotonic() - began < 60


def test_bye_says_whether_machines_stay(near: Near, engine: NamespaceEngine) -> None:
    """An orderly end is told with what becomes of the machines."""
    near.settle(engine)
    near.connection.send(0, "bye", keep=True)
    until(lambda: "server" in near.ends)

    assert "" == near.ends["server"]
    assert near.server.keeps


@pytest.mark.parametrize("seed", range(10))
def test_nonsense_ends_the_link_and_nothing_else(near: Near, engine: NamespaceEngine, seed: int) -> None:
    """Frames with fields of wrong types, unknown operations and random bytes are errors, or end the link: never a hang."""
    chance = random.Random(seed)  # noqa: S311
    near.settle(engine)
    values: list[Any] = [None, -1, "x", [], {}, [[1]], True, 1e9]
    ops = ["run", "call", "stdin", "eof", "credit", "release", "drop", "end", "size", "nothing"]
    for _ in range(60):
        names = ["argv", "env", "window", "name", "args", "size", "kill", "ok", "makes", "deletes", "stdin", "terminal"]
        fields = {name: chance.choice(values) for name in chance.sample(names, 4)}
        near.connection.send(chance.randrange(5), chance.choice(ops), **fields)
    near.connection.send_raw(chance.randbytes(50), 10**6)
    until(lambda: "server" in near.ends)

    assert "does not speak this protocol" in near.ends["server"]


def test_errors_cross_as_what_they_are() -> None:
    """An error of the far end is raised here as the same kind, with the host in its message; others as a SmolvmError."""
    kinds: list[tuple[BaseException, type[Exception]]] = [
        (errors.EngineNotFoundError("no program"), errors.EngineNotFoundError),
        (errors.QueueTimeoutError("late"), errors.QueueTimeoutError),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), OSError),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), FileNotFoundError),
        (ValueError("long"), ValueError),
        (KeyError("x"), errors.SmolvmError),
        (SystemExit(1), errors.SmolvmError),
    ]
    for error, kind in kinds:
        (frame,) = _decoded(encode(1, "error", **described(error)))
        found = failure(frame, "build1")
        assert isinstance(found, kind)
        assert "build1: " in str(found)
    assert "/tmp/x" in str(failure(_decoded(encode(1, "error", **described(kinds[2][0])))[0], "h"))


def _decoded(data: bytes) -> list[Frame]:
    from smolkit.runners.remote.wire import Decoder

    return list(Decoder().feed(data))


def test_the_zip_is_kept_for_its_owner_and_checked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The zip is kept in a directory that only its owner may enter; another content under its name is not used."""
    digest, content = payload.archive()
    cache = tmp_path / "cache"
    assert bootstrap.private(str(cache))
    assert 0o700 == cache.stat().st_mode & 0o777
    assert "" == bootstrap.cached(str(cache), digest)
    path = bootstrap.keep(str(cache), digest, content)
    assert path == bootstrap.cached(str(cache), digest)
    os.truncate(path, 1000)
    assert "" == bootstrap.cached(str(cache), digest)
    os.utime(path, (0, 0))
    other = bootstrap.keep(str(cache), hashlib.sha256(b"x").hexdigest(), b"x")
    assert [os.path.basename(other)] == os.listdir(cache)
    (tmp_path / "link").symlink_to(cache)
    (tmp_path / "file").write_text("")
    assert not bootstrap.private(str(tmp_path / "link"))
    assert not bootstrap.private(str(tmp_path / "file/x"))
    assert "" == bootstrap.keep(str(tmp_path / "none"), digest, content)
    assert len(content) < 300_000


def test_without_a_directory_the_zip_is_in_memory(tmp_path: Path) -> None:
    """Where no directory takes the zip, it is imported from memory."""
    path = bootstrap.in_memory(payload.archive()[1])
    code = "import sys; sys.path.insert(0, sys.argv[1]); import smolkit.errors; print(smolkit.__file__)"
    fd = int(path.rpartition("/")[2])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, path],
        capture_output=True,
        text=True,
        check=True,
        pass_fds=[fd],
        cwd=tmp_path,
    )
    os.close(fd)

    assert f"{path}/smolkit/__init__.py\n" == done.stdout


def test_the_zip_is_the_same_each_time() -> None:
    """The same sources give the same bytes, so that a host gets them once; tests and caches are not in it."""
    first = payload.archive()
    payload.archive.cache_clear()

    assert first == payload.archive()
    assert b"testing" not in first[1]


def test_the_line_for_a_shell_is_plain() -> None:
    """The words for the far shell have nothing in them that any login shell would read, once they are quoted."""
    assert not set("'!\\\n`") & set("".join(payload.COMMAND))
    *_, line = SshLink("build1").argv(payload.COMMAND)
    assert line.startswith("sh -c 'for p in ")


def test_a_session_without_its_leader_is_ended() -> None:
    """Processes of a session whose leader has ended are terminated, those that hold out killed, and others left alone."""
    script = "sleep 69.5 & (trap '' TERM; exec sleep 69.5) & exit"
    leader = subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.DEVNULL)
    assert 0 == leader.wait()
    until(lambda: len(running("69.5")) == 2)
    end_session(leader.pid)
    until(lambda: not running("69.5"))


def test_who_waits_is_woken() -> None:
    """A signal wakes its waiters, and tells a timeout from a change."""
    signal_, seen = Signal(), list[bool]()
    thread = threading.Thread(target=lambda: seen.append(signal_.wait(lambda: bool(seen_flag))))
    seen_flag: list[int] = []
    thread.start()
    seen_flag.append(1)
    signal_.set()
    thread.join()

    assert [True] == seen
    assert not signal_.wait(lambda: False, 0.01)


def test_prefixes_that_go_through_a_shell_are_refused() -> None:
    """A prefix that joins its arguments for a shell is refused, wherever it stands, and the error names what to use."""
    for prefix in (["ssh", "h"], ["/usr/bin/ssh", "h"], ["sudo", "-n", "ssh", "h"], ["sshpass", "-e", "ssh", "h"]):
        with pytest.raises(ValueError, match="use SshRunner"):
            SubprocessRunner(prefix=prefix)
    for prefix in (["wsl", "--"], ["/mnt/c/Windows/System32/wsl.exe"]):
        with pytest.raises(ValueError, match="use \\['wsl', '--exec'\\]"):
            SubprocessRunner(prefix=prefix)
    SubprocessRunner(prefix=["wsl", "--exec"])
    SubprocessRunner(prefix=["sudo", "-n"])
    SubprocessRunner(prefix=["docker", "exec", "-i", "box"])


@pytest.fixture
def hangups() -> Iterator[None]:
    """The default action of SIGHUP, which the far process restores. Under nohup tests, and so their server, ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups")
def test_a_terminal_there(near: Near, engine: NamespaceEngine, program: Path) -> None:
    """A command has a terminal of its own at the far end, with a size that changes, and ends with a hangup."""
    near.settle(engine, program=str(program))
    script = 'stty size; echo $TERM; echo note >&2; read a; stty size; read b; echo "got $b"; exit 3'
    near.run(1, "--", "sh", "-c", script, terminal=["vt100", 90, 30])

    def shown() -> bytes:
        return b"".join(frame.blob for frame in near.frames if frame.channel == 1 and frame.op == "stdout")

    until(lambda: b"30 90\r\nvt100\r\n" in shown())
    near.connection.send(1, "size", size=[91, 31])
    near.connection.send(1, "stdin", b"\n")
    until(lambda: b"31 91\r\n" in shown())
    near.connection.send(1, "stdin", b"x\n")
    assert 3 == near.wait(1).fields["code"]
    assert b"got x\r\n" in shown()
    assert b"note\n" == b"".join(frame.blob for frame in near.frames if frame.op == "stderr")
    near.run(2, "--", "sleep", "70.5", terminal=["vt100", 90, 30])
    until(lambda: running("70.5"))
    near.connection.send(2, "end", kill=False)
    assert -signal.SIGHUP == near.wait(2).fields["code"]

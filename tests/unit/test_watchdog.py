"""The watchdog: what becomes of an owner's machines, its watchdog and other machines, however the owner ends."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
from attrs import evolve

from smolkit import AsyncRunner, Completed, Invocation, Smolvm, SmolvmError, SubprocessRunner
from smolkit.commands import Delete, Ls, Status, Stop
from smolkit.flows import orphans
from smolkit.runners.local.identity import here
from smolkit.testing import FakeRunner, FakeSmolvm, NamespaceEngine, Recorder
from smolkit.values.ownership import MACHINE, OWNER, Owner, fresh_name
from tests.processes import add_foreign_machine, until

BEGIN = """
import asyncio, ctypes, os, resource, signal, subprocess, sys, time
from smolkit import AsyncSmolvm, Smolvm, SubprocessRunner
def ready():
    print("ready", flush=True)
    return sys.stdin.readline()
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
runner = SubprocessRunner(sys.argv[1], version="1.32.2")
client = Smolvm(runner=runner, watchdog=True)
"""
HOLDING = BEGIN + "machine = client.machine('m').__enter__(); ready()\n"


def command(engine: NamespaceEngine, code: str) -> tuple[list[str], dict[str, str]]:
    """The owner's command line and environment, which marks its watchdog."""
    return [sys.executable, "-c", code, str(engine.program)], {
        "PATH": f"{engine.folder}:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(engine.folder),
    }


@contextmanager
def owner(engine: NamespaceEngine, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that owns machines and is ready. It is killed at the end."""
    argv, env = command(engine, code)
    with subprocess.Popen(argv, env=env, stdin=PIPE, stdout=PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def proceed(process: subprocess.Popen[str]) -> None:
    """Let the owner take its next step."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def processes(engine: NamespaceEngine, *begin: str) -> list[int]:
    """The processes of this engine's owners' watchdogs whose command line begins so."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_one(pid, engine, *begin)]


def is_one(pid: int, engine: NamespaceEngine, *begin: str) -> bool:
    """True if this is such a process and runs."""
    try:
        argv, env = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    except OSError:
        return False
    return argv.startswith("\0".join(begin).encode()) and f"PATH={engine.folder}:".encode() in env


SHELL, PYTHON = ("/bin/sh", "-c", "exec 3<&0"), (sys.executable, "-S")


def watchdogs(engine: NamespaceEngine) -> list[int]:
    """The watchdogs that wait, or have started their cleaner."""
    return processes(engine, *SHELL)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[NamespaceEngine]:
    """An engine with a machine of another, which stays. At the end no watchdog is left."""
    engine = NamespaceEngine(tmp_path)
    add_foreign_machine(engine)
    yield engine
    until(lambda: not watchdogs(engine) + processes(engine, *PYTHON))


FOREIGN = ["m-foreign"]


@pytest.mark.parametrize(
    "end",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",  # as the OOM killer does
        "os.killpg(0, signal.SIGKILL)",
        "os.killpg(0, signal.SIGINT)",
        "os.killpg(0, signal.SIGHUP)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os._exit(3)",
        "os.abort()",
        "ctypes.string_at(0)",
        "raise SystemExit",
        "raise ValueError",
    ],
)
def test_machines_are_removed_however_their_process_ends(engine: NamespaceEngine, end: str) -> None:
    """Machines and their commands are removed at once however their process ends, except kept ones and another's."""
    code = f"{HOLDING}client.machine('kept', keep=True).create(); client.machine('also').create()\n"
    with owner(engine, f"{code}sys.stderr = None; ready(); {end}") as process:
        proceed(process)
        until(lambda: "m-also" in engine.left)
        proceed(process)
        until(lambda: engine.left == [*FOREIGN, "m-kept"])


def test_machines_are_removed_when_the_terminal_closes(engine: NamespaceEngine) -> None:
    """Machines are removed when the terminal closes: SIGHUP reaches its session, and not the watchdog's."""
    terminal, far = os.openpty()
    # A terminal that a session leader opens becomes the session's.
    with owner(engine, f"{HOLDING}os.open({os.ttyname(far)!r}, os.O_RDWR); print('ready', flush=True); ready()") as process:
        proceed(process)
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        os.close(terminal)
        assert -signal.SIGHUP == process.wait()
        until(lambda: engine.left == FOREIGN)
    os.close(far)


@pytest.mark.parametrize("verb", ["create", "start", "exec", "delete"])
def test_machines_are_removed_at_whatever_step_their_process_is_killed(engine: NamespaceEngine, verb: str) -> None:
    """Machines are removed at whatever step their process is killed, also one whose create outlives it."""
    engine.strike(verb, "KILL")
    with owner(engine, f"{BEGIN}ready()\nwith client.machine('m') as machine: machine.exec(['true'])") as process:
        proceed(process)
        process.wait()
        if verb == "create":  # otherwise there would be nothing to remove
            until(lambda: "m-m" in engine.left)
        until(lambda: engine.left == FOREIGN)
    until(lambda: not watchdogs(engine))


@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_process_that_leaves_nothing_costs_no_call(engine: NamespaceEngine, end: str) -> None:
    """A watchdog with nothing to remove ends without a call of the engine."""
    code = f"""{BEGIN}
with client.machine("m"): pass
client.machine("n").create(); client.machine("n").delete(); client.machine("kept", keep=True).create()
try: client.machine("foreign").create()
except Exception as error: print(type(error).__name__, file=sys.stderr)
ready(); {end}
"""
    with owner(engine, code) as process:
        (watchdog,) = watchdogs(engine)
        calls = engine.calls
        proceed(process)
        process.wait()
        until(lambda: not is_one(watchdog, engine, *SHELL))
    assert (calls, [*FOREIGN, "m-kept"]) == (engine.calls, engine.left)


def test_a_watchdog_inherits_nothing_of_its_owner(engine: NamespaceEngine) -> None:
    """A watchdog has no descriptor, directory, terminal, session, variable or thread of its owner, and init as parent."""
    with owner(engine, HOLDING) as process:
        (pid,) = watchdogs(engine)
        files = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

        assert ["/dev/null", "/dev/null", "socket"] == sorted(file.partition(":")[0] for file in files)
        assert "/" == os.readlink(f"/proc/{pid}/cwd")
        assert str(process.pid) not in (stat[1], stat[2], stat[3])
        assert ("0", "1") == (stat[4], stat[17])  # terminal, threads
        assert {"PATH"} >= {
            word.partition(b"=")[0].decode() for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        } - {"", "PWD"}
        assert int(stat[21]) * os.sysconf("SC_PAGE_SIZE") < 4 * 2**20
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        assert "" == children


def test_a_watchdog_survives_signals_for_a_whole_service(engine: NamespaceEngine) -> None:
    """A watchdog survives signals that a service manager sends to the whole service, even before its owner."""
    with owner(engine, HOLDING) as process:
        (pid,) = watchdogs(engine)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            os.kill(pid, number)
        process.terminate()
        until(lambda: engine.left == FOREIGN)


@pytest.mark.parametrize(
    "fork",
    [
        "pid = os.fork()\nif pid == 0: time.sleep(600)",
        "pid = subprocess.Popen(['sleep', '600'], close_fds=False).pid",
        "pid = subprocess.Popen(['sleep', '600'], preexec_fn=lambda: None).pid",
    ],
)
def test_surviving_children_keep_no_machine_of_their_parent(engine: NamespaceEngine, fork: str) -> None:
    """A child that outlives its parent does not keep the parent's machines, since it does not inherit the link."""
    code = f"{HOLDING}{fork}\nprint(pid, flush=True); ready()"
    with owner(engine, code) as process:
        proceed(process)
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            process.kill()
            until(lambda: engine.left == FOREIGN)
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_has_a_watchdog_of_its_own(engine: NamespaceEngine) -> None:
    """A forked child has a watchdog of its own for its own machines."""
    code = f"""{HOLDING}
pid = os.fork()
if pid == 0:
    client.machine("childs").create()
    ready()
    time.sleep(600)
print(pid, flush=True); time.sleep(600)"""
    with owner(engine, code) as process:
        proceed(process)
        assert process.stdout is not None
        child = int("".join(sorted([process.stdout.readline(), process.stdout.readline()])).split()[0])
        try:
            assert 2 == len(watchdogs(engine))
            process.kill()
            until(lambda: "m-m" not in engine.left)
            assert [*sorted(["m-childs"]), *FOREIGN] == engine.left
        finally:
            os.kill(child, signal.SIGKILL)
        until(lambda: engine.left == FOREIGN)


def test_a_process_that_closes_all_descriptors_keeps_its_machines(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A living process that closes all descriptors keeps its machines, and its next machine gets a new watchdog."""
    code = f"""{HOLDING}
os.closerange(3, 1000)
files = [open(f"{tmp_path}/file", "ab") for _ in range(20)]
print("ready", flush=True); sys.stdin.readline()
client.machine("n").create(); ready()"""
    with owner(engine, code) as process:
        proceed(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        until(lambda: processes(engine, *PYTHON))
        proceed(process)
        assert process.stdout.readline() == "ready\n"
        assert ["m-foreign", "m-m", "m-n", "running-m"] == engine.left
        assert b"" == (tmp_path / "file").read_bytes()
        process.kill()
        until(lambda: engine.left == FOREIGN)


def test_a_process_that_execs_keeps_its_machines(engine: NamespaceEngine) -> None:
    """A process that execs another program keeps its machines until that ends, although the link is closed."""
    code = f"{HOLDING}os.execv('/bin/cat', ['cat'])"
    with owner(engine, code) as process:
        calls = engine.calls
        proceed(process)
        until(lambda: processes(engine, *PYTHON))
        proceed(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"  # cat's
        assert (calls, True) == (engine.calls, "m-m" in engine.left)
        process.kill()
        until(lambda: engine.left == FOREIGN)


def test_one_watchdog_serves_all_runners_of_a_process(engine: NamespaceEngine, tmp_path: Path) -> None:
    """One watchdog serves all runners of a process (engines, state directories, prefixes), with no variables in argv."""
    other = NamespaceEngine(tmp_path / "other")
    code = f"""{HOLDING}
hidden = {{"TOKEN": "hush", "HTTPS_PROXY": "x"}}
far = SubprocessRunner({str(other.program)!r}, prefix=["env", "A=b"], env=hidden, version="1.32.2")
Smolvm(runner=far, watchdog=True).machine("n").create()
ready()"""
    with owner(engine, code) as process:
        proceed(process)
        until(lambda: "m-n" in other.left)
        (pid,) = watchdogs(engine)
        assert b"hush" not in Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        process.kill()
        until(lambda: (engine.left, other.left) == (FOREIGN, []))


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_the_async_client_has_one_too(engine: NamespaceEngine, library: str) -> None:
    """The async client has one watchdog, also with many concurrent creates."""
    code = f"""{BEGIN}
import anyio
async def main():
    client = AsyncSmolvm(runner=SubprocessRunner(sys.argv[1], version="1.32.2"), watchdog=True)
    async with anyio.create_task_group() as group:
        for number in range(5): group.start_soon(client.machine(f"m{{number}}").create)
    ready()
anyio.run(main, backend={library!r})"""
    with owner(engine, code) as process:
        assert 6 == len(engine.left)
        assert 1 == len(watchdogs(engine))
        process.kill()
        until(lambda: engine.left == FOREIGN)


def test_threads_share_one(engine: NamespaceEngine) -> None:
    """Threads that create and delete at once share one watchdog."""
    code = f"""{BEGIN}
from concurrent.futures import ThreadPoolExecutor
def life(number):
    with client.machine(f"m{{number}}"): pass
    client.machine(f"n{{number}}").create()
with ThreadPoolExecutor(8) as pool: list(pool.map(life, range(16)))
ready()"""
    with owner(engine, code) as process:
        assert 17 == len(engine.left)
        assert 1 == len(watchdogs(engine))
        process.kill()
        until(lambda: engine.left == FOREIGN)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_watchdog_that_is_gone_is_replaced(engine: NamespaceEngine, number: signal.Signals) -> None:
    """A dead or hanging watchdog is replaced with the next machine, without SIGPIPE or blocking."""
    code = f"""{BEGIN}
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
machine = client.machine("m"); machine.create()
ready()
from smolkit.runners.local import watchdog
line = watchdog._mine._engines[runner.host]
for _ in range(1000 if {number == signal.SIGSTOP} else 1):
    watchdog._mine.begin_making([(runner.host, "x")], line); watchdog._mine.end_making([(runner.host, "x")], made=False)
client.machine("n").create(); ready()"""
    with owner(engine, code) as process:
        (first,) = watchdogs(engine)
        os.kill(first, number)
        if number == signal.SIGKILL:
            until(lambda: not is_one(first, engine, *SHELL))
        try:
            proceed(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.kill()
            until(lambda: engine.left == FOREIGN)
        finally:
            if number == signal.SIGSTOP:
                os.kill(first, signal.SIGKILL)


def test_without_a_watchdog_nothing_is_made(engine: NamespaceEngine) -> None:
    """If no watchdog can be started, create fails before the engine is called."""
    code = f"""{BEGIN}
machine = client.machine("m", lifetime=60); client.machine(); client.ls()  # so that all needed modules are imported
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try: machine.create()
except Exception as error: print(type(error).__name__, error, file=sys.stderr)
"""
    argv, env = command(engine, code)
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    assert "SmolvmError no watchdog can be started" in done.stderr
    assert (["ls"], FOREIGN) == (engine.calls, engine.left)


def test_a_dry_run_starts_no_watchdog(engine: NamespaceEngine) -> None:
    """A dry run starts no watchdog."""
    with owner(engine, f"{BEGIN}\nwith client.dry_run(echo=False), client.machine('m'): ready()"):
        assert [] == watchdogs(engine)


def test_runners_without_a_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fakes need no watchdog; a custom runner, and a frozen program, which has no Python to start, are refused."""

    class Mine(AsyncRunner):
        async def execute(self, invocation: Invocation) -> Completed:
            raise NotImplementedError

    with Recorder(FakeSmolvm(), tmp_path / "tape") as recorder:
        for runner in (FakeRunner(), FakeSmolvm(), recorder):
            Smolvm(runner=runner, watchdog=True)
        Smolvm(runner=recorder, watchdog=True).machine("m").create()
    with pytest.raises(NotImplementedError, match="Mine has no watchdog"):
        Smolvm(runner=Mine(), watchdog=True)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(RuntimeError, match="frozen"):
        Smolvm("/no/such/smolvm", watchdog=True)


def test_a_copy_of_a_client_is_watched_in_its_own_process(engine: NamespaceEngine) -> None:
    """Unpickled runners and machines are watched in their own process."""
    machine = Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2"), watchdog=True).machine("m")
    code = f"{BEGIN}\nimport pickle; machine = pickle.loads({pickle.dumps(machine)!r}); machine.create(); ready()"
    with owner(engine, code) as process:
        assert "m-m" in engine.left
        process.kill()
        until(lambda: engine.left == FOREIGN)


def test_a_recorded_runner_is_watched(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A Recorder's runner is watched."""
    code = f"""{BEGIN}
from smolkit.testing import Recorder
Smolvm(runner=Recorder(runner, {str(tmp_path / "tape")!r}), watchdog=True).machine("m").create(); ready()"""
    with owner(engine, code) as process:
        process.kill()
        until(lambda: engine.left == FOREIGN)


def gone() -> Owner:
    """A process of this host that has ended."""
    me = here().me
    assert me is not None
    return evolve(me, pid=2**22 + 1)


@pytest.mark.parametrize("labels", [True, False])
def test_only_the_owners_machines_are_removed(labels: bool) -> None:
    """A watchdog removes only its owner's machines, by label or name, and leaves others for reap."""
    theirs, others = (fresh_name(evolve(gone(), started=number)) for number in (1, 2))
    machines = [
        {
            "name": name,
            "created_at": 1,
            "labels": {MACHINE: name, OWNER: str(evolve(gone(), started=number))} if labels else {},
        }
        for number, name in ((1, theirs), (2, others))
    ]
    fake = FakeRunner("1.32.2" if labels else "1.7.9")
    fake.answer(Ls(), stdout=json.dumps(machines))
    fake.answer(Status(theirs), stdout=json.dumps(machines[0]))
    fake.answer(["machine"])
    orphans.remove([fake], evolve(gone(), started=1), (), 0)

    assert [Stop(theirs), Delete(theirs)] == [command for command in fake.commands if isinstance(command, (Stop, Delete))]


@pytest.mark.parametrize(("expected", "looks"), [(0, 1), (1, 3), (2, 4)])
def test_machines_being_made_are_waited_for(expected: int, looks: int) -> None:
    """A watchdog waits for machines still being made, up to the time that a create may take."""
    fake = FakeRunner()
    record = {"name": "m", "created_at": 1, "labels": {MACHINE: "m", OWNER: str(gone())}}
    fake.answer(Ls(), ["[]", "[]", json.dumps([record]), "[]"])
    fake.answer(Status, stdout=json.dumps(record))
    fake.answer(["machine"])
    orphans.remove([fake], gone(), (0.0, 0.0, 0.0), expected)

    assert looks == fake.commands.count(Ls())


def test_an_engine_that_fails_is_tried_again() -> None:
    """A watchdog tries again when the engine fails."""
    fake = FakeRunner()
    fake.answer(Ls(), [SmolvmError("broken"), "[]"])
    orphans.remove([fake], gone(), (0.0, 0.0, 0.0), 0)

    assert [Ls(), Ls()] == fake.commands

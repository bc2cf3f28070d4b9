"""The watchdog: owners that end in every way, and what becomes of their machines, their watchdog and everybody else's."""

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
from smolkit.testing import FakeRunner, FakeSmolvm, PretendEngine, Recorder
from smolkit.values.ownership import MACHINE, OWNER, Owner, fresh_name
from tests.processes import until

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


def command(engine: PretendEngine, code: str) -> tuple[list[str], dict[str, str]]:
    """Words and environment of an owner; the latter marks its watchdog."""
    return [sys.executable, "-c", code, str(engine.program)], {
        "PATH": f"{engine.folder}:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(engine.folder),
    }


@contextmanager
def owner(engine: PretendEngine, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that owns machines, once it is ready. It is killed at the end, at the latest."""
    argv, env = command(engine, code)
    with subprocess.Popen(argv, env=env, stdin=PIPE, stdout=PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def go_on(process: subprocess.Popen[str]) -> None:
    """Lets it do what comes next."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def processes(engine: PretendEngine, *begin: str) -> list[int]:
    """Those of the watchdogs of this engine's owners whose command line begins so."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_one(pid, engine, *begin)]


def is_one(pid: int, engine: PretendEngine, *begin: str) -> bool:
    """Whether this is such a process, and runs."""
    try:
        argv, env = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    except OSError:
        return False
    return argv.startswith("\0".join(begin).encode()) and f"PATH={engine.folder}:".encode() in env


SHELL, PYTHON = ("/bin/sh", "-c", "exec 3<&0"), (sys.executable, "-S")


def watchdogs(engine: PretendEngine) -> list[int]:
    """Those that wait, or have started the other."""
    return processes(engine, *SHELL)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[PretendEngine]:
    """An engine with a machine of somebody else's, which stays. At the end no watchdog is left."""
    engine = PretendEngine(tmp_path)
    (tmp_path / "state/m-foreign").write_text('"team":"ci"')
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
def test_machines_go_at_once_however_their_process_ends(engine: PretendEngine, end: str) -> None:
    """With what runs in them; those that were made to be kept stay, and somebody else's."""
    code = f"{HOLDING}client.machine('kept', keep=True).create(); client.machine('also').create()\n"
    with owner(engine, f"{code}sys.stderr = None; ready(); {end}") as process:
        go_on(process)
        until(lambda: "m-also" in engine.left)
        go_on(process)
        until(lambda: engine.left == [*FOREIGN, "m-kept"])


def test_machines_go_with_their_terminal(engine: PretendEngine) -> None:
    """What is closed is the terminal: its session gets SIGHUP, and the watchdog is in another."""
    terminal, far = os.openpty()
    # What the leader of a session opens becomes its terminal.
    with owner(engine, f"{HOLDING}os.open({os.ttyname(far)!r}, os.O_RDWR); print('ready', flush=True); ready()") as process:
        go_on(process)
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        os.close(terminal)
        assert -signal.SIGHUP == process.wait()
        until(lambda: engine.left == FOREIGN)
    os.close(far)


@pytest.mark.parametrize("verb", ["create", "start", "exec", "delete"])
def test_machines_go_at_whatever_step_their_process_is_killed(engine: PretendEngine, verb: str) -> None:
    """A create outlives its caller: what it makes after the first look is found by a later one."""
    engine.strike(verb, "KILL")
    with owner(engine, f"{BEGIN}ready()\nwith client.machine('m') as machine: machine.exec(['true'])") as process:
        go_on(process)
        process.wait()
        if verb == "create":  # else nothing would be there to remove
            until(lambda: "m-m" in engine.left)
        until(lambda: engine.left == FOREIGN)
    until(lambda: not watchdogs(engine))


@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_process_that_leaves_nothing_costs_no_call(engine: PretendEngine, end: str) -> None:
    """Its watchdog ends, and asks the engine nothing."""
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
        go_on(process)
        process.wait()
        until(lambda: not is_one(watchdog, engine, *SHELL))
    assert (calls, [*FOREIGN, "m-kept"]) == (engine.calls, engine.left)


def test_a_watchdog_has_nothing_of_its_owner(engine: PretendEngine) -> None:
    """No descriptor, directory, terminal, session or variables; no thread; and it is nobody's child."""
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


def test_a_watchdog_survives_signals_for_a_whole_service(engine: PretendEngine) -> None:
    """A service manager sends them to every process that it has: here the watchdog is hit first."""
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
def test_children_that_live_on_hold_no_machine_of_their_parent(engine: PretendEngine, fork: str) -> None:
    """They have none of its link to the watchdog."""
    code = f"{HOLDING}{fork}\nprint(pid, flush=True); ready()"
    with owner(engine, code) as process:
        go_on(process)
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            process.kill()
            until(lambda: engine.left == FOREIGN)
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_has_a_watchdog_of_its_own(engine: PretendEngine) -> None:
    """Each looks after what its process made."""
    code = f"""{HOLDING}
pid = os.fork()
if pid == 0:
    client.machine("childs").create()
    ready()
    time.sleep(600)
print(pid, flush=True); time.sleep(600)"""
    with owner(engine, code) as process:
        go_on(process)
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


def test_a_process_that_closes_all_descriptors_keeps_its_machines(engine: PretendEngine, tmp_path: Path) -> None:
    """It lives. A new watchdog takes over with its next machine, and nothing is written to files of the old number."""
    code = f"""{HOLDING}
os.closerange(3, 1000)
files = [open(f"{tmp_path}/file", "ab") for _ in range(20)]
print("ready", flush=True); sys.stdin.readline()
client.machine("n").create(); ready()"""
    with owner(engine, code) as process:
        go_on(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        until(lambda: processes(engine, *PYTHON))
        go_on(process)
        assert process.stdout.readline() == "ready\n"
        assert ["m-foreign", "m-m", "m-n", "running-m"] == engine.left
        assert b"" == (tmp_path / "file").read_bytes()
        process.kill()
        until(lambda: engine.left == FOREIGN)


def test_a_process_that_becomes_another_program_keeps_its_machines(engine: PretendEngine) -> None:
    """Until that ends: by an exec the link is closed, and the process lives."""
    code = f"{HOLDING}os.execv('/bin/cat', ['cat'])"
    with owner(engine, code) as process:
        calls = engine.calls
        go_on(process)
        until(lambda: processes(engine, *PYTHON))
        go_on(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"  # cat's
        assert (calls, True) == (engine.calls, "m-m" in engine.left)
        process.kill()
        until(lambda: engine.left == FOREIGN)


def test_one_watchdog_serves_all_runners_of_a_process(engine: PretendEngine, tmp_path: Path) -> None:
    """Other engines, state directories and prefixes; their variables may be secrets, and are in no command line."""
    other = PretendEngine(tmp_path / "other")
    code = f"""{HOLDING}
hidden = {{"TOKEN": "hush", "HTTPS_PROXY": "x"}}
far = SubprocessRunner({str(other.program)!r}, prefix=["env", "A=b"], env=hidden, version="1.32.2")
Smolvm(runner=far, watchdog=True).machine("n").create()
ready()"""
    with owner(engine, code) as process:
        go_on(process)
        until(lambda: "m-n" in other.left)
        (pid,) = watchdogs(engine)
        assert b"hush" not in Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        process.kill()
        until(lambda: (engine.left, other.left) == (FOREIGN, []))


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_the_async_client_has_one_too(engine: PretendEngine, library: str) -> None:
    """Created by many tasks at once."""
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


def test_threads_share_one(engine: PretendEngine) -> None:
    """Making and deleting at once."""
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
def test_a_watchdog_that_is_gone_is_replaced(engine: PretendEngine, number: signal.Signals) -> None:
    """With the next machine; a SIGPIPE of its end harms nobody, and one that hangs blocks nobody."""
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
            go_on(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.kill()
            until(lambda: engine.left == FOREIGN)
        finally:
            if number == signal.SIGSTOP:
                os.kill(first, signal.SIGKILL)


def test_without_a_watchdog_nothing_is_made(engine: PretendEngine) -> None:
    """Where it cannot be started, create fails before the engine is called."""
    code = f"""{BEGIN}
machine = client.machine("m", lifetime=60); client.machine(); client.ls()  # imports what it takes
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try: machine.create()
except Exception as error: print(type(error).__name__, error, file=sys.stderr)
"""
    argv, env = command(engine, code)
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    assert "SmolvmError no watchdog can be started" in done.stderr
    assert (["ls"], FOREIGN) == (engine.calls, engine.left)


def test_a_dry_run_starts_none(engine: PretendEngine) -> None:
    """It makes nothing."""
    with owner(engine, f"{BEGIN}\nwith client.dry_run(echo=False), client.machine('m'): ready()"):
        assert [] == watchdogs(engine)


def test_runners_that_have_none_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fakes need none; a transport of one's own is refused, and so is a program that has no Python to start."""

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


def test_a_copy_of_a_client_is_watched_in_its_own_process(engine: PretendEngine) -> None:
    """Pickled runners and machines remember that they are."""
    machine = Smolvm(runner=SubprocessRunner(engine.program, version="1.32.2"), watchdog=True).machine("m")
    code = f"{BEGIN}\nimport pickle; machine = pickle.loads({pickle.dumps(machine)!r}); machine.create(); ready()"
    with owner(engine, code) as process:
        assert "m-m" in engine.left
        process.kill()
        until(lambda: engine.left == FOREIGN)


def test_a_recorded_runner_is_watched(engine: PretendEngine, tmp_path: Path) -> None:
    """It is the other runner that drives the engine."""
    code = f"""{BEGIN}
from smolkit.testing import Recorder
Smolvm(runner=Recorder(runner, {str(tmp_path / "tape")!r}), watchdog=True).machine("m").create(); ready()"""
    with owner(engine, code) as process:
        process.kill()
        until(lambda: engine.left == FOREIGN)


def gone() -> Owner:
    """A process of this host that is no more."""
    me = here().me
    assert me is not None
    return evolve(me, pid=2**22 + 1)


@pytest.mark.parametrize("labels", [True, False])
def test_only_the_owners_machines_are_removed(labels: bool) -> None:
    """By label or by name; what another dead process left is for `reap`."""
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
def test_what_is_still_being_made_is_waited_for(expected: int, looks: int) -> None:
    """Until as many were found as there may be, or for as long as a create may take."""
    fake = FakeRunner()
    record = {"name": "m", "created_at": 1, "labels": {MACHINE: "m", OWNER: str(gone())}}
    fake.answer(Ls(), ["[]", "[]", json.dumps([record]), "[]"])
    fake.answer(Status, stdout=json.dumps(record))
    fake.answer(["machine"])
    orphans.remove([fake], gone(), (0.0, 0.0, 0.0), expected)

    assert looks == fake.commands.count(Ls())


def test_an_engine_that_fails_is_tried_again() -> None:
    """Nobody else would."""
    fake = FakeRunner()
    fake.answer(Ls(), [SmolvmError("broken"), "[]"])
    orphans.remove([fake], gone(), (0.0, 0.0, 0.0), 0)

    assert [Ls(), Ls()] == fake.commands

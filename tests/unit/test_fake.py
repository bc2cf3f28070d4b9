"""FakeSmolvm beyond the contract tests: handlers, faults, time, threads and refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest

from smolkit import Machine, SmolvmError, errors
from smolkit import Smolvm as Client
from smolkit.commands import Exec
from smolkit.testing import FakeSmolvm, GuestCall, GuestResult, UnexpectedCommandError


@pytest.fixture
def smolvm() -> FakeSmolvm:
    """A fake engine."""
    return FakeSmolvm()


@pytest.fixture
def client(smolvm: FakeSmolvm) -> Client:
    """A client of the fake."""
    return Client(runner=smolvm)


@pytest.fixture
def machine(client: Client) -> Iterator[Machine]:
    """A running machine of the fake."""
    with client.machine("m", env={"BASE": "1"}) as made:
        yield made


def test_forms_of_a_handlers_answer(smolvm: FakeSmolvm, machine: Machine) -> None:
    """A handler may be stdout, an exit status, a GuestResult, or an OSError for a program that cannot be started."""
    smolvm.on("uname", "Linux\n")
    smolvm.on("fails", 3)
    smolvm.on("both", GuestResult(4, b"out", "err"))
    smolvm.on("nothing", lambda call: None)
    smolvm.on("missing", FileNotFoundError)
    smolvm.on("forbidden", PermissionError("no"))

    assert "Linux\n" == machine.exec(["uname", "-a"]).stdout
    assert 3 == machine.exec(["fails"]).returncode
    found = machine.exec(["both"])
    assert (4, "out", "err") == (found.returncode, found.stdout, found.stderr)
    assert machine.exec(["nothing"]).ok
    with pytest.raises(errors.ProgramNotFoundError):
        machine.exec(["missing"])
    with pytest.raises(errors.ProgramNotExecutableError):
        machine.exec(["forbidden"])


def test_image_machines_fail_in_their_own_words(smolvm: FakeSmolvm, client: Client) -> None:
    """Image machines report a program that cannot be started in crun's words, with status 255."""
    smolvm.on("missing", FileNotFoundError)
    smolvm.on("forbidden", PermissionError)
    with client.machine(image="alpine") as machine:
        with pytest.raises(errors.ProgramNotFoundError, match="not found in \\$PATH") as caught:
            machine.exec(["missing"])
        with pytest.raises(errors.ProgramNotExecutableError, match="open executable"):
            machine.exec(["forbidden"])
    assert 255 == caught.value.returncode


def test_the_last_matching_handler_is_used(smolvm: FakeSmolvm, machine: Machine) -> None:
    """The last handler registered for the first words of a command is used, also for built-in programs and in the shell."""
    smolvm.on(["git", "clone"], 128)
    smolvm.on("git", "any\n")
    smolvm.on(["git", "status"], "clean\n")
    smolvm.on("echo", "mine\n")

    assert ["any\n", "clean\n"] == [machine.exec(["git", word]).stdout for word in ("clone", "status")]
    assert "mine\n" == machine.sh("echo x").stdout


def test_handlers_see_everything(smolvm: FakeSmolvm, machine: Machine) -> None:
    """A handler gets the command, environment, working directory, user, input and files."""
    seen: list[GuestCall] = []

    @smolvm.on("build")
    def build(call: GuestCall) -> str:
        seen.append(call)
        call.files.write_text(call.path("out.txt"), "built " + call.stdin.decode())
        return f"{call.machine.name}: {call.env['TOKEN']}"

    machine.mkdir("/work")
    result = machine.exec(["build", "x"], env={"A": "b"}, secrets={"TOKEN": "s3cr3t"}, workdir="/work", input="this")
    assert "m: s3cr3t" == result.stdout
    assert "built this" == machine.read_text("/work/out.txt")
    (call,) = seen
    assert (("build", "x"), "/work", None, b"this") == (call.args, call.workdir, call.user, call.stdin)
    assert {"BASE": "1", "A": "b", "TOKEN": "s3cr3t"} == dict(call.env)
    assert seen == [call for call in smolvm.machines["m"].calls if call.args[0] == "build"]


def test_slow_output_and_timeouts_take_no_time(smolvm: FakeSmolvm, machine: Machine) -> None:
    """A generator's pieces arrive as they are read, and the fake's clock makes timeouts happen without waiting."""

    @smolvm.on("slow")
    def slow(call: GuestCall) -> Iterator[Any]:
        yield "one\n"
        call.sleep(5)
        yield "stderr", "warning\n"
        call.sleep(5)
        yield b"two\n"
        return 7  # type: ignore[return-value]

    pieces = []
    with machine.popen(["slow"], text=True) as process:
        pieces += [(*piece, smolvm.clock()) for piece in process]
    assert [("stdout", "one\n", 0.0), ("stderr", "warning\n", 5.0), ("stdout", "two\n", 10.0)] == pieces
    assert 7 == process.returncode
    with pytest.raises(errors.ExecTimeoutError) as caught:
        machine.exec(["slow"], timeout=7)
    assert ("one\n", "warning\n", 17.0) == (caught.value.stdout, caught.value.stderr, smolvm.clock())
    with pytest.raises(errors.ExecTimeoutError):
        machine.popen(["slow"], timeout=7).wait()


@pytest.mark.parametrize("passed", [1.001, 0.1 + 0.2, 7.3, 1234.567])
def test_a_timeout_is_detected_at_any_clock_reading(smolvm: FakeSmolvm, machine: Machine, passed: float) -> None:
    """A timeout is detected also where floating-point rounding makes the elapsed time slightly less than it."""
    for timeout in (0.1, 0.7, 4, 300.3):
        smolvm.sleep(passed)
        with pytest.raises(errors.ExecTimeoutError):
            machine.exec(["sleep", "600"], timeout=timeout)
        with pytest.raises(errors.ExecTimeoutError):
            machine.popen(["sleep", "600"], timeout=timeout).wait()


def test_a_process_may_be_waited_for_ended_and_fed(smolvm: FakeSmolvm, machine: Machine) -> None:
    """A process of the fake can be waited for, ended and written to."""

    @smolvm.on("long")
    def late(call: GuestCall) -> str:
        call.sleep(600)
        return "late"

    process = machine.popen(["long"])
    with pytest.raises(TimeoutError):
        process.wait(timeout=1)
    process.kill()
    assert -9 == process.wait()
    ended = machine.popen(["long"])
    ended.terminate()
    assert (-15, -15) == (ended.wait(), ended.poll())
    with machine.popen(["cat"], stdin=True) as fed:
        assert fed.stdin is not None
        fed.stdin.write("given")
        fed.stdin.close()
        assert [("stdout", b"given")] == list(fed)


FAULTS: list[tuple[str, str, Callable[[Machine], object], type[SmolvmError]]] = [
    ("start", "boot failed", Machine.start, errors.BootFailedError),
    ("start", "boot timeout", Machine.start, errors.BootFailedError),
    ("start", "no hypervisor", Machine.start, errors.HypervisorUnavailableError),
    ("start", "port in use", Machine.start, errors.PortInUseError),
    ("start", "start in progress", Machine.start, errors.StartInProgressError),
    ("start", "hangs", Machine.start, errors.EngineTimeoutError),
    ("stop", "killed", Machine.stop, errors.EngineDiedError),
    ("delete", "locked", Machine.delete, errors.EngineBusyError),
    ("delete", "not empty", Machine.delete, errors.EngineBusyError),
    ("exec", "dies", lambda m: m.exec(["true"]), errors.ConnectionLostError),
    ("exec", "output cap", lambda m: m.exec(["true"]), errors.OutputLimitError),
    ("exec", "hangs", lambda m: m.exec(["true"], timeout=3), errors.ExecOutcomeUnknownError),
]


@pytest.mark.parametrize("row", FAULTS, ids=[f"{verb} {fault}" for verb, fault, _, _ in FAULTS])
def test_faults(smolvm: FakeSmolvm, client: Client, row: tuple[str, Any, Callable[[Machine], object], Any]) -> None:
    """Each fault raises the error of the real engine's message, as many times as requested."""
    verb, fault, call, error = row
    machine = client.machine("m")
    machine.create()
    if verb != "start":
        machine.start()
    smolvm.fail(verb, fault, times=9)
    with pytest.raises(error):
        call(machine)


def test_the_nth_call_fails(smolvm: FakeSmolvm, client: Client) -> None:
    """Only the nth call fails, and a `with` leaves nothing."""
    smolvm.fail("start", "boot timeout", nth=2)
    with client.machine("a"):
        pass
    with pytest.raises(errors.BootFailedError, match="30 seconds") as caught, client.machine("b"):
        pass
    with client.machine("c"):
        pass

    assert "did not boot: boot timeout" in "".join(caught.value.__notes__)
    assert ({}, []) == (smolvm.machines, smolvm.leaked)
    for verb, fault in (("start", "nonsense"), ("stop", "boot failed"), ("start", "dies")):
        with pytest.raises(ValueError, match=f"the fault of '{verb}' must be one of .*'locked'.*, not '{fault}'"):
            smolvm.fail(verb, fault)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"verb must be one of 'branch', .*, not 'images'"):
        smolvm.fail("images", "locked")


def test_a_locked_machine_is_tried_again(smolvm: FakeSmolvm, client: Client) -> None:
    """A call is tried again while a lock is taken."""
    smolvm.fail("create", "locked", times=2)
    smolvm.fail("delete", "not empty", times=2)
    with client.machine("a"):
        assert 2 == len(smolvm.pauses)
    assert {} == smolvm.machines


def test_a_leaked_vm_is_listed(smolvm: FakeSmolvm, client: Client) -> None:
    """A start that times out leaves a VM, which only stop ends, and the fake lists it if the machine is deleted instead."""
    smolvm.fail("start", "boot timeout", times=2)
    for name in ("a", "b"):
        machine = client.machine(name)
        machine.create()
        with pytest.raises(errors.BootFailedError):
            machine.start()
    client.machine("a").stop()
    client.machine("a").delete()
    client.machine("b").delete()

    assert ["b"] == smolvm.leaked


def test_a_vm_that_dies_under_a_command(smolvm: FakeSmolvm, machine: Machine) -> None:
    """A VM that dies during a command delivers the output so far, and can be started again."""
    smolvm.fail("exec", "dies")
    smolvm.on("works", lambda call: iter_pieces())

    def iter_pieces() -> Iterator[str]:
        yield "some"
        yield "more"

    with pytest.raises(errors.ConnectionLostError) as caught:
        machine.exec(["works"])
    assert "some" == caught.value.stdout
    assert "stopped" == machine.status().state
    machine.start()
    assert "somemore" == machine.exec(["works"]).stdout


def test_a_machine_that_is_stopped_under_a_process(machine: Machine) -> None:
    """A process loses its connection when its machine is stopped."""
    process = machine.popen(["sh", "-c", "echo one; echo two"])
    assert ("stdout", b"one\n") == next(iter(process))
    machine.stop()
    with pytest.raises(errors.ConnectionLostError):
        process.wait()


def test_the_output_cap_of_older_engines() -> None:
    """Output of a non-interactive exec is capped on older engines."""
    fake = FakeSmolvm("1.20.2")
    fake.on("flood", b"x" * 12_000_000)
    with Client(runner=fake).machine() as machine:
        with pytest.raises(errors.OutputLimitError, match="11534336"):
            machine.exec(["flood"])
        with machine.popen(["flood"]) as process:
            assert 12_000_000 == sum(len(chunk) for _, chunk in process)


def test_the_classic_grammar() -> None:
    """A classic engine takes names as positional arguments, and has no labels."""
    fake = FakeSmolvm("0.8.0")
    with Client(runner=fake).machine("old") as machine:
        assert ("machine", "create", "old") == fake.argvs[0]
        assert "running" == machine.status().state
        machine.write_text("/root/x", "y")
        assert "y" == machine.read_text("/root/x")
    assert {} == fake.machines


def test_time_and_reap(smolvm: FakeSmolvm, client: Client) -> None:
    """reap removes a machine whose lifetime is over by the fake's clock."""
    client.machine("brief", lifetime=60).create()
    client.machine("kept", keep=True).create()
    assert [] == client.reap()
    smolvm.sleep(61)

    assert ["brief"] == [item.machine.name for item in client.reap()]
    assert ["kept"] == list(smolvm.machines)


def test_a_kept_machine_with_a_lifetime_goes_with_the_first_reap_after_it(smolvm: FakeSmolvm, client: Client) -> None:
    """With keep=True and a lifetime a machine outlives its block, is found by its name, and is reaped later."""
    with client.machine("durable", keep=True, lifetime=60) as machine:
        machine.write_text("/root/x", "y")
    other = Client(runner=smolvm)
    assert "y" == other.machine("durable").read_text("/root/x")
    assert [] == other.reap()
    smolvm.sleep(61)

    assert ["durable"] == [item.machine.name for item in other.reap()]
    assert {} == smolvm.machines


def test_a_lifetime_is_refused_where_it_cannot_be_recorded() -> None:
    """An engine without labels refuses a lifetime before anything is made, instead of dropping it."""
    fake = FakeSmolvm("1.7.0")
    with pytest.raises(errors.UnsupportedByEngineError, match=r"lifetime needs smolvm 1\.8\.0"):
        Client(runner=fake).machine("m", keep=True, lifetime=60).create()
    assert {} == fake.machines


def test_spawned_commands_run_for_as_long_as_they_sleep(smolvm: FakeSmolvm, machine: Machine) -> None:
    """A spawned command runs for as long as it sleeps, and can be killed."""
    spawned, other = machine.spawn(["sleep", "100"]), machine.spawn(["sleep", "100"])
    other.kill()
    assert (True, False) == (spawned.is_running(), other.is_running())
    smolvm.sleep(101)
    assert not spawned.is_running()


def test_waits(smolvm: FakeSmolvm, machine: Machine) -> None:
    """wait_until finds ports, logs and files without waiting."""
    with pytest.raises(errors.WaitTimeoutError):
        machine.wait_until(port=8080, timeout=30)
    assert smolvm.clock() >= 30
    smolvm.machines["m"].listen(8080)
    machine.wait_until(port=8080)
    smolvm.machines["m"].log += b"listening on 8080\nnext\n"
    machine.wait_until(log="listening on \\d+")
    assert "next\n" == machine.logs(tail=1)
    smolvm.machines["m"].console += b"kernel\n"
    assert "kernel\n" == machine.console()
    assert [("stdout", "listening on 8080\n"), ("stdout", "next\n")] == list(machine.follow_logs())


def test_branches_are_independent(smolvm: FakeSmolvm, client: Client) -> None:
    """A batch of branches is independent, and their source cannot be deleted on engines that refuse it."""
    with client.machine("golden", branchable=True) as golden:
        golden.write_text("/root/seed", "1")
        twigs = golden.branch_many(2, "twig", no_wait_ready=True)
        twigs[0].write_text("/root/seed", "2")
        assert ["1", "2", "1"] == [machine.read_text("/root/seed") for machine in (golden, *twigs)]
        smolvm.fail("branch", "boot failed")
        with pytest.raises(errors.BootFailedError):
            golden.branch("twig-9")
        for twig in twigs:
            twig.delete()
    assert {} == smolvm.machines


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("echo `date`", "`date`"),
        ("echo $(date)", "$(date)"),
        ("if true; then echo; fi", "if"),
        ("ls *", "*"),
        ("sleep 1 &", "&"),
        ("X=1 echo", "X=1"),
        ("cat <<EOF", "<<EOF"),
        ("echo >", ">"),
        ("echo >; echo", ">"),
        ("(true)", "(true)"),
        ("true &&", "&&"),
        ("true |\n", "|"),
        ("&& true", "&&"),
        ("true ;; true", ";"),
        ("echo $SPLIT", "$SPLIT"),
    ],
)
def test_unsupported_shell_syntax_is_refused(machine: Machine, script: str, what: str) -> None:
    """The shell refuses what it does not implement, and names it."""
    with pytest.raises(UnexpectedCommandError) as caught:
        machine.sh(script, env={"SPLIT": "a b"})
    assert f"does not support {what!r}" in str(caught.value)
    assert "fake.on(['sh', '-c']" in str(caught.value)


def test_unknown_programs_and_subcommands_are_refused(smolvm: FakeSmolvm, machine: Machine, client: Client) -> None:
    """A program, a `test` operator or a subcommand that the fake lacks is refused, with what to register."""
    with pytest.raises(UnexpectedCommandError, match=r"no handler for 'python3'[^$]*known: cat, echo"):
        machine.exec(["python3", "-c", "1"])
    with pytest.raises(UnexpectedCommandError, match="-e, -f, -d"):
        machine.exec(["test", "-x", "/root"])
    with pytest.raises(UnexpectedCommandError, match=r"fake.answer\(\['machine', 'images'\]"):
        machine.images()
    with pytest.raises(UnexpectedCommandError, match="does not implement `smolvm config show`"):
        client.config_show()
    smolvm.answer(["config", "show"], "scripted\n")
    assert "scripted\n" == client.config_show()


def test_a_command_line_that_is_wrong(client: Client) -> None:
    """A wrong command line is refused as strictly as by the engine."""
    with pytest.raises(errors.UsageError, match="unexpected argument '--nonsense' found"):
        client.cli("machine", "ls", "--nonsense")
    with pytest.raises(errors.UsageError, match="unrecognized subcommand 'branch'"):
        Client(runner=FakeSmolvm("1.8.3")).cli("machine", "branch")
    with pytest.raises(errors.ConfigError, match="no side is NAME:/path"):
        client.cli("machine", "cp", "a", "b")


def test_tests_may_change_files(smolvm: FakeSmolvm, machine: Machine) -> None:
    """A test may read and change the machine's files by the names that Machine has, with symlinks and permissions."""
    files = smolvm.machines["m"].files
    files.mkdir("/srv/data", parents=True)
    files.mkdir("/srv/data", exist_ok=True)
    files.write_bytes("/srv/data/x", b"1", mode=0o600)
    files.write_text(PurePosixPath("/srv/data/y"), "é", "latin-1")
    files.symlink("/srv/link", "data/x")
    files.symlink("/srv/round", "round")
    files.chmod("/srv/data/x", 0o400)
    files.chown("/srv/data/x", 5)

    assert ("1", "é") == (machine.read_text("/srv/link"), machine.read_text("/srv/data/y", "latin-1"))
    found = machine.stat("/srv/link")
    assert (0o400, 5, 0) == (found.mode & 0o777, found.uid, found.gid)
    assert (found.mode, found.size) == ((own := files.stat("/srv/link")).mode, own.size)
    assert ["data", "link", "round"] == files.listdir("/srv")
    files.rename("/srv/data/y", "/srv/z")
    assert ("1", b"\xe9") == (files.read_text("/srv/data/x"), files.read_bytes("/srv/z"))
    assert "1" == machine.sh("cat ../srv/data/x", workdir="/srv").stdout
    files.remove("/srv", recursive=True)
    files.remove("/srv", missing_ok=True)
    assert not machine.exists("/srv/data/x")


WRONG_FILES: list[tuple[Callable[[Any], object], type[Exception], str]] = [
    (lambda files: files.read_text("/srv/round"), OSError, "symbolic"),
    (lambda files: files.mkdir("/srv"), FileExistsError, "/srv"),
    (lambda files: files.symlink("/srv/round", "elsewhere"), FileExistsError, "round"),
    (lambda files: files.mkdir("/a/b"), FileNotFoundError, "/a"),
    (lambda files: files.listdir("/nowhere"), FileNotFoundError, "nowhere"),
    (lambda files: files.chmod("/nowhere", 0o600), FileNotFoundError, "nowhere"),
    (lambda files: files.write_bytes("/srv/x/y", b""), NotADirectoryError, "/srv/x"),
    (lambda files: files.remove("/srv"), OSError, "not empty"),
    (lambda files: files.remove("/", recursive=True), OSError, "busy"),
    (lambda files: files.remove("/nowhere"), FileNotFoundError, "nowhere"),
    (lambda files: files.write_text("srv/x", ""), ValueError, "must be an absolute path, .* not 'srv/x'"),
    (lambda files: files.write_bytes("/srv/x", "text"), TypeError, "must be bytes, not str: write_text"),
    (lambda files: files.write_text("/srv/x", b"data"), TypeError, "must be a str, not bytes; .* write_bytes"),
    (lambda files: files.write_text("/srv/x", "", mode=600), ValueError, "write 0o600, not 600"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG_FILES, ids=range(len(WRONG_FILES)))
def test_wrong_calls_of_a_machines_files(
    smolvm: FakeSmolvm, machine: Machine, call: Callable[[Any], object], error: type[Exception], words: str
) -> None:
    """They raise the kernel's error or, as those of Machine, what was meant."""
    files = smolvm.machines[machine.name].files
    files.mkdir("/srv")
    files.write_text("/srv/x", "")
    files.symlink("/srv/round", "round")
    before = list(files.walk("/"))

    with pytest.raises(error, match=words):
        call(files)
    assert before == list(files.walk("/"))


def test_scripts_fail_as_the_guests_own(machine: Machine) -> None:
    """smolkit's scripts fail as in a real guest, for a truncated archive, a file in the way and an unknown user."""
    script = __import__("smolkit.commands.guest_scripts", fromlist=["script"])
    machine.write_text("/root/file", "x")
    cut_off = machine.exec(script.words(script.UNPACK, "/root/new", ".part", "", "755", "@0"), input=b"\0" * 1024)
    assert 86 == cut_off.returncode
    short = machine.exec(script.words(script.WRITE, "/root/new", ".part", "5", "", "", ""), input="four")
    assert 86 == short.returncode
    in_the_way = machine.exec(script.words(script.UNPACK, "/root/file", ".part", "", "755", "@0"), input=b"\0" * 1024)
    assert 83 == in_the_way.returncode
    machine.rename("/root/file", "/root/file")
    assert "x" == machine.read_text("/root/file")


def test_two_hundred_lifecycles_at_once(smolvm: FakeSmolvm, client: Client) -> None:
    """Two hundred lifecycles in twenty threads do not see each other's machines."""
    wrong: list[object] = []

    def live(number: int) -> None:
        for turn in range(10):
            with client.machine(f"m{number}-{turn}") as machine:
                machine.write_text("/root/me", machine.name)
                if machine.name != machine.exec(["cat", "/root/me"]).stdout:
                    wrong.append(machine)

    threads = [threading.Thread(target=live, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ([], {}) == (wrong, smolvm.machines)


def test_commands_are_recorded(smolvm: FakeSmolvm, machine: Machine, client: Client) -> None:
    """Commands are recorded, dry runs run nothing, and observers are called."""
    machine.exec(["true"])
    assert Exec("m", ["true"]) == smolvm.commands[-1]
    machine.popen(["true"]).wait()
    assert Exec("m", ["true"], input=b"") == smolvm.commands[-1]
    with client.dry_run(echo=False) as plan:
        client.machine("other").create()
        machine.popen(["true"]).wait()
    assert (2, ["m"]) == (len(plan.lines), list(smolvm.machines))
    smolvm.answer(Exec, "scripted", times=1)
    assert [("stdout", b"scripted")] == list(machine.popen(["true"]))


def test_handlers_are_found_by_base_name_and_get_no_script_of_smolkits() -> None:
    """A path's last component counts; "*" is the last resort; files work whatever handles `sh`."""
    fake = FakeSmolvm()
    fake.on("*", "any\n")
    fake.on("sh", "hijacked\n")
    fake.on("python3", "3.12\n")
    with Client(runner=fake).machine("m") as machine:
        machine.write_text("/root/x", "kept\n")
        said = [machine.exec([program]).stdout for program in ("/usr/bin/python3", "make", "/opt/tool", "echo")]

        assert ["3.12\n", "any\n", "any\n", "\n"] == said
        assert ("hijacked\n", "kept\n") == (machine.sh("true").stdout, machine.read_text("/root/x"))

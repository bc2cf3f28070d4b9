"""Calls of NamespaceEngine that are wrong, that race with others, or whose caller is in an odd state."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from smolkit import Smolvm, errors
from smolkit.testing import NamespaceEngine
from tests.processes import until

WRONG_CALLS = [
    (["create", "--name=.."], 1, b"Error: config operation failed: create machine: machine name "),
    (["create", "--name", "a--b"], 1, b"Error: config operation failed: create machine: machine name "),
    (["create"], 2, b"error: the following required arguments were not provided:\n  --name <NAME>"),
    (["create", "--name=n", "--cpus", "two"], 2, b"error: invalid value"),
    (["create", "--name=n", "--volume", "/no/such:/x"], 1, b"Error: mount source not found: /no/such"),
    (["create", "--name=n", "--volume", "/etc/passwd:/x"], 1, b"Error: mount operation failed: "),
    (["create", "--name=n", "--volume", "/etc:x"], 1, b"Error: invalid mount path: "),
    (["exec", "--name=m", "--timeout", "5", "--", "true"], 2, b"error: invalid value '5' for '--timeout <DURATION>'"),
    (["exec", "--name=m", "--", ""], 1, b"Error: agent operation failed: vm exec: failed to spawn command: No such"),
    (["exec", "--name=m", "--"], 1, b"Error: agent operation failed: vm exec: failed to spawn command: No such"),
    (
        ["cp", "/no/such", "m:/x"],
        1,
        b"Error: agent operation failed: read source file: No such file or directory (os error 2)",
    ),
    (
        ["cp", "m:/etc/passwd", "/etc"],
        1,
        b"Error: agent operation failed: write local file: /etc: Is a directory (os error 21)",
    ),
    (["cp", "m:/etc/passwd"], 2, b"error: invalid value"),
]


@pytest.mark.parametrize(("words", "status", "said"), WRONG_CALLS)
def test_wrong_calls_fail_as_the_engines(engine: NamespaceEngine, words: list[str], status: int, said: bytes) -> None:
    """A call that is wrong has the engine's exit status and words, and leaves nothing."""
    with Smolvm(engine.program).machine("m"):
        done = subprocess.run([engine.program, "machine", *words], capture_output=True, check=False)
        assert (status, b"", said) == (done.returncode, done.stdout, done.stderr[: len(said)])
        assert ["m-m", "running-m"] == engine.left


REFUSED = [
    ({"image": "alpine"}, "takes an unpacked root file system or a `docker save` archive, and pulls nothing"),
    ({"image": "/no/such.tar"}, "image '/no/such.tar'"),
    ({"image": "/"}, "holds the engine's own files"),
    ({"gpu": True}, "does not implement --gpu"),
    ({"init": ["true"]}, "does not implement --init"),
    ({"allow_cidrs": ["10.0.0.0/8"]}, "does not restrict a machine's network"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_what_it_does_not_have_is_refused_by_name(engine: NamespaceEngine, options: dict[str, object], words: str) -> None:
    """What it does not have is an error that says so, and nothing is left."""
    with pytest.raises(errors.ConfigError, match=words), Smolvm(engine.program).machine("m", **options):  # type: ignore[arg-type]
        raise AssertionError("the body ran")
    assert [] == engine.left


def test_a_caller_without_streams(engine: NamespaceEngine) -> None:
    """A call whose caller has closed its streams works, and takes no other file for one of them."""
    shell = f"'{engine.program}' machine exec --name m -i -- sh -c 'echo out; echo err >&2; exit 3'"
    with Smolvm(engine.program).machine("m"):
        for closed, seen in ((">&-", b"err\n"), ("2>&-", b"out\n"), ("<&- >&- 2>&-", b"")):
            done = subprocess.run(f"{shell} {closed}", shell=True, capture_output=True, check=False)
            assert (3, seen) == (done.returncode, done.stdout + done.stderr)


def test_variables_without_a_name_are_skipped(engine: NamespaceEngine) -> None:
    """A variable without a name is skipped, as the engine does."""
    command = ["machine", "exec", "--name", "m", "-e", "=x", "-e", "A=1", "--", "sh", "-c", "echo $A"]
    with Smolvm(engine.program).machine("m"):
        done = subprocess.run([engine.program, *command], capture_output=True, check=False)
    assert (0, b"1\n", b"") == (done.returncode, done.stdout, done.stderr)


def test_a_port_in_use(engine: NamespaceEngine) -> None:
    """A port that somebody else listens on fails the start, in the engine's words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        machine = Smolvm(engine.program).machine("m", ports=[(server.getsockname()[1], 80)])
        with pytest.raises(errors.PortInUseError), machine:
            raise AssertionError("the body ran")
    assert [] == list((engine.folder / "state").iterdir())


def test_a_port_of_the_hosts_network_is_the_guests(engine: NamespaceEngine) -> None:
    """A machine with the host's network can itself listen on a port that it publishes by the same number."""
    client = Smolvm(engine.program)
    port = client.free_port()
    with client.machine("m", net=True, ports=[port]) as machine:
        machine.spawn(["sh", "-c", f"echo guest | nc -l -p {port} 127.0.0.1 || echo guest | nc -l -p {port}"])
        until(lambda: reads(port) == b"guest\n")


def reads(port: int) -> bytes:
    """Return what a server of this host says, b"" if there is none."""
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)) as connection:
        return connection.recv(100)
    return b""


def test_a_very_deep_directory_is_deleted(engine: NamespaceEngine) -> None:
    """A machine is deleted with whatever files it made: too deep for a path, or without permissions."""
    with Smolvm(engine.program).machine("m") as machine:
        machine.sh(
            "i=0; while [ $i -lt 1500 ]; do mkdir ddddd; cd ddddd; i=$((i+1)); done; mkdir -m 0 /no; chmod 0 /", check=True
        )
    assert [] == list((engine.folder / "data").iterdir())


@pytest.mark.parametrize(("verb", "error"), [("stop", errors.BootFailedError), ("delete", errors.MachineNotFoundError)])
def test_a_machine_that_is_stopped_or_deleted_while_it_starts(
    engine: NamespaceEngine, verb: str, error: type[Exception]
) -> None:
    """A start fails if another call stops or deletes the machine meanwhile. No VM is left, and no record returns."""
    client = Smolvm(engine.program)
    client.machine("m").create()
    engine.delay("start", 2)
    found: list[BaseException] = []

    def start() -> None:
        try:
            client.machine("m").start()
        except errors.SmolvmError as failure:
            found.append(failure)

    thread = threading.Thread(target=start)
    thread.start()
    until(lambda: "vmm-m" in engine.left and not list(engine.folder.glob("delay-*")))
    force = ["-f"] if verb == "delete" else []
    subprocess.run([engine.program, "machine", verb, *force, "--name", "m"], check=True)
    thread.join()
    assert [error] == [type(failure) for failure in found]
    assert (["m-m"] if verb == "stop" else []) == engine.left


def test_only_one_of_many_starts_boots(engine: NamespaceEngine) -> None:
    """Starts of one machine that race for it boot one VM; the others succeed, or say that it is being started."""
    client = Smolvm(engine.program)
    client.machine("m").create()
    said = []

    def start() -> None:
        done = subprocess.run([engine.program, "machine", "start", "--name", "m"], capture_output=True, check=False)
        said.append(done.returncode == 0 or b"already starting" in done.stderr)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [True] * 8 == said
    assert ["m-m", "running-m"] == engine.left
    assert client.machine("m").exec(["true"]).ok


def test_what_start_and_branch_do_not_have_is_refused(engine: NamespaceEngine) -> None:
    """Options of later calls that it does not have are errors, too."""
    machine = Smolvm(engine.program).machine("m")
    machine.create()
    with pytest.raises(errors.ConfigError, match="does not implement --mediated-egress"):
        machine.start(mediated_egress=True)
    machine.start(proxy="http://proxy")  # of a pull: nothing is pulled
    machine.stop()
    with pytest.raises(errors.ConfigError, match="does not implement --dns-option"):
        machine.update(dns_options=["ndots:1"])
    machine.start(branchable=True)
    with pytest.raises(errors.ConfigError, match="does not implement --hold"):
        machine.branch_many(1, hold=True)


def test_update_changes_ports_and_volumes(engine: NamespaceEngine, tmp_path: Path) -> None:
    """Ports and volumes that update adds or removes are there, or gone, after the next start."""
    client = Smolvm(engine.program)
    port, other = client.free_port(), client.free_port()
    (tmp_path / "file").touch()
    with client.machine("m", ports=[(port, 80)], volumes=[(tmp_path, "/one")]) as machine:
        machine.stop()
        change = {"remove_ports": [(port, 80)], "remove_volumes": [f"{tmp_path}:/one"], "volumes": [(tmp_path, "/two")]}
        machine.update(ports=[(other, 80)], workdir="/etc", **change)  # type: ignore[arg-type]
        machine.start()
        assert [(other, 80)] == [tuple(pair) for pair in machine.status().ports or ()]
        assert machine.sh("test ! -e /one/file && test -e /two/file").ok
        machine.spawn(["sh", "-c", "echo guest | nc -l -p 80"])
        until(lambda: reads(other) == b"guest\n")


def test_a_call_can_be_delayed(engine: NamespaceEngine) -> None:
    """A delayed call takes longer, once."""
    client = Smolvm(engine.program)
    client.ls()
    engine.delay("ls", 0.5)
    started = time.monotonic()
    client.ls()
    assert 0.5 <= time.monotonic() - started
    assert not list(engine.folder.glob("delay-*"))

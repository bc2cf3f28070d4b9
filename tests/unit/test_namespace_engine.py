"""NamespaceEngine, where it is more than the engine: its isolation, images, injected trouble, and its end."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from smolkit import Machine, Smolvm, errors
from smolkit.testing import NamespaceEngine
from tests.inner_pytest import run_pytest
from tests.processes import running, until, until_gone

NAP = f"49{os.getpid()}"


@pytest.fixture
def machine(engine: NamespaceEngine) -> Machine:
    """A running machine."""
    machine = Smolvm(engine.program).machine("m")
    machine.create()
    machine.start()
    return machine


def test_a_guest_has_nothing_of_its_host(machine: Machine, tmp_path: Path) -> None:
    """A guest sees none of the host's files, processes and devices, and removing its own harms nobody."""
    (tmp_path / "precious").touch()
    machine.sh("rm -rf /tmp /root /home /srv", check=True)

    assert (tmp_path / "precious").exists()
    assert not machine.exists(tmp_path.as_posix())
    assert "m\n" == machine.exec(["hostname"]).stdout
    assert "1" == machine.sh("ls /proc | grep '^[0-9]' | sort -n").stdout.split()[0]
    assert str(os.getpid()) not in machine.sh("ls /proc").stdout.split()
    assert not machine.sh("mknod /x b 253 0").ok
    assert not machine.sh("echo 1 >/proc/sys/kernel/sysrq").ok


def changed(path: str) -> int:
    """Return when a file's permissions were changed last."""
    return os.stat(path).st_ctime_ns


def test_a_guest_changes_nothing_of_its_host(machine: Machine) -> None:
    """Root of the host is root of its guests, too: what these see of the host's kernel and devices is read-only."""
    before = changed("/dev/full")
    assert not machine.sh("chmod 666 /dev/full").ok
    assert before == changed("/dev/full")
    assert not machine.sh("chmod 444 /proc/version").ok
    assert "" == machine.sh("find /proc -path '/proc/[0-9]*' -prune -o -type f -perm -200 -exec touch {} + && echo").stdout
    assert machine.sh("echo >/dev/full").stderr
    assert machine.sh("echo >/dev/null && echo 500 >/proc/self/oom_score_adj").ok


def test_a_guest_does_not_see_its_callers_environment(machine: Machine) -> None:
    """The processes that hold a guest together show it neither the host's variables nor its program or files."""
    assert "PATH" not in machine.sh("cat /proc/1/environ").stdout
    assert "" == machine.sh("readlink /proc/1/exe /proc/1/fd/1; head -c 1 /proc/1/exe").stdout
    assert "" == machine.sh("cat /proc/$PPID/environ").stdout


def test_a_guests_symlinks_stay_in_it(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A symlink that is absolute leads to the guest's file, not the host's, also when the guest's root is mounted."""
    (tmp_path / "resolv.conf").touch()
    (tmp_path / "volume").mkdir()
    link = f"umount /data/inside && rm -rf /data /etc/resolv.conf && mkdir -p {tmp_path} && ln -s {tmp_path} /data"
    with Smolvm(engine.program).machine("m", net=True, volumes=[(tmp_path / "volume", "/data/inside")]) as machine:
        machine.sh(f"{link} && ln -s {tmp_path}/resolv.conf /etc", check=True)
        machine.stop()
        machine.start()
        machine.write_text("/data/inside/file", "guest's")
    assert "guest's" == (tmp_path / "volume/file").read_text()
    assert not (tmp_path / "inside").exists()
    assert "" == (tmp_path / "resolv.conf").read_text()


def test_a_guest_without_a_network_reaches_only_itself(machine: Machine) -> None:
    """A guest has its own loopback interface, and without `net` no other."""
    assert "lo" == machine.sh("ls /sys/class/net").stdout.strip()


def test_volumes_can_be_read_only(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A volume is a directory of the host, which the guest writes to unless it is read-only."""
    (tmp_path / "file").write_text("host's")
    volumes = [f"{tmp_path}:{tmp_path}", f"{tmp_path}:/ro:ro"]
    with Smolvm(engine.program).machine("m", volumes=volumes) as machine:
        assert "host's" == machine.read_text("/ro/file")
        assert not machine.exec(["touch", "/ro/new"]).ok
        machine.write_text(tmp_path / "new", "guest's")
    assert "guest's" == (tmp_path / "new").read_text()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_call_that_is_killed_ends_the_whole_family(engine: NamespaceEngine, machine: Machine, end: int) -> None:
    """A killed call takes its command along, with children that have sessions of their own and that go on forking."""
    script = f"setsid sleep {NAP} & (while :; do sleep {NAP} & sleep 0.01; done) & echo; sleep {NAP}"
    command = [str(engine.program), "machine", "exec", "-i", "--name", machine.name, "--", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as call:
        assert call.stdout is not None
        call.stdout.readline()
        call.send_signal(end)
    until_gone(NAP)


def test_what_a_command_leaves_in_the_background_stays(machine: Machine) -> None:
    """A background process outlives its command, until the machine ends."""
    assert machine.sh(f"sleep {NAP} & echo started", timeout=30).ok
    assert running(NAP)
    machine.stop()
    until_gone(NAP)


def test_output_without_a_stdin_is_capped(engine: NamespaceEngine, machine: Machine) -> None:
    """Buffered output has the engine's cap, in its words."""
    words = ["exec", "--name", machine.name, "--", "head", "-c", "12000000", "/dev/zero"]
    done = subprocess.run([engine.program, "machine", *words], capture_output=True, check=False)
    assert (1, b"") == (done.returncode, done.stdout)
    assert b"command output exceeded 11534336 bytes" in done.stderr


def test_a_shell_in_a_terminal(engine: NamespaceEngine, machine: Machine) -> None:
    """`shell` runs in a terminal of its own, and ends with the shell's status."""
    ours, theirs = pty.openpty()
    call = subprocess.Popen(
        [engine.program, "machine", "shell", "--name", machine.name], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, b"test -t 0 && echo is $((6 * 7)); exit 3\n")
    seen = b""
    while b"is 42" not in seen:
        seen += os.read(ours, 1000)
    assert 3 == call.wait(60)
    os.close(ours)


def layer(**files: str | None) -> bytes:
    """Return a layer of an image: names (`__` for a slash) and contents; None for a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("WH_", ".wh."))
            member.mode, member.size = 0o755, len(text or "")
            member.type = tarfile.DIRTYPE if text is None else tarfile.REGTYPE
            tar.addfile(member, io.BytesIO((text or "").encode()))
    return out.getvalue()


def docker_save(path: Path, config: dict[str, object], *layers: bytes) -> Path:
    """Write a `docker save` archive."""
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["it:latest"], "Layers": names}]
    members = {"config.json": json.dumps({"config": config}).encode(), **dict(zip(names, layers, strict=True))}
    with tarfile.open(path, "w") as tar:
        for name, data in {**members, "manifest.json": json.dumps(manifest).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def busybox_layer(engine: NamespaceEngine) -> bytes:
    """Return a layer with the root file system of machines without an image."""
    with Smolvm(engine.program).machine("base"):
        root = (engine.folder / "data/base/lower").resolve()
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            tar.add(root, ".")
    return out.getvalue()


def test_an_image_is_its_layers_and_its_configuration(engine: NamespaceEngine, tmp_path: Path) -> None:
    """Later layers replace and remove files of earlier ones; a command has the image's variables and directory."""
    config: dict[str, object] = {"Env": ["COLOUR=red", "SIZE=1"], "WorkingDir": "/work"}
    first = layer(work=None, work__kept="1", work__gone="1", work__new="1", full=None, full__a="1")
    later = layer(**{"work__WH_gone": "", "work__new": "2", "full__WH_.wh..opq": "", "full__b": "1"})
    archive = docker_save(tmp_path / "image.tar", config, busybox_layer(engine), first, later)
    with Smolvm(engine.program).machine("m", image=archive, env={"SIZE": "2"}) as machine:
        shown = machine.sh("pwd; ls; cat new; echo; ls /full; echo $COLOUR $SIZE").stdout.split()
    assert ["/work", "kept", "new", "2", "b", "red", "2"] == shown


def test_an_images_command_is_its_workload(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A machine runs its image's command when it starts, unless it has one of its own."""
    config: dict[str, object] = {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo from $(pwd)"], "WorkingDir": "/etc"}
    archive = docker_save(tmp_path / "image.tar", config, busybox_layer(engine))
    with Smolvm(engine.program).machine("m", image=archive) as machine:
        until(lambda: "from /etc\n" == machine.logs())
    with Smolvm(engine.program).machine("m", image=archive, command=["echo", "from create"]) as machine:
        until(lambda: "from create\n" == machine.logs())


def test_a_layer_cannot_reach_out_of_its_image(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A layer that removes or writes a file outside, by a symlink of an earlier one, is refused."""
    (tmp_path / "precious").touch()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
    for name in ("link__WH_precious", "link__new"):
        archive = docker_save(tmp_path / "image.tar", {}, out.getvalue(), layer(**{name: "x"}))
        with pytest.raises(errors.ConfigError, match="outside"), Smolvm(engine.program).machine("m", image=archive):
            raise AssertionError("the body ran")
    assert {"precious", "image.tar"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "new").exists()


def members(*found: tarfile.TarInfo) -> bytes:
    """Return a layer of empty members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in found:
            tar.addfile(member)
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    """Return a member of a layer."""
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, mode
    return found


def test_a_layers_links_stay_in_its_image(engine: NamespaceEngine, tmp_path: Path) -> None:
    """A hard link leads to a file of the image, an absolute name is one of the image, and a symlink is replaced."""
    secret = tmp_path / "secret"
    secret.write_text("host's")
    secret.chmod(0o600)
    links = [member("absolute", tarfile.LNKTYPE, str(secret)), member("up", tarfile.LNKTYPE, f"../../../..{secret}")]
    for link in links:
        archive = docker_save(tmp_path / "image.tar", {}, busybox_layer(engine), members(link))
        with pytest.raises(errors.ConfigError), Smolvm(engine.program).machine("m", image=archive):
            raise AssertionError("the body ran")
    first = members(
        member("dir", tarfile.SYMTYPE, str(tmp_path)), member("target"), member("hard", tarfile.LNKTYPE, "/target")
    )
    later = members(member("dir", tarfile.DIRTYPE, mode=0o1777), member("../up"), member("/etc/absolute"))
    before = tmp_path.stat().st_mode
    archive = docker_save(tmp_path / "image.tar", {}, busybox_layer(engine), first, gzip.compress(later))
    with Smolvm(engine.program).machine("m", image=archive) as machine:
        assert machine.sh("test -e /up && test -e /etc/absolute && test /target -ef /hard").ok
        assert "drwxrwxrwt" == machine.sh("ls -ld /dir").stdout[:10]
    assert before == tmp_path.stat().st_mode


def test_malformed_archives_are_refused(engine: NamespaceEngine, tmp_path: Path) -> None:
    """An archive that is cut off, of something else, or of several images is an error that names it, and leaves nothing."""
    whole = docker_save(tmp_path / "whole.tar", {}, busybox_layer(engine)).read_bytes()
    manifests = {b"{}": "image", b"[1, 2]": "must have one image, not 2", b"[1]": "image"}
    archives = [(whole[:100_000], "image"), (gzip.compress(whole)[:100_000], "image"), (b"text", "image")]
    for text, words in manifests.items():
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            info = member("manifest.json")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        archives.append((out.getvalue(), words))
    archives.append((members(member("oci-layout")), "must have a manifest.json"))
    for number, (data, words) in enumerate(archives):
        archive = tmp_path / f"{number}.tar"
        archive.write_bytes(data)
        with pytest.raises(errors.ConfigError, match=words) as caught, Smolvm(engine.program).machine("m", image=archive):
            raise AssertionError("the body ran")
        assert archive.name in str(caught.value)
    assert [] == engine.left


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


def test_a_caller_without_streams(engine: NamespaceEngine, machine: Machine) -> None:
    """A call whose caller has closed its streams works, and takes no other file for one of them."""
    shell = f"'{engine.program}' machine exec --name {machine.name} -i -- sh -c 'echo out; echo err >&2; exit 3'"
    for closed, seen in ((">&-", b"err\n"), ("2>&-", b"out\n"), ("<&- >&- 2>&-", b"")):
        done = subprocess.run(f"{shell} {closed}", shell=True, stdout=-1, stderr=-1, check=False)
        assert (3, seen) == (done.returncode, done.stdout + done.stderr)


def test_variables_without_a_name_are_skipped(engine: NamespaceEngine, machine: Machine) -> None:
    """A variable without a name is skipped, as the engine does."""
    command = ["machine", "exec", "--name", machine.name, "-e", "=x", "-e", "A=1", "--", "sh", "-c", "echo $A"]
    done = subprocess.run([engine.program, *command], capture_output=True, check=False)
    assert (0, b"1\n", b"") == (done.returncode, done.stdout, done.stderr)


def test_a_port_in_use(engine: NamespaceEngine) -> None:
    """A port that somebody else listens on fails the start, in the engine's words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        machine = Smolvm(engine.program).machine("m", ports=[(server.getsockname()[1], 80)])
        with pytest.raises(errors.PortInUseError), machine:
            raise AssertionError("the body ran")
    assert [] == engine.left


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


def test_users_of_a_guest_reach_their_root(engine: NamespaceEngine, tmp_path: Path) -> None:
    """The umask of the caller is not the guest's: a user that is not root gets at programs and files."""
    archive = docker_save(tmp_path / "image.tar", {}, busybox_layer(engine))
    call = f"umask 077; for verb in 'create --image {archive}' start; do '{engine.program}' machine $verb --name m; done"
    subprocess.run(["sh", "-c", call], check=True)
    assert 0o755 == stat.S_IMODE((engine.folder / "data/m/disk/upper").stat().st_mode)
    umask = Smolvm(engine.program).machine("m").sh("umask; ls -ld /").stdout
    assert umask.startswith("0022\ndrwxr-xr-x")


def test_many_children_are_collected_bit_by_bit() -> None:
    """A fork bomb cannot keep a supervisor from its deadline: it collects some children, and is told of more."""
    code = """
import os, select
from smolkit.testing.namespace.linux import Children
children = Children()
for _ in range(1500):
    if os.fork() == 0:
        os._exit(0)
found = []
while sum(found) < 1500:
    select.select([children], [], [])
    found.append(len(children.reap()))
print(max(found) <= 1000)
"""
    assert b"True\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60).stdout


def test_wrong_arguments_are_refused(engine: NamespaceEngine, tmp_path: Path) -> None:
    """An old version and an unknown subcommand are refused at once."""
    with pytest.raises(ValueError, match=r"version must be 1\.28\.1 or later"):
        NamespaceEngine(tmp_path / "old", version="1.20.2")
    with pytest.raises(ValueError, match="verb must be one of branch, cp, create"):
        engine.strike("strat", "INT")


def test_a_call_can_be_delayed(engine: NamespaceEngine) -> None:
    """A delayed call takes longer, once."""
    client = Smolvm(engine.program)
    client.ls()
    engine.delay("ls", 0.5)
    started = time.monotonic()
    client.ls()
    assert 0.5 <= time.monotonic() - started
    assert not list(engine.folder.glob("delay-*"))


def test_machines_end_with_the_process_that_made_the_engine(tmp_path: Path) -> None:
    """No VM outlives the process that made its engine, however that ends."""
    code = f"""
import os, signal, sys
from smolkit import Smolvm
from smolkit.testing import NamespaceEngine
machine = Smolvm(NamespaceEngine(sys.argv[1]).program).machine("m")
machine.create()
machine.start()
machine.spawn(["sleep", "{NAP}"])
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "engine")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert b"ready\n" == program.stdout.readline()
    until_gone(NAP)


def test_a_closed_engine_leaves_nothing() -> None:
    """`close` ends all machines, and removes a temporary directory."""
    with NamespaceEngine() as engine:
        machine = Smolvm(engine.program).machine("m", keep=True)
        machine.create()
        machine.start()
        machine.spawn(["sleep", NAP])
        assert ["m-m", "running-m"] == engine.left
    assert not engine.folder.exists()
    until_gone(NAP)


def test_an_engine_that_is_not_closed_leaves_nothing(tmp_path: Path) -> None:
    """A program that does not close its engine leaves no temporary directory when it exits; a fork of it ends nothing."""
    code = """
import os, sys
from smolkit.testing import NamespaceEngine
engine = NamespaceEngine()
if os.fork() == 0:
    sys.exit()
os.wait()
print(engine.program.exists())
"""
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True, text=True)
    assert "True\n" == done.stdout
    assert [] == list(tmp_path.iterdir())


def test_a_temporary_directory_without_programs_is_told(tmp_path: Path) -> None:
    """`unavailable` says so where the temporary directory is mounted noexec."""
    code = "from smolkit.testing import NamespaceEngine; print(NamespaceEngine.unavailable())"
    mounted = 'mount -t tmpfs -o noexec none "$TMPDIR" && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", sys.executable, "-c", code]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert "Permission denied" in done.stdout


def test_a_user_who_is_not_root_branches(tmp_path: Path) -> None:
    """A branch has files that nobody may read, also where the caller is not root."""
    code = """
from smolkit import Smolvm
from smolkit.testing import NamespaceEngine
with NamespaceEngine() as engine:
    machine = Smolvm(engine.program).machine("m")
    machine.create()
    machine.start(branchable=True)
    machine.sh("echo kept >/root/x; chmod 0 /root/x; rm -f /etc/passwd", check=True)
    with machine.branch("b") as branch:
        print(branch.sh("cat /root/x; test ! -e /etc/passwd && echo and gone").stdout)
"""
    command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", sys.executable, "-c", code]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "kept\nand gone\n" in done.stdout, done.stderr


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


def test_a_kernel_that_forbids_namespaces_is_told(tmp_path: Path) -> None:
    """`unavailable` and a start say that this kernel makes no namespaces, and pytest fails with that reason."""
    code = "from smolkit.testing import NamespaceEngine; print(NamespaceEngine.unavailable())"
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)})
    assert "namespaces: No space left on device (os error 28)" in done.stdout


def test_pytest_runs_tests_locally(tmp_path: Path) -> None:
    """`pytest --smolvm=local` really runs commands, says that they are not isolated, and skips what needs the fake."""
    (tmp_path / "test_it.py").write_text("""
def test_one(machine):
    assert "42" == machine.sh("printf $((6 * 7))").stdout

def test_two(smolvm, fake_smolvm):
    pass

def test_three(smolvm):
    assert [] == smolvm.ls()
""")
    status, said = run_pytest(tmp_path, "-c", "/dev/null", f"--rootdir={tmp_path}", "--smolvm=local")
    assert (0, True) == (status, "2 passed, 1 skipped" in said), said
    assert "machines are namespaces of this host (--smolvm=local); they isolate nothing" in said
    assert "this test needs the fake: run it without --smolvm=local" in said

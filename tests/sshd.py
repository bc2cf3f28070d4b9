"""An OpenSSH server on the loopback, with keys and a configuration of its own; as root, in namespaces of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.processes import until

# As root the server has mounts and a name of its own: /dev/shm is empty there. (The stand-in engine's machines end with the
# process that made it, which a PID namespace would hide from it.)
_APART = ["unshare", "--mount", "--uts"]
_SETUP = 'hostname build1; mount -t tmpfs none /dev/shm; exec "$@"'


def program() -> str | None:
    """The server's program; None if it is not installed."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@contextmanager
def server(folder: Path, **options: str) -> Iterator[Path]:
    """A running server. Yields a configuration for ssh that calls it `build1`.

    Args:
        folder: A directory for keys, configurations and the far home. Only this is the same on both hosts.
        options: Of its configuration: `ForceCommand="..."`.
    """
    folder.mkdir()
    folder.chmod(0o700)
    port, key, host_key = _free_port(), _key(folder / "key"), _key(folder / "host_key")
    shutil.copy(f"{key}.pub", folder / "authorized_keys")
    path = f"{os.path.dirname(sys.executable)}:/usr/bin:/bin"
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": str(host_key),
        "PidFile": "none",
        "AuthorizedKeysFile": str(folder / "authorized_keys"),
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "SetEnv": f'PATH="{path}" XDG_CACHE_HOME="{folder / "far-cache"}"',
        **options,
    }
    config = folder / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    public = host_key.with_suffix(".pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(public)}\n")
    ssh = folder / "ssh_config"
    ssh.write_text(
        f"Host build1\n HostName 127.0.0.1\n Port {port}\n IdentityFile {key}\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder / 'known_hosts'}\n StrictHostKeyChecking yes\n"
    )
    with suppress(OSError):
        Path("/run/sshd").mkdir(exist_ok=True)
    found = program()
    assert found is not None
    argv = [found, "-D", "-e", "-f", str(config)]
    apart = [*_APART, "sh", "-c", _SETUP, "sh"] if os.geteuid() == 0 else []
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*apart, *argv], stdin=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            until(lambda: _answers(port) or process.poll() is not None)
            assert process.poll() is None, (folder / "log").read_text()
            yield ssh
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as link:
        return link.recv(4) == b"SSH-"
    return False

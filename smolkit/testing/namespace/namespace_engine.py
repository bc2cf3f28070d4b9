"""NamespaceEngine: a program that stands in for the engine, as tests hold it."""

from __future__ import annotations

import atexit
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, final

from smolkit.commands.dialect import Dialect
from smolkit.commands.versions import NEWEST
from smolkit.testing import argv_parser
from smolkit.testing.namespace import records, vm
from smolkit.testing.namespace.subcommands import SUBCOMMANDS

_PROGRAM = """#!/bin/sh
# Stands in for smolvm {version}, with processes of this host instead of VMs. Made by smolkit.testing.NamespaceEngine.
exec {python} -I -S {program} {engine} "$@"
"""
_OLDEST = (1, 28, 1)


@final
class NamespaceEngine:
    """A program that stands in for the engine, and really runs commands: `Smolvm(NamespaceEngine().program)`.

    Its machines are Linux namespaces, with a root file system, processes, a host name and (without `net`) a network of
    their own. They start in some 50 ms, without KVM and without root. **They isolate nothing that matters**: they share
    this host's kernel, and have no bounds of memory, CPU, processes or disk. So they are for your own code, in tests. What
    a guest does by accident (`rm -rf /`, `chmod -R`) does not reach the host, apart from its volumes.

    It has create, start, stop, delete, exec, run, shell, cp, ls, status, update, stats, logs, branch and data-dir, with the
    real engine's messages, exit statuses, states, secrets, timeouts, volumes and published ports. `cpus`, `memory` and disk
    sizes are only noted down, and the figures of `stats` are made up. A branch has its source's files, not its processes.
    With `net` a machine is on the host's own network: a port that it listens on is the host's, published or not.
    For a caller who is not root, a guest has no other user than root. What it does not have it refuses by name: allow
    lists, images from registries, GPUs, checkpoints and so on.

    A machine without an image has the real engine's root file system if `smolkit[engine]` and `zstd` are installed, else
    busybox's programs (Debian: busybox-static). `image=` takes an unpacked root file system or a `docker save` archive.

    Its machines end when it is closed, or with the process that made it.

    Args:
        folder: A new or empty directory for the program, its machines and their files. Default: a temporary one, which
            `close` removes, at the latest when this program exits.
        version: The engine version that it reports (1.28.1 or later).

    Attributes:
        folder: The directory.
        program: The program, named `smolvm`: the directory may go on a PATH.

    Raises:
        ValueError: The version is older.
        FileExistsError: The directory is that of another one.
    """

    def __init__(self, folder: str | Path | None = None, version: str = NEWEST) -> None:
        dialect = Dialect.of(version)
        if dialect.version < _OLDEST:
            raise ValueError(f"version must be {'.'.join(map(str, _OLDEST))} or later, not {version!r}")
        self._is_temporary = folder is None
        self.folder: Path = Path(folder or tempfile.mkdtemp(prefix="smolkit-")).absolute()
        self.program: Path = self.folder / "smolvm"
        (self.folder / "state").mkdir(parents=True)
        (self.folder / "data").mkdir(mode=0o700)  # guests make files that are setuid
        grammar = {verb: [*map(sorted, argv_parser.flags_of(f"machine {verb}", dialect))] for verb in SUBCOMMANDS}
        settings = {
            "version": version,
            "grammar": grammar,
            "bare": bare_root(),
            "cache": str(_cache(os.environ) or self.folder / "cache"),
            "owner": f"{os.getpid()} {records.start_of(os.getpid())}",
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        words = {
            "python": sys.executable,
            "program": str(Path(__file__).with_name("program.py")),
            "engine": str(self.program),
        }
        self.program.write_text(_PROGRAM.format(version=version, **{key: shlex.quote(word) for key, word in words.items()}))
        self.program.chmod(0o755)
        if self._is_temporary:
            atexit.register(self._close_at_exit, os.getpid())

    @staticmethod
    @cache
    def unavailable() -> str:
        """Return why its machines cannot run on this host, or "". It tries, once for each process.

        Containers and hardened kernels often forbid namespaces.
        """
        try:
            with NamespaceEngine() as engine:
                for verb, *command in (["create"], ["start"], ["exec", "--", "true"]):
                    call = [str(engine.program), "machine", verb, "--name", "probe", *command]
                    done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
                    if done.returncode:
                        return done.stderr.strip()
        except OSError as error:  # such as a temporary directory whose programs cannot be run
            return str(error)
        return ""

    def close(self) -> None:
        """End all of its machines, and remove the program and a temporary directory."""
        self.program.unlink(missing_ok=True)  # no call may start a machine meanwhile
        for file in self._vms():
            vm.end(str(file))
        if self._is_temporary:
            records.remove_tree(str(self.folder))
            atexit.unregister(self._close_at_exit)

    def _close_at_exit(self, owner: int) -> None:
        if os.getpid() == owner:  # and not a process that was forked from it
            self.close()

    def __enter__(self) -> NamespaceEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def calls(self) -> list[str]:
        """The subcommands that were called, in order."""
        log = self.folder / "calls"
        return log.read_text().split() if log.exists() else []

    @property
    def left(self) -> list[str]:
        """The machines (`m-NAME`), running VMs (`running-NAME`) and half-booted ones (`vmm-NAME`) that are left."""
        vms = [file.name for file in self._vms() if records.alive(str(file)) is not None]
        return sorted([*(file.name for file in (self.folder / "state").glob("m-*")), *vms])

    def _vms(self) -> list[Path]:
        state = self.folder / "state"
        return [*state.glob("vmm-*"), *state.glob("running-*")]

    def strike(self, verb: str, *signals: str) -> None:
        """Let the next call of a subcommand send signals to its parent, one after the other, before it does its work.

        Args:
            verb: The subcommand: `start`, `exec` and so on.
            signals: Names of signals: `"INT"`.
        """
        self._arrange("strike", verb, " ".join(signals))

    def delay(self, verb: str, seconds: float) -> None:
        """Let the next call of a subcommand take longer."""
        self._arrange("delay", verb, str(float(seconds)))

    def fault(self, verb: str, kind: Literal["fail", "busy", "die", "hang", "fail-late", "die-late", "hang-late"]) -> None:
        """Let the next call of a subcommand go wrong. If it is `start`, its VM has booted, and is not yet on record.

        Args:
            verb: The subcommand: `start`, `exec` and so on.
            kind: "fail" is an error of the engine, "busy" a locked database, "die" a SIGKILL, and "hang" takes a minute;
                with "-late" after the work is done.
        """
        self._arrange("fault", verb, kind)

    def _arrange(self, kind: str, verb: str, text: str) -> None:
        if verb not in SUBCOMMANDS:
            raise ValueError(f"verb must be one of {', '.join(SUBCOMMANDS)}, not {verb!r}")
        (self.folder / f"{kind}-{verb}").write_text(text)


def bare_root() -> str:
    """Return what the root file system of a machine without an image comes from, or ""."""
    package = find_spec("smol")
    if package is not None and package.origin:
        for name in ("agent-rootfs.tar", *(("agent-rootfs.tar.zst",) if shutil.which("zstd") else ())):
            archive = Path(package.origin).with_name(name)
            if archive.exists():
                return str(archive)
    return shutil.which("busybox") or ""


def _cache(env: Mapping[str, str]) -> Path | None:
    """Return the directory for unpacked root file systems, if this user may write there."""
    home = env.get("XDG_CACHE_HOME") or (os.path.join(env["HOME"], ".cache") if env.get("HOME") else "")
    directory = Path(home, "smolkit", "root-fs")
    if not directory.is_absolute():
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)  # images have files that are setuid
    except OSError:
        return None
    return directory if os.access(directory, os.W_OK) else None

"""The machines of a NamespaceEngine, as files.

In `state`, each machine has `m-NAME`, its record. A VM has `vmm-NAME` while it boots and `running-NAME` afterwards, with
its process and when that started. In `data/NAME` are the machine's disk and logs.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import Any

from smolkit.testing import engine_failures

_NAME = r"(?!.*--)[A-Za-z0-9](?:[A-Za-z0-9_-]{0,126}[A-Za-z0-9_])?"


class Machine:
    """A machine.

    Args:
        engine: The directory of the engine.
        name: The machine's name.
        data: Its record, as `ls` shows it, in "record"; and what else `create` was told: "env", "secrets", "ports",
            "volumes", "workdir" and "user".
    """

    def __init__(self, engine: str, name: str, data: dict[str, Any]) -> None:
        self.name: str = name
        self.data: dict[str, Any] = data
        self.directory: str = f"{engine}/data/{name}"
        self._state = f"{engine}/state"

    @property
    def record(self) -> dict[str, Any]:
        """The machine as `ls` shows it."""
        found: dict[str, Any] = self.data["record"]
        return found

    @property
    def booting(self) -> str:
        """The file that says who its booting VM is."""
        return f"{self._state}/vmm-{self.name}"

    @property
    def running(self) -> str:
        """The file that says who its VM is."""
        return f"{self._state}/running-{self.name}"

    @property
    def vm(self) -> int | None:
        """The process of its running VM."""
        return alive(self.running)

    @property
    def state(self) -> str:
        """The engine's word for its state."""
        if self.vm is not None:
            return "running"
        return "stopped" if os.path.exists(f"{self.directory}/started") else "created"

    def shown(self) -> dict[str, Any]:
        """Its record as `status` shows it now."""
        ports = [{"host": host, "guest": inside} for host, inside in self.data["ports"]]
        more = {"published_ports": ports} if ports else {}
        return {**self.record, **more, "state": self.state, "pid": self.vm}

    def save(self, *, new: bool = False) -> None:
        """Write its record, all or nothing.

        Raises:
            EngineFailure: It is to be new, and its name is wrong or taken; or another call has deleted it.
        """
        if not re.fullmatch(_NAME, self.name):
            raise engine_failures.config(f"create machine: machine name is not valid (got: {json.dumps(self.name)})")
        path, part = f"{self._state}/m-{self.name}", f"{self._state}/.m-{self.name}-{os.getpid()}"
        with open(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(self.data, file)
        try:
            if not new and not os.path.exists(path):
                raise engine_failures.no_machine(self.name)
            (os.link if new else os.replace)(part, path)
        except FileExistsError:
            raise engine_failures.name_taken(self.name) from None
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)

    def remove(self) -> None:
        """Remove its record and its files. These first get another name: a new machine must not find them."""
        removed = f"{self.directory}.{os.urandom(4).hex()}"
        with suppress(FileNotFoundError):
            os.rename(self.directory, removed)
        with suppress(FileNotFoundError):
            os.unlink(f"{self._state}/m-{self.name}")
        remove_tree(removed)


def find(engine: str, name: str) -> Machine:
    """Return a machine.

    Raises:
        EngineFailure: There is none of this name.
    """
    try:
        with open(f"{engine}/state/m-{name}") as file:
            return Machine(engine, name, json.load(file))
    except FileNotFoundError:
        raise engine_failures.no_machine(name) from None


def find_all(engine: str) -> list[Machine]:
    """Return all machines, the oldest first."""
    found = []
    for file in os.listdir(f"{engine}/state"):
        if file.startswith("m-"):
            with suppress(engine_failures.EngineFailure):  # another call removes it
                found.append(find(engine, file[2:]))
    return sorted(found, key=lambda machine: (machine.record["created_at"], machine.name))


def alive(file: str) -> int | None:
    """Return the process that a file names, if it is still there: a later process of the same number started later."""
    try:
        with open(file) as lines:
            pid, started = lines.read().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if started == start_of(int(pid)) else None


def start_of(pid: int) -> str:
    """Return when a process started, in clock ticks since the host did; "" if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == b"Z" else fields[19].decode()


def remove_tree(path: str) -> None:
    """Remove a directory if it is there, however deep it is, and also if its owner took all permissions from it."""
    directories, prefix = [path], os.urandom(4).hex()
    with suppress(FileNotFoundError):
        for directory in directories:  # it grows meanwhile
            os.chmod(directory, 0o700)
            for entry in list(os.scandir(directory)):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, 0o700)
                    moved = f"{path}/{prefix}-{len(directories)}"  # so that no path becomes too long
                    os.rename(entry.path, moved)
                    directories.append(moved)
                else:
                    os.unlink(entry.path)
        for directory in reversed(directories):
            os.rmdir(directory)

"""The keeper of a host: a process there that runs the engine for all who have machines on it, and owns the machines.

It is a detached actor of Ray, one per node, whose calls carry the bytes of smolkit's links.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, final

from smolkit import __version__
from smolkit.errors import HostUnreachableError
from smolkit.ray.groups import GroupMachines, Groups
from smolkit.runners.local.identity import here
from smolkit.runners.remote.far import Server, runner_of
from smolkit.runners.remote.far_functions import FUNCTIONS
from smolkit.runners.remote.leftovers import remove_directory
from smolkit.values.ownership import Owner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smolkit.ray.groups import Cluster
    from smolkit.runners.local.subprocess import SubprocessRunner

_PERIOD = 1.0  # seconds between two looks at groups and at the processes of sessions
CHUNK = 2**16  # bytes in one message, small enough for Ray to send them without its object store


class _Session:
    """One session: a far end, and the other end of its socket.

    Args:
        keeper: The keeper.
        name: The session's name.
        owner: The process that opened it.
        far: The far end's socket.
        reader, writer: The other end of that.
    """

    def __init__(  # noqa: PLR0917  (made in one place)
        self,
        keeper: Keeper,
        name: str,
        owner: Owner | None,
        far: socket.socket,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.owner, self.reader, self.writer = owner, reader, writer
        self._far, self._writes = far, far.dup()  # a connection polls for each way by a descriptor of its own
        self._loop = asyncio.get_running_loop()
        self.waiting: dict[int, bytes] = {}  # pieces that came before their turn
        self.next = 0
        self.server = Server(
            os.path.join(os.environ.get("TMPDIR") or "/tmp", f"smolkit-far-{os.urandom(8).hex()}"),  # noqa: S108
            *(far.fileno(), self._writes.fileno()),
            runner_of=keeper.runner_of,
            machines=GroupMachines(keeper.groups, name),
            functions=keeper.functions,
        )

    def end(self) -> None:
        """End it: the far end sees the end of its link, and whoever receives the end of the session. From any thread."""
        self._loop.call_soon_threadsafe(self.writer.close)

    def serve(self) -> None:
        """Serve it until it ends."""
        self.server.connection.serve()
        self.end()
        self.server.end()
        remove_directory(self.server.work)
        self._far.close()
        self._writes.close()


@final
class Keeper:
    """The actor. Ray calls its coroutines, in an event loop.

    Args:
        cluster: Ray.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.groups: Groups = Groups(cluster)
        self.functions: dict[str, Any] = {
            **FUNCTIONS,
            "hold": lambda _, name, kept: (self.groups.hold(str(name), kept=bool(kept)), b""),
            "share": lambda _, name: (self.groups.share(str(name)), b""),
        }
        self._sessions: dict[str, _Session] = {}
        self._runners: dict[str, SubprocessRunner] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True, name="smolkit: groups").start()

    def runner_of(self, settings: Mapping[str, Any]) -> SubprocessRunner:
        """The runner of these settings, which sessions share: so `max_starts` is the host's."""
        with self._lock:
            key = json.dumps(dict(settings), sort_keys=True)
            runner = self._runners.get(key)
            if runner is None:
                runner = self._runners[key] = runner_of(settings)
                self.groups.settle(runner)
            return runner

    async def open(self, version: str, owner: str) -> str:
        """Open a session, and return its name.

        Args:
            version: The other end's version of smolkit.
            owner: The process at the other end.

        Raises:
            HostUnreachableError: this process has another version.
        """
        if version != __version__:
            raise HostUnreachableError(f"the host has smolkit {__version__}, and this process {version}")
        name = os.urandom(8).hex()
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        session = self._sessions[name] = _Session(self, name, Owner.parse(owner), far, reader, writer)
        threading.Thread(target=self._serve, args=(name, session), daemon=True, name=f"smolkit: {name}").start()
        return name

    def _serve(self, name: str, session: _Session) -> None:
        try:
            session.serve()
        finally:
            self._sessions.pop(name, None)
            if not session.server.keeps:
                self.groups.leave(name)

    async def send(self, name: str, number: int, data: bytes) -> None:
        """Take a piece of what the other end sends. Pieces are numbered, since calls may overtake one another.

        Raises:
            KeyError: there is no such session.
        """
        session = self._sessions[name]
        session.waiting[number] = data
        while session.next in session.waiting:
            session.writer.write(session.waiting.pop(session.next))
            session.next += 1
        await session.writer.drain()

    async def receive(self, name: str) -> bytes:
        """Wait for bytes of the far end; empty at the end of the session."""
        session = self._sessions.get(name)
        return b"" if session is None else await session.reader.read(CHUNK)

    async def close(self, name: str) -> None:
        """The other end has closed the session."""
        if (session := self._sessions.get(name)) is not None:
            session.writer.write_eof()

    def _watch(self) -> None:
        look = self.groups.adopt
        while True:
            try:
                look()
                look = self.look
            except Exception:
                logging.getLogger("smolkit").exception("Ray does not answer")
            time.sleep(_PERIOD)

    def look(self) -> None:
        """End the sessions whose process here is gone, and let groups and machines go that nobody has."""
        mine = here()
        for session in list(self._sessions.values()):
            if session.owner is not None and mine.has_ended(session.owner, None):
                session.end()
        self.groups.look()

"""The link to a host of a Ray cluster: calls of its keeper carry the bytes."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, final

import ray
from attrs import field, frozen

from smolkit import __version__
from smolkit.ray import cluster
from smolkit.ray.keeper import CHUNK
from smolkit.runners.local.identity import here
from smolkit.runners.remote.links import Link
from smolkit.runners.remote.transport import Transport

_MARK = b"smolkit keeper\n"  # comes once the session is open, which takes as long as a keeper takes to start
_PAUSE = 0.2  # seconds before a keeper is called again that is not available
_GLANCE = 0.5  # seconds between two looks at whether Ray is still there
_UNDER_WAY = 8  # pieces that are sent before the first of them has arrived


# References to calls that had not been waited for when Ray ended in this process: Ray ends a process that frees one then.
_kept: list[Any] = []


def _result(ref: Any) -> Any:
    """Wait for a call, and return its result.

    Not by `ray.get`: a thread that is in there when `ray.shutdown` is called ends the whole process.

    Raises:
        ConnectionError: Ray has ended in this process.
        Exception: the call's failure.
    """
    future = ref.future()
    while True:
        try:
            return future.result(_GLANCE)
        except Exception as error:
            if not ray.is_initialized():
                _kept.append((ref, future))
                raise ConnectionError("Ray has ended in this process") from error
            if future.done() or not isinstance(error, TimeoutError):
                raise


@final
class KeeperTransport(Transport):
    """A socket, whose bytes two threads carry to the keeper and back.

    Args:
        find: Returns the keeper; it may wait.
    """

    mark = _MARK

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find
        self._near, self._far = socket.socketpair()
        self._writes = self._near.dup()  # a connection polls for each way by a descriptor of its own
        self._why = ""
        self._over, self._killed = threading.Event(), threading.Event()

    def open(self) -> tuple[int, int]:
        """As in Transport. The keeper is looked for in a thread, so that this does not wait."""
        threading.Thread(target=self._run, daemon=True, name="smolkit: from Ray").start()
        return self._near.fileno(), self._writes.fileno()

    def _run(self) -> None:
        sender: threading.Thread | None = None
        try:
            keeper = self._find()
            name = self._open_session(keeper)
            self._far.sendall(_MARK)
            sender = threading.Thread(target=self._send, args=(keeper, name), daemon=True, name="smolkit: to Ray")
            sender.start()
            while self._has_ray() and (data := _result(keeper.receive.remote(name))):
                self._far.sendall(data)
        except Exception as error:  # noqa: BLE001  (told to whoever asks)
            self._fail(error)
        finally:
            self._over.set()
            with suppress(OSError):
                self._far.shutdown(socket.SHUT_RDWR)
            if sender is not None:
                sender.join()
            self._far.close()

    def _open_session(self, keeper: Any) -> str:
        """Open a session, once the keeper has started. Ray may not know yet that it, or its host, has ended."""
        while True:
            try:
                return str(_result(keeper.open.remote(__version__, str(here().me))))
            except ray.exceptions.ActorUnavailableError:
                if self._killed.wait(_PAUSE) or not self._has_ray():
                    raise

    def _send(self, keeper: Any, name: str) -> None:
        sent: deque[Any] = deque()
        number = 0
        try:
            while (data := self._far.recv(CHUNK)) and self._has_ray():
                sent.append(keeper.send.remote(name, number, data))
                number += 1
                if len(sent) > _UNDER_WAY:
                    _result(sent.popleft())
            if self._has_ray():
                keeper.close.remote(name)
            else:
                _kept.append(sent)
        except Exception as error:  # noqa: BLE001  (likewise)
            self._fail(error)

    def _has_ray(self) -> bool:
        """False after Ray's end in this process: a call would start another Ray, or be the end of the process."""
        return not self._why and ray.is_initialized()

    def _fail(self, error: Exception) -> None:
        cause = getattr(error, "cause", None) or error  # Ray wraps what an actor raises
        first = (str(cause).strip().splitlines() or [""])[0]
        self._why = self._why or f" ({type(cause).__name__}: {first})"

    def hang_up(self) -> None:
        """As in Transport."""
        with suppress(OSError):
            self._near.shutdown(socket.SHUT_WR)

    def wait(self, seconds: float) -> None:
        """As in Transport."""
        self._over.wait(seconds)

    def status(self) -> str:
        """As in Transport."""
        return self._why

    def kill(self) -> None:
        """As in Transport."""
        self._killed.set()
        with suppress(OSError):
            self._near.shutdown(socket.SHUT_RDWR)

    def dispose(self) -> None:
        """As in Transport."""
        self.kill()
        self._near.close()
        self._writes.close()

    def abandon(self) -> None:
        """As in Transport."""
        for end in (self._near, self._writes, self._far):
            end.close()


@final
@frozen
class KeeperLink(Link):
    """The way to the keeper of one node.

    Args:
        node: Ray's id of it.
        address: Its IP address, for people to read.
    """

    node: str
    address: str = field(eq=False)

    @property
    def host(self) -> str:
        """The node."""
        return f"Ray node {self.address} ({self.node[:8]})"

    def argv(self, command: Sequence[str]) -> tuple[str, ...]:
        """The command with the host before it, for logs: no process here runs it."""
        return (f"ray:{self.node[:8]}", *command)

    def open(self) -> Transport:
        """As in Link."""
        return KeeperTransport(lambda: cluster.keeper(self.node))

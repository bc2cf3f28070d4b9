"""Published ports: connections to this host, passed on to the guest."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from threading import Thread


def serve(ends: list[int], listeners: dict[socket.socket, int]) -> None:
    """Forward connections until one of the ends is readable.

    Args:
        ends: Descriptors.
        listeners: Sockets of this host, and the guest's port for each. This process is in the guest's network namespace.
    """
    by_number = {listener.fileno(): listener for listener in listeners}
    while not set(ends) & set(ready := select.select([*ends, *by_number], [], [])[0]):
        for listener in (by_number[number] for number in ready):
            Thread(target=_forward, args=(listener.accept()[0], listeners[listener]), daemon=True).start()


def _forward(outside: socket.socket, port: int) -> None:
    with outside, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as inside:
        back = Thread(target=_copy, args=(inside, outside), daemon=True)
        back.start()
        _copy(outside, inside)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)

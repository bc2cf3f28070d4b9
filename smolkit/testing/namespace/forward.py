"""Published ports: connections to this host, passed on to the guest.

No threads: Linux starts none in a process whose children belong to another pid namespace.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from functools import partial

_CHUNK = 2**16


def serve(ends: list[int], listeners: dict[socket.socket, int]) -> None:
    """Forward connections until one of the ends is readable.

    Args:
        ends: Descriptors.
        listeners: Sockets of this host, and the guest's port for each. This process is in the guest's network namespace.
    """
    asyncio.run(_serve(ends, listeners))


async def _serve(ends: list[int], listeners: dict[socket.socket, int]) -> None:
    over = asyncio.Event()
    for end in ends:
        asyncio.get_running_loop().add_reader(end, over.set)
    for listener, port in listeners.items():
        await asyncio.start_server(partial(_forward, port), sock=listener)
    await over.wait()


async def _forward(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        inside_reader, inside_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, inside_writer), _copy(inside_reader, writer))
        inside_writer.close()
    writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()

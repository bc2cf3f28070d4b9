"""Copies of files over a link."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from smolkit.runners.remote.connection import CREDIT
from smolkit.runners.remote.wire import MAX_BLOB

if TYPE_CHECKING:
    from smolkit.runners.remote.channel import Channel
    from smolkit.runners.remote.session import Session


def send(path: str, channel: Channel) -> None:
    """Send a file of this host as a call's input, no faster than the far end takes it."""
    with open(path, "rb") as file:
        while not channel.is_over and (chunk := file.read(MAX_BLOB)):
            channel.changed.wait(lambda: channel.is_over or channel.room >= file.tell() - MAX_BLOB)
            channel.send("stdin", chunk)
    channel.send("eof")


def fetch(session: Session, path: str, target: str) -> bool:
    """Copy a file of the far host to `target`, a new file. False if there is no such file there.

    Raises:
        HostLostError: the link was lost.
        OSError: it cannot be read there, or written here.
    """
    channel, returned = session.channel(), 0
    try:
        channel.send("call", name="send_file", args=[path])
        # Private until it has its mode: it may be a secret.
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            while channel.pieces or not channel.is_over:
                channel.changed.wait(lambda: channel.pieces or channel.is_over)
                while channel.pieces:
                    file.write(channel.pieces.popleft()[1])
                if file.tell() - returned >= CREDIT:
                    channel.send("credit", size=file.tell() - returned)
                    returned = file.tell()
            mode = channel.result().fields.get("value")
            if mode is not None:
                os.fchmod(file.fileno(), int(mode))
    finally:
        channel.send("drop")
        channel.forget()
    if mode is None:
        os.unlink(target)
    return mode is not None

"""A link's program that may be killed, as ssh may: it passes bytes on between itself and a command, after a delay.

python tests/relay.py SECONDS COMMAND...
python tests/relay.py SECONDS tcp HOST PORT
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from queue import SimpleQueue


def read(fd: int, delay: float, pieces: SimpleQueue[tuple[float, bytes]]) -> None:
    """Read what arrives."""
    while data := os.read(fd, 2**20):
        pieces.put((time.monotonic() + delay, data))
    pieces.put((0, b""))


def relay(source: int, target: int, delay: float) -> None:
    """Pass bytes on; each arrives `delay` seconds later, however many are under way."""
    pieces: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
    threading.Thread(target=read, args=(source, delay, pieces), daemon=True).start()
    while True:
        at, data = pieces.get()
        if not data:
            os.close(target)
            return
        time.sleep(max(0.0, at - time.monotonic()))
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]


def main(delay: float, command: list[str]) -> int:
    """Run the command behind the relay, in a session of its own as on another host."""
    if command[0] == "tcp":
        link = socket.create_connection((command[1], int(command[2])))
        threading.Thread(target=relay, args=(0, os.dup(link.fileno()), delay), daemon=True).start()
        relay(link.fileno(), 1, delay)
        return 0
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    threading.Thread(target=relay, args=(0, os.dup(process.stdin.fileno()), delay), daemon=True).start()
    process.stdin.close()
    relay(process.stdout.fileno(), 1, delay)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))

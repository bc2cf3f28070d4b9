"""The engine's notation of published ports."""

from __future__ import annotations

import re
from collections.abc import Iterator

PORT_RANGE = r"([0-9]{1,5})(?:-([0-9]{1,5}))?"
PORTS = rf"{PORT_RANGE}(?::{PORT_RANGE})?(?:/(?:tcp|udp))?"


def port_pairs(text: str) -> Iterator[tuple[int, int]]:
    """The pairs (host, guest) that a `--port` value publishes over TCP; none for UDP."""
    found = re.fullmatch(PORTS, text)
    if found and not text.endswith("/udp"):
        host, last, guest = int(found[1]), int(found[2] or found[1]), int(found[3] or found[1])
        yield from zip(range(host, last + 1), range(guest, guest + last - host + 1), strict=True)

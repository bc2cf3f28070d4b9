"""The note that an engine whose program was renamed writes to stderr first."""

from __future__ import annotations

import os
import re

NOTE = b"note: no packed assets found for '"
_ITS_OWN_NAMES = frozenset({"smolvm", "smolvm-bin"})


def without_note(stderr: bytes, program: str) -> bytes:
    """Remove the note of a renamed program that it carries no pack (1.7.1 to 1.32.2), which is not the guest's output."""
    if not stderr.startswith(NOTE):
        return stderr
    name = os.path.basename(os.path.realpath(program))
    if name in _ITS_OWN_NAMES:
        return stderr
    return re.sub(rb"\A" + NOTE + re.escape(os.fsencode(name)) + rb"'[^\n]*\n", b"", stderr)

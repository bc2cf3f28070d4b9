"""The real engine, with a state directory of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from smolkit import Smolvm
from smolkit.runners.local import SubprocessRunner


@contextmanager
def throwaway_client() -> Iterator[Smolvm]:
    """A client of the real engine whose machines are nobody else's."""
    # Short: a Unix socket's path, some 45 characters below it, has to stay below 108.
    folder = tempfile.mkdtemp(prefix="sk-", dir="/tmp")
    try:
        yield Smolvm(runner=SubprocessRunner(state_dir=folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)

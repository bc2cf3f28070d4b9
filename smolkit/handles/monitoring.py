"""A machine that the engine monitors, and starts again when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self, final

from smolkit import values
from smolkit.commands.observing import monitor_event
from smolkit.handles.process import Process

_GRACE = 5.0  # seconds between SIGTERM and SIGKILL


@final
class Monitoring:
    """The engine while it monitors a machine. Made by `machine.monitor()`.

    Iterate it for `smolkit.MonitorEvent`s as they come. The iteration ends when the engine gives the machine up (by its
    restart policy), or after `stop()`; a failure of the engine is raised there.

    As a context manager it is stopped at the end of the block. The machine runs on, without a monitor.
    """

    def __init__(self, process: Process[str]) -> None:
        self._process = process

    def __repr__(self) -> str:
        return repr(self._process).replace("<Process", "<Monitoring of", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.stop()
        else:
            self._process.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[values.MonitorEvent]:
        for _, line in self._process:
            if line.strip():
                yield monitor_event(line)

    def stop(self) -> None:
        """Stop monitoring the machine, which runs on. No-op if it has ended.

        Raises:
            SmolvmError: the engine had failed before.
        """
        self._process.terminate()
        try:
            self._process.wait(timeout=_GRACE)
        except TimeoutError:
            self._process.kill()
            self._process.wait()

"""A machine that is looked after, and started again where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from smolkit.commands.observing import monitor_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from smolkit.handles.process import Process
    from smolkit.values.observed import MonitorEvent

_GRACE = 5.0  # seconds between SIGTERM and SIGKILL


@final
class Monitoring:
    """The engine while it looks after a machine. Made by `machine.monitor()`.

    Iterate it for `smolkit.values.MonitorEvent`s as they come. The iteration ends when the engine gives the machine up
    (by its restart policy), or after `stop()`; a failure of the engine is raised there.

    As a context manager it is stopped at the end of the block. The machine is not: it runs on, unwatched.
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

    def __iter__(self) -> Iterator[MonitorEvent]:
        for _, line in self._process:
            if line.strip():
                yield monitor_event(line)

    def stop(self) -> None:
        """Stops looking after the machine, which runs on. No-op if that has ended.

        Raises:
            SmolvmError: the engine had failed by then.
        """
        self._process.terminate()
        try:
            self._process.wait(timeout=_GRACE)
        except TimeoutError:
            self._process.kill()
            self._process.wait()

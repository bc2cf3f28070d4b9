"""One call of the engine as a child process, to its end."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, final

from smolkit.runners.local.posix import ChildProcess
from smolkit.runners.local.pump import Pump

if TYPE_CHECKING:
    from smolkit.runners.local.subprocess import SubprocessRunner
    from smolkit.values.results import Completed, Invocation

_TERM_WAIT = 2.0  # seconds between SIGTERM and SIGKILL


@final
class Call:
    """One call of the engine as a child process, which can be run on from where an interrupt struck.

    Args:
        runner: Whose.
        invocation: What is called.
        since: When, on the monotonic clock, its timeout began.
    """

    def __init__(self, runner: SubprocessRunner, invocation: Invocation, since: float) -> None:
        self._runner, self._invocation = runner, invocation
        self._started = time.monotonic()
        self._deadline = None if invocation.timeout is None else since + invocation.timeout
        self._pump: Pump | None = None
        self._ended_by: str | None = None
        self.child: ChildProcess = ChildProcess()

    def run(self) -> Completed:
        """Starts the child, if it is not started, and serves it to its end."""
        if self._pump is None:
            self.child.open_pipes(stdin=self._invocation.stdin is not None)
            limits = (self._runner.output_limit, self._invocation.output_limit)
            limit = min(limit for limit in limits if limit is not None)
            self._pump = Pump(self.child, self._invocation.stdin, limit, self._invocation.booted)
        if not self.child.is_started:
            self._runner.spawn(self.child, self._invocation)
        self.child.close_theirs()  # an interrupt may have come before
        if self._ended_by is None:
            self._ended_by = self._pump.run(self._deadline)
        self.end()
        return self._completed(self._pump)

    def _completed(self, pump: Pump) -> Completed:
        code = self.child.poll()
        code = -signal.SIGKILL if code is None else code  # another user's (sudo), who may be told but not ended
        ended_by = self._ended_by or ("reaped elsewhere" if self.child.lost else "")
        duration = time.monotonic() - self._started
        return self._runner.completed(self._invocation, code, pump.stdout, pump.stderr, duration, ended_by)

    def end(self) -> None:
        """Ends the child, if it has not ended, and lets go of it and its pipes."""
        end(self.child, self._pump)
        if self._pump is not None:
            self._pump.close()
        self.child.close()


def end(child: ChildProcess, pump: Pump | None = None) -> None:
    """SIGTERM to the child's group, a wait, SIGKILL to who is left of it, a wait; and it is reaped.

    What it still writes meanwhile is kept by the pump.
    """
    child.close_theirs()
    if child.is_started and child.poll() is None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            child.signal(number)  # where that is not allowed (sudo), closing its pipes is all that can be done
            if pump is not None:
                pump.drain(time.monotonic() + _TERM_WAIT)
            elif child.poll() is None:
                with suppress(TimeoutError):
                    child.wait(_TERM_WAIT)
    child.reap()

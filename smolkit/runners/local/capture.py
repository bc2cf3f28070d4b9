"""One call of the engine as a child process, run to its end with its output captured."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING, final

from attrs import evolve

from smolkit.runners.local.posix import ChildProcess
from smolkit.runners.local.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolkit.runners.local.launcher import Launcher
    from smolkit.values.results import Completed, Invocation

_TERM_WAIT = 2.0  # seconds between SIGTERM and SIGKILL


@final
class CapturedCall:
    """One call of the engine as a child process. After an interrupt, `run_to_end` may be called again.

    Args:
        launcher: Starts the engine.
        invocation: The call.
        since: When its timeout began, by `clock`.
        output_limit: Bytes of stdout and stderr together; the invocation may have a smaller limit.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self, launcher: Launcher, invocation: Invocation, since: float, output_limit: int, clock: Callable[[], float]
    ) -> None:
        self._launcher, self._invocation, self._clock = launcher, invocation, clock
        self._started = clock()
        self._deadline = None if invocation.timeout is None else since + invocation.timeout
        self._output_limit = min(limit for limit in (output_limit, invocation.output_limit) if limit is not None)
        self._pump: Pump | None = None
        self._ended_by: str | None = None
        self.child: ChildProcess = ChildProcess()

    @property
    def is_started(self) -> bool:
        """True if there is, or was, a child process."""
        return self.child.is_started

    def run_to_end(self) -> Completed:
        """Start the child process, unless it is started, and serve its pipes until it has ended.

        Every line may be interrupted, and what is done already is not done again by the next call: hence each step looks
        for what is there instead of taking the order of the lines for granted.
        """
        if self._pump is None:
            self.child.open_pipes(stdin=self._invocation.stdin is not None)
            self._pump = Pump(
                self.child,
                self._invocation.stdin,
                self._output_limit,
                self._clock,
                self._invocation.booted,
                truncate=self._invocation.truncate,
            )
        if not self.child.is_started:
            self._launcher.start(self.child, self._invocation)
        self.child.close_theirs()  # `start` does so; but an interrupt may have struck in it, after the child's start
        if self._ended_by is None:
            self._ended_by = self._pump.pump_until_end(self._deadline)
        self.terminate()
        return self._completed(self._pump)

    def _completed(self, pump: Pump) -> Completed:
        code = self.child.poll()
        code = -signal.SIGKILL if code is None else code  # a process of another user's (sudo), which we could not kill
        ended_by = self._ended_by or ("reaped elsewhere" if self.child.lost else "")
        duration = self._clock() - self._started
        out, err = pump.stdout, pump.stderr
        written, cut = err.data, err.cut
        completed = self._launcher.completed(self._invocation, code, out.data, written, duration, ended_by)
        if cut is not None:  # without the engine's note, the place is nearer to the beginning
            cut = evolve(cut, offset=cut.offset - len(written) + len(completed.stderr))
        return evolve(completed, stdout_cut=out.cut, stderr_cut=cut)

    def terminate(self) -> None:
        """End the child process unless it has ended, reap it and close its pipes. May be called again."""
        terminate_and_reap(self.child, self._clock, self._pump)
        if self._pump is not None:
            self._pump.close()
        self.child.close()


def terminate_and_reap(child: ChildProcess, clock: Callable[[], float], pump: Pump | None = None) -> None:
    """Send SIGTERM to the child's process group, wait, send SIGKILL to who is left, wait, and reap the child.

    What it still writes meanwhile is kept by the pump.
    """
    child.close_theirs()
    if child.is_started and child.poll() is None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            child.signal(number)  # where this is not permitted (sudo), closing its pipes is all that can be done
            # Both times, also after the child's end: others of its group may still write, or hold out against SIGTERM.
            if pump is not None:
                pump.drain(clock() + _TERM_WAIT)
            elif child.poll() is None:
                with suppress(TimeoutError):
                    child.wait(_TERM_WAIT)
    child.reap()  # last: until then nobody else can have its number, so that no signal meets a stranger

"""Hold back what signal handlers raise while a machine is half made or half removed.

Python calls signal handlers in the main thread, between any two of its instructions: an exception of theirs may strike
between the end of `machine create` and the line that notes it. While interrupts are held, each handler is called at once,
as ever, and what it raises is kept. Only where smolkit waits, and in a runner's `execute`, is it raised there and then.
See "How interrupts work" in `smolkit.flows.steps`.

Blocking the signals would not do: another thread would receive them, and Python runs the handler in the main thread anyway.
"""

from __future__ import annotations

# Not `signal`, whose getsignal takes a hundred times as long, to make enums.
from _signal import getsignal, signal, valid_signals  # type: ignore[import-not-found]
from typing import TYPE_CHECKING, Any, TypeVar, final

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

holding: list[Held] = []  # all that hold in the main thread, the innermost last


@final
class Held:
    """The interrupts of one procedure, held from its construction until `settle` or `release`.

    Args:
        active: Whether handlers can run in this code at all: in the main thread, outside of event loops.

    Attributes:
        kept: Exceptions that are still to be raised, in the order in which they came.
        count: The number of exceptions that handlers have raised, kept or not.
    """

    def __init__(self, *, active: bool) -> None:
        self.kept: list[BaseException] = []
        self.count: int = 0
        self._active, self._raises = active, False
        self._handlers: dict[int, Callable[[int, Any], object]] = {}
        self._hold()

    def _hold(self) -> None:
        try:
            if self._active:
                self._replace()
        except BaseException as error:  # noqa: BLE001  (of a handler that was not replaced yet)
            self.kept.append(error)
            self._hold()  # again from the start, which skips the handlers that are replaced already

    def _replace(self) -> None:
        if self not in holding:
            holding.append(self)
        for number in valid_signals():
            handler = getsignal(number)
            if callable(handler) and handler != self._handle:
                self._handlers[number] = handler
                signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        try:
            self._handlers[number](number, frame)
        except BaseException as error:
            self.count += 1
            if self._raises:
                raise
            self.kept.append(error)

    def let_out(self, function: Callable[[], T]) -> T:
        """Call a function in which interrupts are raised as they come: it waits, and can be left anywhere."""
        before, self._raises = self._raises, True
        try:
            return function()
        finally:
            self._raises = before  # no call: Python runs no handler before it

    def settle(self) -> None:
        """Give the program its handlers back; or raise what was kept, and go on holding."""
        self.release()  # first: what came until now is kept, and what comes from now on is raised by the handler itself
        if self.kept:
            self._hold()
            raise self.kept.pop(0)

    def release(self) -> None:
        """Give the program its handlers back, except those that it replaced meanwhile. Idempotent; raises nothing."""
        try:
            self._give_back()
        except BaseException as error:  # noqa: BLE001  (of a handler that is the program's again)
            self.kept.append(error)
            self.release()

    def _give_back(self) -> None:
        for number in tuple(self._handlers):
            if getsignal(number) == self._handle:
                signal(number, self._handlers[number])
            self._handlers.pop(number)
        if self in holding:
            holding.remove(self)

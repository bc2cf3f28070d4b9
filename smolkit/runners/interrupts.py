"""Hold back what signal handlers raise while a machine is half made or half removed.

Python calls signal handlers in the main thread, between any two of its instructions: an exception of theirs may strike
between the end of `machine create` and the line that notes it. While interrupts are held, each handler is called at once,
as ever, and what it raises is kept. Only where smolkit waits, and in a runner's `execute`, is it raised there and then.

Blocking the signals would not do: another thread would take them, and the handler run in the main thread all the same.
"""

from __future__ import annotations

# Not `signal`, whose getsignal takes a hundred times as long, to make enums.
from _signal import getsignal, signal, valid_signals  # type: ignore[import-not-found]
from typing import TYPE_CHECKING, Any, TypeVar, final

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

holding: list[Held] = []  # of the main thread, the innermost last


@final
class Held:
    """The interrupts of one procedure, from its making to `settle` or `release`.

    Args:
        active: Whether handlers may be called in this code at all: in the main thread, outside of event loops.

    Attributes:
        kept: What is still to be raised, in the order in which it came.
        count: How many exceptions handlers have raised, kept or not.
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
            self._hold()

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
        """Call a function in which interrupts are raised as they come: it waits, and bears them."""
        before, self._raises = self._raises, True
        try:
            return function()
        finally:
            self._raises = before  # no call: Python runs no handler before it

    def settle(self) -> None:
        """Give the program its handlers back; or raise what was kept, and go on holding."""
        self.release()
        if self.kept:
            self._hold()
            raise self.kept.pop(0)

    def release(self) -> None:
        """Give the program its handlers back, but for those that it replaced meanwhile. Idempotent; raises nothing."""
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

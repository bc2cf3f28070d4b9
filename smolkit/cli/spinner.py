"""The display of what is waited for: on stderr, where that is a terminal and rich (the extra `progress`) is installed."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from smolkit.runners.blocking import holding_interrupts
from smolkit.values.shown import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, Task

    from smolkit.runners.interrupts import Held

_INTERRUPTED = "Interrupted: cleaning up (Ctrl-C again to end at once)"
_shown: list[Task] = []


@contextmanager
def waiting(description: str) -> Iterator[Callable[[], None]]:
    """Show what is waited for, and for how long, until the end or until the function is called that this yields.

    Then nothing of it is left on the terminal: call it before anything else is printed.
    """
    progress = _progress()
    if progress is None:
        yield lambda: None
        return

    progress.add_task(printable(description))
    _shown[:] = progress.tasks
    try:
        _draw(progress.start)
        _draw(progress.console.show_cursor)  # rich hides it, and a SIGKILL would leave it hidden
        yield lambda: _draw(progress.stop)
    finally:
        _draw(progress.stop)


def _draw(draw: Callable[[], object]) -> None:
    def quietly(_: Held) -> None:
        with suppress(OSError):  # the terminal was closed
            draw()

    # Else an interrupt could leave half a display, and be lost: the failing write of a `finally` in rich would replace it.
    holding_interrupts(quietly)


def interrupted() -> None:
    """Have the display say that the wait is ending, which may take its time. For signal handlers: nothing is drawn here."""
    for task in _shown:
        task.description = _INTERRUPTED


def _progress() -> Progress | None:
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console  # late: an extra
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    except ModuleNotFoundError:
        return None
    console = Console(stderr=True)
    if not console.is_interactive:
        return None  # it cannot move the cursor (TERM=dumb), and would show empty lines
    # In ASCII, for terminals of any encoding. Without the redirections, by which rich would print our stdout on stderr.
    columns = (SpinnerColumn("line"), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)

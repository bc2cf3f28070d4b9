"""A progress bar for `upload` and `download`. Needs `pip install 'smolkit[progress]'`.

with bar("tests") as progress:
    machine.upload("tests", "/root/tests", progress=progress)
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from smolkit.extras import missing
from smolkit.values.shown import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console


@contextmanager
def bar(description: str, *, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on the terminal during the block, and yield the function to pass as `progress=`.

    Where there is no terminal, it shows nothing.

    Args:
        description: The text before the bar.
        console: The rich console to draw on. Default: stderr, so that a program's output may go elsewhere.

    Raises:
        ModuleNotFoundError: rich is not installed.
    """
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    except ModuleNotFoundError as error:
        raise missing("smolkit.progress.bar", "progress", error) from error

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = console or Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_interactive) as shown:
        task = shown.add_task(printable(description), total=None)

        def update(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total)

        yield update

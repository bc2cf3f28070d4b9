"""A progress bar for `upload` and `download`. Needs `pip install 'smolkit[progress]'`.

with bar("tests") as progress:
    machine.upload("tests", "/root/tests", progress=progress)
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from smolkit.extras import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console


@contextmanager
def bar(description: str, *, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on the terminal during the block, and yield the function to pass as `progress=`.

    Args:
        description: The text before the bar.
        console: The rich console to draw on. Default: rich's global console.

    Raises:
        ModuleNotFoundError: rich is not installed.
    """
    try:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    except ModuleNotFoundError as error:
        raise missing("smolkit.progress.bar", "progress", error) from error

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(description, total=None)

        def update(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total)

        yield update

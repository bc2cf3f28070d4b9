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
    """A bar on the terminal for as long as the block runs; what it gives goes in as `progress=`.

    Args:
        description: What stands before it.
        console: Where it is drawn; default: rich's own.

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

        def tell(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total)

        yield tell

"""A progress bar for `upload`, `download` and the `map` of a fleet. Needs `pip install 'smolkit[progress]'`.

with bar("tests") as progress:
    machine.upload("tests", "/root/tests", progress=progress)
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from smolkit.extras import missing
from smolkit.values.shown import printable
from smolkit.values.validate import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console


@contextmanager
def bar(
    description: str, *, unit: Literal["bytes", "tasks"] = "bytes", console: Console | None = None
) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar on the terminal during the block, and yield the function to pass as `progress=`.

    Where there is no terminal, it shows nothing.

    Args:
        description: The text before the bar.
        unit: The things that are counted: bytes of files, or tasks of a `map`.
        console: The rich console to draw on. Default: stderr, so that a program's output may go elsewhere.

    Raises:
        ModuleNotFoundError: rich is not installed.
        ValueError: the unit is another one.
    """
    if unit not in {"bytes", "tasks"}:
        raise ValueError(f"unit must be 'bytes' or 'tasks', not {shown(unit)}")
    try:
        from rich import progress as rich
        from rich.console import Console
    except ModuleNotFoundError as error:
        raise missing("smolkit.progress.bar", "progress", error) from error

    counts = (rich.DownloadColumn(), rich.TransferSpeedColumn()) if unit == "bytes" else (rich.MofNCompleteColumn(),)
    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        *counts,
        rich.TimeRemainingColumn(),
    )
    console = console or Console(stderr=True)
    with rich.Progress(*columns, console=console, disable=not console.is_interactive) as drawn:
        task = drawn.add_task(printable(description), total=None)

        def update(done: int, total: int | None) -> None:
            drawn.update(task, completed=done, total=total)

        yield update

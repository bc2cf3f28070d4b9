"""Tables and progress on the terminal: rich's where it is installed and somebody looks, plain text otherwise."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from smolkit.values.shown import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.table import Table

    Row = Sequence[str]


def show(header: Row, rows: Sequence[Row]) -> None:
    """Print a table."""
    table = _table(header, rows) if sys.stdout.isatty() else None
    if table is None:
        print(_plain(header, rows), flush=True)
    else:
        from rich.console import Console  # late: an extra

        Console().print(table)


@contextmanager
def refreshing(header: Row) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Give a function that shows a table in the place of the one that it showed before."""
    table = _table(header, ()) if sys.stdout.isatty() else None
    if table is None:
        yield lambda rows: show(header, rows)
        return
    from rich.live import Live  # late: an extra

    with Live(table, auto_refresh=False) as live:
        yield lambda rows: live.update(_table(header, rows) or "", refresh=True)


@contextmanager
def waiting(description: str) -> Iterator[Callable[[], None]]:
    """Show that something takes its time until the function is called that this gives. Quiet if nobody looks."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    try:
        from rich.console import Console  # late: an extra
    except ModuleNotFoundError:
        print(f"{description} ...", file=sys.stderr)
        yield lambda: None
        return
    status = Console(stderr=True).status(description)
    status.start()
    try:
        yield status.stop
    finally:
        status.stop()


def _table(header: Row, rows: Sequence[Row]) -> Table | None:
    try:
        from rich.table import Table  # late: an extra
    except ModuleNotFoundError:
        return None
    from rich.text import Text

    table = Table(*header, box=None)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _plain(header: Row, rows: Sequence[Row]) -> str:
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)

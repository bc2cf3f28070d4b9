"""Tables on the terminal: rich's where it is installed and somebody looks, plain text otherwise."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from smolkit.values.shown import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.table import Table

    Row = Sequence[str]

_WIDEST = 2**16  # characters


def cell(text: str) -> str:
    """Text that others wrote, on one line: a newline in it could forge a row."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def show(header: Row, rows: Sequence[Row]) -> None:
    """Print a table. On a narrow terminal its lines are wrapped, not cut: names can be copied."""
    table = _table(header, rows) if sys.stdout.isatty() else None
    if table is None:
        print(_plain(header, rows), flush=True)
    else:
        from rich.console import Console  # late: an extra

        Console(width=_WIDEST).print(table)


@contextmanager
def refreshing(header: Row) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Give a function that shows a table in the place of the one that it showed before, cut to the terminal's size."""
    table = _table(header, ()) if sys.stdout.isatty() else None
    if table is None:
        yield lambda rows: show(header, rows)
        return
    from rich.live import Live  # late: an extra

    with Live(table, auto_refresh=False) as live:
        yield lambda rows: live.update(_table(header, rows) or "", refresh=True)


def _table(header: Row, rows: Sequence[Row]) -> Table | None:
    try:
        from rich.table import Table  # late: an extra
    except ModuleNotFoundError:
        return None
    from rich.console import Console
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in header:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell(text)) for text in row))
    table.width = Console(width=_WIDEST).measure(table).maximum  # else rich shortens all columns, names first
    return table


def _plain(header: Row, rows: Sequence[Row]) -> str:
    cells = [[cell(text) for text in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)

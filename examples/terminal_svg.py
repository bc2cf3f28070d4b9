"""Draw a recorded terminal session as an SVG. Needs `pip install 'smolkit[progress]'`.

    (echo '$ python examples/quickstart.py'; python -u examples/quickstart.py 2>&1) >session.txt
    python examples/terminal_svg.py <session.txt >examples/quickstart.svg

Lines that begin with `$ ` (typed) are bold, those that begin with `+ ` (traces) dim. ANSI colours are kept.
"""

import io
import sys

from rich.console import Console
from rich.text import Text

COLUMNS = 100  # longer lines are wrapped


def draw(session: str, title: str = "smolkit") -> str:
    """Return the SVG of a terminal that shows the session."""
    lines = [Text.from_ansi(line) for line in session.splitlines()]
    width = min(max((line.cell_len for line in lines), default=1) + 2, COLUMNS)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(line, style={"$ ": "bold", "+ ": "dim"}.get(line.plain[:2]))
    return console.export_svg(title=title, unique_id="session")


if __name__ == "__main__":
    sys.stdout.write(draw(sys.stdin.read()))

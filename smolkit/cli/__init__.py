"""The command line: `smolkit` and `python -m smolkit`."""

from __future__ import annotations

from smolkit.cli.entry_point import main

__all__ = ["main"]

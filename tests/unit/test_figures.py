"""The figures of the code that `python -m tests.figures` prints."""

from __future__ import annotations

from pathlib import Path

from tests import figures

MODULE = '''"""What is in here."""

import ast

# Why it is so.


def short(number: int) -> None:
    """Refuse a number."""
    import json  # late

    if number:
        raise ValueError(f"number must be 0, not {number}")
    raise TypeError(f"{json} is no number")


class Long:
    """A class."""

    def long(self) -> None:
        """However: this opens with another word."""
        print(1)
        print(2)
        print(3)
        print(4)
        print(5)
        print(6)
        print(7)
        print(8)
'''


def test_a_package_is_measured(tmp_path: Path) -> None:
    """Comments, imports and lengths are counted in all modules, and a docstring is none of a function's lines."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below/module.py").write_text(MODULE)
    (tmp_path / "empty.py").write_text("\n" * 301)

    assert {
        "docstrings that open with What, Whether, How, Nothing": " 25.0 %  (1 of 4)",
        "own-line comments": "  4.8 %  (1 of 21)",
        "late imports": "    1",
        "TypeErrors and ValueErrors without 'must'": " 50.0 %  (1 of 2)",
        "files over 300 lines": "    1",
        "functions over 7 lines": " 50.0 %  (1 of 2)",
        "functions over 20 lines": "  0.0 %  (0 of 2)",
    } == dict(figures.figures(tmp_path))


def test_the_imports_are_timed() -> None:
    """The ratio of two CPU times that are more than nothing."""
    assert 0.1 < float(figures.import_ratio(rounds=1).split()[0]) < 100

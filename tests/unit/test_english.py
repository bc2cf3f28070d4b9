"""The English of smolkit's docstrings."""

from __future__ import annotations

from pathlib import Path

import pytest

import smolkit
from tests.figures import docstrings, is_dialect, sources

ROOT = Path(smolkit.__file__).parent
MODULES = sources(ROOT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_open_with_what_the_thing_is(path: Path) -> None:
    """No docstring opens with What, Whether, How or Nothing."""
    assert [] == [text.splitlines()[0] for text in docstrings(MODULES[path]) if is_dialect(text)]

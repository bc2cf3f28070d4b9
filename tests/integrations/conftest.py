"""The gate runs all of a framework's suite on the fake, and a part of it on NamespaceEngine."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the hundred tests of fsspec's globs on NamespaceEngine: they make 8,000 calls."""
    for item in items:
        if "integrations/test_fsspec.py" in item.nodeid and "glob_edge_cases[local" in item.nodeid:
            item.add_marker("night")

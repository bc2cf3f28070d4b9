"""The gate runs all of a framework's suite on the fake, and a part of it on NamespaceEngine."""

from __future__ import annotations

import pytest

# Tests of fsspec's suite that the gate also runs on NamespaceEngine. Each makes some eighty calls, and there are 137.
_ALSO_LOCAL = ("test_open_exclusive", "test_pipe_exclusive", "directory_recursive[local]", "copy_directory_to_existing")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the other tests of fsspec's suite on NamespaceEngine: they are for `python -m tests.everything`."""
    for item in items:
        name = item.nodeid.partition("integrations/test_fsspec.py::Test")[2]
        if "[local" in name and not any(kept in name for kept in _ALSO_LOCAL):
            item.add_marker("night")

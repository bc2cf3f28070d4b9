"""The tests of tests/engine that NamespaceEngine holds, run on it."""
